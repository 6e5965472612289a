"""Whisper, which writes down what it hears: the judge of what was said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperTokenizer
from transformers.utils.logging import set_verbosity_error

from tinyllava_kit.components import Waveform, resample

BATCH, MOST_TOKENS = 10, 30


class Ears:
    """A saved Whisper model with its decoder; greedy."""

    def __init__(self, folder: Path) -> None:
        set_verbosity_error()  # Whisper's generate calls transformers' own in a way that this warns of
        self.extractor = WhisperFeatureExtractor.from_pretrained(folder, trust_remote_code=False)
        self.model = WhisperForConditionalGeneration.from_pretrained(folder, trust_remote_code=False)
        self.tokenizer = WhisperTokenizer.from_pretrained(folder, trust_remote_code=False)

    @torch.inference_mode()
    def hear(self, sounds: Sequence[Waveform]) -> list[str]:
        """What is said in each sound."""
        rate = self.extractor.sampling_rate
        heard: list[str] = []
        for at in range(0, len(sounds), BATCH):
            samples = [resample(sound, rate) for sound in sounds[at : at + BATCH]]
            features = self.extractor(samples, sampling_rate=rate, return_tensors="pt").input_features
            ids = self.model.generate(features, do_sample=False, max_new_tokens=MOST_TOKENS)
            heard += [text.strip() for text in self.tokenizer.batch_decode(ids, skip_special_tokens=True)]
        return heard
