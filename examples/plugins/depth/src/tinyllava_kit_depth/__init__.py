"""Depth maps as a modality of tinyllava-kit."""
