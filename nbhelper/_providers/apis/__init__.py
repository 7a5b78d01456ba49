"""One module for each API: its `PROVIDER`, and the source of each fact in it."""
