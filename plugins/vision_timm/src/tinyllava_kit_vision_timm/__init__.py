"""timm's image models as towers for tinyllava_kit."""
