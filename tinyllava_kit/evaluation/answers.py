"""Answers of a model to held-out conversations, each beside the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from ..core.conversation import ITEM, Conversation
from ..core.errors import KitError
from ..core.modeling import TinyLlavaForConditionalGeneration
from ..core.processing import TinyLlavaProcessor
from ..inference.answering import answer
from .controls import Control, controlled


@dataclass(frozen=True)
class Judged:
    """One row: what was asked last, the truth, what the model said."""

    name: str
    question: str
    truth: str
    said: str


def answers(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    conversations: Sequence[Conversation],
    *,
    control: Control = "as given",
    batch_size: int = 32,
    max_new_tokens: int = 8,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
    **generation: Any,
) -> list[Judged]:
    """Ask for the last turn of each conversation, which is the truth.

    Args:
        control: what is done to the items first; see `controls.controlled`. `seed`: of its shuffle.
        batch_size: conversations asked at a time. `max_new_tokens`: of an answer; a longer one is cut.
        progress: called after each batch with how many are asked and how many there are.
        generation: options of ``generate``; greedy where they do not say otherwise.

    Raises:
        KitError: a conversation that does not end with an assistant's turn of text; see also `controlled`.
    """
    judged: list[Judged] = []
    waiting: Iterator[Conversation] = controlled(conversations, control, processor.modalities, seed=seed)
    while part := list(islice(waiting, batch_size)):
        prompts = [split_answer(conversation) for conversation in part]
        said = answer(model, processor, [p for p, _ in prompts], max_new_tokens=max_new_tokens, **generation)
        for (prompt, truth), text in zip(prompts, said, strict=True):
            judged.append(Judged(prompt.name, prompt.turns[-1].text.replace(ITEM, "").strip(), truth, text))
        progress(len(judged), len(conversations))
    return judged


def split_answer(conversation: Conversation) -> tuple[Conversation, str]:
    """The conversation before its last turn, and what the assistant says there.

    Raises:
        KitError: the last turn is not the assistant's, stands alone or holds an item.
    """
    turns = conversation.turns
    if len(turns) < 2 or turns[-1].role != "assistant" or ITEM in turns[-1].text:
        raise KitError(f"{conversation.name}: wants a question and, as its last turn, the assistant's answer in text")
    return replace(conversation, turns=turns[:-1]), turns[-1].text
