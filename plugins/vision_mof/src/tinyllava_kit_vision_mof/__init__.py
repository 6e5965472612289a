"""Mixture of CLIP and DINOv2 features for tinyllava-kit."""
