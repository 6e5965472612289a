"""One stage's steps."""
