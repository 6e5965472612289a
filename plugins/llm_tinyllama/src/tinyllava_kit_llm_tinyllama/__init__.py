"""Llama-architecture language models for tinyllava-kit."""
