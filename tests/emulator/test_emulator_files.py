"""Result files behind signed links, as an object store serves them."""

from __future__ import annotations

import hashlib
import io

import pytest
from PIL import Image
from support.emulator_calls import QUICK, Caller, until

from nbhelper._emulator import Server


def finished(caller, prompt=QUICK, name="tripo"):
    """Create a picture task and wait for its end; return its id and link."""
    reply = caller.post("/task", {"type": "text_to_image", "prompt": f"{QUICK} {prompt}"})
    task_id = reply.json()["data"]["task_id"]
    return task_id, link(caller, task_id)


def link(caller, task_id):
    """Look until success; return the link of the last reply."""
    look = lambda: caller.get(f"/task/{task_id}").json()["data"]  # noqa: E731
    return until(look, lambda d: d["status"] == "success")[-1]["output"]["generated_image"]


@pytest.fixture
def tripo(at):
    """An account at Tripo, whose links are signed anew at every look."""
    return at("tripo")


def test_a_download_matches_the_ledger(tripo, http):
    """A download has the digest, size and type in the ledger, and is recorded there."""
    task_id, url = finished(tripo)
    reply = http.get(url)
    file = tripo.task(task_id).files["output.generated_image"]
    (download,) = tripo.task(task_id).downloads

    assert hashlib.sha256(reply.content).hexdigest() == file.sha256
    assert int(reply.headers["content-length"]) == file.n_bytes == download.n_bytes
    assert reply.headers["content-type"] == "image/jpeg"
    assert (download.status, download.name, download.path) == (200, "output.generated_image", file.path)
    with Image.open(io.BytesIO(reply.content)) as picture:
        assert picture.size == (1024, 1024)


def test_a_key_sent_to_a_link_is_recorded(tripo, http):
    """A download works with and without a key; the ledger records whether a key was sent."""
    task_id, url = finished(tripo)
    http.get(url)
    http.get(url, headers=tripo.headers)
    http.get(url, headers={"ailabapi-api-key": "emu-x"})

    assert [d.with_key for d in tripo.task(task_id).downloads] == [False, True, True]


def test_a_link_expires(tripo, http):
    """After its time a link answers 403 with a small XML body; a fresh look gives a good one."""
    task_id, url = finished(tripo, "emu:link=0.8")
    assert http.get(url).status_code == 200
    reply = until(lambda: http.get(url), lambda r: r.status_code != 200)[-1]

    assert (reply.status_code, reply.headers["content-type"]) == (403, "application/xml")
    assert b"<Message>Request has expired</Message>" in reply.content
    assert http.get(link(tripo, task_id)).status_code == 200
    assert {d.status for d in tripo.task(task_id).downloads} == {200, 403}


def test_links_live_at_least_three_seconds(tripo):
    """Speed compresses a link's life, but a client that looks every two seconds must be able to use it."""
    task_id, _ = finished(tripo)
    record = tripo.task(task_id)
    newest = record.files["output.generated_image"].expires - record.polls[-1].at

    assert 2.9 < newest.total_seconds() <= 3.1


def test_link_lives_are_compressed_by_speed(http):
    """A link's life of five minutes is thirty seconds at speed 10."""
    with Server(speed=10) as server:
        caller = Caller(server, "tripo", http)
        task_id, _ = finished(caller)
        record = caller.task(task_id)

        life = record.files["output.generated_image"].expires - record.polls[-1].at
        assert life.total_seconds() == pytest.approx(30, abs=0.5)


def test_a_dead_first_link_is_replaced(tripo, http):
    """With `emu:dead-link` the first link answers 403, and the next look's link works."""
    task_id, url = finished(tripo, "emu:dead-link")

    assert http.get(url).status_code == 403
    assert http.get(link(tripo, task_id)).status_code == 200


