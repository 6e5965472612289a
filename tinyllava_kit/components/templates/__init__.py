"""Chat templates, a file each family."""
