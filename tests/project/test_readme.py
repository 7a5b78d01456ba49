"""What the README says is what happens."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_first_forty_lines():
    """A sentence, the two commands, and five lines that run in a cell without a key, with what they give."""
    head = "\n".join(README.splitlines()[:40])

    assert 'pip install ".[demo]" && nbhelper demo' in head
    assert re.search(r"^pip install .* && python -m pytest$", head, re.MULTILINE)
    assert len(BLOCKS[0].strip().splitlines()) == 5
    assert BLOCKS[0] in head + "\n"


def test_the_python_blocks_run_in_order(tmp_path):
    """Pasted one after the other into one script, they run on the emulator and save files."""
    script = tmp_path / "readme.py"
    script.write_text("\n".join(BLOCKS), "utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=110
    )

    assert done.returncode == 0, done.stderr
    assert "succeeded" in done.stdout
    assert list(tmp_path.rglob("*.glb"))


def test_the_gate_runs_the_readme_s_test_command():
    """`.ci/run` finds the command in the README instead of repeating it."""
    gate = (ROOT / ".ci/run").read_text("utf-8")

    assert "README.md" in gate
    assert "python -m pytest" not in gate.replace("&& python -m pytest' README.md", "")
