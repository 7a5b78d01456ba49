"""Frames, prices, CSV, statistics and plots, and the public functions that give or take a table.

* A new column of `tasks()`: its value in `_store/history_to_row.py` (where it follows from prices, in `tasks_frame`),
  its name and dtype in `TASKS` in `columns.py`. CSV takes the dtype from there; a test compares README's table with it.
* A new public function: what reads the store in `store_verbs.py`, what is made of a given table in `verbs.py`, what is
  about prices in `price_verbs.py`; then its name in `nbhelper/__init__.py`. What it computes stands in a file of its
  own that knows neither store nor session, such as `summary.py`.
* A new kind of plot: a file `plot_….py`, and a line in each table of `plot.py`.
"""
