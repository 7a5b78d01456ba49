"""One file for each API: its `PROVIDER`, the facts it follows from, and where each was read."""
