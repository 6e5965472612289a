"""A conversation: turns of text in which items stand, made from messages or from LLaVA rows. Light."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import KitError, near
from .specs import ModalitySpec

# Where an item stands in a turn's text. No file or keyboard gives a NUL, so text cannot forge an item.
ITEM = "\x00"
# Where a text is cut before it is tokenized, so that no control token is found across the place; nothing else.
CUT = "\x01"
# What names a part's source, beside the modality itself.
SOURCE_KEYS = ("path", "url", "source")

ROLES = ("system", "user", "assistant")
# The names that LLaVA rows and OpenAI-style messages use, to ours.
_ROLE_NAMES = {"human": "user", "gpt": "assistant", **{role: role for role in ROLES}}


@dataclass(frozen=True)
class Item:
    """One item of a conversation: its modality, and where it comes from (a path, an array, a file object).

    `text`: the same in words, where they are known: what is said in a recording. `name`: the row that it stands in,
    used in errors.
    """

    modality: str
    source: Any
    text: str | None = None
    name: str = field(default="", compare=False)


@dataclass(frozen=True)
class Turn:
    """What one role says. `text` holds `ITEM` where an item stands."""

    role: str
    text: str


@dataclass(frozen=True)
class Span:
    """A part of the rendered text; `learn` where its tokens are labels."""

    text: str
    learn: bool = False


@dataclass(frozen=True)
class Conversation:
    """Turns, and the items that stand in them, in order."""

    turns: tuple[Turn, ...]
    items: tuple[Item, ...] = ()
    name: str = field(default="conversation", compare=False)

    def answered(self, modalities: Collection[str]) -> list[bool]:
        """For each item, whether the assistant gives it and its modality is one of these."""
        roles = [turn.role for turn in self.turns for _ in range(turn.text.count(ITEM))]
        return [
            role == "assistant" and item.modality in modalities for role, item in zip(roles, self.items, strict=True)
        ]


def from_messages(
    messages: Sequence[Mapping[str, Any]], modalities: Mapping[str, ModalitySpec], *, name: str = "messages"
) -> Conversation:
    """Messages with `role` and `content` -> a conversation.

    `content` is a string or a list of parts: a string, ``{"type": "text", "text": ...}``, or
    ``{"type": MODALITY, MODALITY: source}`` (``path``, ``url`` and ``source`` name it as well), with ``text`` where the
    same is known in words. Text is text: a placeholder in it is not an item.

    Raises:
        KitError: an unknown role or part; names the message.
    """
    turns, items = [], []
    for index, message in enumerate(_mappings(messages, name, "messages")):
        where = f"{name}: message {index}"
        role = _role(message.get("role"), where)
        text = ""
        content = message.get("content", "")
        parts = [content] if isinstance(content, (str, Mapping)) else content
        for part in parts if isinstance(parts, (list, tuple)) else [None]:
            if not isinstance(part, (str, Mapping)):
                raise KitError(f"{where}: content is {content!r}; expected a text, or a list of texts and parts")
            if isinstance(part, str) or part.get("type", "text") == "text":
                text += _clean(part if isinstance(part, str) else part.get("text"), where)
            else:
                items.append(_item_part(part, modalities, where, name))
                text += ITEM
        turns.append(Turn(role, text))
    return Conversation(tuple(turns), tuple(items), name)


def from_row(row: Mapping[str, Any], modalities: Mapping[str, ModalitySpec], *, name: str = "row") -> Conversation:
    """A LLaVA row -> a conversation; rows with `messages` are taken as messages.

    A row holds ``conversations`` (``from``, ``value``) and, under a modality's name, a source or a list of them;
    the placeholders in the text stand for them in order.

    Raises:
        KitError: as many placeholders as sources are expected; names the row, the modality and both numbers.
    """
    name = f"{name} {row['id']!r}" if "id" in row else name
    if "messages" in row:
        return from_messages(row["messages"], modalities, name=name)
    if "conversations" not in row:
        raise KitError(f"{name}: wants 'conversations' or 'messages', has {', '.join(map(repr, row)) or 'nothing'}")
    sources = {modality: _as_list(row.get(modality)) for modality in modalities}
    waiting = {modality: iter(given) for modality, given in sources.items()}
    placeholders = {spec.token.placeholder: modality for modality, spec in modalities.items()}
    counts = dict.fromkeys(modalities, 0)
    turns, items = [], []
    for index, said in enumerate(_mappings(row["conversations"], name, "conversations")):
        where = f"{name}: turn {index}"
        role = _role(said.get("from"), where)
        text = ""
        for piece in split_placeholders(_clean(said.get("value"), where), placeholders):
            modality = placeholders.get(piece)
            if modality is None:
                text += piece
                continue
            counts[modality] += 1
            items.append(Item(modality, next(waiting[modality], None), name=name))
            text += ITEM
        turns.append(Turn(role, text))
    for modality, given in sources.items():
        if counts[modality] != len(given):
            placeholder = modalities[modality].token.placeholder
            raise KitError(
                f"{name}: the text has {counts[modality]} {placeholder} and the row names {len(given)} {modality} "
                f"source(s); give one for each"
            )
    return Conversation(tuple(turns), tuple(items), name)


def split_placeholders(text: str, placeholders: Sequence[str] | Mapping[str, Any]) -> Iterator[str]:
    """`text` in pieces, each placeholder a piece of its own.

    Example:
        >>> list(split_placeholders("see <image> here", ["<image>"]))
        ['see ', '<image>', ' here']
    """
    while text:
        found = [(text.find(p), p) for p in placeholders if p in text]
        if not found:
            yield text
            return
        at, placeholder = min(found)
        if at:
            yield text[:at]
        yield placeholder
        text = text[at + len(placeholder) :]


def _item_part(part: Mapping[str, Any], modalities: Mapping[str, ModalitySpec], where: str, name: str) -> Item:
    modality = part["type"]
    if modality not in modalities:
        raise KitError(f"{where}: part of type {modality!r}; {near(modality, ['text', *modalities])}")
    for key in (modality, *SOURCE_KEYS):
        if part.get(key) is not None:
            text = part.get("text")
            return Item(modality, part[key], None if text is None else _clean(text, where), name)
    raise KitError(
        f"{where}: a part of type {modality!r} names no source; write {{'type': {modality!r}, {modality!r}: FILE}}"
    )


def _mappings(given: Any, name: str, what: str) -> Sequence[Mapping[str, Any]]:
    if not isinstance(given, (list, tuple)) or not all(isinstance(each, Mapping) for each in given):
        raise KitError(f"{name}: {what} is {given!r}; expected a list of mappings, one for each turn")
    return given


def _role(role: Any, where: str) -> str:
    if not isinstance(role, str) or role not in _ROLE_NAMES:
        raise KitError(f"{where}: role {role!r}; {near(str(role), _ROLE_NAMES)}")
    return _ROLE_NAMES[role]


def _clean(text: Any, where: str) -> str:
    if not isinstance(text, str):
        raise KitError(f"{where}: wants text, got {type(text).__name__}")
    return text.replace(ITEM, "").replace(CUT, "")


def _as_list(value: Any) -> list[Any]:
    """A list of sources; anything else, a pair of array and rate too, is one."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
