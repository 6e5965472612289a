"""What a person who waits sees: how far a long work is."""
