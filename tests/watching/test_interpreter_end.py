"""A script that ends, or forks, while its tasks are watched."""

import os

import pytest
from support.mill import DONE, WORKING, later, png, silence
from support.raw_server import reply

import nbhelper as nbh

ENDS = {
    "while looking": ({"state": "working"}, "w = nbh.watch('mill:x', block=False, display=False)"),
    "while saving": ({"state": "done", "files": []}, "w = nbh.watch('mill:x', block=False, display=False)"),
    "with a timer": ({"state": "working"}, "w = nbh.watch('mill:x', block=False, display=False, timeout=600)"),
}


@pytest.mark.parametrize(("answer", "code"), ENDS.values(), ids=ENDS)
def test_a_script_may_end_while_its_task_is_watched(mill, notebook, answer, code):
    """The interpreter waits for no look and no file, prints nothing, and leaves the task unfinished in the store."""
    if "files" in answer:
        answer = {**answer, "files": [mill.file(silence)]}
    mill.job(answer, ident="x")
    process = notebook(f"""
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
def test_no_result_is_given_up_because_the_interpreter_ends(mill, notebook, delay):
    """A script that ends while its files come in leaves them saved or pending, and the next watch has them all."""
    files = [mill.file(later(n * delay, reply(png(100_000, n)))) for n in range(8)]
    mill.job({"state": "done", "files": files}, ident="x")
    process = notebook("""
    w = nbh.watch('mill:x', block=False, display=False)
    while not w[0].state:
        time.sleep(0.001)
    """)

    out, err = process.communicate(timeout=30)

    assert (out, err, process.returncode) == ("", "", 0)
    stored = nbh.watch("mill:x", display=False)[0]
    assert {str(s.state) for s in stored.saves.values()} == {"saved"}
    assert len(stored.files) == 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_watches_for_itself(mill, notebook):
    """A child has an engine of its own, and the parent's goes on."""
    mill.job(WORKING, ident="x")
    mill.job(DONE, ident="y")
    process = notebook("""
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
