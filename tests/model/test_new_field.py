"""Where a new fact about tasks goes: one line in `Snapshot`, and two lines make it a column of `tasks()`."""

import json
import shutil
from pathlib import Path

from support.mill import KEY
from support.scripts import run

import nbhelper

SCRIPT = """
import json, sys
import nbhelper as nbh
from nbhelper._session.session import store

root, *names = sys.argv[1:]
nbh.register(nbh.Provider(
    name="mill", base_url=root, key_variable="MILL_API_KEY", floor=0.1, poll="GET /jobs/{id}", state="state",
    words={"working": "running", "done": "succeeded"}, **{name: f"more.{name}" for name in names},
))
[history] = nbh.watch("mill:job-1", block=True, display=False)
[again] = store().histories()
frame = nbh.tasks()
print(json.dumps({
    "package": nbh.__file__,
    "read": {name: str(getattr(history.snapshot, name)) for name in names},
    "stored": {name: str(getattr(again.snapshot, name)) for name in names},
    "columns": {name: [str(frame[name][0]), str(frame[name].dtype)] for name in names},
}))
"""
FIELDS = {  # type of the field, kind of the column, dtype; in the reply, in Python
    "seed": ("int", "Int64", "Int64", 7, "7"),
    "gpu_s": ("float", "Float64", "Float64", "1.25", "1.25"),
    "sampler": ("str", "string", "string", "euler", "euler"),
    "warm_at": ("datetime", "time", "datetime64[us, UTC]", 1795262400, "2026-11-21 12:00:00+00:00"),
}


def insert(file, after, *lines):
    """Write lines behind the only place where this text stands in a file."""
    code = file.read_text()
    assert code.count(after) == 1
    file.write_text(code.replace(after, after + "".join(f"    {line}\n" for line in lines)))


def test_a_new_field_takes_one_place_and_a_column_two(mill, tmp_path):
    """A field is added in `Snapshot` (`_model/events.py`) alone, and from a reply it reaches History and store.

    A provider names its path by the field's name. A column of `tasks()` is added in `summary_row`
    (`_store/history_to_row.py`) and in `TASKS` (`_tables/columns.py`); `_store.schema.VERSION` is raised with it, of
    which `tests/store/test_store_versions.py` reminds.
    """
    package = tmp_path / "copy" / "nbhelper"
    shutil.copytree(Path(nbhelper.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    insert(
        package / "_model" / "events.py",
        "    resolution_s: float | None = None\n",
        *(f"{name}: {kind} | None = None" for name, (kind, *_) in FIELDS.items()),
    )
    insert(
        package / "_store" / "history_to_row.py",
        '        "credits": _number(facts.credits),\n',
        *(f'    "{name}": facts.latest and facts.latest.{name} or None,' for name in FIELDS if name != "warm_at"),
        '    "warm_at": iso(facts.latest.warm_at) if facts.latest and facts.latest.warm_at else None,',
    )
    insert(
        package / "_tables" / "columns.py",
        '    "rate_limited": "Int64",\n',
        *(f'"{name}": "{kind}",' for name, (_, kind, *_) in FIELDS.items()),
    )
    values = {name: value for name, (*_, value, _) in FIELDS.items()}
    mill.job({"state": "working"}, {"state": "done", "more": values}, ident="job-1")

    ended = run(SCRIPT, mill.root, *FIELDS, cwd=tmp_path, PYTHONPATH=str(package.parent), MILL_API_KEY=KEY)

    assert ended.returncode == 0, ended.stderr
    seen = json.loads(ended.stdout.splitlines()[-1])
    expected = {name: value for name, (*_, value) in FIELDS.items()}
    assert seen == {
        "package": str(package / "__init__.py"),
        "read": expected,
        "stored": expected,
        "columns": {name: [value, dtype] for name, (_, _, dtype, _, value) in FIELDS.items()},
    }
