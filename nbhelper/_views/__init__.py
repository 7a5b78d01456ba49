"""A history as words, card, gallery or thumbnail; draws and fetches nothing. Imports the model and the environment."""
