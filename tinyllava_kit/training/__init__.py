"""Training: a recipe's stages, run through transformers' Trainer."""
