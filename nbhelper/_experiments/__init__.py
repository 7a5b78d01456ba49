"""`Experiment`: a grid of parameters, submitted as tasks within limits, resumable.

- `experiment.py`: `Experiment` itself: plan, run, tables.
- `grid.py`: the grid as cells, each with a key that follows from its parameters, and their repetitions. Pure.
- `planned_tasks.py`: each repetition with what the store knows of it, and which of them may be submitted.
- `budget.py`: estimated cost, and how many tasks fit into the limits. Pure.
- `submission.py`: sends the creates in the engine's loop, never more tasks alive than `concurrency`.
- `experiment_watch.py`: the watch that `run()` returns.
- `lock.py`: one process, and one run in it, submits an experiment at a time.
- `archive.py`: table, gallery and results as one ZIP file.
"""
