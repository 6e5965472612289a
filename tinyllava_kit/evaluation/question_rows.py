"""Rows to questions: files of conversations, of questions, or of items with a text about each."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from string import ascii_uppercase as LETTERS
from typing import Any

from ..core.conversation import check_text, split_placeholders
from ..data.rows import Row, with_root
from ..data.sources import Pairs, Source, asked
from ..errors import KitError, shown
from ..files.absence import absent, present
from ..files.item_names import columns_of
from ..files.item_sources import as_list
from ..plugin.specs import ModalitySpec
from ..processing.processor import TinyLlavaProcessor
from .question import ANSWER_A_LETTER, Question


def read_questions(
    path: str | os.PathLike[str],
    processor: TinyLlavaProcessor,
    *,
    root: str | os.PathLike[str] | None = None,
    prompt: str | None = None,
    text: str | None = None,
) -> list[Question]:
    """The questions of a file of rows, or of a saved dataset.

    Args:
        path: as in `Source`. `root`: where relative file names are taken from; default: its folder.
        prompt: for rows of an item and its text: the question about each; holds the placeholder of the item's
            modality. `text`: the text's column, default ``text``.

    Raises:
        KitError: a file that cannot be read, a row that asks nothing; names the row.
    """
    if prompt is None and text is not None:
        raise KitError("a column of texts goes with a prompt that asks about the rows' items; give --prompt, too")
    pairs = None if prompt is None else _pairs(prompt, text or "text", processor.specs)
    rows = Source(path=str(path), root=None if root is None else str(root)).rows()
    if pairs is not None:
        rows = [_asked_about(row, pairs, processor.specs) for row in rows]
    located = (with_root(row.values, processor.specs, row.root) for row in rows)
    return [question(values, processor, name=row.name) for row, values in zip(rows, located, strict=True)]


def question(row: Mapping[str, Any], processor: TinyLlavaProcessor, *, name: str) -> Question:
    """The question of a row.

    A row is a conversation, as in training; or it has ``question``, where placeholders stand for its items, which else
    stand in front. The right answer is the assistant's last turn, or ``answer``, or ``answers``, a list. With
    ``choices``, a list of texts, it is one of them: its letter, its number from 0, or its text; under ``question`` they
    are written with their letters. ``category`` names a group of rows.

    Raises:
        KitError: none of that, or an answer that is no choice; names the row.
    """
    row = present(row)
    choices = tuple(check_text(str(choice), name) for choice in _list(row, "choices", name))
    if "question" in row and not {"conversations", "messages"} & row.keys():
        row = {**row, "conversations": [{"from": "human", "value": _asked(row, choices, processor.specs, name)}]}
    conversation = processor.conversation(row, name=name)
    truths = _truths(row, name)
    if conversation.turns and conversation.turns[-1].role == "assistant":
        split = Question.from_conversation(conversation)
        conversation, truths = split.conversation, truths or split.truths
    elif not conversation.turns or conversation.turns[-1].role != "user":
        raise KitError(
            f"{conversation.name}: asks nothing; its last turn is to be the user's or the assistant's answer"
        )
    if choices:
        truths = tuple(_letter(truth, choices, conversation.name) for truth in truths)
    return Question(
        id=check_text(str(row.get("id", row.get("question_id", name.rpartition("[")[2].rstrip("]")))), name),
        conversation=conversation,
        truths=tuple(check_text(str(truth), name) for truth in truths),
        choices=choices,
        category=check_text(str(row.get("category", "")), name),
    )


def _pairs(prompt: str, text: str, modalities: Mapping[str, ModalitySpec]) -> Pairs:
    placeholders = {spec.token.placeholder: modality for modality, spec in modalities.items()}
    named = [placeholders[piece] for piece in split_placeholders(prompt, placeholders) if piece in placeholders]
    if len(named) != 1:
        raise KitError(f"--prompt {prompt!r} needs one placeholder, of the rows' items: {' or '.join(placeholders)}")
    return Pairs(modality=named[0], text=text, prompts=(prompt,))


def _asked_about(row: Row, pairs: Pairs, modalities: Mapping[str, ModalitySpec]) -> Row:
    made = asked([row], pairs, modalities, first=0)
    return made._replace(values={"category": row.values.get("category"), **made.values})


def _asked(row: Mapping[str, Any], choices: Sequence[str], modalities: Mapping[str, ModalitySpec], name: str) -> str:
    asked = row["question"]
    if not isinstance(asked, str):
        raise KitError(f"{name}: 'question' is {shown(asked)}; expected a text")
    front = ""
    for column, modality in columns_of(modalities).items():
        placeholder = modalities[modality].token.placeholder
        if placeholder not in asked:
            front += f"{placeholder}\n" * len(as_list(row.get(column)))
    lines = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
    return "\n".join([front + asked, *lines, *([ANSWER_A_LETTER] if choices else ())])


def _truths(row: Mapping[str, Any], name: str) -> tuple[Any, ...]:
    """What the row says is right: texts, or a choice's number; a person's answer may be ``{"answer": text}``."""
    given = _list(row, "answers", name, ", or one text in 'answer'")
    if "answers" not in row and "answer" in row:
        given = [row["answer"]]
    texts = [each.get("answer") if isinstance(each, Mapping) else each for each in given]
    for text in texts:
        if not isinstance(text, (str, int, float)) or isinstance(text, bool) or absent(text):
            raise KitError(f"{name}: an answer is {shown(text)}; expected a text")
    return tuple(texts)


def _list(row: Mapping[str, Any], column: str, name: str, instead: str = "") -> list[Any]:
    """A column's list without its absent entries; empty for a row without the column."""
    given = row.get(column, [])
    if not isinstance(given, list):
        raise KitError(f"{name}: {column!r} is {shown(given)}; expected a list of texts{instead}")
    return [each for each in given if not absent(each)]


def _letter(truth: Any, choices: Sequence[str], name: str) -> str:
    letters = LETTERS[: len(choices)]
    if isinstance(truth, float) and truth.is_integer():  # a table writes whole numbers so where one is absent
        truth = int(truth)
    if isinstance(truth, int) and 0 <= truth < len(letters):
        return letters[truth]
    if truth in choices:
        return letters[choices.index(truth)]
    if isinstance(truth, str) and len(truth) == 1 and truth in letters:
        return truth
    raise KitError(f"{name}: the answer {shown(truth)} is none of the choices {', '.join(map(shown, choices))}")
