"""One thread and one loop that look at tasks, save results and tell handles. Imports all folders above."""
