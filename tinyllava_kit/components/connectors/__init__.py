"""Connectors, a file each."""
