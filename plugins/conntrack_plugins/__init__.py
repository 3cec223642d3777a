"""The adapters: from samples to one agent's text. Nothing here reads the system or calculates."""
