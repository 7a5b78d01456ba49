"""The disk, forks, signals, clocks and resource limits, mostly in child processes with real files and signals."""

import signal
import sqlite3
import stat
import time
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from support.mill import DONE, WORKING, png, reset, silence
from support.raw_server import reply
from support.waiting import until
from support.watched import events_of

import nbhelper as nbh
from nbhelper._watching import task_watcher


def lines_of(process, code=0):
    """The stdout lines of a script, after it has ended with this exit code and an empty stderr."""
    out, err = process.communicate(timeout=40)
    assert (err, process.returncode) == ("", code)
    return out.splitlines()


def test_g15_rollback_journal(mill, tmp_path):
    """The history database uses a rollback journal and no WAL, which network folders do not support."""
    nbh.watch(mill.job(), display=False)

    with sqlite3.connect(tmp_path / "nbhelper-data" / "history.db") as db:
        mode = db.execute("PRAGMA journal_mode").fetchone()[0]
    db.close()

    assert mode == "delete"
    assert not list((tmp_path / "nbhelper-data").glob("*-wal"))


def test_g16_fork_after_open(mill, script):
    """A fork while a watch and the store are open: the child has an engine and a connection of its own, both write."""
    mill.job(WORKING, ident="x")
    mill.job(DONE, ident="y")
    process = script("""
    w = watch("x")
    until(lambda: w[0].state)
    child = os.fork()
    if child == 0:
        ok = nbh.watch("mill:y", display=False)[0].succeeded
        os._exit(0 if ok else 1)
    print(os.waitpid(child, 0)[1], flush=True)
    seen = w[0].seq
    until(lambda: w[0].seq > seen + 2)
    w.stop()
    print(w.result(30)[0].outcome)
    """)

    assert lines_of(process) == ["0", "stopped"]
    assert sorted(nbh.tasks()["outcome"]) == ["stopped", "succeeded"]


def test_g21_sleep(mill, script):
    """After SIGSTOP and SIGCONT (sleep) looks go on, never two within the floor, and the watch reaches its end."""
    mill.job(WORKING, ident="x")
    process = script("print(watch('x').result(60)[0].outcome)")
    until(lambda: len(mill.looks.get("x", ())) >= 3)

    process.send_signal(signal.SIGSTOP)
    until(lambda: len(mill.replied["x"]) == len(mill.looks["x"]))
    asleep = time.monotonic()
    until(lambda: time.monotonic() - asleep > 2.5)
    before = len(mill.looks["x"])
    process.send_signal(signal.SIGCONT)
    until(lambda: len(mill.looks["x"]) >= before + 3)
    mill.jobs["x"][:] = [DONE]

    assert lines_of(process) == ["succeeded"]
    assert all(b - a >= 0.1 for a, b in pairwise(mill.looks["x"][before:]))


class Jumping(datetime):
    """A datetime whose `now()` is shifted by `offset`, as by a wall clock that is set forward or back."""

    offset = timedelta(0)

    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + cls.offset


JUMPS = {"a day forward": timedelta(days=1), "a day back": timedelta(days=-1), "an hour back": timedelta(hours=-1)}


@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
def test_g22_clock_that_jumps(mill, monkeypatch, jump):
    """After a wall clock jump events keep their order, no file expires early, no pause or duration is negative."""
    monkeypatch.setattr(task_watcher, "datetime", Jumping)
    monkeypatch.setattr(Jumping, "offset", timedelta(0))
    ref = mill.job(WORKING)
    watch = nbh.watch(ref, display=False, block=False, interval=0.1)
    until(lambda: watch[0].facts.polls >= 2)
    Jumping.offset = jump
    before = len(mill.looks["job-1"])
    until(lambda: len(mill.looks["job-1"]) >= before + 4)
    mill.jobs["job-1"][:] = [{**DONE, "files": [mill.file(reply(png(64)))]}]

    history = watch.result(30)

    assert history.succeeded
    assert len(history.files) == 1
    assert [e.seq for e in events_of(history)] == list(range(1, history.seq + 1))
    assert min(mill.starts(ref)) >= 0.1
    stored = nbh.watch(ref, display=False)[0]
    assert [e.seq for e in stored.events] == [e.seq for e in history.events]
    assert stored.seq == history.seq
    row = nbh.tasks().iloc[0]
    assert not [n for n in ("queue_s", "run_s", "total_s", "delivered_s") if not row[[n]].isna().all() and row[n] < 0]


