"""A conversation: turns of text in which items stand, made from messages or from LLaVA rows. Light."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from ..errors import KitError, near, shown
from ..files.absence import absent, present
from ..files.item_names import ROW_KEYS, columns_of, part_keys, part_types
from ..files.item_sources import as_list, decoded
from ..plugin.specs import ModalitySpec

# Where an item stands in a turn's text. No file or keyboard gives a NUL, so text cannot forge an item.
ITEM = "\x00"
# Where a text is cut before it is tokenized, so that no control token is found across the place; nothing else.
CUT = "\x01"

ROLES = ("system", "user", "assistant")
_TEXT_TYPES = ("text", "input_text", "output_text")  # of a part of messages; OpenAI's Responses have the longer ones
# The names that LLaVA rows and OpenAI-style messages use, to ours.
_ROLE_NAMES = {"human": "user", "gpt": "assistant", **{role: role for role in ROLES}}


@dataclass(frozen=True)
class Item:
    """One item of a conversation: its modality, and where it comes from (a path, an array, a file object).

    `text`: the same in words, where they are known: a recording's transcript. `name`: the row that it is in,
    used in errors.
    """

    modality: str
    source: Any
    text: str | None = None
    name: str = field(default="", compare=False)

    @property
    def key(self) -> tuple[str, object]:
        """What tells it from others: its modality, and its file's name or which object its source is."""
        source = self.source
        return self.modality, os.fspath(source) if isinstance(source, (str, os.PathLike)) else id(source)


@contextmanager
def naming(item: Item) -> Iterator[None]:
    """Puts the row of an item in front of the error that it raises.

    Raises:
        KitError: as the body raises it.
    """
    try:
        yield
    except KitError as error:
        if not item.name:
            raise
        raise KitError(f"{item.name}: {error}") from error


@dataclass(frozen=True)
class Turn:
    """What one role says. `text` holds `ITEM` in the place of an item."""

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

    def in_words(self, written: Collection[str] = ()) -> Conversation:
        """The same conversation with each item's text in its place.

        Args:
            written: modalities that the model writes; items of these that the assistant gives stay.

        Raises:
            KitError: an item has no text; names the conversation.
        """
        waiting = iter(zip(self.items, self.answered(written), strict=True))
        turns, kept = [], []
        for turn in self.turns:
            first, *rest = turn.text.split(ITEM)
            text = first
            for following in rest:
                item, answered = next(waiting)
                kept += [item] * answered
                text += f"{ITEM if answered else self._words_of(item)}{following}"
            turns.append(Turn(turn.role, text))
        return replace(self, turns=tuple(turns), items=tuple(kept))

    def _words_of(self, item: Item) -> str:
        if item.text is None:
            raise KitError(
                f"{self.name}: an item of {item.modality!r} has no text to read in its place; use 'pairs', or write a "
                "part as {'type': ..., 'path': ..., 'text': ...}"
            )
        return f"{CUT}{item.text}{CUT}"  # no control token is found across its borders


def check_reads(modality: str | None, reads: Collection[str], where: str = "") -> None:
    """Check that the model reads items of a modality.

    Args:
        reads: the modalities that the model reads; where: of the item, for the message.

    Raises:
        KitError: the model does not read items of this modality. That it writes them is not enough.
    """
    if modality not in reads:
        front = f"{where}: " if where else ""
        raise KitError(f"{front}the model does not read {modality!r}; it reads {', '.join(reads) or 'text only'}")


def from_messages(
    messages: Sequence[Mapping[str, Any]], modalities: Mapping[str, ModalitySpec], *, name: str = "messages"
) -> Conversation:
    """Messages with `role` and `content` -> a conversation.

    `content` is a string or a list of parts: a string, ``{"type": "text", "text": ...}`` (``input_text`` and
    ``output_text`` are the same), or ``{"type": MODALITY, MODALITY: source}`` (``path``, ``url``, ``base64`` and
    ``source`` name it as well), with ``text`` where the same is known in words; and OpenAI's ``{"type": "MODALITY_url",
    "MODALITY_url": {"url": ...}}`` and ``{"type": "input_MODALITY", "input_MODALITY": {"data": ...}}``. Text is text:
    a placeholder in it is not an item.

    Raises:
        KitError: an unknown role or part; names the message.
    """
    return _Turns({}, modalities, name).of_messages(messages)


