"""The decoders `strokes_talker` and `points_talker`: the LLM writes words, and a small transformer draws."""

from __future__ import annotations

from tinyllava_kit.components import Talker

from .decoder import StrokeDecoder
from .points import PointDecoder


class SketchingDecoder(Talker):
    """Three ids a point."""

    codec_class = StrokeDecoder


class SketchingPointsDecoder(Talker):
    """A point at a step."""

    codec_class = PointDecoder
