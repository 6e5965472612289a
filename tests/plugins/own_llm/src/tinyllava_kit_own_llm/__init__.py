"""An LLM of a class of its own for tinyllava-kit."""
