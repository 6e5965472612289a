"""Answers that hold items: all at once, or chunk by chunk as they are generated."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..core.conversation import Conversation
from ..errors import KitError, near
from ..features.item_codes import ItemCodes
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..processing.encoded import Encoded
from ..processing.processor import TinyLlavaProcessor
from .generation_options import ends_of, options_for
from .items_of_words import ItemsOfWords
from .reply import Reply, parallel_ids, until_end, whole_reply
from .segments import Show
from .streaming import AnswerStream


@torch.no_grad()
def replies(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    conversations: Sequence[Conversation],
    *,
    force: Collection[str] = (),
    forbid: Collection[str] = (),
    max_new_tokens: int | None = None,
    **generation: Any,
) -> list[Reply]:
    """The model's answer to each conversation with its items, greedy unless `generation` says otherwise.

    Args:
        force: modalities whose items an answer must hold. One that a decoder makes of words is made of the whole
            answer, when it is complete; of an answer without a word there is none.
        forbid: modalities whose items it must not hold.
        max_new_tokens: see `answering.answer`; the ids that the LLM writes for items count.

    Raises:
        KitError: a modality that the model does not make; see also `answering.answer`.
    """
    encoded, batch, options = _prepared(model, processor, conversations, force, forbid, max_new_tokens, generation)
    chosen: list[Tensor] = []
    ids = model.generate(**batch, parallel=chosen, **options)[:, batch["input_ids"].shape[1] :]  # (B, new)
    generated = []
    ends = ends_of(model, options)
    prompts = [prompt for prompt in encoded for _ in range(len(ids) // len(encoded))]  # several answers to each
    for prompt, row, parallel in zip(prompts, ids.tolist(), parallel_ids(processor, ids, chosen), strict=True):
        words = until_end(row, ends)
        said = whole_reply(model, processor, row[: len(words) + 1], parallel)
        made = ItemsOfWords(model, processor, prompt, words, parallel, options)
        generated.append(Reply((*said.parts, *made.items(force, said.text))))
    return generated


def reply(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    conversation: Conversation,
    show: Show,
    **how: Any,
) -> Reply:
    """As `replies`, of one conversation: `show` gets text and chunks of items while the answer is generated.

    The chunks of an item, joined by its modality, are the item of the reply.
    """
    return stream_answer(model, processor, conversation, **how).run(show)


def stream_answer(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    conversation: Conversation,
    *,
    force: Collection[str] = (),
    forbid: Collection[str] = (),
    max_new_tokens: int | None = None,
    **generation: Any,
) -> AnswerStream:
    """As `replies`, of one conversation, to be generated when it is iterated: text and chunks of items as they come.

    It may be read in one thread and stopped from another, see `AnswerStream`.
    """
    (prompt,), batch, options = _prepared(model, processor, [conversation], force, forbid, max_new_tokens, generation)
    return AnswerStream(model, processor, prompt, batch, options, force=force)


def check_generated(modalities: Iterable[str], decoders: Mapping[str, Any] | nn.ModuleDict) -> None:
    """Check that a model with these decoders generates items of the modalities.

    Raises:
        KitError: one of them is not what a model with these decoders makes.
    """
    for modality in modalities:
        if not decoders:
            raise KitError(
                f"the model answers in words alone; for {modality!r} assemble it with --decoder {modality}=NAME"
            )
        if modality not in decoders:
            raise KitError(f"the model does not make {modality!r}; {near(modality, decoders)}")


def _prepared(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    conversations: Sequence[Conversation],
    force: Collection[str],
    forbid: Collection[str],
    max_new_tokens: int | None,
    generation: dict[str, Any],
) -> tuple[list[Encoded], Any, dict[str, Any]]:
    """The conversations, their batch, and the options of `generate`."""
    check_generated((*force, *forbid), model.decoders)
    codes = ItemCodes(model, processor)
    encoded = [processor.encode(conversation, answer=True, writer=codes) for conversation in conversations]
    batch = processor.collate(encoded, padding_side="left").to(model.device)
    written = {
        "force": [modality for modality in force if modality in processor.writes],
        "forbid": [modality for modality in forbid if modality in processor.writes],
    }
    length = batch["input_ids"].shape[1]
    return encoded, batch, options_for(model, processor, length, max_new_tokens, **{**written, **generation})
