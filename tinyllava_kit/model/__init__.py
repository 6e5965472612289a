"""The model: configuration, towers and connectors in front of an LLM, answers."""
