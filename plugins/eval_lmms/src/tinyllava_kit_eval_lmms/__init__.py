"""Models of tinyllava-kit in lmms-eval."""
