"""Faults of a recipe or its data, found before and while it trains."""
