"""Judging a model on held-out rows."""
