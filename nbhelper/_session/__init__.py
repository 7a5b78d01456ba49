"""Which key, which address and which store this process uses. Imports the providers and the store."""
