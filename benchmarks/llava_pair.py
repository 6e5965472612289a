"""A model of ours and transformers' Llava of the same weights, and batches for both.

Legend: B rows, T positions, N pictures.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tinyllava_kit.core.plan import plan
from tinyllava_kit.core.spans import IGNORE_INDEX, ItemSpan, TextSpan
from tinyllava_kit.processing.batch import Batch
from tinyllava_kit.training.batches.packing import pack

from . import loading
from .training import MIXTURE

MODALITY = "image"
Spans = list[TextSpan | ItemSpan]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of the LLM and the tower, as transformers names them, and of the batches."""

    llm: Mapping[str, Any] = field(default_factory=lambda: loading.LLM)
    vision: Mapping[str, Any] = field(default_factory=lambda: loading.VISION)
    prompt: int = 64  # ids of a question
    new_tokens: int = 128
    samples: int = 16  # that are trained on
    longest: int = 2048
    batch: int = 4  # padded samples; half as many packed rows

    @property
    def patches(self) -> int:
        """Rows of a picture."""
        return (self.vision["image_size"] // self.vision["patch_size"]) ** 2

    @property
    def image_id(self) -> int:
        """The placeholder of Llava's prompts."""
        return self.llm["vocab_size"] - 1


def save_pair(place: Path, sizes: Sizes) -> tuple[Path, Path]:
    """Both as directories, with random weights in bf16: (ours, Llava's)."""
    llava, ours = place / "llava", place / "ours"
    loading.save_llava(llava, loading.llava_config(sizes.llm, sizes.vision))
    loading.convert_llava(llava, ours)
    return ours, llava


def opened(kind: type[Any], directory: Path, device: torch.device, **how: Any) -> Any:
    """A model on the device, whose answers have their full length."""
    model = kind.from_pretrained(directory, trust_remote_code=False, **{"dtype": torch.bfloat16, **how})
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    return model.eval() if "quantization_config" in how else model.eval().to(device)


def question(sizes: Sizes, device: torch.device, dtype: torch.dtype) -> tuple[dict[str, Any], dict[str, Any]]:
    """A picture and a question: what our model takes, and what Llava takes."""
    ids = _ids(random.Random(0), sizes.prompt, sizes)
    inputs, layout = plan([[TextSpan(ids[:4]), ItemSpan(MODALITY, sizes.patches), TextSpan(ids[4:])]])
    pixels = _pictures(1, sizes, device, dtype)
    mine = Batch({**inputs, "plan": layout, "items": {MODALITY: {"pixel_values": pixels}}}).to(device)
    theirs = (
        inputs["input_ids"].flatten().index_fill(0, layout.item_positions[MODALITY], sizes.image_id)[None].to(device)
    )
    return dict(mine), {"input_ids": theirs, "attention_mask": torch.ones_like(theirs), "pixel_values": pixels}


def samples_of_mixture(sizes: Sizes) -> list[Spans]:
    """Conversations whose lengths are spread as those of LLaVA's instruction mixture are, see `training`."""
    draw = random.Random(0)
    found = []
    for _, turns, asked, answered, has_picture in draw.choices(MIXTURE, [kind[0] for kind in MIXTURE], k=sizes.samples):
        spans: Spans = [ItemSpan(MODALITY, sizes.patches)] if has_picture else []
        for _ in range(turns):
            spans.append(TextSpan(_ids(draw, _about(draw, asked), sizes)))
            answer = _ids(draw, _about(draw, answered), sizes)
            spans.append(TextSpan(answer, answer))
        found.append(spans)
    return found


def padded(samples: Sequence[Spans], sizes: Sizes, device: torch.device, dtype: torch.dtype) -> list[dict[str, Any]]:
    """Batches of so many samples, each a row."""
    cuts = range(0, len(samples), sizes.batch)
    return [_batch(samples[cut : cut + sizes.batch], None, sizes, device, dtype) for cut in cuts]


def packed(samples: Sequence[Spans], sizes: Sizes, device: torch.device, dtype: torch.dtype) -> list[dict[str, Any]]:
    """The same samples in full rows, half as many rows a batch."""
    rows = pack([min(_length(sample), sizes.longest) for sample in samples], sizes.longest)
    step = max(1, sizes.batch // 2)
    return [
        _batch([samples[n] for row in some for n in row], [len(row) for row in some], sizes, device, dtype)
        for some in (rows[cut : cut + step] for cut in range(0, len(rows), step))
    ]


def num_targets(batches: Sequence[Mapping[str, Any]]) -> int:
    """Target tokens of all batches."""
    return sum(int((batch["labels"] != IGNORE_INDEX).sum()) for batch in batches)


def _batch(
    samples: Sequence[Spans], packs: Sequence[int] | None, sizes: Sizes, device: torch.device, dtype: torch.dtype
) -> dict[str, Any]:
    inputs, layout = plan(samples, packs=packs, max_length=sizes.longest)
    count = sum(isinstance(span, ItemSpan) for sample in samples for span in sample)
    items = {MODALITY: {"pixel_values": _pictures(count, sizes, device, dtype)}} if count else {}
    return dict(Batch({**inputs, "plan": layout, "items": items}).to(device))


def _pictures(count: int, sizes: Sizes, device: torch.device, dtype: torch.dtype) -> Tensor:
    side = sizes.vision["image_size"]
    made = torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))  # (N, 3, H, W)
    return made.to(device, dtype)


def _ids(draw: random.Random, count: int, sizes: Sizes) -> list[int]:
    return [draw.randrange(8, sizes.image_id) for _ in range(count)]


def _about(draw: random.Random, mean: int) -> int:
    return max(1, round(draw.lognormvariate(0, 0.6) * mean))


def _length(sample: Spans) -> int:
    return sum(span.num_tokens if isinstance(span, ItemSpan) else len(span.ids) for span in sample)
