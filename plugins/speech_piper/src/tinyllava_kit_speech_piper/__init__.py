"""Piper voices as a decoder of tinyllava_kit."""
