"""The contract of decoders, for modes that are not the default."""

from __future__ import annotations

from typing import ClassVar

from tinyllava_kit_speech_codec2.contract import Codec2Contract
from tinyllava_kit_speech_codec2.decoder import Codec2Decoder

from tinyllava_kit.components import AudioModality


class _Contract(Codec2Contract):
    component = Codec2Decoder
    modality_class = AudioModality


class Test700C(_Contract):
    options: ClassVar = {"mode": "700C"}


class Test3200(_Contract):
    options: ClassVar = {"mode": "3200"}
