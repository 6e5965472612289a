"""The decoder `codec2_talker`: a small transformer writes Codec 2's ids, the LLM words alone."""

from __future__ import annotations

from tinyllava_kit.components import Talker

from .decoder import Codec2Decoder


class Codec2Talker(Talker):
    """See `Talker`."""

    codec_class = Codec2Decoder
