"""One thread with one loop that looks at tasks and saves results, and the handles on it. Imports all that is below."""
