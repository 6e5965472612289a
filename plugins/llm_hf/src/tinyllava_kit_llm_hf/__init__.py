"""Causal language models of transformers for tinyllava-kit."""
