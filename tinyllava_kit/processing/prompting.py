"""Prompts as the processors of transformers take them: a text with placeholders, its items, and named options.

Light: no torch and no transformers, so that the processor stays the one place that makes tensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.conversation import ITEM, Conversation, Item, Turn, clean, split_placeholders
from ..errors import KitError, near
from ..files.absence import absent
from ..files.item_names import part_keys, part_types
from ..files.item_sources import decoded
from ..plugin.specs import ModalitySpec

# Options of transformers' processors that change nothing here, or only with these values.
_ACCEPTED: dict[str, tuple[Any, ...]] = {
    "return_tensors": ("pt", None),
    "padding": (True, False, "longest", "do_not_pad", None),
    "pad_to_multiple_of": (None,),
    "truncation": (True, False, "longest_first", "do_not_truncate", None),
    "add_special_tokens": (True, False, None),
    "return_attention_mask": (True, None),
    "return_token_type_ids": (False, None),
    "return_mm_token_type_ids": (True, None),
    "verbose": (True, False),
}
_GROUPS = ("text_kwargs", "common_kwargs")  # as transformers groups them


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What a call gives beside its text or conversations.

    items: modality -> a source, a list of them, or a list of lists, one for each prompt.
    sampling_rate: in Hz, of the items that are bare arrays.
    truncation: `max_length` may cut. add_special_tokens: None: as the chat template says.
    """

    items: Mapping[str, Any]
    sampling_rate: int | None = None
    truncation: bool = False
    add_special_tokens: bool | None = None


def read_arguments(given: Mapping[str, Any], modalities: Iterable[str]) -> Arguments:
    """The named arguments of a call: ``images=``, ``audio=``, ``return_tensors=``, ``padding=`` and the like.

    A modality's items are named by it, with or without a plural s; those of a plugin's modality, too.

    Raises:
        KitError: an argument, or a value of one, that the processor cannot honour.
    """
    names = {spelling: modality for modality in modalities for spelling in (modality, f"{modality}s")}
    options = _flat(given, names)
    items = {names[name]: value for name, value in options.items() if name in names and value is not None}
    options = {name: value for name, value in options.items() if name not in names}
    rate = options.pop("sampling_rate", None)
    for name, value in options.items():
        if name not in _ACCEPTED:
            raise KitError(f"the processor takes no {name!r}; {near(name, [*names, *_ACCEPTED, 'text', 'labels'])}")
        if not any(value is each or (isinstance(value, str) and value == each) for each in _ACCEPTED[name]):
            known = ", ".join(map(repr, _ACCEPTED[name]))
            raise KitError(f"{name}={value!r} is not supported: a batch is tensors with a plan; expected {known}")
    return Arguments(
        items=items,
        sampling_rate=rate,
        truncation=options.get("truncation") in (True, "longest_first"),
        add_special_tokens=options.get("add_special_tokens"),
    )


def from_prompts(
    text: str | Sequence[str], given: Arguments, modalities: Mapping[str, ModalitySpec]
) -> list[Conversation]:
    """Prompts with placeholders -> conversations of one turn each, whose text is the prompt, unchanged.

    The items of each modality fill its placeholders in order, through all prompts.

    Raises:
        KitError: as many placeholders as items are expected; names the prompt, the modality and both numbers.
    """
    if not is_text(text):
        raise KitError(f"text is a {type(text).__name__}; expected a prompt or a list of prompts")
    prompts = [text] if isinstance(text, str) else list(text)
    placeholders = {spec.token.placeholder: modality for modality, spec in modalities.items()}
    texts = [clean(prompt, f"text[{number}]") for number, prompt in enumerate(prompts)]
    pieces = [list(split_placeholders(each, placeholders)) for each in texts]
    waiting = {
        m: _sources(m, given, [sum(placeholders.get(p) == m for p in each) for each in pieces]) for m in modalities
    }
    return [_conversation(number, each, placeholders, waiting) for number, each in enumerate(pieces)]


def _conversation(
    number: int, pieces: Sequence[str], placeholders: Mapping[str, str], waiting: Mapping[str, Iterator[Any]]
) -> Conversation:
    name = f"text[{number}]"
    marks = [placeholders[piece] for piece in pieces if piece in placeholders]
    items = [Item(modality, decoded(next(waiting[modality]), name), name=name) for modality in marks]
    return Conversation((Turn("user", "".join(ITEM if p in placeholders else p for p in pieces)),), tuple(items), name)


