"""Histories as words, cards, galleries and thumbnails; draws and fetches nothing. Imports the model and the environment."""
