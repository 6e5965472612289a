"""Whether a model computes what another program computed with the same weights.

A reference is a safetensors file of that program's inputs and outputs: ``in.input_ids`` (B, T) int64 with -200 where
a picture stands, ``in.images`` (N, 3, H, W), perhaps ``in.attention_mask`` and ``in.labels`` (B, T); and any of
``image_features`` (N, P, D), ``inputs_embeds`` (B, T', D), ``labels`` (B, T'), ``logits`` (B, T', V) and greedy ``ids``
(B, n), each behind a prefix and a dot.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.plan import ModelInputs, Plan, plan
from ..core.spans import IGNORE_INDEX, ItemSpan, Sample, TextSpan
from ..errors import KitError
from ..model.modeling import TinyLlavaForConditionalGeneration
from .external.mapping import IMAGE_MODALITY
from .external.weights import Lazy, open_file

IMAGE_TOKEN = -200  # LLaVA's
TOLERANCE = 1e-4
OUTPUTS = ("image_features", "inputs_embeds", "labels", "logits", "ids")


@dataclass(frozen=True)
class Compared:
    """One output beside the reference's: the largest difference; of ids and labels, how many differ."""

    name: str
    shape: tuple[int, ...]
    difference: float

    @property
    def equal(self) -> bool:
        """Whether it counts as the same."""
        return self.difference <= (0 if self.name in ("labels", "ids") else TOLERANCE)


@torch.no_grad()
def compare(
    model: TinyLlavaForConditionalGeneration, file: str | os.PathLike[str], *, max_length: int | None = None
) -> list[Compared]:
    """Run the model on a reference's inputs; a row for each output that the reference has.

    Args:
        model: in float32, one whose only modality is pictures.
        file: the reference.
        max_length: positions kept of a sample.

    Raises:
        KitError: the file is no reference, or shapes differ.
    """
    stored = {name: tensor.read() for name, tensor in open_reference(file).items()}
    wanted = {name: value for name, value in ((_output(key), value) for key, value in stored.items()) if name}
    if "labels" in wanted:  # nothing predicts a first position, whatever its label
        wanted["labels"] = F.pad(wanted["labels"][:, 1:], (1, 0), value=IGNORE_INDEX)
    inputs, layout, images = lay_out(model, stored, "right", max_length)
    found: dict[str, Tensor] = {}
    if "in.images" in stored:
        found["image_features"] = model.encode(IMAGE_MODALITY, {"pixel_values": stored["in.images"]})
    items = {IMAGE_MODALITY: {"pixel_values": images}} if images is not None else {}
    embeds = model.embed(inputs["input_ids"], items, layout)
    found["inputs_embeds"] = embeds
    found["labels"] = inputs.get("labels", torch.full_like(inputs["input_ids"], IGNORE_INDEX))
    found["logits"] = model(
        inputs_embeds=embeds, attention_mask=inputs["attention_mask"], position_ids=inputs["position_ids"]
    ).logits
    if "ids" in wanted:
        found["ids"] = _greedy(model, stored, wanted["ids"].shape[1])
    return [_compare(name, found[name], wanted[name], layout) for name in OUTPUTS if name in wanted and name in found]


def open_reference(file: str | os.PathLike[str]) -> dict[str, Lazy]:
    """A reference's tensors, unread.

    Raises:
        KitError: the file is no reference.
    """
    stored = open_file(Path(file))
    if "in.input_ids" not in stored:
        raise KitError(f"{file}: not a reference: it has no in.input_ids; it has {', '.join(sorted(stored)[:8])}")
    return stored


def lay_out(
    model: TinyLlavaForConditionalGeneration, inputs: Mapping[str, Tensor], side: str, max_length: int | None = None
) -> tuple[ModelInputs, Plan, Tensor | None]:
    """LLaVA's inputs laid out, and the pictures that it has places for.

    LLaVA takes pictures in the order of the batch and one, unused, for each row without any.
    """
    ids = inputs["in.input_ids"]
    mask, labels = (inputs.get(f"in.{name}") for name in ("attention_mask", "labels"))
    images = inputs.get("in.images")
    tokens = 0
    if images is not None:
        tokens = model.encode(IMAGE_MODALITY, {"pixel_values": images[:1]}).shape[1]
    samples: list[Sample] = []
    used: list[int] = []
    at = 0
    for row in range(len(ids)):
        sample = spans_of(
            ids[row], None if labels is None else labels[row], None if mask is None else mask[row], tokens
        )
        count = sum(isinstance(span, ItemSpan) for span in sample)
        samples.append(sample)
        used += range(at, at + count)
        at += max(count, 1)
    laid_out, layout = plan(samples, padding_side=side, max_length=max_length)
    kept = [used[item.index] for item in layout.kept(IMAGE_MODALITY)]
    if not kept:
        return laid_out, layout, None
    if images is None or max(kept) >= len(images):
        raise KitError(f"the reference has {0 if images is None else len(images)} picture(s), its ids ask for more")
    return laid_out, layout, images[kept]


def spans_of(ids: Tensor, labels: Tensor | None, mask: Tensor | None, num_tokens: int) -> Sample:
    """One row (T,) of LLaVA's ids as spans; positions that the mask leaves out are gone."""
    spans: list[TextSpan | ItemSpan] = []
    text: list[int] = []
    learned: list[int] = []

    def flush() -> None:
        if text:
            spans.append(TextSpan(list(text), list(learned) if labels is not None else None))
            text.clear()
            learned.clear()

    for position, token in enumerate(ids.tolist()):
        if mask is not None and not bool(mask[position]):
            continue
        if token == IMAGE_TOKEN:
            flush()
            spans.append(ItemSpan(IMAGE_MODALITY, num_tokens))
        else:
            text.append(token)
            learned.append(IGNORE_INDEX if labels is None else int(labels[position]))
    flush()
    return spans


def rows_of(compared: Sequence[Compared]) -> list[list[str]]:
    """A table for people, the head first."""
    table = [["OUTPUT", "SHAPE", "LARGEST DIFFERENCE", "VERDICT"]]
    for row in compared:
        many = row.name in ("labels", "ids")
        amount = f"{row.difference:.0f} differ" if many else f"{row.difference:.1e}"
        table.append([row.name, "x".join(map(str, row.shape)), amount, "same" if row.equal else "DIFFERENT"])
    return table


def _output(key: str) -> str:
    prefix, _, name = key.partition(".")
    return name if prefix != "in" and name in OUTPUTS else ""


def _greedy(model: TinyLlavaForConditionalGeneration, inputs: Mapping[str, Tensor], count: int) -> Tensor:
    laid_out, layout, images = lay_out(model, inputs, "left")
    items = {IMAGE_MODALITY: {"pixel_values": images}} if images is not None else {}
    ids = model.generate(
        input_ids=laid_out["input_ids"],
        attention_mask=laid_out["attention_mask"],
        items=items,
        plan=layout,
        do_sample=False,
        max_new_tokens=count,
    )
    return ids[:, layout.shape[1] :]


def _compare(name: str, ours: Tensor, theirs: Tensor, layout: Plan) -> Compared:
    if ours.shape != theirs.shape:
        raise KitError(f"{name}: shape {tuple(ours.shape)}, the reference has {tuple(theirs.shape)}")
    if name in ("labels", "ids"):
        return Compared(name, tuple(ours.shape), float((ours != theirs).sum()))
    if name == "logits":
        real = layout.attention_mask.bool()
        ours, theirs = ours[real], theirs[real]
    away = (ours.float() - theirs.float()).abs()
    return Compared(name, tuple(ours.shape), float(away.max()) if away.numel() else 0.0)