def _sources(modality: str, given: Arguments, wanted: Sequence[int]) -> Iterator[Any]:
    """The items of a modality in the order of their placeholders; `wanted`: how many each prompt has."""
    grouped = _grouped(given.items.get(modality), len(wanted))
    counts = [len(group) for group in grouped]
    if (len(counts) == len(wanted) and len(wanted) > 1 and counts != list(wanted)) or sum(counts) != sum(wanted):
        at = next((n for n, (a, b) in enumerate(zip(counts, wanted, strict=False)) if a != b), 0)
        have = counts if len(counts) == len(wanted) else [sum(counts)]
        raise KitError(
            f"text[{at}]: {list(wanted)} placeholder(s) of {modality} in the prompts, {have} item(s) given; "
            "give one item for each placeholder"
        )
    return (_with_rate(item, given.sampling_rate) for group in grouped for item in group)


def _grouped(items: Any, prompts: int) -> list[list[Any]]:
    """Items in the groups in which they were given: a list for each prompt, or one group for all."""
    if items is None:
        return []
    if not isinstance(items, list):  # tuples are sources: an array and its rate
        return [[items]]
    if len(items) == prompts and all(isinstance(each, list) and not _is_numbers(each) for each in items):
        return [list(each) for each in items]
    return [list(items)]


def _is_numbers(value: Sequence[Any]) -> bool:
    return bool(value) and all(isinstance(each, (int, float)) for each in value)


def _with_rate(source: Any, rate: int | None) -> Any:
    """A bare array with the rate that was given for it; anything else unchanged."""
    return {"array": source, "sampling_rate": rate} if rate is not None and hasattr(source, "shape") else source


def _flat(given: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The arguments with those of transformers' groups (``text_kwargs``, ``MODALITYs_kwargs``) among them.

    Raises:
        KitError: a group sets how items are prepared, which the model's directory says.
    """
    options = {name: value for name, value in given.items() if not name.endswith("_kwargs")}
    for group, values in given.items():
        if not group.endswith("_kwargs") or not values:
            continue
        of_items = group.removesuffix("_kwargs") in names
        if not (of_items or group in _GROUPS) or (of_items and not set(values) <= {"sampling_rate"}):
            raise KitError(
                f"{group}={dict(values)!r} is not supported: how items are prepared belongs to the model; "
                "assemble it with another option of the tower or modality"
            )
        options |= values
    return options


def is_text(value: Any) -> bool:
    """Whether this is a prompt, or a list of prompts."""
    many = value if isinstance(value, (list, tuple)) and value else [value]
    return all(isinstance(each, str) for each in many)


def are_several(conversations: Any) -> bool:
    """Whether these are several conversations, and not the messages, or the row, of one."""
    if isinstance(conversations, (Mapping, Conversation)):
        return False
    return not (len(conversations) > 0 and isinstance(conversations[0], Mapping) and "role" in conversations[0])


def as_many(conversations: Any) -> list[Any]:
    """One conversation or several, as a list."""
    return list(conversations) if are_several(conversations) else [conversations]


def fill_parts(
    conversations: Sequence[Any], given: Arguments, modalities: Mapping[str, ModalitySpec], *, blank: bool = False
) -> list[Any]:
    """Messages with a source in every part that names none, in order: ``{"type": "image"}`` gets the next picture.

    Args:
        blank: where there is no next item, such a part gets a blank one: the messages are written, not read.

    Raises:
        KitError: items are left over.
    """
    waiting = {
        m: iter([item for group in _grouped(items, len(conversations)) for item in group])
        for m, items in given.items.items()
    }
    filled = [
        [_filled(message, waiting, given, modalities, blank) for message in each]
        if isinstance(each, (list, tuple))
        else each
        for each in conversations
    ]
    for modality, left in waiting.items():
        if count := len(list(left)):
            raise KitError(f"{count} item(s) of {modality} more than the messages have parts without a source")
    return filled


def _filled(
    message: Any,
    waiting: Mapping[str, Iterator[Any]],
    given: Arguments,
    modalities: Mapping[str, ModalitySpec],
    blank: bool,
) -> Any:
    if not isinstance(message, Mapping) or not isinstance(message.get("content"), (list, tuple)):
        return message
    types = part_types(modalities)
    parts = []
    for part in message["content"]:
        kind = part.get("type") if isinstance(part, Mapping) else None
        modality = types.get(kind) if isinstance(kind, str) else None
        if modality and all(absent(part.get(key)) or part[key] == "" for key in part_keys(modality)):
            source = next(waiting.get(modality, iter(())), ... if blank else None)
            part = {**part, modality: _with_rate(source, given.sampling_rate)}
        parts.append(part)
    return {**message, "content": parts}
