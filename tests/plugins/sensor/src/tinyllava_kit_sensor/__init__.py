"""A one-dimensional signal as a modality, with a small tower: the stranger in the kit's tests."""