def from_row(
    row: Mapping[str, Any],
    modalities: Mapping[str, ModalitySpec],
    *,
    name: str = "row",
    unread: Collection[str] = (),
    reads: Collection[str] | None = None,
) -> Conversation:
    """A row -> a conversation.

    A row holds ``conversations`` (``from``, ``value``) or ``messages`` (``role``, ``content``) and, under a modality's
    name or its plural, a source or a list of them. They stand in the text in order: at its placeholders, and at the
    parts of messages that name no source. In messages of a row without such a column a placeholder is text. What
    ``system`` holds is the first turn.

    Args:
        unread: other modalities; an item of one of them is not left out without a word.
        reads: those of `modalities` that the model reads, for messages; None: all.

    Raises:
        KitError: as many placeholders as sources are expected; names the row, the modality and both numbers. An item
            that is not read. Two texts for the system.
    """
    row = present(row)
    name = f"{name} {shown(row['id'])}" if "id" in row else name
    reads = modalities if reads is None else reads
    for column, modality in columns_of(unread).items():
        if column in row and as_list(row[column]):
            check_reads(modality, reads, f"{name}: column {column!r}")
    turns = _Turns(_columns(row, modalities, name), modalities, name, _other_marks(row, modalities), reads)
    if "messages" in row:
        return turns.of_messages(_with_system(row, "messages", "role", "content", name))
    if "conversations" not in row:
        raise KitError(f"{name}: needs 'conversations' or 'messages', has {', '.join(map(shown, row)) or 'nothing'}")
    return turns.of_conversations(_with_system(row, "conversations", "from", "value", name))


def _with_system(row: Mapping[str, Any], column: str, role: str, content: str, name: str) -> Any:
    """The turns that stand in a row's `column`, and in front of them what its column ``system`` says.

    Raises:
        KitError: it is no text, or a turn says something else for the system.
    """
    said, system = row[column], row.get("system")
    if system is None or system == "":
        return said
    check_text(system, f"{name}: 'system'")
    own = [turn for turn in _mappings(said, name, column) if turn.get(role) == "system"]
    if not own:
        return [{role: "system", content: system}, *said]
    if own[0].get(content) != system:
        raise KitError(f"{name}: its 'system' and its turn of the system say two things; give one of them")
    return said


def check_text(text: Any, where: str) -> str:
    """Return `text`, checked to be a str that UTF-8 can encode.

    Raises:
        KitError: no text, or one with half of a character, a UTF-16 surrogate alone, which nothing can write or read.
    """
    if not isinstance(text, str):
        raise KitError(f"{where}: needs text, got {type(text).__name__}")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half, around = ascii(text[error.start]), ascii(text[max(error.start - 20, 0) : error.start + 20])
            raise KitError(f"{where}: holds {half}, half of a character, at {around}; correct the text") from error
    return text


