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
