"""The options of `generate` for an answer: by default greedy, in words, as long as there is room."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import KitError
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..processing.processor import TinyLlavaProcessor

NEW_TOKENS = 256  # of an answer, where nobody says how many


def options_for(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    length: int,
    max_new_tokens: int | None,
    **generation: Any,
) -> dict[str, Any]:
    """The options of `generate` for an answer after `length` positions: greedy, in words, but for `generation`.

    Raises:
        KitError: no room for the answer, see `room_for`.
    """
    return {
        "do_sample": False,
        "num_beams": 1,
        "max_new_tokens": room_for(model, length, max_new_tokens),
        "pad_token_id": processor.pad_id,
        "forbid": sorted(processor.writes),
        **generation,
    }


def room_for(model: TinyLlavaForConditionalGeneration, length: int, max_new_tokens: int | None) -> int:
    """How many tokens an answer may have behind `length` positions.

    Raises:
        KitError: none, or fewer than are wanted.
    """
    room = getattr(model.config.text_config, "max_position_embeddings", None)
    left = NEW_TOKENS if room is None else room - length
    if left < 1:
        raise KitError(
            f"the conversation takes {length} positions, its items included, and leaves no room for an answer; the LLM "
            f"has {room}: give fewer or shorter items, or a shorter question"
        )
    if max_new_tokens is None:
        return min(NEW_TOKENS, left)
    if room is not None and max_new_tokens > left:
        raise KitError(
            f"the conversation takes {length} positions, its items included, and the answer up to {max_new_tokens}; "
            f"the LLM has {room}: give fewer or shorter items, or a --max-new-tokens of {left} at most"
        )
    return max_new_tokens


def ends_of(model: TinyLlavaForConditionalGeneration, options: Mapping[str, Any]) -> set[int]:
    """The ids that end an answer."""
    ends = options.get("eos_token_id", model.generation_config.eos_token_id)
    return {ends} if isinstance(ends, int) else set(ends or ())
