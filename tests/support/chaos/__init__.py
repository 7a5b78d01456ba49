"""Systematic and random faults: functions that make things go wrong and return figures.

`tests/benchmarks/faults.py` prints them all; what has a short form runs in `tests/faults/test_torture_short.py` too.
"""
