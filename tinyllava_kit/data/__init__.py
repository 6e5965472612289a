"""Rows of conversations: files in, samples out."""
