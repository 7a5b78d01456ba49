"""A grid of parameters, submitted within limits, resumable. Imports the submitting."""
