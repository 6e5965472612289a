"""What a stage leaves."""
