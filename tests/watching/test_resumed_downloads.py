"""A download that a kernel's restart or a killed process broke off: `resume` fetches the rest, or the whole anew."""

import json
import time

import pytest
from support.mill import DONE, png, sha256
from support.raw_server import reply
from support.waiting import until

import nbhelper as nbh

DATA = png(200_000)


HALF = 100_000


TAG = {"etag": '"v1"', "accept-ranges": "bytes"}


def broken(**headers):
    """Half of the file, and then nothing more."""

    async def act(conn, _request):
        await conn.send(reply(DATA[:HALF], headers=headers, length=len(DATA)))
        await conn.gone()

    return act


async def rest(conn, request):
    """What was asked for, as a server does that knows ranges."""
    span = request.header("range")
    begin = int(span.removeprefix("bytes=").removesuffix("-")) if span and request.header("if-range") == '"v1"' else 0
    headers = {**TAG, "content-range": f"bytes {begin}-{len(DATA) - 1}/{len(DATA)}"}
    await conn.send(reply(DATA[begin:], 206, headers) if begin else reply(DATA, headers=TAG))


OTHER = png(200_000, colour=1)


SERVERS = {
    "it knows ranges": (broken(**TAG), [rest], DATA, True),
    "it ignores the range": (broken(**TAG), [reply(DATA, headers=TAG)], DATA, True),
    "it has no tag": (broken(), [reply(DATA)], DATA, False),
    "its tag is weak": (broken(etag='W/"v1"'), [reply(DATA)], DATA, False),
    "the file is another now": (broken(**TAG), [reply(OTHER, headers={"etag": '"v2"'})], OTHER, True),
    "it continues another file": (
        broken(**TAG),
        [
            reply(OTHER[HALF:], 206, {"etag": '"v2"', "content-range": f"bytes {HALF}-{len(OTHER) - 1}/{len(OTHER)}"}),
            reply(OTHER, headers={"etag": '"v2"'}),
        ],
        OTHER,
        True,
    ),
    "it continues at the wrong place": (
        broken(**TAG),
        [
            reply(DATA[7:], 206, {**TAG, "content-range": f"bytes 7-{len(DATA) - 1}/{len(DATA)}"}),
            reply(DATA, headers=TAG),
        ],
        DATA,
        True,
    ),
}


def _went_on(mill, history, whole, asks):
    """Whether a resumed download has the right bytes, asked in the right way and left nothing behind."""
    second = mill.requests_to("/files")[1]
    assert [sha256(path.read_bytes()) for path in history.files] == [sha256(whole)]
    assert (second.header("range") is not None) is asks
    assert second.header("if-range") == ('"v1"' if asks else None)
    assert [path.name for path in history.files[0].parent.iterdir()] == ["files-0.png"]
    assert nbh.pending().empty


@pytest.mark.parametrize(("first", "then", "whole", "asks"), SERVERS.values(), ids=SERVERS)
def test_a_download_goes_on_or_begins_anew(mill, restart, tmp_path, first, then, whole, asks):
    """Broken off at half of a file, a task is resumed: the rest alone where that is sure, the same bytes always."""
    mill.job({**DONE, "files": [f"{mill.file(first, *then)}?sig=1"]}, ident="x")
    handle = nbh.watch("mill:x", block=False, display=False)
    until(lambda: any(path.stat().st_size == HALF for path in tmp_path.rglob("*.part")))
    restart()
    assert handle[0].files == ()
    assert list(nbh.pending()["pending"]) == ["results missing"]

    history = nbh.resume(block=False, display=False).result(30)[0]

    _went_on(mill, history, whole, asks)


@pytest.mark.parametrize("name", ["it knows ranges", "it has no tag"])
def test_a_download_outlives_the_process_that_began_it(mill, notebook, tmp_path, name):
    """The same when the process is killed without a chance to say anything."""
    first, then, whole, asks = SERVERS[name]
    mill.job({**DONE, "files": [mill.file(first, *then)]}, ident="x")
    process = notebook('nbh.watch("mill:x", display=False)')
    until(lambda: any(path.stat().st_size == HALF for path in tmp_path.rglob("*.part")))
    if asks:
        until(lambda: _noted(tmp_path) > 0)
    process.kill()
    process.wait(30)

    history = nbh.resume(block=False, display=False).result(30)[0]

    _went_on(mill, history, whole, asks)


def _noted(folder):
    """How far the last note says that the part is."""
    for path in folder.rglob("*.part.json"):
        return json.loads(path.read_text())["n"]
    return 0


def test_half_a_file_in_a_broken_connection_is_noted_at_once(mill, notebook, tmp_path):
    """Broken at half and killed while it waits to try again, the whole half is gone on with."""

    async def reset(conn, request):
        await conn.send(reply(DATA[:HALF], headers=TAG, length=len(DATA)))
        until(lambda: any(path.stat().st_size == HALF for path in tmp_path.rglob("*.part")))
        await conn.reset()

    mill.job({**DONE, "files": [mill.file(reset, rest)]}, ident="x")
    process = notebook("""
    from nbhelper._network import downloads
    downloads._PAUSE = 60.0
    nbh.watch("mill:x", display=False)
    """)
    until(lambda: _noted(tmp_path) == HALF)
    process.kill()
    process.wait(30)
    kept = time.monotonic()

    history = nbh.resume(block=False, display=False).result(30)[0]

    request = mill.requests_to("/files")[-1]
    assert request.at > kept
    assert request.header("range") == f"bytes={HALF}-"
    assert [sha256(path.read_bytes()) for path in history.files] == [sha256(DATA)]
