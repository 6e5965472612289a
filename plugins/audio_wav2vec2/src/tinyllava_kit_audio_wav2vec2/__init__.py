"""wav2vec 2.0, HuBERT and WavLM as audio towers of tinyllava_kit."""
