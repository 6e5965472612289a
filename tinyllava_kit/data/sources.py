"""Where rows come from: the files that a recipe names, and how pairs of an item and its text become conversations."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ..core.conversation import split_placeholders
from ..core.errors import KitError
from ..core.specs import ModalitySpec


class Strict(BaseModel):
    """A part of a recipe: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Pairs(Strict):
    """Rows that hold an item and a text about it (a recording and its transcript, a picture and its caption).

    Each becomes a conversation: a prompt of `prompts`, taken in turn, asks about the item, the text is the answer. The
    item stands where the prompt has its modality's placeholder, or in front. `item` is the name of its column (default:
    the modality's name), `text` that of the text's. `turns`: so many pairs, drawn at random, stand in one conversation,
    which shares what a chat template writes once; a `repeat` of the source draws other ones.
    """

    modality: str
    item: str | None = None
    text: str = "text"
    prompts: tuple[str, ...] = Field(min_length=1)
    turns: int = Field(1, ge=1)


class Source(Strict):
    """A file of rows; relative names in it are taken from `root`, or from the file's own folder.

    `limit`: use the first so many rows only. `repeat`: use them so many times an epoch. `pairs`: how its rows become
    conversations, where they are none.
    """

    path: str
    root: str | None = None
    limit: int | None = Field(None, ge=1)
    repeat: int = Field(1, ge=1)
    pairs: Pairs | None = None


def ask_about(
    rows: Sequence[Mapping[str, Any]],
    pairs: Pairs,
    modalities: Mapping[str, ModalitySpec],
    *,
    name: str,
    repeat: int = 1,
) -> list[dict[str, Any]]:
    """Rows of pairs -> rows with messages; each item keeps its text.

    Args:
        name: the path of the rows' file, used in errors.

    Raises:
        KitError: a column is missing, the modality is unknown, or a prompt has its placeholder twice.
    """
    if pairs.modality not in modalities:
        raise KitError(f"pairs.modality: the model does not read {pairs.modality!r}; it reads {', '.join(modalities)}")
    placeholder = modalities[pairs.modality].token.placeholder
    for prompt in pairs.prompts:
        if prompt.count(placeholder) > 1:
            raise KitError(f"pairs.prompts: {prompt!r} has {placeholder} more than once; each pair has one item")
    asked = []
    for round_number in range(repeat):
        order = list(range(len(rows)))
        if pairs.turns > 1:
            random.Random(round_number).shuffle(order)
        for start in range(0, len(order), pairs.turns):
            messages = []
            for turn, index in enumerate(order[start : start + pairs.turns], start + round_number * len(rows)):
                prompt = pairs.prompts[turn % len(pairs.prompts)]
                messages += _asked(rows[index], prompt, pairs, placeholder, f"{name}[{index}]")
            first = rows[order[start]]
            asked.append({**({"id": first["id"]} if "id" in first else {}), "messages": messages})
    return asked


def _asked(row: Mapping[str, Any], prompt: str, pairs: Pairs, placeholder: str, where: str) -> list[dict[str, Any]]:
    column = pairs.item or pairs.modality
    for wanted in (column, pairs.text):
        if row.get(wanted) is None:
            raise KitError(f"{where}: has no {wanted!r}; it has {', '.join(map(repr, row))}: see the recipe's pairs")
    text = row[pairs.text]
    if not isinstance(text, str) or not text.strip():
        raise KitError(f"{where}: {pairs.text!r} is {text!r}; expected a text")
    item = {"type": pairs.modality, pairs.modality: row[column], "text": text}
    prompt = prompt if placeholder in prompt else f"{placeholder}\n{prompt}"
    content = [item if piece == placeholder else piece for piece in split_placeholders(prompt, [placeholder])]
    return [{"role": "user", "content": content}, {"role": "assistant", "content": text}]
