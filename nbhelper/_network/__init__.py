"""The only sockets outside the emulator: clients, the gate, downloads. Imports the session, providers and model."""