def test_g26_many_tasks(mill, script, bound):
    """Four hundred tasks take no more sockets and threads than a few."""
    for n in range(400):
        mill.job(DONE, ident=f"t{n}")
    process = script("""
    import threading
    w = watch(*(f"t{n}" for n in range(400)))
    print(len(w.result(60)), {str(h.outcome) for h in w}, threading.active_count())
    """)

    n, *outcomes, threads = lines_of(process)[0].split()
    assert (n, outcomes) == ("400", ["{'succeeded'}"])
    assert int(threads) <= 15
    bound(mill.most, 20, "connections at a time")
    bound(len(mill.server.requests), 400)


ENDS = {"while looking": {"state": "working"}, "while saving": {"state": "done", "files": []}}


@pytest.mark.parametrize("answer", ENDS.values(), ids=ENDS)
def test_g27_exit_while_watching(mill, script, answer):
    """The interpreter exits at once without output; the last look is in the store, and no save is called failed."""
    if "files" in answer:
        answer = {**answer, "files": [mill.file(silence)]}
    mill.job(answer, ident="x")
    process = script("""
    w = watch("x", timeout=600)
    until(lambda: w[0].state)
    print(w[0].seq, flush=True)
    """)
    seen = int(process.stdout.readline())

    # The download would keep the process alive for as long as the server is silent.
    assert lines_of(process) == []
    assert len(nbh.events()) >= seen
    assert nbh.tasks()["outcome"].isna().all() == ("files" not in answer)
    assert nbh.outputs().empty


def test_g30_umask(mill, tmp_path, script):
    """With umask 000 below a folder of mode 0777, our files have mode 0600 and our folders 0700, `.part` files too."""
    tmp_path.chmod(0o777)
    mill.job({**DONE, "files": [mill.file(reply(png(64))), mill.file(silence)]}, ident="x")
    process = script("""
    os.umask(0)
    w = watch("x")
    until(lambda: w[0].files)
    nbh.watch("mill:x", save="mine", block=False, display=False)
    print("ready", flush=True)
    time.sleep(30)
    """)
    assert process.stdout.readline() == "ready\n"

    ours = [tmp_path / "nbhelper-data", *(tmp_path / "nbhelper-data").rglob("*")]
    modes = {str(p.relative_to(tmp_path)): stat.S_IMODE(p.stat().st_mode) for p in ours}
    assert any(name.endswith(".part") for name in modes)
    assert any(name.endswith(".png") for name in modes)
    assert {m for n, m in modes.items() if (tmp_path / n).is_dir()} == {0o700}
    assert {m for n, m in modes.items() if not (tmp_path / n).is_dir()} <= {0o600}


def test_g31_no_file_descriptors(mill, script):
    """Out of file descriptors, looks are misses and no task fails; with free ones again the watch goes to its end."""
    ref = mill.job(WORKING, ident="x")
    process = script("""
    import resource
    w = watch("x", timeout=60)
    until(lambda: w[0].state)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    held = []
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        print("none left", flush=True)
    until(lambda: w[0].facts.misses)
    try:
        nbh.watch("mill:other", save="elsewhere", block=False, display=False, timeout=5)
    except nbh.NbhelperError as error:
        assert str(error).isprintable()
    print(w[0].outcome, flush=True)
    for handle in held:
        os.close(handle)
    h = w.result(40)[0]
    print(h.outcome, len(h.files))
    """)
    assert process.stdout.readline() == "none left\n"
    mill.jobs["x"][:] = [*[reset] * 4, WORKING]  # kept connections need no descriptor; new ones do
    assert process.stdout.readline() == "None\n"
    mill.jobs["x"][:] = [{**DONE, "files": [mill.file(reply(png(64)))]}]

    out, err = process.communicate(timeout=60)
    assert (out, process.returncode) == ("succeeded 1\n", 0)
    assert {line.partition(": ")[0] for line in err.splitlines()} <= {"mill:x"}  # notes on failed writes
    assert nbh.watch(ref, display=False)[0].facts.misses >= 1


def test_g32_out_of_memory(mill, script):
    """A process killed when out of memory has stored every look that it showed, and another process goes on."""
    mill.job(WORKING, ident="x")
    process = script("""
    import resource
    w = watch("x")
    until(lambda: w[0].facts.polls >= 3)
    print(w[0].seq, flush=True)
    size = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (size + 50_000_000, size + 50_000_000))
    hoard = []
    try:
        while True:
            hoard.append(bytearray(1_000_000))
    except MemoryError:
        os.kill(os.getpid(), 9)
    """)
    seen = int(process.stdout.readline())
    process.wait(30)
    mill.jobs["x"][:] = [DONE]

    stored = len(nbh.events())
    history = nbh.watch("mill:x", display=False)[0]

    assert process.returncode == -signal.SIGKILL
    assert stored >= seen
    assert history.succeeded
