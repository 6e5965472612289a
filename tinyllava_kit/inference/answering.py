"""Answers: a conversation in, text out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from transformers import GenerationConfig, TextStreamer

from ..core.conversation import ITEM, Conversation, Item, Turn, check_reads, split_placeholders
from ..errors import KitError
from ..files.printable import printable
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..processing.processor import TinyLlavaProcessor

NEW_TOKENS = 256  # of an answer, where nobody says how many

# What an answer needs of generation_config.json: its tokens, and whether the LLM has a cache. All else is taste.
_NEEDED = ("bos_token_id", "eos_token_id", "pad_token_id", "use_cache")


def question(text: str, items: Sequence[Item], processor: TinyLlavaProcessor) -> Conversation:
    """One user turn with items: at their placeholders in `text`, or in front of it where it has none.

    Raises:
        KitError: a modality the model does not read, or placeholders that are not as many as the items.
    """
    text = text.replace(ITEM, "")
    for item in items:
        check_reads(item.modality, processor.reads)
    placeholders = {spec.token.placeholder: modality for modality, spec in processor.specs.items()}
    pieces = list(split_placeholders(text, placeholders))
    wanted = [placeholders[piece] for piece in pieces if piece in placeholders]
    for modality in wanted:
        check_reads(modality, processor.reads)
    if not wanted:
        front = "".join(f"{ITEM}\n" for _ in items)
        return Conversation((Turn("user", front + text),), tuple(items), "question")
    ordered = []
    for modality, placeholder in ((m, s.token.placeholder) for m, s in processor.specs.items()):
        given = sum(item.modality == modality for item in items)
        if wanted.count(modality) != given:
            raise KitError(
                f"the question has {wanted.count(modality)} {placeholder}, {given} {modality} item(s) are given"
            )
    waiting = {m: iter([item for item in items if item.modality == m]) for m in processor.specs}
    ordered = [next(waiting[modality]) for modality in wanted]
    marked = "".join(ITEM if piece in placeholders else piece for piece in pieces)
    return Conversation((Turn("user", marked),), tuple(ordered), "question")


def with_items_read(conversation: Conversation, processor: TinyLlavaProcessor) -> Conversation:
    """The same with its items read, so that one that cannot be is known before a model is loaded.

    Raises:
        KitError: an item is missing, corrupt or of the wrong shape.
    """
    read = (replace(item, source=processor.modalities[item.modality].read(item.source)) for item in conversation.items)
    return replace(conversation, items=tuple(read))


@torch.no_grad()
def answer(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    conversations: Sequence[Conversation],
    *,
    max_new_tokens: int | None = None,
    stream: bool = False,
    **generation: Any,
) -> list[str]:
    """The model's answer to each conversation, in words alone, greedy unless `generation` says otherwise.

    The penalties and limits of the LLM's ``generation_config.json`` hold, see `without_defaults`. Answers with items
    are those of `replies`.

    Args:
        max_new_tokens: of an answer; None: `NEW_TOKENS`, or fewer where the LLM's context ends before. A number is
            refused where the LLM has no room for it.
        stream: print the answer to standard output as it is generated (one conversation).

    Raises:
        KitError: a conversation that leaves the LLM no room for an answer; see also `TinyLlavaProcessor`.
    """
    batch = processor(list(conversations), answer=True, padding_side="left").to(model.device)
    options = options_for(model, processor, batch["input_ids"].shape[1], max_new_tokens, **generation)
    streamer = _Printed(processor.tokenizer, skip_prompt=True, skip_special_tokens=True) if stream else None
    ids = model.generate(**batch, streamer=streamer, **options)  # (B, T + new)
    new = ids[:, batch["input_ids"].shape[1] :]  # (B, new)
    return [text.strip() for text in processor.batch_decode(new, skip_special_tokens=True)]


def options_for(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    length: int,
    max_new_tokens: int | None,
    **generation: Any,
) -> dict[str, Any]:
    """What `generate` is told for an answer behind `length` positions: greedy, in words, but for `generation`.

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


@contextmanager
def without_defaults(model: TinyLlavaForConditionalGeneration) -> Iterator[None]:
    """Answers that depend on the weights and on what `generate` is told, not on the LLM's ``generation_config.json``.

    It may hold penalties, biases, forced or suppressed tokens, beams, limits of time: two copies of the same weights
    would differ in what is measured of them. The tokens that end an answer stay.
    """
    own = model.generation_config
    model.generation_config = GenerationConfig(**{name: getattr(own, name, None) for name in _NEEDED})
    try:
        yield
    finally:
        model.generation_config = own


class _Printed(TextStreamer):
    """An answer for a terminal."""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        super().on_finalized_text(printable(text), stream_end)


class TextPieces(TextStreamer):
    """Gives an answer's text on at the borders of words, as it becomes certain, in place of printing it."""

    def __init__(self, tokenizer: Any, show: Callable[[str], None], *, skip_prompt: bool = False) -> None:
        super().__init__(tokenizer, skip_prompt=skip_prompt, skip_special_tokens=True)
        self.show = show

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        if text:
            self.show(text)


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
