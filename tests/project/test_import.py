"""What a user's type checker and editor see of the package, and what importing it costs."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from support.scripts import ROOT, environment, run

import nbhelper as nbh

pytestmark = pytest.mark.usefixtures("isolated")

HEAVY = [
    "pandas",
    "numpy",
    "httpx",
    "httpx2",
    "ipywidgets",
    "IPython",
    "PIL",
    "rich",
    "asyncio",
    "jmespath",
    "sqlite3",
    "ssl",
]
LIGHT = {
    "the package": "import nbhelper",
    "its names": "import nbhelper; dir(nbhelper); nbhelper.__all__; nbhelper.__version__",
    "its values and errors": "from nbhelper import BadInput, Request, Task; str(Task('kie', 'x'))",
}


@pytest.mark.parametrize("code", LIGHT.values(), ids=LIGHT)
def test_what_is_light_stays_light(tmp_path, code):
    """None of the heavy modules is loaded until a verb is used."""
    done = run(f"{code}\nimport sys\nprint([n for n in {HEAVY} if n in sys.modules])", cwd=tmp_path)

    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_star_gives_every_name(tmp_path):
    """`from nbhelper import *` and `dir()` agree with `__all__`, each name sorted and once."""
    done = run(
        "before = set(dir())\nfrom nbhelper import *\nprint(sorted(set(dir()) - before - {'before'}))", cwd=tmp_path
    )

    assert done.stdout.strip() == str(sorted(set(nbh.__all__)))
    assert nbh.__all__ == sorted(set(nbh.__all__))
    assert set(nbh.__all__) <= set(dir(nbh))


@pytest.mark.parametrize("name", ["wach", "Experimnt", "_nothing", "__nothing__"])
def test_an_unknown_name_is_an_attribute_error(name):
    """The AttributeError has the name in its text, and `hasattr` is False."""
    with pytest.raises(AttributeError, match=f"has no attribute '{name}'"):
        getattr(nbh, name)

    assert not hasattr(nbh, name)


SCRIPT = """
from pathlib import Path
from typing import Any, assert_type

import pandas as pd

import nbhelper as nbh
from nbhelper import testing, types


def run(folder: Path) -> pd.DataFrame:
    nbh.connect("tripo", api_key="tsk_0123456789abcdef", private=True)
    task = nbh.submit("tripo", {"type": "text_to_model", "prompt": "owl"}, label="owl", reuse=True)
    assert_type(task, nbh.Task)
    watch = nbh.watch([task, "kie:abc"], timeout=None, save=folder, preview=False, display=False, block=False)
    assert_type(watch, nbh.Watch)
    for history in watch.as_completed():
        assert_type(history, nbh.History)
        print(history.outcome is types.Outcome.SUCCEEDED, history.files, history.credits)
    watch.stop()
    seen = testing.read("tripo", {"code": 0}, 200)
    if isinstance(seen, types.Miss):
        print(seen.kind is types.MissKind.GARBLED)
    nbh.to_csv(nbh.tasks(since="2h", outcome=["failed", "lost"]), folder / "timings.csv")
    return nbh.summary(watch, by=["provider"])


async def main(task: nbh.Task) -> int:
    async for observation in nbh.watch(task).events():
        print(observation.seen)
    return len(task.id)


def own() -> nbh.Provider:
    return nbh.register(nbh.Provider(
        name="mill", base_url="https://mill.example", key_variable="MILL_API_KEY", poll="GET /{id}", state="state",
        words={"done": "succeeded"}, outputs="files", endpoints={"image": "POST /jobs"},
    ))


def failing(history: nbh.History) -> str:
    try:
        history.raise_for_failure()
    except nbh.TaskFailed as error:
        return str(error.history.error)
    except (nbh.BadInput, nbh.MissingAPIKey, nbh.SubmitUnknown, nbh.WatchTimeout) as error:
        return str(error)
    return ""


def once(task: nbh.Task) -> int:
    with nbh.Emulator(speed=100, seed=3) as emulator:
        print(emulator.url("kie"))
    result = nbh.run_sync(main(task))
    assert_type(result, int)
    return result
"""
WRONG = {
    "a number for a reference": ("nbh.watch(5)", "arg-type"),
    "an unknown name": ("nbh.wach('tripo:x')", "attr-defined"),
    "a word that is no display": ("nbh.watch('tripo:x', display='card')", "arg-type"),
    "a request that is no mapping": ("nbh.submit('tripo', 'an owl')", "arg-type"),
    "an age that is a number": ("nbh.tasks(since=5)", "arg-type"),
}


@pytest.fixture(scope="module")
def mypy(tmp_path_factory):
    """Check a script as a user's strict mypy does; one cache for all."""
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    folder = tmp_path_factory.mktemp("mypy")

    def check(**scripts):
        for name, code in scripts.items():
            (folder / f"{name}.py").write_text(dedent(code))
        (folder / "mypy.ini").write_text(
            "[mypy]\nstrict = True\n[mypy-nest_asyncio.*]\nignore_missing_imports = True\n"
        )
        return subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", "--config-file", "mypy.ini", *[f"{n}.py" for n in scripts]],
            cwd=folder, env={**environment(), "MYPYPATH": str(ROOT)}, capture_output=True, text=True, timeout=110,
        )  # fmt: skip

    return check


@pytest.mark.slow
def test_a_users_script_is_strictly_typed(mypy):
    """Lazy names, verbs, nouns, errors and value types have the types that the docs say; wrong calls are errors."""
    done = mypy(right=SCRIPT, wrong="\n".join(["import nbhelper as nbh", *(code for code, _ in WRONG.values())]))

    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("right.py")] == []
    for number, (code, kind) in enumerate(WRONG.values(), 2):
        assert any(line.startswith(f"wrong.py:{number}: error") and f"[{kind}]" in line for line in lines), code


def test_the_package_says_that_it_is_typed():
    """The marker that type checkers look for is there."""
    assert (Path(nbh.__file__).parent / "py.typed").is_file()
