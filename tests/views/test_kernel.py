"""The card as a kernel sends it: what is displayed, how often, with how many models, and what an interrupt does."""

import asyncio
import os
import threading
import time

import pytest
from kernels import SETUP, WIDGET, Kernel, frozen, of_type, printed, raised
from support.mill import DONE, KEY, WORKING, png
from support.raw_server import reply
from support.scripts import ROOT, run
from support.waiting import until

pytestmark = pytest.mark.kernel

MODELS = "import ipywidgets; print(len(ipywidgets.widgets.widget._instances))"


@pytest.fixture(scope="module")
def kernel(tmp_path_factory, factory):
    made = Kernel(tmp_path_factory.mktemp("kernel"))
    made.run("1 / 0", fails=True)  # IPython's first traceback takes long
    made.run(SETUP.format(root=factory.root))
    yield made
    made.close()


def test_one_card_and_the_cell_returns_at_once(kernel, factory):
    """The cell shows one card and ends though the task never does; as its last expression the watch adds none."""
    ref = factory.job(WORKING, ident="once")

    sent = kernel.run(f"w = nbh.watch('{ref}')\nw", cell="a")

    assert [set(m["content"]["data"]) for m in of_type(sent, "display_data", "execute_result")] == [
        {WIDGET, "text/html", "text/plain"}
    ]
    assert printed(sent) == ""


def test_drawn_again_in_a_later_cell_live_and_frozen(kernel, factory):
    """`w` in a later cell draws the same card; both turn into HTML at the end, and once more `w` draws the HTML."""
    again = of_type(kernel.run("w", cell="b"), "display_data")
    assert [WIDGET in m["content"]["data"] for m in again] == [True]

    factory.jobs["once"][:] = [DONE]
    updates = []
    while len(updates) < 2:
        updates.append(kernel.until(frozen("once"))[-1])
    later = of_type(kernel.run("w", cell="c"), "display_data")

    assert len({m["content"]["transient"]["display_id"] for m in updates}) == 2
    for message in (*updates, *later):
        assert set(message["content"]["data"]) == {"text/html", "text/plain"}
        assert message["content"]["data"]["text/plain"].startswith("mill:once: succeeded")
        assert "✓" in message["content"]["data"]["text/html"]


def test_the_number_of_models_does_not_grow_with_the_tasks(kernel, factory):
    """One task or two hundred: the same few widget models; none is left once the cell was run again."""
    for n in range(200):
        factory.job(WORKING, ident=f"many-{n}")
    refs = [f"mill:many-{n}" for n in range(200)]

    before = int(kernel.value(MODELS))
    kernel.run("one = nbh.watch('mill:many-0')", cell="one")
    single = int(kernel.value(MODELS)) - before
    kernel.run(f"many = nbh.watch({refs!r})", cell="many")
    batch = int(kernel.value(MODELS)) - before - single

    assert single == batch <= 16
    kernel.run("one.stop(); many.stop()")
    kernel.run("one.result(30); many.result(30);")
    until(lambda: kernel.value("print(one._card.over and many._card.over)") == "True")
    kernel.run("one = many = None", cell="one")
    factory.jobs["many-0"][:] = [DONE]
    for cell in ("one", "many", "a"):
        kernel.run("x = nbh.watch('mill:many-0')", cell=cell)
    until(lambda: kernel.value("print(x._card.over)") == "True")

    assert int(kernel.value(MODELS)) - before <= 3 * single


def test_a_cell_run_again_while_it_watches(kernel, factory):
    """Run again, the cell has one card: the first one's models go when it is over, and there is still one watcher."""
    ref = factory.job(WORKING, ident="again")
    before = int(kernel.value(MODELS))
    kernel.run(f"w = nbh.watch('{ref}')", cell="d")
    one = int(kernel.value(MODELS)) - before
    kernel.run(f"w = nbh.watch('{ref}')", cell="d")
    assert int(kernel.value(MODELS)) - before == 2 * one

    factory.jobs["again"][:] = [WORKING, WORKING, DONE]
    kernel.run("w.result(30)")
    until(lambda: int(kernel.value(MODELS)) - before == one)

    assert min(factory.starts("mill:again")) >= 0.1


