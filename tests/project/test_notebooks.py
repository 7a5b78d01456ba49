"""The example notebooks, run as a reader runs them, and what they show."""

import re
import zipfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
KEYED = {"AILAB_API_KEY", "GPTGE_API_KEY", "TRIPO_API_KEY", "AIGPTIMAGE_API_KEY", "KIE_API_KEY", "KIE_AI_API_KEY"}


def shown(notebook):
    """All outputs of the cells, as text."""
    texts = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            texts += [output.get("text", ""), *map(str, output.get("data", {}).values())]
    return "\n".join(texts)


def html(notebook):
    """The HTML outputs."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output["data"]["text/html"] for output in outputs if "text/html" in output.get("data", {})]


def cell_with(notebook, source):
    """The cell whose code holds this."""
    (match,) = [cell for cell in notebook.cells if cell.cell_type == "code" and source in cell.source]
    return match


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Run a notebook from top to bottom in an empty folder, without any key."""
    for name in KEYED:
        monkeypatch.delenv(name, raising=False)

    def run(name):
        notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
        NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
        return notebook

    return run


@pytest.mark.kernel
def test_watch_a_task(execute, tmp_path):
    """One task end to end: its card, its events, its files, its row; a failure with its reason; nothing asked again."""
    notebook = execute("01-watch-a-task")
    text = shown(notebook)

    assert re.search(r"<History tripo:[0-9a-f-]{36} succeeded 2 files>", text)
    assert "output.pbr_model" in text
    assert "submitting" in text
    assert re.search(r"output\.rendered_image\S*\.(png|webp|jpg) \d+ bytes", text)
    assert "image/png" in cell_with(notebook, "w.images()[0]").outputs[-1].data
    assert "content policies" in text
    assert sum("succeeded" in block and "<img src=" in block for block in html(notebook)) == 2
    (glb,) = tmp_path.rglob("*.glb")
    assert glb.read_bytes()[:4] == b"glTF"
    assert not notebook.metadata.get("widgets")


@pytest.mark.kernel
def test_a_batch_experiment_with_papermill(tmp_path, monkeypatch):
    """The notebook runs with other parameters: prices, then every task in the table and the grid, all in one file."""
    import papermill

    for name in KEYED:
        monkeypatch.delenv(name, raising=False)
    out = tmp_path / "out.ipynb"
    papermill.execute_notebook(
        FOLDER / "02-batch-experiment.ipynb", out, parameters={"repeats": 1}, cwd=tmp_path, progress_bar=False
    )
    notebook = nbformat.read(out, as_version=4)
    text = shown(notebook)

    assert "<Experiment owls and foxes: 8 tasks, price unknown>" in text
    assert "<Experiment owls and foxes: 8 tasks, about $0.08, 4 of unknown price>" in text
    assert "8 sent" in text
    assert "0 tasks would be sent; <Experiment owls and foxes:" in text
    # One card for each of the two runs: the tables between them wait without drawing it again.
    assert ["✓" in block for block in html(notebook) if "all 8 over" in block] == [True, True]
    (gallery,) = [block for block in html(notebook) if 'class="nbh-gallery' in block]
    assert gallery.count("<figure>") == 8
    assert 'title="an owl, studio light"' in gallery
    with zipfile.ZipFile(tmp_path / "owls-and-foxes.zip") as archive:
        names = archive.namelist()
    assert {"tasks.csv", "gallery.html"} < set(names)
    assert sum(name.endswith(".png") for name in names) == 8
    assert not notebook.metadata.get("widgets")


@pytest.mark.kernel
def test_your_own_provider(execute):
    """An API that nbhelper never heard of: described in one cell, watched over real HTTP, saved and tabulated."""
    notebook = execute("04-your-own-provider")
    text = shown(notebook)

    assert "<Provider pixelmill https://api.pixelmill.example>" in text
    assert "<Snapshot running (&quot;baking&quot;) 40%>" in text or '<Snapshot running ("baking") 40%>' in text
    assert "no-prompt" in text
    assert "<History pixelmill:mill-1 succeeded 1 file>" in text
    assert "pixelmill refused the create: HTTP 400, code no-prompt: a prompt is needed." in text
    (gallery,) = [block for block in html(notebook) if 'class="nbh-gallery' in block]
    assert gallery.count("<figure>") == 3
    assert "loaf-4711-oven" not in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_kept_without_outputs(path):
    """The file in the project holds code and prose only, each cell with a name of its own."""
    notebook = nbformat.read(path, as_version=4)

    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in notebook.cells)
    assert len({cell["id"] for cell in notebook.cells}) == len(notebook.cells)
    nbformat.validate(notebook)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_begins_with_its_question(path):
    """The first cell has a title, one question, and how the notebook runs without a key."""
    first = nbformat.read(path, as_version=4).cells[0]

    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert re.search(r"^\*.+\?\*$", first.source, re.MULTILINE)


def test_the_batch_notebook_takes_parameters():
    """Papermill finds the cell by its tag, and every name in it is used."""
    notebook = nbformat.read(FOLDER / "02-batch-experiment.ipynb", as_version=4)
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    names = re.findall(r"^(\w+) =", cell.source, re.MULTILINE)
    rest = "\n".join(c.source for c in notebook.cells if c is not cell and c.cell_type == "code")

    assert names == ["emulate", "prompts", "resolutions", "repeats", "max_tasks"]
    assert all(re.search(rf"\b{name}\b", rest) for name in names)


COST_AND_LATENCY = """
by_label = frame.set_index("label")
assert len(frame) == 24 and frame["outcome"].isin(["succeeded", "failed"]).all()
assert {label for label, row in by_label.iterrows() if row["outcome"] == "failed"} == set(troubles)
assert by_label.loc["gpt-image 0", ["cost", "cost_source"]].to_list() == [0.024, "price list"]  # 1K: 3 credits
assert by_label.loc["video 0", ["cost", "cost_source"]].to_list() == [0.24, "price list"]  # six seconds
assert by_label.loc["3D 0", ["cost", "credits", "cost_source"]].to_list() == [0.2, 20, "server"]
assert frame["cost"].notna().all() and (frame.loc[frame["outcome"] == "failed", "cost"] == 0).all()
assert summary["cost"].isna().sum() == 2 and summary["total_s_p90"].isna().all()
truth = {t.id: (t.finished - t.created).total_seconds() for t in emu.ledger().tasks}
known = frame.dropna(subset=["total_s"])
off = (known["total_s"] - known["task_id"].map(truth)).abs() - known["uncertainty_s"]
assert (off < 0.001).mean() > 0.9
assert again.equals(frame)
"""
"""What must be true at the end of the notebook, before it closes its emulator: its numbers, and what its prose says."""


@pytest.mark.kernel
def test_cost_and_latency(tmp_path, monkeypatch):
    """Every cell runs; the card and the plots are there; times, costs and outcomes are the ledger's."""
    for name in KEYED:
        monkeypatch.delenv(name, raising=False)
    notebook = nbformat.read(FOLDER / "03-cost-and-latency.ipynb", as_version=4)
    plots = sum("nbh.plot(" in cell.source for cell in notebook.cells)
    notebook.cells.insert(-1, nbformat.v4.new_code_cell(COST_AND_LATENCY))
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]

    assert any("succeeded" in text and "<img src=" in text for text in html(notebook))
    assert sum("image/png" in output for output in outputs) == plots
    assert not notebook.metadata.get("widgets")
