"""Rows of `tasks()` and `pending()` as arguments of `watch()`: label, origin and `extra` come along."""

import io

import pandas as pd
import pytest
from PIL import Image
from support.mill import DONE, WORKING, Mill
from support.watched import tasks_of

import nbhelper as nbh


def test_a_frame_of_ids_alone_takes_a_provider():
    """A column of ids and `provider=` are enough, labels come along."""
    frame = pd.DataFrame({"task_id": ["1", "2"], "label": ["owl", None]})

    tasks, _ = tasks_of(frame, "kie")

    assert [(t.id, t.label) for t in tasks] == [("1", "owl"), ("2", None)]


def test_a_table_row_in_doubt_is_told(refused):
    """A create without an answer has no id yet: its row is named, and nothing is guessed."""
    table = pd.DataFrame({"provider": ["mill", "mill"], "task_id": pd.array(["x", pd.NA], "string")})

    with refused(words="Row 1 of the frame has no task id; a create in doubt cannot be watched"):
        nbh.watch(table)


def test_the_table_of_this_morning_is_watched_in_the_evening(mill):
    """`watch(tasks())` takes the library's own table, filtered or not, labels included."""
    mill.creates.extend([{"id": "job-a"}, {"id": "job-b"}])
    mill.job(WORKING, DONE, ident="job-a")
    mill.job(WORKING, DONE, ident="job-b")
    for name in ("an owl", "a fox"):
        nbh.submit("mill", {"prompt": name}, endpoint="image", label=name)

    table = nbh.tasks()
    handle = nbh.watch(table[table["label"] == "a fox"], display=False, block=True)

    assert [(h.task.label, h.succeeded) for h in handle] == [("a fox", True)]


def test_the_table_knows_what_an_endpoint_implies(emulator):
    """AILab's `type` is not in the table; the endpoint that made the task tells it."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    task = nbh.submit("ailab-legacy", {"image": buffer.getvalue(), "index": 1}, endpoint="anime")

    tasks, _ = tasks_of(nbh.tasks())

    assert tasks == [task]
    assert task.extra == {"type": "GENERATE_CARTOONIZED_IMAGE"}


@pytest.fixture
def moved(mill):
    """A mill to which `mill` was connected anew, and which has tasks of the same ids as the first."""
    other = Mill()
    for ident in ("job-1", "job-2"):
        other.job(WORKING, ident=ident)
    yield lambda: (nbh.connect("mill", base_url=other.root), other)[1]
    other.close()


SEEN = []


@pytest.mark.parametrize("form", [nbh.tasks, nbh.pending, lambda: SEEN], ids=["tasks", "pending", "histories"])
def test_a_task_made_elsewhere_is_never_asked_for_here(mill, moved, form):
    """A row, or a history, of another address is refused in one line: here its id would be somebody else's task."""
    SEEN[:] = nbh.watch([mill.job(WORKING), mill.job(WORKING)], display=False, timeout=0)
    other = moved()

    with pytest.raises(nbh.BadInput) as caught:
        nbh.watch(form(), display=False, block=False)

    assert str(caught.value) == (
        f"mill:job-1 and 1 more were made at {mill.root}, and mill is {other.root} now. "
        f'nbhelper.connect("mill", base_url="{mill.root}/…") goes there; else leave them out.'
    )
    assert other.requests_to() == []
    assert {*nbh.tasks()["origin"]} == {mill.root}


def test_a_task_that_ended_elsewhere_is_drawn_from_the_store(mill, moved):
    """A final row of another address needs no look: it stands in its place, as it was seen there."""
    made = nbh.watch([mill.job(DONE), mill.job({"state": "error"})], display=False)
    other = moved()
    looked = len(mill.server.requests)

    again = nbh.watch(nbh.tasks(), display=False)

    assert [(h.origin, h.outcome) for h in again] == [(h.origin, h.outcome) for h in made]
    assert (len(mill.server.requests), other.requests_to()) == (looked, [])
    assert {*nbh.tasks()["origin"]} == {mill.root}


def test_one_id_at_two_addresses_is_two_tasks(mill, moved):
    """A table with one id at two addresses gives both places, each with what was seen there."""
    nbh.watch(mill.job(DONE), display=False)
    other = moved()
    other.jobs["job-1"][:] = [{"state": "error"}]
    nbh.watch("mill:job-1", display=False)

    again = nbh.watch(nbh.tasks(), display=False)

    assert [(h.origin, str(h.outcome)) for h in again] == [(mill.root, "succeeded"), (other.root, "failed")]
