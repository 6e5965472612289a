"""The kit's own commands: a module each, with a click command named `command`, light to import."""
