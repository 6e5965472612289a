"""Whisper's encoder as an audio tower of tinyllava_kit."""
