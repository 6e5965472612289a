"""Videos as a modality of tinyllava-kit."""
