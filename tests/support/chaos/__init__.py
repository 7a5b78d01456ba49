"""Systematic and random trouble, in forms short enough for every run and long enough to be believed.

Each module has one `run`, which returns figures; `tests/benchmarks/torture.py` prints them all.
"""
