"""What is seen of a task, frozen and pure: tasks, snapshots, facts, histories, times and text. Imports nothing of ours."""
