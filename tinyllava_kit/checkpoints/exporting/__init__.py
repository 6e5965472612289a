"""Models of this kit as other programs read them."""
