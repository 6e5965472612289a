"""What this distribution offers."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.components import talker_of
from tinyllava_kit.specs import DecoderSpec, ModalitySpec, Option, TokenType

DRAWING = ModalitySpec(
    name="drawing",
    target="tinyllava_kit_drawing.strokes:DrawingModality",
    summary="drawings: .json files and lists of strokes, each a list of points",
    token=TokenType(placeholder="<drawing>"),
    suffixes=(".json",),
    verb="draw",
)

STROKES = DecoderSpec(
    name="strokes",
    target="tinyllava_kit_drawing.decoder:StrokeDecoder",
    summary="a point at a time: move or draw, how far right, how far down",
    modality="drawing",
    options=(Option(name="grid", type=int, default=16, help="how many places a side has"),),
)

POINTS = DecoderSpec(
    name="points",
    target="tinyllava_kit_drawing.points:PointDecoder",
    summary="a point at a time, in one position: move or draw, and beside it how far right and how far down",
    modality="drawing",
    options=(Option(name="grid", type=int, default=16, help="how many places a side has"),),
)


@hookimpl
def tinyllava_modalities() -> tuple[ModalitySpec, ...]:
    return (DRAWING,)


@hookimpl
def tinyllava_decoders() -> tuple[DecoderSpec, ...]:
    sketching = "tinyllava_kit_drawing.sketching"
    return (
        STROKES,
        POINTS,
        talker_of(STROKES, f"{sketching}:SketchingDecoder"),
        talker_of(POINTS, f"{sketching}:SketchingPointsDecoder"),
    )