def test_few_messages_whatever_happens(kernel, factory):
    """Three hundred tasks that change all the time cause at most five messages a second."""
    answers = [{"state": "working", "percent": p} for p in range(100)]
    for n in range(300):
        factory.job(*answers, ident=f"busy-{n}")
    refs = [f"mill:busy-{n}" for n in range(300)]
    kernel.run(f"w = nbh.watch({refs!r})", cell="e")

    begun, seen = time.monotonic(), []
    while time.monotonic() - begun < 2.5:
        message = kernel.next(0.5)
        if message is not None:
            seen.append(message)
    kernel.run("w.stop(); w.result(30);")
    rate = len(of_type(seen, "comm_msg", "display_data", "update_display_data")) / 2.5
    print(f"{rate:.1f} messages a second")

    assert 0 < rate <= 5
    assert {m["msg_type"] for m in seen} == {"comm_msg"}


def test_pictures_are_sent_only_when_one_arrives(kernel, factory):
    """The clock goes on each second; the model with the pictures is sent once per new picture and not more."""
    file = factory.file(reply(PICTURE))
    ref = factory.job({"state": "working", "files": [file]}, ident="early")
    sent = kernel.run(f"w = nbh.watch('{ref}')", cell="f")
    sent += kernel.until(lambda m: "data:image" in str(m["content"]))
    begun = time.monotonic()
    after = []
    while time.monotonic() - begun < 1.8 or not after:
        message = kernel.next(0.5)
        if message is not None:
            after.append(message)

    assert not any("data:image" in str(m["content"]) for m in after)
    factory.jobs["early"][:] = [{**DONE, "files": [file]}]
    kernel.run("w.result(30);")


def picture():
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (300, 200), (30, 120, 90)).save(buffer, "PNG")
    return buffer.getvalue()


PICTURE = picture()


def test_a_picture_that_cannot_be_decoded_hides_nothing(kernel, factory):
    """The card says succeeded, names the file and says why there is no preview."""
    ref = factory.job({**DONE, "files": [factory.file(reply(png(3000)))]}, ident="broken")
    kernel.run(f"w = nbh.watch('{ref}')", cell="g")

    html = kernel.until(frozen("broken"))[-1]["content"]["data"]["text/html"]

    assert "succeeded" in html
    assert "picture, 3.0 kB (" in html
    assert ".png, 3.0 kB</a>" in html


def test_a_fault_while_drawing_never_reaches_the_watching(kernel, factory):
    """When every drawing raises, the task is watched to its end, and the output is text."""
    ref = factory.job(WORKING, WORKING, DONE, ident="faulty")
    kernel.run(
        """
        from nbhelper._views import live_card as _live_card, painter as _painter
        kept = _live_card.live_body, _painter.card
        def broken(*a, **k): raise LookupError("no parent")
        _live_card.live_body = _painter.card = broken
        """
    )
    try:
        sent = kernel.run(f"w = nbh.watch('{ref}')\nprint(w.result(30).outcome)", cell="h")
        last = kernel.until(frozen("faulty"))[-1]
    finally:
        kernel.run("_live_card.live_body, _painter.card = kept")

    assert printed(sent) == "succeeded"
    assert last["content"]["data"]["text/plain"].startswith("mill:faulty: succeeded")


def test_without_ipywidgets_the_card_is_html(kernel, factory):
    """Where ipywidgets is missing, one HTML output is updated by its display id, at most once a second."""
    ref = factory.job(WORKING, ident="plain")
    sent = kernel.run(
        f"""
        sys.modules["ipywidgets"], kept = None, sys.modules["ipywidgets"]
        try: w = nbh.watch('{ref}')
        finally: sys.modules["ipywidgets"] = kept
        """,
        cell="i",
    )
    begun = time.monotonic()
    updates = [kernel.until(lambda m: m["msg_type"] == "update_display_data")[-1] for _ in range(3)]

    assert time.monotonic() - begun >= 1.5
    factory.jobs["plain"][:] = [DONE]
    last = kernel.until(lambda m: "succeeded" in str(m["content"].get("data", {}).get("text/plain")))[-1]
    first = of_type(sent, "display_data")[0]["content"]
    assert set(first["data"]) == {"text/html", "text/plain"}
    assert {m["content"]["transient"]["display_id"] for m in (*updates, last)} == {first["transient"]["display_id"]}


