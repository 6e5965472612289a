"""A new plugin: a complete distribution, from templates of this version."""
