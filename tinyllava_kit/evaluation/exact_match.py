"""Exact match over rows with one answer each, with the controls that make the figure mean something."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..core.conversation import ITEM, Conversation, Turn
from ..core.modeling import TinyLlavaForConditionalGeneration
from ..core.processing import TinyLlavaProcessor
from ..inference.answering import answer

Control = Literal["as given", "without items", "shuffled items"]
CONTROLS: tuple[Control, ...] = ("as given", "without items", "shuffled items")


@dataclass(frozen=True)
class Judged:
    """One row: what was asked, the truth, what the model said."""

    name: str
    question: str
    truth: str
    said: str

    @property
    def right(self) -> bool:
        return normal(self.said) == normal(self.truth)


def normal(text: str) -> str:
    """Lower case, one space between words, no full stop at the end."""
    return " ".join(text.lower().split()).rstrip(".")


def exact_match(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    conversations: Sequence[Conversation],
    *,
    control: Control = "as given",
    batch_size: int = 32,
    max_new_tokens: int = 8,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Judged]:
    """Ask for the last assistant turn of each conversation and compare.

    ``without items`` takes every item out of the text; ``shuffled items`` gives each row the items of
    another (a rotation of a seeded shuffle over rows with items, so that none keeps its own).
    """
    asked = [
        _controlled(c, other, control) for c, other in zip(conversations, _others(conversations, seed), strict=True)
    ]
    judged = []
    for start in range(0, len(asked), batch_size):
        part = asked[start : start + batch_size]
        said = answer(model, processor, [_prompt(c) for c in part], max_new_tokens=max_new_tokens)
        judged += [_judge(c, text) for c, text in zip(part, said, strict=True)]
        progress(len(judged), len(asked))
    return judged


def accuracy(judged: Sequence[Judged]) -> float:
    """The share of right answers; 0 of none."""
    return sum(j.right for j in judged) / max(len(judged), 1)


def _others(conversations: Sequence[Conversation], seed: int) -> list[Conversation]:
    """For each conversation another with other items of the same modalities, where there is one."""
    order = list(range(len(conversations)))
    random.Random(seed).shuffle(order)
    kind = lambda c: [item.modality for item in c.items]  # noqa: E731
    source = lambda c: [item.source for item in c.items]  # noqa: E731
    others = list(conversations)
    for place, index in enumerate(order):
        mine = conversations[index]
        candidates = (conversations[order[(place + step) % len(order)]] for step in range(1, len(order)))
        others[index] = next((c for c in candidates if kind(c) == kind(mine) and source(c) != source(mine)), mine)
    return others


def _controlled(conversation: Conversation, other: Conversation, control: Control) -> Conversation:
    if control == "without items":
        turns = tuple(Turn(t.role, t.text.replace(ITEM + "\n", "").replace(ITEM, "")) for t in conversation.turns)
        return replace(conversation, turns=turns, items=())
    return replace(conversation, items=other.items) if control == "shuffled items" else conversation


def _prompt(conversation: Conversation) -> Conversation:
    return replace(conversation, turns=conversation.turns[:-1])


def _judge(conversation: Conversation, said: str) -> Judged:
    *_, asked, truth = conversation.turns
    return Judged(conversation.name, asked.text.replace(ITEM, "").strip(), truth.text, said)
