"""The example notebooks, run as a reader runs them."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.kernel
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_runs_top_to_bottom_without_a_key(path, tmp_path):
    """Every cell runs; the cards are plain HTML, say how it ended, and leave no widget in the file."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    texts = [
        output.get("data", {}).get("text/html", "") for cell in notebook.cells for output in cell.get("outputs", [])
    ]

    assert any("succeeded" in text for text in texts)
    assert any("<img src=" in text for text in texts)
    assert not notebook.metadata.get("widgets")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_is_kept_without_outputs(path):
    """The file in the project holds code and prose only."""
    notebook = nbformat.read(path, as_version=4)

    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in notebook.cells)


@pytest.mark.kernel
def test_the_answer_of_the_third(tmp_path):
    """What the notebook on cost and latency says is so: its numbers agree with each other and with its prose."""
    path = next(path for path in NOTEBOOKS if path.stem == "03-cost-and-latency")
    notebook = nbformat.read(path, as_version=4)
    checks = nbformat.v4.new_code_cell(CHECKS)
    notebook.cells.insert(len(notebook.cells) - 1, checks)  # before the emulator is closed
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    pictures = [out for cell in notebook.cells for out in cell.get("outputs", []) if "image/png" in out.get("data", {})]

    assert checks.outputs[0]["text"].strip() == "all agrees"
    assert len(pictures) == 3
    assert (tmp_path / "timings.csv").stat().st_size > 5000


CHECKS = """
import pandas as pd
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
print("all agrees")
"""
