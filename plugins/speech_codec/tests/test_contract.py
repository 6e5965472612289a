"""The contract of decoders, for the pattern that is not the default."""

from __future__ import annotations

from typing import ClassVar

from tinyllava_kit_speech_codec.contract import MimiContract, MimiTalkerContract
from tinyllava_kit_speech_codec.mimi import MimiCodec
from tinyllava_kit_speech_codec.talkers import MimiTalker

from tinyllava_kit.components import AudioModality


class TestDelayedMimi(MimiContract):
    component = MimiCodec
    modality_class = AudioModality
    options: ClassVar = {"codebooks": 3, "pattern": "delay"}


class TestDelayedMimiTalker(MimiTalkerContract):
    component = MimiTalker
    modality_class = AudioModality
    options: ClassVar = {**MimiTalkerContract.options, "pattern": "delay"}
