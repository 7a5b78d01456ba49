"""What only a process of its own can show: interrupts, the interpreter's end, forks, what an import loads."""

import asyncio
import os
import signal
import threading
from textwrap import dedent

import pytest
from support.mill import DONE, KEY, WORKING, later, png, silence
from support.raw_server import reply
from support.scripts import run, starting
from support.waiting import until

import nbhelper as nbh

MILL = dedent("""
    import os, sys, time
    import nbhelper as nbh

    mill = nbh.register(nbh.Provider(
        name="mill", base_url=sys.argv[1], key_variable="MILL_API_KEY", floor=0.1, poll="GET /jobs/{id}",
        state="state", words={"working": "running", "done": "succeeded"}, outputs="files",
        endpoints={"image": "POST /jobs"},
    ))
""")


@pytest.fixture
def script(mill, tmp_path):
    """Begin a script in which the mill is registered."""
    with starting(MILL, mill.root, cwd=tmp_path, MILL_API_KEY=KEY) as begin:
        yield begin


WAITS = {
    "result": "w = nbh.watch('mill:x', block=False, display=False); print('ready'); w.result()",
    "watch": "print('ready'); nbh.watch('mill:x', display=False)",
    "as_completed": "w = nbh.watch('mill:x', block=False, display=False); print('ready'); list(w.as_completed())",
    "text view": "print('ready'); nbh.watch('mill:x')",
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_an_interrupted_wait_says_one_line_and_raises(mill, script, wait):
    """Ctrl-C ends the wait at once, says how to go on, and is raised on."""
    mill.job(WORKING, ident="x")
    code = f"""
    try:
        {wait}
    except KeyboardInterrupt:
        print("raised")
        raise SystemExit(3)
    """
    process = script(code)
    assert process.stdout.readline() == "ready\n"
    until(lambda: len(mill.looks.get("x", ())) >= 2)

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)

    lines = [line for line in out.splitlines() if "running" not in line]
    assert process.returncode == 3
    assert err == ""
    assert lines[0].startswith("Interrupted the wait; 1 task still watched in the background.")
    assert lines[1:] == ["raised"]


IMPATIENT = """
import os, signal, sys, time

for line in sys.stdin:
    time.sleep(0.003)
    second = time.perf_counter() + float(line)
    os.kill(int(sys.argv[1]), signal.SIGINT)
    while time.perf_counter() < second:
        pass
    os.kill(int(sys.argv[1]), signal.SIGINT)
    print(flush=True)
"""


def test_a_second_interrupt_at_any_moment_keeps_the_line(mill, script):
    """However soon after the first one another Ctrl-C comes, the one line is there once, and nothing else is said."""
    mill.job(WORKING, ident="x")
    code = f"""
    import io, subprocess, traceback

    real = sys.stdout
    w, waits = nbh.watch('mill:x', block=False, display=False), 0
    hand = [sys.executable, "-c", {IMPATIENT!r}, str(os.getpid())]
    with open("sent", "w") as sent, subprocess.Popen(hand, stdin=subprocess.PIPE, stdout=sent, text=True) as other:
        for n in range(400):
            sys.stdout = told = io.StringIO()
            try:
                print(f"{{n}}e-6", file=other.stdin, flush=True)
                w.result()
            except KeyboardInterrupt as error:
                raised = error
            both = False
            while not both:
                try:
                    while os.stat("sent").st_size <= n:
                        time.sleep(0.001)
                    both = True
                except KeyboardInterrupt:
                    pass
            sys.stdout = real
            # On a busy machine the first one may come before the wait has begun.
            waited = "in _sleep" in "".join(traceback.format_exception(raised))
            waits += waited
            if told.getvalue().count("Interrupted the wait") != waited:
                print(n, repr(told.getvalue()), "".join(traceback.format_exception(raised)))
        other.stdin.close()
    print("over" if waits > 100 else waits)
    """
    process = script(code)
    out, err = process.communicate(timeout=60)

    assert (out, err, process.returncode) == ("over\n", "", 0)


ENDS = {
    "while looking": ({"state": "working"}, "w = nbh.watch('mill:x', block=False, display=False)"),
    "while saving": ({"state": "done", "files": []}, "w = nbh.watch('mill:x', block=False, display=False)"),
    "with a timer": ({"state": "working"}, "w = nbh.watch('mill:x', block=False, display=False, timeout=600)"),
}


