"""What is seen of a task: tasks, snapshots, facts, histories, times and text; frozen, pure, knows nothing else."""