class _Turns:
    """The turns of one conversation, and the items in them: those that parts give, and those of columns, in order."""

    def __init__(
        self,
        columns: Mapping[str, list[Any]],
        modalities: Mapping[str, ModalitySpec],
        name: str,
        other_marks: Mapping[str, str] = MappingProxyType({}),
        reads: Collection[str] = (),
    ) -> None:
        self.columns, self.modalities, self.name = columns, modalities, name
        self.other_marks, self.reads = other_marks, reads
        self.asked: dict[str, int] = dict.fromkeys(columns, 0)  # how many items of a column the text takes
        self.unused = {modality: set(range(len(given))) for modality, given in columns.items()}
        self.types = part_types(modalities)
        self.items: list[Item] = []

    def of_messages(self, messages: Any) -> Conversation:
        """`messages`: mappings with `role` and `content`."""
        turns = []
        for index, message in enumerate(_mappings(messages, self.name, "messages")):
            where = f"{self.name}: message {index}"
            role, content = _role(message.get("role"), where), message.get("content", "")
            parts = [content] if isinstance(content, (str, Mapping)) else content
            parts = parts if isinstance(parts, (list, tuple)) else [None]
            turns.append(Turn(role, "".join(self._part(part, where, content) for part in parts)))
        return self._whole(turns)

    def of_conversations(self, said: Any) -> Conversation:
        """`said`: mappings with `from` and `value`, in which placeholders stand for items."""
        turns = []
        for index, each in enumerate(_mappings(said, self.name, "conversations")):
            where = f"{self.name}: turn {index}"
            turns.append(Turn(_role(each.get("from"), where), self._text(each.get("value"), where, self.modalities)))
        return self._whole(turns)

    def _part(self, part: Any, where: str, content: Any) -> str:
        if isinstance(part, str):
            return self._text(part, where, self.columns)
        if not isinstance(part, Mapping):
            raise KitError(f"{where}: content is {shown(content)}; expected a text, or a list of texts and parts")
        kind = part.get("type", "text")
        if kind in _TEXT_TYPES:
            beside = [key for key in self.types if not absent(part.get(key))]
            if beside:
                raise KitError(
                    f"{where}: a part of type {kind!r} has {beside[0]!r}, too; give the item a part of its own"
                )
            return self._text(part.get("text"), where, self.columns)
        modality = self.types.get(kind) if isinstance(kind, str) else None
        if modality is None:
            raise KitError(f"{where}: part of type {shown(kind)}; {near(str(kind), ['text', *self.modalities])}")
        text = None if absent(part.get("text")) else clean(part["text"], where)
        given = [part[key] for key in part_keys(modality) if not absent(part.get(key)) and part[key] != ""]
        if len(given) > 1:
            raise KitError(f"{where}: a part of type {kind!r} names {len(given)} sources; give each a part of its own")
        if given:
            self.items.append(Item(modality, decoded(given[0], where), text, self.name))
        elif modality in self.columns:
            self._take(modality, where, part.get("index"), text)
        else:
            raise KitError(
                f"{where}: a part of type {kind!r} names no source; write {{'type': {kind!r}, {modality!r}: FILE}}, "
                f"or give the row a column {modality!r}"
            )
        return ITEM

    def _text(self, text: Any, where: str, modalities: Collection[str]) -> str:
        """A text whose placeholders of these modalities stand for items of the columns."""
        placeholders = {self.modalities[modality].token.placeholder: modality for modality in modalities}
        text, pieces = clean(text, where), []
        for mark in self.other_marks:
            if mark in text:
                check_reads(mark[1:-1], self.reads, f"{self.name}: column {self.other_marks[mark]!r} with {mark}")
        for piece in split_placeholders(text, placeholders):
            if piece in placeholders:
                self._take(placeholders[piece], where)
            pieces.append(ITEM if piece in placeholders else piece)
        return "".join(pieces)

    def _take(self, modality: str, where: str, index: Any = None, text: str | None = None) -> None:
        """The item of the column that is next, or the one that a part names by its `index`."""
        given = self.columns.get(modality, [])
        number = self.asked.get(modality, 0)
        self.asked[modality] = number + 1
        if not absent(index):
            if isinstance(index, bool) or index not in range(len(given)):
                raise KitError(f"{where}: index {shown(index)}; the row names {len(given)} {modality} source(s)")
            number = int(index)
        self.unused.get(modality, set()).discard(number)
        source = given[number] if number < len(given) else None  # counted, and refused with the whole row
        self.items.append(Item(modality, decoded(source, where), text, self.name))

    def _whole(self, turns: Sequence[Turn]) -> Conversation:
        for modality, count in self.asked.items():
            given = self.columns.get(modality, [])
            if count != len(given) or self.unused.get(modality):
                placeholder = self.modalities[modality].token.placeholder
                raise KitError(
                    f"{self.name}: the text has {count} {placeholder} and the row names {len(given)} {modality} "
                    f"source(s); give one for each"
                )
        return Conversation(tuple(turns), tuple(self.items), self.name)


def _other_marks(row: Mapping[str, Any], modalities: Collection[str]) -> dict[str, str]:
    """``<NAME>`` -> the column of that name, or its plural, which holds items of no modality here."""
    known = {*columns_of(modalities), *ROW_KEYS}
    others = [column for column in row if column not in known and isinstance(row[column], (str, list))]
    return {f"<{column.removesuffix('s')}>": column for column in others}


def _columns(row: Mapping[str, Any], modalities: Collection[str], name: str) -> dict[str, list[Any]]:
    """The sources that a row names in columns, by modality.

    Raises:
        KitError: a modality has two columns.
    """
    found: dict[str, str] = {}
    for column, modality in columns_of(modalities).items():
        if column in row and (as_list(row[column]) or modality not in found):
            if modality in found and as_list(row[found[modality]]):
                raise KitError(f"{name}: has both {found[modality]!r} and {column!r}; give one of them")
            found[modality] = column
    return {modality: as_list(row[column]) for modality, column in found.items()}


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


def _mappings(given: Any, name: str, what: str) -> Sequence[Mapping[str, Any]]:
    if not isinstance(given, (list, tuple)) or not all(isinstance(each, Mapping) for each in given):
        raise KitError(f"{name}: {what} is {shown(given)}; expected a list of mappings, one for each turn")
    return given


def _role(role: Any, where: str) -> str:
    if not isinstance(role, str) or role not in _ROLE_NAMES:
        raise KitError(f"{where}: role {shown(role)}; {near(str(role)[:40], _ROLE_NAMES)}")
    return _ROLE_NAMES[role]


def clean(text: Any, where: str) -> str:
    """A text as turns hold it, without the characters that have a meaning there.

    Raises:
        KitError: as `check_text`.
    """
    return check_text(text, where).replace(ITEM, "").replace(CUT, "")