def test_a_blocking_cell_that_a_person_looks_at_moves(kernel, factory):
    """Where a cell has to wait for the end (as in Colab), its HTML goes on second by second, and freezes."""
    ref = factory.job(WORKING, ident="waits")
    msg_id = kernel.send(f"w = nbh.watch('{ref}', block=True, display='html')\nw", cell="j")
    kernel.until(lambda m: m["msg_type"] == "update_display_data")
    kernel.until(lambda m: m["msg_type"] == "update_display_data")
    factory.jobs["waits"][:] = [DONE]
    sent = kernel.finish(msg_id)

    assert of_type(sent, "display_data", "execute_result") == []
    assert of_type(sent, "update_display_data")[-1]["content"]["data"]["text/plain"].startswith("mill:waits: succeeded")


WAITS = {
    "result": "nbh.watch(ref, display=False).result()",
    "as_completed": "list(nbh.watch(ref, display=False).as_completed())",
    "blocking": "nbh.watch(ref, block=True, display='html')",
    "to_frame": "nbh.watch(ref).to_frame()",
}


@pytest.mark.parametrize("wait", WAITS)
def test_an_interrupted_wait(kernel, factory, wait):
    """Interrupt ends the cell though the task never ends: one line, KeyboardInterrupt, and the kernel goes on."""
    ref = factory.job(WORKING, ident=f"wait-{wait}")
    msg_id = kernel.send(f"ref = '{ref}'; {WAITS[wait]}", cell="k")
    until(lambda: len(factory.looks.get(f"wait-{wait}", ())) > 1)

    kernel.manager.interrupt_kernel()
    sent = kernel.finish(msg_id)

    assert raised(sent) == ["KeyboardInterrupt"]
    assert [line[:20] for line in printed(sent).splitlines()] == ["Interrupted the wait"]
    assert kernel.value("print(6 * 7)") == "42"
    factory.jobs[f"wait-{wait}"][:] = [DONE]


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
@pytest.mark.parametrize("how", ["display=False", "block=True, display='html'"], ids=["result", "blocking"])
def test_an_interrupted_download(kernel, factory, how, times):
    """While a result is on its way an interrupt ends the cell at once, and the file is still saved."""
    go = threading.Event()

    async def slow(conn, _):
        await asyncio.to_thread(go.wait, 60)
        await conn.send(reply(PICTURE))

    ident = f"slow-{times}-{len(how)}"
    factory.job({**DONE, "files": [factory.file(slow, name=f"{ident}.png")]}, ident=ident)
    kernel.run("w = None")
    msg_id = kernel.send(f"w = nbh.watch('mill:{ident}', {how}); w.result()", cell="p")
    until(lambda: any(r.path.endswith(f"{ident}.png") for r in factory.requests_to("/files")))

    for _ in range(times):
        kernel.manager.interrupt_kernel()
    sent = kernel.finish(msg_id)  # before the file is there
    go.set()

    assert interrupted(sent)
    kernel.run(f"w = nbh.watch('mill:{ident}', display=False)")
    assert kernel.value("print(w.result(30).outcome, len(w.files))") == "succeeded 1"


def interrupted(sent):
    """Whether a cell ended by KeyboardInterrupt; while it shows the first, IPython prints the word alone."""
    return raised(sent) == ["KeyboardInterrupt"] or printed(sent).endswith("KeyboardInterrupt")


def test_interrupted_twice(kernel, factory):
    """A second interrupt right behind the first changes nothing: the kernel lives and the watching goes on."""
    factory.job(WORKING, ident="twice")
    kernel.run("w = nbh.watch('mill:twice')", cell="l")
    msg_id = kernel.send("print('ready'); w.result()")
    kernel.until(lambda m: "ready" in str(m["content"].get("text")))

    kernel.manager.interrupt_kernel()
    kernel.manager.interrupt_kernel()
    sent = kernel.finish(msg_id)
    factory.jobs["twice"][:] = [DONE]

    assert interrupted(sent)
    assert kernel.value("print(w.result(30).outcome)") == "succeeded"


def test_the_magic(kernel, factory):
    """`%load_ext nbhelper` gives `%watch`, which shows one card; a wrong reference is one readable line."""
    factory.job(DONE, ident="magic")
    kernel.run("%load_ext nbhelper")
    sent = kernel.run("%watch mill:magic", cell="m")
    wrong = kernel.run("%watch", fails=True)

    assert len(of_type(sent, "display_data", "execute_result")) == 1
    assert raised(wrong) == ["BadInput"]
    assert "%watch takes task references" in wrong_words(wrong)