def test_a_dead_link_is_replaced_where_links_stay_the_same(at, http):
    """`emu:dead-link` is replaced at the second look also where an API signs a link once."""
    caller = at("ailab")
    path = "/api/portrait/editing/ai-bald"
    task_id = caller.form(path, {"style": f"{QUICK} emu:dead-link"}, "image").json()["task_id"]
    look = lambda: caller.get("/api/common/query-async-task-result", task_id=task_id).json()  # noqa: E731
    one = until(look, lambda d: d["task_status"] == 2)[-1]["data"]["result_urls"][0]
    two, three = (look()["data"]["result_urls"][0] for _ in range(2))

    assert http.get(one).status_code == 403
    assert two == three
    assert http.get(two).status_code == 200


@pytest.mark.parametrize("change", ["sig=0", "", "sig=é&expires=x"])
def test_a_wrong_signature_is_refused(tripo, http, change):
    """A link with a wrong or missing signature answers 403."""
    _, url = finished(tripo)

    assert http.get(f"{url.partition('?')[0]}?{change}").status_code == 403


def test_an_unknown_file_is_404(server, http):
    """An unknown file answers 404 with an XML error."""
    reply = http.get(f"{server.root}/files/0123456789abcdef/x.png?sig=1&expires=2")

    assert (reply.status_code, b"<Code>NoSuchKey</Code>" in reply.content) == (404, True)


@pytest.mark.parametrize(
    ("span", "slice_"),
    [
        ("bytes=0-99", slice(0, 100)),
        ("bytes=100-", slice(100, None)),
        ("bytes=-50", slice(-50, None)),
        ("bytes=0-99999999", slice(0, None)),
    ],
)
def test_one_range_is_answered_with_206(tripo, http, span, slice_):
    """One range answers 206 with Content-Range."""
    _, url = finished(tripo)
    whole = http.get(url).content
    part = http.get(url, headers={"range": span})
    first = range(len(whole))[slice_][0]

    assert (part.status_code, part.content) == (206, whole[slice_])
    assert part.headers["content-range"] == f"bytes {first}-{first + len(part.content) - 1}/{len(whole)}"


@pytest.mark.parametrize("span", ["bytes=5-2", "bytes=0-1,4-5", "lines=0-1", "bytes=a-b"])
def test_invalid_ranges_give_the_whole(tripo, http, span):
    """An invalid Range, or several ranges, answer 200 with the whole file."""
    _, url = finished(tripo)

    assert http.get(url, headers={"range": span}).status_code == 200


def test_a_range_beyond_the_end(tripo, http):
    """A range that begins behind the end answers 416 with the size."""
    task_id, url = finished(tripo)
    reply = http.get(url, headers={"range": "bytes=99999999-"})

    assert reply.status_code == 416
    assert reply.headers["content-range"] == f"bytes */{tripo.task(task_id).files['output.generated_image'].n_bytes}"


def test_if_range_guards_a_resume(tripo, http):
    """If-Range with the current ETag answers 206, with another one 200."""
    _, url = finished(tripo)
    etag = http.get(url).headers["etag"]

    assert http.get(url, headers={"range": "bytes=5-", "if-range": etag}).status_code == 206
    assert http.get(url, headers={"range": "bytes=5-", "if-range": '"other"'}).status_code == 200


def test_head_has_the_headers_of_get(tripo, http):
    """HEAD answers the headers of GET without the body."""
    _, url = finished(tripo)

    assert int(http.head(url).headers["content-length"]) == len(http.get(url).content)


def test_huge_pads_the_first_result(tripo, http):
    """The first result is padded to the size asked for, and still opens."""
    _, url = finished(tripo, "emu:huge=2")
    data = http.get(url).content

    assert len(data) > 2 << 20
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()


def test_the_same_seed_gives_the_same_files(http):
    """The same seed gives the same bytes, but other task ids."""

    def one(seed):
        with Server(speed=1000, seed=seed) as server:
            task_id, url = finished(Caller(server, "tripo", http), "a cat")
            return task_id, http.get(url).content

    (id1, a), (id2, b), (_, c) = one(7), one(7), one(8)

    assert a == b
    assert a != c
    assert id1 != id2
