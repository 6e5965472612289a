"""Swatches of colours, an output of tinyllava-kit."""
