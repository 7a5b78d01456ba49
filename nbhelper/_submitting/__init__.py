"""One create: checked, its files uploaded, sent once. Imports the engine of the watching."""
