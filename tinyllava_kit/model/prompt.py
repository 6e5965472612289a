"""The prompt of an answer: which ways of generating take one with items, and what logits processors see of it.

Legend: B samples, b rows that are generated (beams and several answers among them), T positions of the prompt, t of the
prompt and of the answer so far, V ids in all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.generation import (
    EncoderNoRepeatNGramLogitsProcessor,
    EncoderRepetitionPenaltyLogitsProcessor,
    GenerationMode,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
)
from transformers.utils import is_hqq_available, is_optimum_quanto_available

from ..core.ids import NO_ID
from ..core.plan import Plan
from ..errors import FusionError, KitError
from ..pretrained.cache_name import CACHE

_MODES = (
    GenerationMode.GREEDY_SEARCH,
    GenerationMode.SAMPLE,
    GenerationMode.BEAM_SEARCH,
    GenerationMode.BEAM_SAMPLE,
)
# Those that compare ids with one another, and take any number for one.
_COMPARING = (
    RepetitionPenaltyLogitsProcessor,
    EncoderRepetitionPenaltyLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    EncoderNoRepeatNGramLogitsProcessor,
    SequenceBiasLogitsProcessor,
)
# Backends of quantized caches -> their package, and whether it is installed.
_QUANTIZING = {"quanto": ("optimum-quanto", is_optimum_quanto_available), "hqq": ("hqq", is_hqq_available)}


def check_way(settings: Any, options: Mapping[str, Any], *, has_items: bool) -> None:
    """Check that the model can generate in the way that the settings ask for.

    Args:
        settings: what `generate` makes of its `options`.

    Raises:
        KitError: a way to generate that the model does not know, or one that reads the prompt as ids, which items
            do not have.
    """
    if settings.assistant_early_exit is not None or settings.cache_implementation == "paged":
        name = "cache_implementation='paged'" if settings.assistant_early_exit is None else "assistant_early_exit"
        raise KitError(f"{name} cannot be used with this model: it runs towers and an LLM, not one stack; leave it out")
    if not has_items:
        return
    mode = settings.get_generation_mode(options.get("assistant_model"))
    found = [name for name in ("prefill_chunk_size", "token_healing") if getattr(settings, name)]
    found += ["custom_generate"] if options.get("custom_generate") is not None else []
    found += [str(mode.value).replace("_", " ")] if mode not in _MODES else []
    if found:
        raise KitError(
            f"{found[0]} cannot be used with items: it reads the prompt as ids, and an item has none; leave it out, or "
            "generate greedily, by sampling or with beams"
        )


def check_cache_kind(settings: Any, device: torch.device) -> None:
    """Check that the kind of key-value cache in the settings works on the device.

    Args:
        settings: as `check_way`. device: of the model.

    Raises:
        KitError: a cache of keys and values that needs an accelerator, or a package that is not installed.
    """
    kind = settings.cache_implementation
    if kind is not None and "offloaded" in kind and device.type == "cpu":
        raise KitError(
            f"cache_implementation={kind!r} cannot be used on a CPU: it moves the cache from an accelerator to the "
            "CPU's memory, where it is already; leave it out"
        )
    backend = (settings.cache_config or {}).get("backend", "quanto") if kind == "quantized" else ""
    package, there = _QUANTIZING.get(backend, ("", None))
    if there is not None and not there():
        raise KitError(
            f"cache_implementation='quantized' needs {package}, which is not installed: pip install {package}, or "
            "leave it out"
        )


def check_cache(cache: Any, plan: Plan) -> None:
    """Check that a given key-value cache leaves positions of the plan to compute.

    Raises:
        FusionError: a cache of keys and values holds all that the plan lays out, or more.
    """
    held = 0 if cache is None else int(cache.get_seq_length())
    _, length = plan.shape
    if held >= length > 0:
        raise FusionError(
            f"{CACHE}: {held} positions are held, and the plan lays out {length}: at least one must be new; give "
            f"the batch of the whole conversation, with the answer so far, or leave {CACHE} out"
        )


class PromptText(LogitsProcessor):
    """The ids (B, T) of a prompt, NO_ID where there is no text; changes no score. the model finds it among others."""

    def __init__(self, ids: Tensor) -> None:
        self.ids = ids

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores


def prompt_text(ids: Tensor | None, plan: Plan | None) -> list[PromptText]:
    """What of a prompt's ids (B, T) is text, by its plan; nothing where all of it is, or there is no plan."""
    if ids is None or plan is None or not ids.numel():
        return []
    rows = plan.text_positions.to(ids.device)  # (n,)
    nothing = torch.full_like(ids, NO_ID).flatten()  # (B*T,)
    text = nothing.index_copy(0, rows, ids.flatten().index_select(0, rows)).view_as(ids)  # (B, T)
    return [PromptText(text)] if bool((text == NO_ID).any()) else []


def text_by_mask(ids: Tensor | None, attention_mask: Any) -> Tensor | None:
    """A prompt's ids (B, T) with NO_ID at what the mask (b, T) of all its rows hides; None where it hides nothing.

    transformers makes the mask of the padding where none is given.
    """
    if ids is None or ids.is_floating_point() or getattr(attention_mask, "ndim", 0) != 2 or not ids.numel():
        return None
    mask = attention_mask[:: len(attention_mask) // len(ids), -ids.shape[1] :]  # (B, T)
    return ids.masked_fill(mask == 0, NO_ID) if bool((mask == 0).any()) else None


class TextOnly(LogitsProcessorList):
    """Logits processors that count text alone as words: neither positions of items nor padding.

    Those that compare ids with one another get another id at each such position, behind the vocabulary, whose score
    is dropped. Others, which may have tables of the vocabulary's length, get the first id of the row's text again.

    Args:
        text: (B, T), see `PromptText`.
        num_ids: the model's ids, V.
    """

    def __init__(self, processors: LogitsProcessorList, text: Tensor, num_ids: int) -> None:
        super().__init__(processors)
        self.apart = apart(text, num_ids)  # (B, T)
        first = (text != NO_ID).int().argmax(1, keepdim=True)  # (B, 1)
        self.again = torch.where(text == NO_ID, text.gather(1, first).clamp(min=0), text)  # (B, T)

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        """(b, t), (b, V) -> (b, V)."""
        length, width = self.apart.shape[1], scores.shape[1]
        apart, again = (self._followed(each, input_ids) for each in (self.apart, self.again))  # (b, t)
        for processor in self:
            alone: Any = LogitsProcessorList([processor])
            if isinstance(processor, _COMPARING):
                scores = alone(apart, F.pad(scores, (0, length)), **kwargs)[:, :width]  # (b, V)
            else:
                scores = alone(again, scores, **kwargs)  # (b, V)
        return scores

    @staticmethod
    def _followed(prompt: Tensor, input_ids: Tensor) -> Tensor:
        """The prompt (B, T) of each row, and what was written behind it in `input_ids`, (b, t)."""
        repeated = prompt.repeat_interleave(len(input_ids) // len(prompt), 0)  # (b, T)
        return torch.cat([repeated, input_ids[:, prompt.shape[1] :]], 1)  # (b, t)


def apart(text: Tensor, num_ids: int) -> Tensor:
    """Ids (B, T), another one behind all `num_ids` at each position that has none."""
    places = torch.arange(text.shape[1], device=text.device)  # (T,)
    return torch.where(text == NO_ID, num_ids + places, text)  # (B, T)
