"""Neural codecs of transformers as decoders of tinyllava_kit."""
