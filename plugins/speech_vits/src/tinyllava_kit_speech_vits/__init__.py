"""VITS voices of transformers as a decoder of tinyllava_kit."""
