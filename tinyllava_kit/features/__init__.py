"""Features of frozen towers and codes of items, computed once and kept."""
