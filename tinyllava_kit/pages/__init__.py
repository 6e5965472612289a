"""Pages of one file, which need nothing beside them."""
