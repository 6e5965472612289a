"""The decoders `mimi_talker`, `xcodec2_talker` and `neucodec_talker`: a small transformer writes their ids."""

from __future__ import annotations

from tinyllava_kit.components import Talker

from .mimi import MimiCodec
from .single_codebook import NeuCodecCodec, Xcodec2Codec


class MimiTalker(Talker):
    """See `Talker`; with `MimiCodec`'s pattern ``delay``, all ids of a frame at one step."""

    codec_class = MimiCodec


class Xcodec2Talker(Talker):
    """See `Talker`."""

    codec_class = Xcodec2Codec


class NeuCodecTalker(Talker):
    """See `Talker`."""

    codec_class = NeuCodecCodec
