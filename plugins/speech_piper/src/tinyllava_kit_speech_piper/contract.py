"""The decoder's contract, with a toy voice: `pytest --tinyllava-conformance=tinyllava-kit-speech-piper`.

A toy voice has the inputs and settings of Piper's, and holds each phoneme for a while. Making one needs onnx.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tinyllava_kit.testing import DoesNotApply, TextDecoderContract

RATE = 8000
HOLD = 6  # samples of a phoneme
IDS = {mark: [index] for index, mark in enumerate("_^$ .,?!;:ˈabdefhijklmnoprstuvwzæðŋɐɑɔəɚɛɡɪɹʃʊʌʒθ")}
IDS["ː"] = [70, 71]  # a phoneme may have several


def level(each: int) -> float:
    """The sample that an id becomes."""
    return each / 512


def save_voice(folder: Path, *, num_speakers: int = 1, **changes: Any) -> str:
    """``toy.onnx`` and ``toy.onnx.json`` in `folder`; `changes` go into the settings. Returns the voice's file."""
    import onnx
    from onnx import TensorProto, helper

    inputs = [("input", TensorProto.INT64), ("input_lengths", TensorProto.INT64), ("scales", TensorProto.FLOAT)]
    inputs += [("sid", TensorProto.INT64)] if num_speakers > 1 else []
    whole = {"one": 1, "first": 0, "second": 1, "third": 2}
    fractions = {"hold": float(HOLD), "levels": level(1)}
    nodes = [
        *(helper.make_node("Constant", [], [name], value_ints=[value]) for name, value in whole.items()),
        *(helper.make_node("Constant", [], [name], value_floats=[value]) for name, value in fractions.items()),
        helper.make_node("Cast", ["input"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "levels"], ["level"]),
        helper.make_node("Unsqueeze", ["level", "third"], ["column"]),  # (1, t, 1)
        helper.make_node("Gather", ["scales", "second"], ["length"]),
        helper.make_node("Mul", ["hold", "length"], ["held"]),
        helper.make_node("Cast", ["held"], ["count"], to=TensorProto.INT64),
        helper.make_node("Concat", ["one", "input_lengths", "count"], ["shape"], axis=0),
        helper.make_node("Expand", ["column", "shape"], ["steps"]),  # (1, t, count)
        helper.make_node("RandomNormalLike", ["steps"], ["normal"]),
        helper.make_node("Gather", ["scales", "first"], ["loudness"]),
        helper.make_node("Mul", ["normal", "loudness"], ["noise"]),
        helper.make_node("Gather", ["scales", "third"], ["wobble"]),
        helper.make_node("Mul", ["noise", "wobble"], ["wobbled"]),
        helper.make_node("Add", ["steps", "wobbled"], ["sound" if num_speakers > 1 else "flat"]),
    ]
    if num_speakers > 1:
        nodes += [
            helper.make_node("Cast", ["sid"], ["number"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["number", "levels"], ["speaker"]),
            helper.make_node("Add", ["sound", "speaker"], ["flat"]),
        ]
    nodes += [
        helper.make_node(
            "Constant", [], ["row"], value=helper.make_tensor("row", TensorProto.INT64, [4], [1, 1, 1, -1])
        ),
        helper.make_node("Reshape", ["flat", "row"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info(name, kind, None) for name, kind in inputs],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    settings = {
        "audio": {"sample_rate": RATE, "quality": "toy"},
        "espeak": {"voice": "en-us"},
        "inference": {"noise_scale": 0.5, "length_scale": 1, "noise_w": 0.5},
        "phoneme_type": "espeak",
        "phoneme_map": {},
        "phoneme_id_map": IDS,
        "num_symbols": 256,
        "num_speakers": num_speakers,
        **changes,
    }
    file = folder / "toy.onnx"
    onnx.save(model, str(file))
    Path(f"{file}.json").write_text(json.dumps(settings), encoding="utf-8")
    return str(file)


class PiperContract(TextDecoderContract):
    """A voice of two speakers."""

    other_options: ClassVar[Mapping[str, Any]] = {"speaker": 1, "speed": 2.0}

    def toy_checkpoint(self, folder: Path) -> str:
        """Its .onnx file."""
        try:
            return save_voice(folder, num_speakers=2)
        except ImportError:
            raise DoesNotApply("onnx is not installed, which makes the toy voice: pip install onnx") from None
