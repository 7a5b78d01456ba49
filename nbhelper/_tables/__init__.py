"""Frames, prices, CSV, statistics and plots. Imports the store, the session and the views."""
