"""From names of components to a model."""
