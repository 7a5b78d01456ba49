"""A create whose row is damaged is never sent, and paid for, a second time."""

import sqlite3
from contextlib import closing

import pytest
from support.experiments import ask
from support.raw_server import reply

import nbhelper as nbh
from nbhelper._session import session


def change(*statements):
    """Change rows of the store by SQL, without the store."""
    session.store().close()
    with closing(sqlite3.connect(session.store().folder / "history.db")) as db:
        for statement in statements:
            assert db.execute(statement).rowcount > 0
        db.commit()


def break_pages(*tables):
    """Overwrite the first page of some tables and call the store once, which raises; the next call moves the file."""
    session.store().close()
    path = session.store().folder / "history.db"
    with closing(sqlite3.connect(path)) as db:
        size = db.execute("PRAGMA page_size").fetchone()[0]
        roots = [
            db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0] for table in tables
        ]
    with path.open("r+b") as file:
        for root in roots:
            file.seek((root - 1) * size)
            file.write(b"\xff" * size)
    with pytest.raises(nbh.StoreError, match="damaged"):
        session.store().creates("owls")


UNKNOWN_STATE = {
    "row gone": lambda: change("DELETE FROM intents"),
    "no known word": lambda: change("UPDATE intents SET state = 'rEfused'"),
    "page lost": lambda: break_pages("intents"),
}


@pytest.mark.filterwarnings("ignore:.* is damaged")
@pytest.mark.parametrize("damage", UNKNOWN_STATE.values(), ids=UNKNOWN_STATE)
def test_a_create_whose_state_cannot_be_read_is_in_doubt(experiment, factory, run, damage):
    """A refused create whose state is lost counts as in doubt and is not sent again."""
    factory.answers = [reply({"message": "no"}, 400)]
    exp = experiment({"prompt": ["owl"]})
    run(exp)
    damage()

    assert repr(exp).endswith("1 in doubt>")
    assert [str(h.outcome) for h in run(exp)] == ["failed"]
    assert len(factory.creates) == 1
    assert nbh.pending(experiment="owls")["pending"].tolist() == ["in doubt"]


LOST_CELL = {
    "cell is null": lambda: change("UPDATE tasks SET cell = NULL"),
    "tasks lost": lambda: break_pages("tasks"),
    "tasks and intents lost": lambda: break_pages("tasks", "intents"),
}


@pytest.mark.parametrize("damage", LOST_CELL.values(), ids=LOST_CELL)
def test_a_create_whose_cell_cannot_be_read_is_found_by_its_parameters(experiment, factory, run, damage):
    """Each task keeps its row, also where the requests of two cells are equal."""
    grid = {"prompt": ["owl"], "note": ["a", "b"]}
    exp = experiment(grid, request=lambda prompt, note: ask(prompt), repeats=2)
    run(exp)
    before = exp.to_frame()
    damage()
    after = exp.to_frame()

    assert repr(exp).endswith("4 sent>")
    assert [str(h.outcome) for h in run(exp)] == ["succeeded"] * 4
    assert len(factory.creates) == 4
    assert after["task_id"].tolist() == before["task_id"].tolist()
    assert after["param_note"].tolist() == before["param_note"].tolist()


def test_parameters_that_are_no_json_send_nothing_again(experiment, factory, run):
    """A create whose parameters are damaged is found by its cell; its history is `lost`, with the reason."""
    exp = experiment({"prompt": ["owl"]})
    run(exp)
    change("UPDATE tasks SET params = 'no json'")

    assert repr(exp).endswith("1 sent>")
    (history,) = run(exp)
    assert history.outcome == "lost"
    assert "its row in the history cannot be read" in history.error
    assert len(factory.creates) == 1
