"""Golden models: TinyLLaVA_Factory's weights in our classes, and its inputs as spans."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from tinyllava_kit.checkpoints.factory import convert_config, convert_state
from tinyllava_kit.core.checkpoint import load_state
from tinyllava_kit.core.fusion import IGNORE_INDEX, ItemSpan, TextSpan
from tinyllava_kit.core.modeling import TinyLlavaForConditionalGeneration

GOLDEN = Path(__file__).parent / "golden"
IMAGE_TOKEN = -200
CASES = sorted(path.parent.name for path in GOLDEN.glob("tinyllama_*/params.safetensors"))
# The sizes of the toy bert-base whose configuration the Factory's Q-Former was built from.
TOY_BERT = {"num_layers": 4, "hidden_dim": 48, "num_heads": 4, "mlp_dim": 96}


def golden_model(case: str) -> TinyLlavaForConditionalGeneration:
    old = json.loads((GOLDEN / case / "config.json").read_text())
    config = convert_config(old)
    if old["connector_type"] == "qformer":
        config.connectors["image"]["options"].update(TOY_BERT)
    model = TinyLlavaForConditionalGeneration(config)
    load_state(model, convert_state(load_file(GOLDEN / case / "params.safetensors"), config), case)
    return model.eval()


def scenario(case: str, name: str) -> tuple[dict[str, Tensor], dict]:
    folder = GOLDEN / case / "scenarios"
    return load_file(folder / f"{name}.safetensors"), json.loads((folder / f"{name}.json").read_text())


def scenario_names(prefix: str = "") -> list[str]:
    return sorted(p.stem for p in (GOLDEN / CASES[0] / "scenarios").glob(f"{prefix}*.json"))


def spans_of(ids: Tensor, labels: Tensor | None, mask: Tensor | None, num_tokens: int) -> list:
    """One row of sentinel ids as spans: masked positions are gone, as in the Factory."""
    spans: list = []
    text: list[int] = []
    learned: list[int] = []

    def flush():
        if text:
            spans.append(TextSpan(list(text), list(learned) if labels is not None else None))
            text.clear()
            learned.clear()

    for position, token in enumerate(ids.tolist()):
        if mask is not None and not bool(mask[position]):
            continue
        if token == IMAGE_TOKEN:
            flush()
            spans.append(ItemSpan("image", num_tokens))
        else:
            text.append(token)
            learned.append(IGNORE_INDEX if labels is None else int(labels[position]))
    flush()
    return spans


def largest(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape, f"{tuple(a.shape)} and {tuple(b.shape)}"
    return float((a - b).abs().max()) if a.numel() else 0.0


@torch.no_grad()
def image_rows(model: TinyLlavaForConditionalGeneration, images: Tensor) -> Tensor:
    return model.encode("image", {"pixel_values": images})
