"""The ids of decoders behind the vocabulary of an LLM."""
