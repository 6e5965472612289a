"""Controls: the same conversations with their items taken away, exchanged or made to say nothing.

A figure means something beside the same figure under a control: what a model reaches without hearing or seeing is
not heard or seen.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from ..core.conversation import ITEM, Conversation, Item, Turn
from ..core.interfaces import Modality
from ..errors import KitError, near

Control = Literal["as given", "without items", "shuffled items", "blank items"]
CONTROLS: tuple[Control, ...] = ("as given", "without items", "shuffled items", "blank items")


def controlled(
    conversations: Sequence[Conversation], control: Control, modalities: Mapping[str, Modality], *, seed: int = 0
) -> Iterator[Conversation]:
    """The conversations under a control, in order, each made when asked for.

    Args:
        conversations: they are not changed.
        control: ``as given``: no change. ``without items``: every item is taken out, and its place in the text with
            it. ``shuffled items``: every item becomes another of its modality, from a source that the conversation
            does not have; equal sources become the same other one. ``blank items``: every item becomes the
            modality's `blank` of the same size.
        modalities: name -> modality; those of the processor.
        seed: of the shuffle.

    Raises:
        KitError: an unknown control; no other item to exchange one for; a modality without a blank item.
    """
    if control == "as given":
        return iter(conversations)
    if control == "without items":
        return map(_without_items, conversations)
    if control == "shuffled items":
        return _shuffled(conversations, seed)
    if control == "blank items":
        return (_blank(conversation, modalities) for conversation in conversations)
    raise KitError(f"unknown control {control!r}; {near(control, CONTROLS)}")


def content_key(conversation: Conversation) -> Hashable:
    """Equal for conversations that say the same about the same items: those without, or with items that say nothing."""
    turns = tuple((turn.role, turn.text) for turn in conversation.turns)
    return turns, tuple((item.modality, _content(item.source)) for item in conversation.items)


def refused(conversations: Sequence[Conversation], modalities: Mapping[str, Modality]) -> dict[Control, str]:
    """The controls that these conversations cannot have, each with the reason; nothing is read for it."""
    items = [item for conversation in conversations for item in conversation.items]
    if not items:
        return dict.fromkeys(CONTROLS[1:], "no row has an item")
    reasons: dict[Control, str] = {}
    try:
        for _ in _shuffled(conversations, seed=0):
            pass
    except KitError as error:
        reasons["shuffled items"] = str(error).partition(";")[0]
    without = sorted({item.modality for item in items if type(modalities[item.modality]).blank is Modality.blank})
    if without:
        reasons["blank items"] = f"{' and '.join(without)} has no blank item"
    return reasons


def _without_items(conversation: Conversation) -> Conversation:
    """No item, and no line that held nothing else."""
    turns = tuple(Turn(t.role, re.sub(f"{ITEM}\n|\n?{ITEM}", "", t.text)) for t in conversation.turns)
    return replace(conversation, turns=turns, items=())


def _shuffled(conversations: Sequence[Conversation], seed: int) -> Iterator[Conversation]:
    """Each item's place is taken by the next in a seeded order of all sources of its modality."""
    order = _order(item for conversation in conversations for item in conversation.items)
    for items in order.values():
        random.Random(seed).shuffle(items)
    places = {item.key: place for items in order.values() for place, item in enumerate(items)}
    for conversation in conversations:
        own = {item.key for item in conversation.items}
        others = []
        for item in conversation.items:
            known, place = order[item.modality], places[item.key]
            following = (known[(place + step) % len(known)] for step in range(1, len(known)))
            other = next((candidate for candidate in following if candidate.key not in own), None)
            if other is None:
                raise KitError(
                    f"{conversation.name}: the data have no other {item.modality} item to exchange its own "
                    "for; leave the control 'shuffled items' out, or give rows with other items"
                )
            others.append(other)
        yield replace(conversation, items=tuple(others))


def _order(items: Iterable[Item]) -> dict[str, list[Item]]:
    """The items of each modality, one of each source, in order."""
    found: dict[str, dict[tuple[str, object], Item]] = {}
    for item in items:
        found.setdefault(item.modality, {}).setdefault(item.key, item)
    return {modality: list(known.values()) for modality, known in found.items()}


def _blank(conversation: Conversation, modalities: Mapping[str, Modality]) -> Conversation:
    items = []
    for item in conversation.items:
        modality = modalities[item.modality]
        items.append(Item(item.modality, modality.blank(modality.read(item.source))))
    return replace(conversation, items=tuple(items))


def _content(source: object) -> Hashable:
    """A file's name; of anything else, what it holds."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    return hashlib.sha256(pickle.dumps(source)).digest()
