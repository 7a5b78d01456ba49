"""The example notebooks, run as a reader runs them."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


CHECKS = {
    "03-cost-and-latency": """
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
""",
}
"""What must be true at the end of a notebook, before it closes its emulator: its numbers, and what its prose says."""


@pytest.mark.kernel
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_runs_top_to_bottom_without_a_key(path, tmp_path):
    """Every cell runs; the cards are plain HTML, say how it ended, and leave no widget; what it says is so."""
    notebook = nbformat.read(path, as_version=4)
    plots = sum("nbh.plot(" in cell.source for cell in notebook.cells)
    if path.stem in CHECKS:
        notebook.cells.insert(-1, nbformat.v4.new_code_cell(CHECKS[path.stem]))
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    texts = [output.get("text/html", "") for output in outputs]

    assert any("succeeded" in text for text in texts)
    assert any("<img src=" in text for text in texts)
    assert sum("image/png" in output for output in outputs) == plots
    assert not notebook.metadata.get("widgets")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_is_kept_without_outputs(path):
    """The file in the project holds code and prose only."""
    notebook = nbformat.read(path, as_version=4)

    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in notebook.cells)
