"""Whole runs of the kit, from real weights and data to a model that answers."""
