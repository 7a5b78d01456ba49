"""A grid of parameters, submitted within limits and resumable. Imports the submitting."""
