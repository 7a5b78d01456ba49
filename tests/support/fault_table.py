"""The rows of tests/faults as a table: which row was run by which test, how it ended and how long it took."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "faults"
_ROW = re.compile(r"^\| (?P<row>[A-H]\d+|[A-E]-E\d+) \| (?P<fault>.+?) \| .+ \|$", re.MULTILINE)
_EXCUSED = re.compile(r"^- \*\*(?P<row>[A-H]\d+|[A-E]-E\d+)\*\*: (?P<reason>.{20,})", re.MULTILINE)
_TEST = re.compile(r"^test_(?:(?P<part>[a-dfgh])(?P<n>\d\d)|e_(?P<api>[a-e])(?P<trap>\d+))_\w+$")
COUNTED = ("watches", "without an outcome", "false failures", "lost results", "uncaught")
"""Keys of the counts of `support.promises`: tasks watched, and four kinds of broken promise, which must be 0."""
_WORST = ("failed", "skipped", "passed")


def rows() -> dict[str, str]:
    """Row to fault, as tests/faults/README.md has them."""
    return {m["row"]: m["fault"] for m in _ROW.finditer((FOLDER / "README.md").read_text("utf-8"))}


def excused() -> dict[str, str]:
    """Row to the reason why there is no test of it."""
    return {m["row"]: m["reason"] for m in _EXCUSED.finditer((FOLDER / "README.md").read_text("utf-8"))}


def row_of(test: str) -> str | None:
    """`A9` for `test_a09_body_drip`, `B-E1` for `test_e_b1_no_failed_state`, None for a test of no row."""
    if (m := _TEST.match(test)) is None:
        return None
    return f"{m['part'].upper()}{int(m['n'])}" if m["part"] else f"{m['api'].upper()}-E{int(m['trap'])}"


THREAT = "T"
"""In place of the row for tests of the threats (`test_threat_...`), which have no row."""


def rows_with_tests() -> set[str]:
    """The names of the rows that have a test, read from the names of the test functions."""
    trees = [ast.parse(path.read_text("utf-8")) for path in FOLDER.glob("test_*.py")]
    names = [n.name for tree in trees for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {row for name in names if (row := row_of(name)) is not None}


@dataclass
class _Run:
    """Results of one test function over all its cases."""

    results: list[str] = field(default_factory=list)
    seconds: float = 0.0
    figures: list[str] = field(default_factory=list)
    bounds: list[tuple[float, float, str]] = field(default_factory=list)
    """Each as (number counted, largest number allowed, what was counted)."""

    @property
    def result(self) -> str:
        worst = next(word for word in _WORST if word in self.results)
        return worst if len(self.results) == 1 else f"{worst} ({len(self.results)} cases)"

    @property
    def measured(self) -> str:
        """The figures, and of each bound the case that came nearest to it."""
        nearest: dict[tuple[float, str], float] = {}
        for n, most, what in self.bounds:
            nearest[most, what] = max(n, nearest.get((most, what), 0))
        parts = [f"{n:g} of at most {most:g} {what}" for (most, what), n in nearest.items()]
        return "; ".join([*parts, *self.figures])


def table(runs: dict[tuple[str, str], _Run]) -> list[str]:
    """The table as lines of Markdown, in the order of the rows."""
    known = list(rows())
    lines = ["| Row | Test | Result | Seconds | Measured |", "|---|---|---|---|---|"]
    for row, test in sorted(runs, key=lambda key: (known.index(key[0]) if key[0] in known else len(known), key[1])):
        run = runs[row, test]
        lines.append(f"| {row} | {test} | {run.result} | {run.seconds:.2f} | {run.measured} |")
    return lines


class FaultTable:
    """Collects the results of a session, also of those that ran in other processes."""

    def __init__(self, target: str | None) -> None:
        self._target = target
        self._runs: dict[tuple[str, str], _Run] = {}
        self._promises: Counter[str] = Counter()
        """Sums of the counts of all tests in tests/faults, see `support.promises`."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add the report of one phase (setup, call, teardown) of one test."""
        path, _, test = report.nodeid.partition("::")
        if Path(path).parent.name != FOLDER.name:
            return
        noted = report.user_properties if report.when == "teardown" else []
        for counts in (value for name, value in noted if name == "promises"):
            self._promises.update(counts)
        test = test.rpartition("::")[2].partition("[")[0]
        if (row := row_of(test) or (THREAT if test.startswith("test_threat_") else None)) is None:
            return
        run = self._runs.setdefault((row, test), _Run())
        run.seconds += report.duration
        run.figures += [str(value) for name, value in noted if name == "figure"]
        run.bounds += [tuple(value) for name, value in noted if name == "bound"]
        if report.when == "call" or not report.passed:
            run.results.append(report.outcome)

    def summary(self) -> dict[str, Any]:
        """The sums over all rows."""
        ran = {key: run for key, run in self._runs.items() if key[0] != THREAT}
        bounded = {row: run.bounds for (row, _), run in ran.items() if run.bounds}
        return {
            "rows": len(rows()),
            "run": len({row for row, _ in ran}),
            "not run": excused(),
            "failed": sorted({row for (row, _), run in ran.items() if "failed" in run.results}),
            "skipped": sorted({row for (row, _), run in ran.items() if run.result.startswith("skipped")}),
            **{name: self._promises[name] for name in COUNTED},
            "bounded": len(bounded),
            "beyond": sorted(row for row, bounds in bounded.items() if any(n > most for n, most, _ in bounds)),
        }

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table when a row was run, and write it where asked to."""
        if not self._runs:
            return
        lines, s = table(self._runs), self.summary()
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.write_line(line)
        failed = f"{len(s['failed'])} failed{': ' if s['failed'] else ''}{', '.join(s['failed'])}"
        terminalreporter.write_line(
            f"{s['run']} of {s['rows']} rows run, {failed}; {len(s['not run'])} replaced or not to be run here, see "
            f"tests/faults/README.md"
        )
        terminalreporter.write_line(
            ", ".join(f"{s[name]} {name}" for name in COUNTED)
            + f"; {s['bounded']} rows with a bound, beyond it: {', '.join(s['beyond']) or 'none'}"
        )
        if self._target is not None:
            summary = {**s, "table": [_record(key, run) for key, run in self._runs.items()]}
            text = json.dumps(summary, indent=1) if self._target.endswith(".json") else "\n".join(lines)
            Path(self._target).write_text(f"{text}\n", "utf-8")


def _record(key: tuple[str, str], run: _Run) -> dict[str, Any]:
    row, test = key
    seconds = round(run.seconds, 2)
    return {"row": row, "test": test, "result": run.result, "seconds": seconds, "measured": run.measured}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--faults-table`: a file for the table besides the terminal."""
    parser.addoption(
        "--faults-table",
        metavar="FILE",
        help="write the table of fault rows and results to FILE (.md, or .json with its sums)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect in the process that reports; helpers of pytest-xdist send their results there."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(FaultTable(config.getoption("--faults-table")), "fault-table")
