"""Which samples make a batch."""
