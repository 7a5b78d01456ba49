"""A kernel that is killed and started again: one line, and every task is watched on, card included."""

import json
from pathlib import Path

import pytest
from kernels import SETUP, WIDGET, Kernel, frozen, of_type
from support.mill import DONE, QUEUED, WORKING, png, sha256
from support.raw_server import reply
from support.waiting import until

pytestmark = pytest.mark.kernel

DATA = png(300_000)
TAG = {"etag": '"v1"', "accept-ranges": "bytes"}


@pytest.fixture(scope="module")
def kernel(tmp_path_factory, factory):
    made = Kernel(tmp_path_factory.mktemp("restart"))
    yield made
    made.close()


async def half(conn, _):
    await conn.send(reply(DATA[:150_000], headers=TAG, length=len(DATA)))
    await conn.gone()


async def rest(conn, request):
    begin = int((request.header("range") or "bytes=0-")[6:-1])
    headers = {**TAG, "content-range": f"bytes {begin}-{len(DATA) - 1}/{len(DATA)}"}
    await conn.send(reply(DATA[begin:], 206, headers) if begin else reply(DATA, headers=TAG))


POINTS = {
    "queued": (QUEUED, lambda kernel, factory: factory.looks.get("queued")),
    "running": (WORKING, lambda kernel, factory: len(factory.looks.get("running", ())) > 3),
    "saving": (None, lambda kernel, factory: any(kernel.folder.rglob("*.part.json"))),
}


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_kernel_goes_on_with_its_card(kernel, factory, point):
    """Killed at each point and resumed, the history goes on, the file has the same bytes, and the card freezes."""
    answer, reached = POINTS[point]
    done = {**DONE, "files": [factory.file(half, rest) if point == "saving" else factory.file(rest)]}
    ref = factory.job(answer or done, ident=point)
    kernel.run(SETUP.format(root=factory.root))
    kernel.run(f"w = nbh.watch('{ref}')", cell="a")
    until(lambda: reached(kernel, factory), 30)
    kernel.restart()
    factory.jobs[point][:] = [done]

    kernel.run(SETUP.format(root=factory.root))
    sent = kernel.run("w = nbh.resume()\nw", cell="a")
    last = kernel.until(frozen(point))[-1]
    marks, path = json.loads(
        kernel.value("""
        import json
        history = w.result(30)[0]
        marks = nbh.events(history).query("seen == 'mark'")["word"].tolist()
        print(json.dumps([marks, str(history.files[0])]))
        """)
    )

    assert [WIDGET in m["content"]["data"] for m in of_type(sent, "display_data", "execute_result")] == [True]
    assert last["content"]["data"]["text/plain"].startswith(f"mill:{point}: succeeded")
    assert marks == ["watching", "resumed"]
    assert sha256(Path(path).read_bytes()) == sha256(DATA)
    ranged = [a.header("range") is not None for a in factory.requests_to(f"/files/{factory_link(factory, point)}")]
    assert ranged == ([False, True] if point == "saving" else [False])


def factory_link(factory, point):
    """The number in the link of a job's file."""
    return factory.jobs[point][0]["files"][0].split("/")[4]


def test_with_nothing_to_resume_one_static_card_says_so(kernel, factory):
    """With nothing to resume the cell shows one HTML card without a widget, and a later cell draws it again."""
    sent = kernel.run("w = nbh.resume()\nw", cell="n")
    later = kernel.run("w", cell="o")

    for messages in (sent, later):
        shown = of_type(messages, "display_data", "execute_result")
        assert [set(m["content"]["data"]) for m in shown] == [{"text/html", "text/plain"}]
        assert shown[0]["content"]["data"]["text/plain"].startswith("Nothing to resume in /")
        assert "Nothing to resume in /" in shown[0]["content"]["data"]["text/html"]


def test_the_card_says_what_is_in_doubt(kernel, factory):
    """The line about a create without an answer stands on the card, also when there is nothing to watch."""
    factory.creates[:] = [reply(b"", 500)]
    kernel.run("nbh.submit('mill', {'a': 1}, endpoint='image')", fails=True)

    shown = of_type(kernel.run("w = nbh.resume()", cell="p"), "display_data")

    assert "1 create is in doubt (1 mill)" in shown[0]["content"]["data"]["text/html"]
    assert "1 create is in doubt (1 mill)" in shown[0]["content"]["data"]["text/plain"]


def test_a_front_end_that_left_finds_the_end(kernel, factory):
    """A front end that connects after the end, while none listened, gets the finished card and the row."""
    ref = factory.job(WORKING, ident="alone")
    kernel.run(SETUP.format(root=factory.root))
    kernel.run(f"w = nbh.watch('{ref}')", cell="q")
    kernel.client.stop_channels()
    factory.jobs["alone"][:] = [{**DONE, "files": [factory.file(rest)]}]
    until(lambda: any("alone" in path.parent.name for path in kernel.folder.rglob("*.png")), 30)

    kernel.client = kernel.manager.client()
    kernel.client.start_channels()
    kernel.client.wait_for_ready(timeout=60)

    assert kernel.value("w.result(30); print(nbh.tasks().set_index('task_id').loc['alone', 'outcome'])") == "succeeded"
    until(lambda: kernel.value("print(w._card.over)") == "True")
    shown = of_type(kernel.run("w", cell="r"), "display_data")
    assert [set(m["content"]["data"]) for m in shown] == [{"text/html", "text/plain"}]
    assert shown[0]["content"]["data"]["text/plain"].startswith("mill:alone: succeeded")
