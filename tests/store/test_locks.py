"""Locks of names between processes: which process holds one, and what frees it."""

import os
import shutil
import sys

import pytest
from support.scripts import ROOT, run, starting

from nbhelper._store import locks
from nbhelper._store.locks import lock_file

pytestmark = pytest.mark.usefixtures("isolated")

HEAD = """
import os, sys, time
from pathlib import Path
from nbhelper._store.locks import lock_file

file = lock_file(Path(sys.argv[1]))
"""


@pytest.fixture
def folder(tmp_path):
    """The folder of the lock file."""
    return tmp_path


@pytest.fixture
def script(folder, tmp_path):
    """Begin a process that has the folder's lock file."""
    with starting(HEAD, str(folder), cwd=tmp_path) as begin:
        yield begin


def another_takes(folder, name="a"):
    """Whether another process can lock a name now."""
    done = run(HEAD + "print(file.take(sys.argv[2]))", str(folder), name, cwd=folder)
    assert done.stderr == ""
    return done.stdout == "True\n"


@pytest.fixture
def mine(folder):
    """The lock file as this process has it, with one name taken."""
    file = lock_file(folder)
    assert file.take("a")
    yield file
    for name in ("a", "b"):
        file.release(name)


def test_one_process_has_a_name(folder, mine):
    """Another process gets every name but this one; the process that has it may take it again."""
    assert not another_takes(folder)
    assert another_takes(folder, "b")
    assert mine.take("a")
    assert mine.holds("a")
    assert not mine.holds("b")


def test_a_released_name_is_free(folder, mine):
    """Another process can lock a released name, and no other one that is held; a second release does nothing."""
    mine.take("b")
    mine.release("a")
    mine.release("a")

    assert another_takes(folder)
    assert not another_takes(folder, "b")


def test_a_process_that_is_killed_frees_its_names(folder, script):
    """After a SIGKILL of the process that locked a name, the kernel frees it, and `take` succeeds."""
    process = script("print(file.take('a'), flush=True); time.sleep(60)")
    assert process.stdout.readline() == "True\n"
    assert not lock_file(folder).take("a")
    process.kill()
    process.wait(30)

    assert lock_file(folder).take("a")
    lock_file(folder).release("a")


@pytest.mark.skipif(sys.platform != "linux", reason="POSIX record locks are freed by that")
def test_closing_another_descriptor_frees_nothing(folder, mine):
    """Other code may open and close the lock file in this process, as a copy of the folder does: locks stay."""
    os.close(os.open(mine.path, os.O_RDWR))
    mine.path.read_bytes()
    shutil.copy(mine.path, folder / "copy")

    assert not another_takes(folder)


def test_without_description_locks_the_kernel_frees_too(folder, script, monkeypatch):
    """POSIX record locks (on other systems than Linux) and open file description locks exclude each other."""
    process = script("""
    import sys
    sys.platform = "other"
    print(file.take("a"), file.take("b"), flush=True)
    file.release("b")
    print("released", flush=True)
    time.sleep(60)
    """)
    assert [process.stdout.readline() for _ in range(2)] == ["True True\n", "released\n"]

    assert not lock_file(folder).take("a")
    assert lock_file(folder).take("b")
    process.kill()
    process.wait(30)
    monkeypatch.setattr(locks.sys, "platform", "other")
    assert lock_file(folder).take("a")
    assert not another_takes(folder)
    lock_file(folder).release("a")
    lock_file(folder).release("b")


def test_the_file_is_open_only_while_a_name_is_held(folder):
    """A process that used many stores keeps no descriptor of them."""
    file = lock_file(folder)
    assert file.take("a")
    handle = file._handle
    os.fstat(handle)
    file.release("a")

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handle)


def test_every_path_to_a_folder_has_one_lock_file(folder):
    """All paths to a folder give one `LockFile`: two descriptors of its file would lock each other out."""
    (folder / "link").symlink_to(folder)

    assert lock_file(folder / "link") is lock_file(folder)
    assert lock_file(folder / "x" / "..") is lock_file(folder)


FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


@FORK
def test_a_forked_child_holds_nothing(script):
    """A forked child cannot lock what its parent holds, and its `release` frees nothing of that."""
    process = script("""
    file.take("a")
    child = os.fork()
    if child == 0:
        print(file.holds("a"), file.take("a"), file.take("b"), flush=True)
        file.release("a")
        os._exit(0)
    os.waitpid(child, 0)
    if os.fork() == 0:
        print(file.take("a"), file.take("b"), flush=True)
        os._exit(0)
    os.wait()
    """)

    assert process.communicate(timeout=30) == ("False False True\nFalse True\n", "")


@FORK
def test_a_child_that_lives_on_holds_no_name_of_its_parent(folder, script):
    """After the parent was killed, a name that it held is free, although its forked child still runs."""
    process = script("""
    file.take("a")
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        sys.stdin.read()
        time.sleep(60)
    time.sleep(60)
    """)
    child = int(process.stdout.readline())
    try:
        process.kill()
        process.wait(30)

        assert another_takes(folder)
        os.kill(child, 0)
    finally:
        os.kill(child, 9)


def test_a_folder_that_was_made_anew_is_locked_anew(tmp_path):
    """After the lock file was deleted, the next `take` locks all held names in the new file."""
    place = tmp_path / "store"
    place.mkdir()
    file = lock_file(place)
    file.take("a")
    shutil.rmtree(place)
    place.mkdir()
    file.take("b")

    assert not another_takes(place)
    assert not another_takes(place, "b")
    file.release("a")
    file.release("b")


def test_what_cannot_be_opened_is_an_error(tmp_path):
    """A missing folder, or a link in place of the lock file, raises OSError, and no file is made elsewhere."""
    (tmp_path / locks.LOCK_FILE).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(FileNotFoundError):
        lock_file(tmp_path / "missing").take("a")
    with pytest.raises(OSError, match=r"."):
        lock_file(tmp_path).take("a")
    assert not (tmp_path / "elsewhere").exists()


def test_without_what_windows_lacks_the_store_works(tmp_path):
    """Without `fcntl`, fork and user ids, histories are kept and repaired, and every name can be locked."""
    code = """
    import os, sys
    from pathlib import Path
    sys.modules["fcntl"] = None
    del os.fork, os.register_at_fork, os.getuid, os.fchmod
    import nbhelper as nbh
    from nbhelper._store.folder import locate
    from nbhelper._store.locks import lock_file
    from nbhelper._store.store import Store
    folder = Path(sys.argv[1])
    folder.mkdir()
    (folder / "history.db").write_bytes(b"no history" * 100)
    store = Store(folder)
    store.open_task(nbh.Task("kie", "t"), "https://api.example").result()
    print(nbh.Experiment.__name__, [row["task_id"] for row in store.rows()], len(store.notes))
    file = lock_file(folder)
    print(file.take("a"), file.path.exists())
    (folder / "below").mkdir()
    os.chdir(folder / "below")
    print(locate() == folder)
    """

    done = run(code, str(tmp_path / "nbhelper-data"), cwd=tmp_path)

    assert (done.stdout, done.stderr) == ("Experiment ['t'] 1\nTrue False\nTrue\n", "")


def test_a_name_is_one_byte():
    """Ten thousand names have offsets of their own, which a file offset can hold."""
    offsets = {locks._offset(f"20261130T165736000000-{n}") for n in range(10_000)}

    assert len(offsets) == 10_000
    assert max(offsets) < 1 << 62


def test_nothing_else_opens_the_file():
    """Its name stands in one module, so that no other code closes a second descriptor of it."""
    files = [path for path in (ROOT / "nbhelper").rglob("*.py") if locks.LOCK_FILE in path.read_text()]

    assert [path.relative_to(ROOT / "nbhelper").as_posix() for path in files] == ["_store/locks.py"]
