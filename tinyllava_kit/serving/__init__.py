"""A model behind an OpenAI-style API: the engine that answers, the gate, and what is served."""
