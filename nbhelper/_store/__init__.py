"""One SQLite file of histories; all SQL stands here. Imports the model."""
