"""Checks a create, uploads its files and sends it once. Imports the watching's engine."""
