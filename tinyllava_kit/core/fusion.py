"""The fusion kernel: a plan made of integers, and pure functions that apply it.

`plan` lays out a batch on the CPU from token counts alone; `fuse` copies text rows and feature rows to the
places the plan names. `fuse` reads nothing back from the device: it captures as one graph.

Legend: B rows of the batch, each a sample or several packed behind one another, T positions of the longest,
D width of the LLM, n text rows, R feature rows of a modality, K streams of the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import FusionError
from .plan import Plan


def fuse(plan: Plan, text: Tensor, features: Mapping[str, Tensor]) -> Tensor:
    """Text rows and feature rows at the places of the plan; padding is zero.

    Pure, differentiable in `text` and `features`, without a host sync; device and dtype are those of `text`.

    Args:
        text: (n, D), the embeddings of the ids at ``plan.text_positions``.
        features: modality -> (R, D), what `gather_features` makes of a connector's output.

    Returns:
        (B, T, D)
    """
    batch, length = plan.shape
    places, sources = [plan.text_positions], [text]
    for modality, rows in plan.item_positions.items():
        places.append(rows)
        sources.append(features[modality].to(text.dtype))
    if torch.compiler.is_compiling():  # a compiler makes its own copies, and differentiates what it sees
        empty = text.new_zeros(batch * length, text.shape[-1])  # (B*T, D)
        out = empty.index_copy(0, torch.cat(places), torch.cat(sources))  # (B*T, D)
    else:
        out = _Place.apply(batch * length, plan.pad_positions, *places, *sources)  # (B*T, D)
    return out.view(batch, length, text.shape[-1])  # (B, T, D)


class _Place(torch.autograd.Function):
    """Rows of several sources, each at its places in one new tensor, and zero at the places of padding.

    A chain of in-place `index_copy_` has the same values, but its backward copies the whole gradient once per link;
    here each source that requires a gradient reads its own rows of it, once.
    """

    @staticmethod
    def forward(num_rows: int, pad_positions: Tensor, *places_and_sources: Tensor) -> Tensor:
        half = len(places_and_sources) // 2
        return _copy_rows(num_rows, pad_positions, places_and_sources[:half], places_and_sources[half:])  # (B*T, D)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[2 : 2 + len(inputs[2:]) // 2])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        places = ctx.saved_tensors
        wanted = ctx.needs_input_grad[-len(places) :]
        grads = [_rows_of(grad, rows) if want else None for rows, want in zip(places, wanted, strict=True)]
        return (None, None, *[None] * len(places), *grads)


def _copy_rows(num_rows: int, pad_positions: Tensor, places: Sequence[Tensor], sources: Sequence[Tensor]) -> Tensor:
    """A new tensor (num_rows, D): each source's rows at its places, zero at the places of padding.

    Autograd does not see it: through `Tensor.view` of a dtype no gradient goes.
    """
    out = sources[0].new_empty(num_rows, sources[0].shape[-1])  # (num_rows, D)
    out.index_fill_(0, pad_positions, 0.0)
    for rows, source in zip(places, sources, strict=True):
        unit = torch.complex128 if _can_widen(source) else source.dtype
        out.view(unit).index_copy_(0, rows, source.view(unit))
    return out


def _rows_of(tensor: Tensor, rows: Tensor) -> Tensor:
    """``tensor[rows]``, (R, D); `gather` on an expanded index has a faster kernel than `index_select`, and `index`."""
    return tensor.gather(0, rows[:, None].expand(-1, tensor.shape[-1]))  # (R, D)


def _can_widen(rows: Tensor) -> bool:
    """Whether rows can be copied as the widest numbers there are: on the CPU a copy is paid by the element."""
    if not (rows.is_cpu and rows.is_contiguous()):
        return False
    size, widest = rows.element_size(), torch.complex128.itemsize
    return bool(rows.shape[-1] * size % widest == 0 and rows.storage_offset() * size % widest == 0)


def gather_features(plan: Plan, modality: str, features: Tensor) -> Tensor:
    """A connector's output (N, P', D) as the rows (R, D) that the plan has places for, padding left out."""
    if modality in plan.ragged:
        item, row = plan.ragged[modality]
        return features[item, row]  # (R, D)
    return features.flatten(0, 1)  # (N*P', D)


def check_features(plan: Plan, modality: str, shape: Sequence[int]) -> None:
    """Compare the plan with the static shape (N, P', D) of what a connector made; reads nothing on the device.

    Raises:
        FusionError: another number of items, or too few rows; names the sample, the item and both numbers.
    """
    items = plan.kept(modality)
    if len(items) != shape[0]:
        raise FusionError(f"the plan has {len(items)} {modality} item(s), {shape[0]} came with the batch")
    for item in items:
        fits = item.num_tokens <= shape[1] if modality in plan.ragged else item.num_tokens == shape[1]
        if not fits:
            raise FusionError(
                f"sample {item.sample}, {modality} {item.index}: expected {item.num_tokens} rows, "
                f"the connector made {shape[1]}; num_features and num_tokens must agree with the network"
            )


def check_inputs(plan: Plan | None, items: Mapping[str, Any] | None, cache: Any, **inputs: Any) -> None:
    """Compare the plan of a batch with what comes beside it, by static shapes; reads nothing on the device.

    Args:
        cache: of keys and values, or None; an attention mask may be longer by what it holds.
        inputs: by name, those of `TinyLlavaForConditionalGeneration.forward`, or None.

    Raises:
        FusionError: one is of another shape than what the plan lays out; items that would be ignored.
    """
    text = [name for name in ("inputs_embeds", "input_ids") if inputs.get(name) is not None]
    if items and text and (plan is None or text[0] == "inputs_embeds"):
        raise FusionError(
            f"{', '.join(items)} items come with {text[0]} and would be ignored: they need the plan that says where "
            "they stand, and no inputs_embeds; give the batch as the processor made it (prompt tuning cannot; LoRA can)"
        )
    if plan is None:
        return
    for name, value in inputs.items():
        if isinstance(value, Tensor) and not (name == "attention_mask" and value.ndim != 2):
            _check_shape(plan, name, tuple(value.shape[:2]), cache)


def _check_shape(plan: Plan, name: str, shape: tuple[int, ...], cache: Any) -> None:
    """Check that an input is (B, T) as the plan lays out; the mask may include the cached positions.

    Raises:
        FusionError: see `check_inputs`.
    """
    batch, length = plan.shape
    if shape == (batch, length):
        return
    past = int(cache.get_seq_length()) if name == "attention_mask" and cache is not None else 0
    if shape != (batch, length + past):
        raise FusionError(
            f"{name} {shape} does not belong to the plan, which lays out {(batch, length)}: a plan belongs to one "
            "batch of the processor; make a new batch of the whole conversation, and put no rows in front of it "
            "(prompt tuning does; LoRA does not)"
        )
