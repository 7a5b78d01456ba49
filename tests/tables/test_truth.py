"""Tables compared with the emulator's ledger: the short form of tests/benchmarks/truth.py."""

from __future__ import annotations

import pytest
from support.truth import batch, judge

from nbhelper._tables.csv_file import read_csv, to_csv
from nbhelper._tables.summary import summary


@pytest.mark.slow
def test_the_tables_say_what_happened(isolated):
    """Times hold within their own `uncertainty_s` whatever the server's clock is, also after CSV; no cell is wrong."""
    frame, ledger = batch(63, speed=25, skew=-73.5, patience=6)
    verdict = judge(frame, ledger)
    again = judge(read_csv(to_csv(frame, isolated / "timings.csv")), ledger)
    counted = summary(frame, by="provider")

    assert verdict.wrong == []
    assert verdict.share("total_s, server") == 1
    assert verdict.share("finished_at, looks only") >= 0.9  # 95 % of hundreds, by the benchmark
    assert verdict.share("total_s, observed", "total_s, mixed") >= 0.9
    assert {"server", "mixed", "observed"} == set(frame["time_source"].dropna())
    assert (again.within, again.wrong) == (verdict.within, [])
    assert counted["n"].sum() == 63
    assert counted["stopped"].sum() == (frame["outcome"] == "stopped").sum() > 0
