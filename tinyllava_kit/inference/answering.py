"""Answers: a conversation in, text out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from transformers import GenerationConfig

from ..core.conversation import ITEM, Conversation, Item, Turn, check_reads, split_placeholders
from ..errors import KitError
from ..files.printable import printable
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..processing.processor import TinyLlavaProcessor
from .replies import replies, reply
from .segments import AnswerPart

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
    read = (replace(item, source=processor.read_source(item)) for item in conversation.items)
    return replace(conversation, items=tuple(read))


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
        max_new_tokens: of an answer; None: 256, or fewer where the LLM's context ends before. A number is
            refused where the LLM has no room for it.
        stream: print the answer to standard output as it is generated (one conversation).

    Raises:
        KitError: a conversation that leaves the LLM no room for an answer; see also `TinyLlavaProcessor`.
    """
    how = {"forbid": sorted(processor.writes), "max_new_tokens": max_new_tokens, **generation}
    if stream:
        (conversation,) = conversations
        said = [reply(model, processor, conversation, _print, **how)]
        print(flush=True)
    else:
        said = replies(model, processor, conversations, **how)
    return [each.text for each in said]


def _print(part: AnswerPart) -> None:
    print(printable(str(part)), end="", flush=True)


@contextmanager
def without_defaults(model: TinyLlavaForConditionalGeneration) -> Iterator[None]:
    """Answers that depend on the weights and on the options of `generate`, not on the LLM's ``generation_config.json``.

    It may hold penalties, biases, forced or suppressed tokens, beams, limits of time: two copies of the same weights
    would give different figures. The tokens that end an answer stay.
    """
    own = model.generation_config
    needed = {name: getattr(own, name, None) for name in _NEEDED}
    model.generation_config = GenerationConfig(**needed)
    try:
        yield
    finally:
        model.generation_config = own
