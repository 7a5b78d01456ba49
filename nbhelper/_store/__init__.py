"""The SQLite file that keeps histories, and all SQL of the package. Imports only `_model`."""