@pytest.mark.parametrize(("answer", "code"), ENDS.values(), ids=ENDS)
def test_the_interpreter_ends_quickly_while_watching(mill, script, answer, code):
    """A script may end with a watch under way: at once, without a word, nothing wrong in the store."""
    if "files" in answer:
        answer = {**answer, "files": [mill.file(silence)]}
    mill.job(answer, ident="x")
    process = script(f"""
    {code}
    while not w[0].state:
        time.sleep(0.01)
    print("ready", flush=True)
    """)
    assert process.stdout.readline() == "ready\n"

    out, err = process.communicate(timeout=30)

    assert (out, err, process.returncode) == ("", "", 0)
    row = nbh.tasks().iloc[0]
    assert row["state"] == {"working": "running", "done": "succeeded"}[answer["state"]]
    assert row["n_saved"] == 0
    assert nbh.outputs().empty


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03])
def test_no_result_is_given_up_because_the_interpreter_ends(mill, script, delay):
    """A script that ends while its files come in leaves them saved or pending, and the next watch has them all."""
    files = [mill.file(later(n * delay, reply(png(100_000, n)))) for n in range(8)]
    mill.job({"state": "done", "files": files}, ident="x")
    process = script("""
    w = nbh.watch('mill:x', block=False, display=False)
    while not w[0].state:
        time.sleep(0.001)
    """)

    out, err = process.communicate(timeout=30)

    assert (out, err, process.returncode) == ("", "", 0)
    stored = nbh.watch("mill:x", display=False)[0]
    assert {str(s.state) for s in stored.saves.values()} == {"saved"}
    assert len(stored.files) == 8


def test_a_task_of_a_process_that_died_goes_on_elsewhere(mill, script):
    """Killed without warning, a watch is taken up by another process where it was."""
    mill.job(WORKING, ident="x")
    process = script("nbh.watch('mill:x', display=False)")
    until(lambda: len(mill.looks.get("x", ())) >= 3)
    process.kill()
    process.wait(30)
    mill.jobs["x"][:] = [DONE]

    history = nbh.watch("mill:x", display=False)[0]

    assert history.succeeded
    assert history.facts.polls >= 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_watches_for_itself(mill, script):
    """A child has an engine of its own, and the parent's goes on."""
    mill.job(WORKING, ident="x")
    mill.job(DONE, ident="y")
    process = script("""
    w = nbh.watch('mill:x', block=False, display=False)
    while not w[0].state:
        time.sleep(0.01)
    child = os.fork()
    if child == 0:
        ok = nbh.watch('mill:y', display=False)[0].succeeded
        os._exit(0 if ok else 1)
    _, status = os.waitpid(child, 0)
    print("child", status)
    seen = w[0].seq
    while w[0].seq == seen:
        time.sleep(0.01)
    print("parent goes on")
    """)

    out, err = process.communicate(timeout=30)

    assert err == ""
    assert out.splitlines() == ["child 0", "parent goes on"]


def test_an_interrupted_create_is_not_torn_off(mill, script):
    """Ctrl-C during a create is raised at once; its answer is still taken and stored, so nothing is in doubt."""
    go = threading.Event()

    async def slow(conn, _asked):
        await asyncio.to_thread(go.wait, 60)
        await conn.send(reply({"id": "made"}))

    mill.creates[:] = [slow]
    process = script("""
    try:
        nbh.submit("mill", {"a": 1})
    except KeyboardInterrupt:
        print("raised", flush=True)
    while nbh.tasks()["task_id"].isna().any():
        time.sleep(0.02)
    print(nbh.tasks().loc[0, "task_id"])
    """)
    until(lambda: mill.server.requests)

    process.send_signal(signal.SIGINT)
    raised = process.stdout.readline()
    go.set()
    out, err = process.communicate(timeout=30)

    assert (raised, out, err) == ("raised\n", "made\n", "")
    assert len(mill.server.requests) == 1


HEAVY = [
    "IPython",
    "PIL",
    "asyncio",
    "httpx",
    "httpx2",
    "ipywidgets",
    "jmespath",
    "numpy",
    "pandas",
    "rich",
    "sqlite3",
    "ssl",
]


def test_the_import_loads_nothing_heavy(tmp_path):
    """`import nbhelper` and `dir()` load none of what costs time."""
    code = f"""
    import sys
    before = set(sys.modules)
    import nbhelper
    names = dir(nbhelper)
    print([n for n in {HEAVY!r} if n in set(sys.modules) - before])
    print(sorted(set(nbhelper.__all__) - set(names)))
    print([n for n in nbhelper.__all__ if getattr(nbhelper, n) is None])
    """

    done = run(code, cwd=tmp_path)

    assert done.stderr == ""
    assert done.stdout.splitlines() == ["[]", "[]", "[]"]


@pytest.mark.parametrize("name", nbh.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name):
    """Each name of `__all__` resolves and has a docstring whose first line fits a tooltip."""
    value = getattr(nbh, name)

    if name != "__version__":
        assert value.__doc__
        assert len(value.__doc__.strip().splitlines()[0]) <= 120


def test_an_unknown_name_is_an_attribute_error():
    """Lazy names do not swallow mistakes."""
    with pytest.raises(AttributeError, match="no attribute 'wach'"):
        _ = nbh.wach
