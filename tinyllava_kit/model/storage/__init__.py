"""What a directory of a model holds."""
