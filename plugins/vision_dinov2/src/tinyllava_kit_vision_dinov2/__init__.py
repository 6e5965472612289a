"""DINOv2 vision towers for tinyllava-kit."""
