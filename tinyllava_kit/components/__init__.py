"""What the kit ships, through the same door as a stranger's plugin. The names here are public, also to subclass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazy

if TYPE_CHECKING:
    from .connectors.average_pool import AveragePoolMLP as AveragePoolMLP
    from .connectors.conv import ConvMLP as ConvMLP
    from .connectors.stack import StackMLP as StackMLP
    from .connectors.window_qformer import WindowQFormer as WindowQFormer
    from .decoders.talker import Talker as Talker
    from .decoders.talker_spec import talker_of as talker_of
    from .decoders.voice import PAUSE_SECONDS as PAUSE_SECONDS
    from .decoders.voice import VOICE_OPTIONS as VOICE_OPTIONS
    from .decoders.voice import check_voice_options as check_voice_options
    from .decoders.voice import join_sentences as join_sentences
    from .modalities.audio import AudioModality as AudioModality
    from .modalities.audio import Rate as Rate
    from .modalities.audio import Waveform as Waveform
    from .modalities.audio import clock as clock
    from .modalities.image import ImageInfo as ImageInfo
    from .modalities.image import ImageModality as ImageModality
    from .modalities.image import ImagePreprocessor as ImagePreprocessor
    from .modalities.resampling import num_resampled as num_resampled
    from .modalities.resampling import resample as resample
    from .towers.layers import parse_layer as parse_layer
    from .towers.vision_tower import TransformersImagePreprocessor as TransformersImagePreprocessor
    from .towers.vision_tower import TransformersVisionTower as TransformersVisionTower

__getattr__, __dir__ = lazy(
    __name__,
    {
        "AveragePoolMLP": ".connectors.average_pool",
        "ConvMLP": ".connectors.conv",
        "StackMLP": ".connectors.stack",
        "WindowQFormer": ".connectors.window_qformer",
        "Talker": ".decoders.talker",
        "talker_of": ".decoders.talker_spec",
        "PAUSE_SECONDS": ".decoders.voice",
        "VOICE_OPTIONS": ".decoders.voice",
        "check_voice_options": ".decoders.voice",
        "join_sentences": ".decoders.voice",
        "AudioModality": ".modalities.audio",
        "Rate": ".modalities.audio",
        "Waveform": ".modalities.audio",
        "clock": ".modalities.audio",
        "ImageInfo": ".modalities.image",
        "ImageModality": ".modalities.image",
        "ImagePreprocessor": ".modalities.image",
        "num_resampled": ".modalities.resampling",
        "resample": ".modalities.resampling",
        "parse_layer": ".towers.layers",
        "TransformersImagePreprocessor": ".towers.vision_tower",
        "TransformersVisionTower": ".towers.vision_tower",
    },
)
