"""CLIP vision towers for tinyllava-kit."""
