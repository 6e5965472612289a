"""Models of tinyllava-kit in vLLM."""
