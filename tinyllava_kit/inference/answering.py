"""Answers: a conversation in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import TextStreamer

from ..core.conversation import ITEM, Conversation, Item, Turn, split_placeholders
from ..core.errors import KitError
from ..core.modeling import TinyLlavaForConditionalGeneration
from ..core.processing import TinyLlavaProcessor


def question(text: str, items: Sequence[Item], processor: TinyLlavaProcessor) -> Conversation:
    """One user turn with items: at their placeholders in `text`, or in front of it where it has none.

    Raises:
        KitError: a modality the model does not read, or placeholders that are not as many as the items.
    """
    text = text.replace(ITEM, "")
    for item in items:
        if item.modality not in processor.specs:
            reads = ", ".join(processor.specs) or "text only"
            raise KitError(f"the model does not read {item.modality!r}; it reads {reads}")
    placeholders = {spec.token.placeholder: modality for modality, spec in processor.specs.items()}
    pieces = list(split_placeholders(text, placeholders))
    wanted = [placeholders[piece] for piece in pieces if piece in placeholders]
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


@torch.no_grad()
def answer(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    conversations: Sequence[Conversation],
    *,
    max_new_tokens: int = 128,
    stream: bool = False,
    **generation: Any,
) -> list[str]:
    """The model's answer to each conversation, greedy unless `generation` says otherwise.

    Args:
        stream: print the answer to standard output as it is generated (one conversation).

    Raises:
        KitError: a conversation that leaves the LLM no room for an answer; see also `TinyLlavaProcessor`.
    """
    batch = processor(list(conversations), answer=True, padding_side="left").to(model.device)
    _check_room(model, batch["input_ids"].shape[1], max_new_tokens)
    streamer = TextStreamer(processor.tokenizer, skip_prompt=True, skip_special_tokens=True) if stream else None
    options = {"do_sample": False, "max_new_tokens": max_new_tokens, "pad_token_id": processor.pad_id, **generation}
    ids = model.generate(**batch, streamer=streamer, **options)  # (B, T + new)
    new = ids[:, batch["input_ids"].shape[1] :]  # (B, new)
    return [text.strip() for text in processor.batch_decode(new, skip_special_tokens=True)]


def _check_room(model: TinyLlavaForConditionalGeneration, length: int, max_new_tokens: int) -> None:
    room = getattr(model.config.text_config, "max_position_embeddings", None)
    if room is not None and length + max_new_tokens > room:
        raise KitError(
            f"the conversation takes {length} positions, its items included, and the answer up to {max_new_tokens}; "
            f"the LLM has {room}: give fewer or shorter items, or a smaller --max-new-tokens"
        )
