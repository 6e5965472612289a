"""The decoders `xcodec2` and `neucodec`: one id a frame, of a codebook that is a grid of eight numbers.

X-codec 2: arXiv:2502.04128. NeuCodec: arXiv:2509.09550.

Legend: n samples, F frames.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import NeuCodecFeatureExtractor, NeuCodecModel, Xcodec2FeatureExtractor, Xcodec2Model

from tinyllava_kit.components import Waveform

from .frames import FrameCodec


class SingleCodebookCodec(FrameCodec):
    """One id a frame.

    Every sample that is decoded depends on all ids, before and behind (attention without a mask, group norms over
    time): there is no streaming, the sound comes when its last id is there.
    """

    extractor_class: ClassVar[type[Xcodec2FeatureExtractor | NeuCodecFeatureExtractor]]
    codebooks = 1

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.hop = math.prod(self.codec.config.downsampling_ratios)
        self.codebook_size = math.prod(self.codec.config.quantization_levels)
        self.extractor = self.extractor_class(sampling_rate=self.rate_hz, hop_length=self.hop)

    @classmethod
    def read_config(cls, checkpoint: str) -> dict[str, Any]:
        """See `Decoder.read_config`."""
        return {"model": cls.as_json(cls.read_model(checkpoint))}

    def codes(self, samples: Tensor) -> Tensor:
        inputs = self.extractor(samples.cpu().numpy(), sampling_rate=self.rate_hz, return_tensors="pt")
        return self.codec.encode(**inputs.to(samples.device)).audio_codes[0].long()  # (1, F)

    @torch.no_grad()
    def decode(self, ids: Tensor) -> Waveform:
        codes = self.pattern.to_codes(ids).to(self.codec.device)  # (1, F)
        samples = self.codec.decode(codes[None]).audio_values[0, 0]  # (n,)
        return Waveform(samples.clamp(-1.0, 1.0).cpu().numpy(), self.out_rate_hz, "speech")

    @property
    def out_rate_hz(self) -> int:
        """The sample rate of decoded sounds."""
        return self.rate_hz


class Xcodec2Codec(SingleCodebookCodec):
    """X-codec 2: in and out at the same rate. Of a whole number of frames, its extractor makes one more: left out."""

    model_class = Xcodec2Model
    extractor_class = Xcodec2FeatureExtractor

    @property
    def rate_hz(self) -> int:
        return self.codec.config.sampling_rate


class NeuCodecCodec(SingleCodebookCodec):
    """NeuCodec: out at a higher rate. Its extractor drops an incomplete last frame: silence is appended first."""

    model_class = NeuCodecModel
    extractor_class = NeuCodecFeatureExtractor

    @property
    def rate_hz(self) -> int:
        return self.codec.config.input_sampling_rate

    @property
    def out_rate_hz(self) -> int:
        return self.codec.config.output_sampling_rate

    def codes(self, samples: Tensor) -> Tensor:
        return super().codes(F.pad(samples, (0, -len(samples) % self.hop)))
