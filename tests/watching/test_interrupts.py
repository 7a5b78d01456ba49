"""Ctrl-C while a script waits for a watch or a create: one line, raised on, and what was begun goes on."""

import asyncio
import signal
import threading

import pytest
from support.mill import WORKING
from support.raw_server import reply
from support.waiting import until

WAITS = {
    "result": "w = nbh.watch('mill:x', block=False, display=False); print('ready'); w.result()",
    "watch": "print('ready'); nbh.watch('mill:x', display=False)",
    "as_completed": "w = nbh.watch('mill:x', block=False, display=False); print('ready'); list(w.as_completed())",
    "text view": "print('ready'); nbh.watch('mill:x')",
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_an_interrupted_wait_says_one_line_and_raises(mill, notebook, wait):
    """Ctrl-C ends the wait at once, says how to go on, and is raised on."""
    mill.job(WORKING, ident="x")
    code = f"""
    try:
        {wait}
    except KeyboardInterrupt:
        print("raised")
        raise SystemExit(3)
    """
    process = notebook(code)
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


def test_a_second_interrupt_at_any_moment_keeps_the_line(mill, notebook):
    """However soon after the first one another Ctrl-C comes, the one line is there once, and nothing else is said."""
    mill.job(WORKING, ident="x")
    code = f"""
    import io, subprocess, traceback

    real = sys.stdout
    w, waits = nbh.watch('mill:x', block=False, display=False), 0
    hand = [sys.executable, "-c", {IMPATIENT!r}, str(os.getpid())]
    with open("sent", "w") as sent, subprocess.Popen(hand, stdin=subprocess.PIPE, stdout=sent, text=True) as other:
        for n in range(400):
            sys.stdout = printed = io.StringIO()
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
            if printed.getvalue().count("Interrupted the wait") != waited:
                print(n, repr(printed.getvalue()), "".join(traceback.format_exception(raised)))
        other.stdin.close()
    print("over" if waits > 100 else waits)
    """
    process = notebook(code)
    out, err = process.communicate(timeout=60)

    assert (out, err, process.returncode) == ("over\n", "", 0)


def test_an_interrupted_create_is_not_torn_off(mill, notebook):
    """Ctrl-C during a create is raised at once; its answer is still taken and stored, so nothing is in doubt."""
    go = threading.Event()

    async def slow(conn, _request):
        await asyncio.to_thread(go.wait, 60)
        await conn.send(reply({"id": "made"}))

    mill.creates[:] = [slow]
    process = notebook("""
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
