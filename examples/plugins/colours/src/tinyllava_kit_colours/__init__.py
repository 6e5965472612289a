"""A tower and a scorer for pictures in tinyllava-kit."""