def wrong_words(sent):
    return of_type(sent, "error")[0]["content"]["evalue"]


def test_every_public_value_shows_itself(kernel, factory):
    """A history has a line of HTML, a gallery a grid, both escaped; a task and an emulator have their repr."""
    factory.job(DONE, ident="shown")
    watched = "nbh.watch(nbh.Task('mill', 'shown', label='<b>bold</b>'), display=False)"
    code = {
        "task": "nbh.Task('mill', 'shown', label='<b>bold</b>')",
        "history": f"{watched}.result(30)",
        "gallery": f"{watched}.gallery()",
        "emulator": "emu = nbh.Emulator()\nemu",
    }
    shown = {name: of_type(kernel.run(c), "execute_result")[0]["content"]["data"] for name, c in code.items()}
    kernel.run("emu.close()")
    history = shown["history"]["text/html"].partition("</style>")[2]

    assert shown["task"]["text/plain"] == "<Task mill:shown '<b>bold</b>'>"
    assert shown["emulator"]["text/plain"].startswith("<Emulator http://127.0.0.1:")
    assert "succeeded" in history
    assert "&lt;b&gt;bold" in history
    assert "<b>" not in history
    assert "\n" not in history
    assert shown["history"]["text/plain"].startswith("<History mill:shown succeeded")
    assert "nbh-gallery" in shown["gallery"]["text/html"]
    assert all(KEY not in str(data) for data in shown.values())


def test_the_same_cell_twice_is_one_task_watcher(kernel):
    """Run twice, a cell does not look twice as often: the emulator's ledger has no two looks within the floor."""
    kernel.run("emu = nbh.Emulator(speed=50); t = nbh.submit('tripo', {'type': 'text_to_model', 'prompt': 'a'})")
    for _ in range(2):
        kernel.run("w = nbh.watch(t)", cell="n")
    kernel.run("w.result(30);")

    gap = kernel.value("print(min(emu.ledger().gaps('tripo')))")
    kernel.run("emu.close()")

    assert float(gap) >= 1.95


def test_run_all_behind_the_users_own_nest_asyncio(tmp_path, factory):
    """With nest_asyncio applied and every cell in the queue, the card lives and freezes, and each later cell runs."""
    factory.job(WORKING, WORKING, WORKING, DONE, ident="nested")
    made = Kernel(tmp_path)
    try:
        made.send(SETUP.format(root=factory.root) + "import nest_asyncio; nest_asyncio.apply()")
        made.send("w = nbh.watch('mill:nested')", cell="a")
        made.send("print((await w).outcome)")
        last = made.send("print('last')")
        sent = made.finish(last)
        if not any(map(frozen("nested"), sent)):
            sent += made.until(frozen("nested"))
    finally:
        made.close()

    assert raised(sent) == []
    assert printed(sent).split() == ["succeeded", "last"]


STORM = """
import os, random, signal, sys, threading, time
import nbhelper as nbh
from support.mill import provider
os.environ["MILL_API_KEY"] = "mill-key-1234567890"
nbh.register(provider(sys.argv[1]))
w = nbh.watch("mill:going", block=False, display=False)
random.seed(1)
armed = False

def interrupt():
    while not armed:
        time.sleep(0.001)
    time.sleep(0.002)
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(random.random() * 1e-4)

def handle(*_):
    if armed:
        raise KeyboardInterrupt

def shielded(depth):
    global armed
    try:
        if depth:
            shielded(depth - 1)
        else:
            armed = True
            w.result()
    except KeyboardInterrupt:
        pass

signal.signal(signal.SIGINT, handle)
for n in range(250):
    thread = threading.Thread(target=interrupt)
    thread.start()
    shielded(5)
    armed = False
    thread.join()
assert nbh.watch("mill:other", block=False, display=False).result(30).outcome == "succeeded"
print("well")
"""


def test_interrupts_on_top_of_interrupts(tmp_path, factory):
    """However close interrupts follow each other, the engine is not held up: another task is watched to its end."""
    factory.job(WORKING, ident="going")
    factory.job(DONE, ident="other")
    done = run(STORM, factory.root, cwd=tmp_path, timeout=60, PYTHONPATH=f"{ROOT}{os.pathsep}{ROOT / 'tests'}")

    assert done.stdout.endswith("well\n"), done.stderr[-2000:]  # the line before may be torn off
