"""Checkpoints of other projects, understood."""
