"""The contract of decoders, for each codec."""

from __future__ import annotations

from typing import ClassVar

import pytest
from tinyllava_kit_speech_codec.mimi import MimiCodec
from tinyllava_kit_speech_codec.single_codebook import NeuCodecCodec, Xcodec2Codec
from tinyllava_kit_speech_codec.talkers import MimiTalker, NeuCodecTalker, Xcodec2Talker

from tinyllava_kit.components import AudioModality
from tinyllava_kit.testing import HiddenDecoderContract, TokenDecoderContract

from .conftest import sound


class TestMimi(TokenDecoderContract):
    decoder_class = MimiCodec
    modality_class = AudioModality
    options: ClassVar = {"codebooks": 3}

    @pytest.fixture
    def checkpoint(self, mimi):
        return mimi()[1]

    def items(self):
        return [sound(seed, 900 + 400 * (seed % 3), 8000) for seed in range(5)]


class TestDelayedMimi(TestMimi):
    options: ClassVar = {"codebooks": 3, "pattern": "delay"}


class _SingleCodebook(TokenDecoderContract):
    modality_class = AudioModality

    def items(self):
        return [sound(seed, 3000 + 1500 * (seed % 3), 16_000) for seed in range(5)]


class TestXcodec2(_SingleCodebook):
    decoder_class = Xcodec2Codec

    @pytest.fixture
    def checkpoint(self, xcodec2):
        return xcodec2()[1]


class TestNeuCodec(_SingleCodebook):
    decoder_class = NeuCodecCodec

    @pytest.fixture
    def checkpoint(self, neucodec):
        return neucodec()[1]


class _Talker(HiddenDecoderContract):
    modality_class = AudioModality
    options: ClassVar = {"layers": 2, "width": 64, "heads": 4, "dropout": 0.0}


class TestMimiTalker(_Talker):
    decoder_class = MimiTalker
    options: ClassVar = {**_Talker.options, "codebooks": 3}
    checkpoint = TestMimi.checkpoint
    items = TestMimi.items


class TestDelayedMimiTalker(TestMimiTalker):
    options: ClassVar = {**TestMimiTalker.options, "pattern": "delay"}


class TestXcodec2Talker(_Talker):
    decoder_class = Xcodec2Talker
    checkpoint = TestXcodec2.checkpoint
    items = _SingleCodebook.items


class TestNeuCodecTalker(_Talker):
    decoder_class = NeuCodecTalker
    checkpoint = TestNeuCodec.checkpoint
    items = _SingleCodebook.items
