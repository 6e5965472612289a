"""A benchmark: where its files lie, who scores it, and what its own scorer reads. Light."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.conversation import ITEM, Conversation, Item, Turn, check_text
from ...errors import KitError, shown
from ...files.absence import absent, present
from ...files.opening import parse_json, read_text
from ..judged import Judged
from ..question import Question

PICTURE = "image"


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A task: its questions, and who scores the answers. A spec names one of these; see `BenchmarkSpec`.

    Args:
        name: as in ``tinyllava eval DIR NAME``.
        read: the folder of all benchmarks -> the questions; raises a `KitError` for missing and damaged files.
        scorers: the names of those of its answers; none where only the benchmark's own server or judge can.
        max_new_tokens: of an answer, as in those scripts.
        converted: the folder, questions and their answers -> what the benchmark's own scorer reads, as JSON; or, where
            that is `in_folder`, the names of files to their texts. None where it reads the answers unchanged.
    """

    name: str
    read: Callable[[Path], list[Question]]
    scorers: tuple[str, ...] = ()
    max_new_tokens: int = 128
    converted: Callable[[Path, Sequence[Question], Sequence[Judged]], Any] | None = None
    in_folder: bool = False


def picture_question(
    id: str | int,
    text: str,
    picture: Path | None,
    *,
    name: str,
    truths: Sequence[str] = (),
    choices: Sequence[str] = (),
    category: str = "",
) -> Question:
    """A question about a picture, which stands in front on a line of its own, or about none."""
    items = () if picture is None else (Item(PICTURE, str(picture), name=name),)
    turn = Turn("user", f"{ITEM}\n" * len(items) + check_text(text, name).replace(ITEM, ""))
    return Question(
        id=id,
        conversation=Conversation((turn,), items, name),
        truths=tuple(truths),
        choices=tuple(choices),
        category=category,
    )


def read_question_file(file: Path, pictures: Path) -> list[tuple[dict[str, Any], Question]]:
    """Lines of ``question_id``, ``image`` and ``text``, each with its question, which has no truth yet.

    Raises:
        KitError: the file or a key is missing; names the line.
    """
    found = []
    for number, line in enumerate(read_json_lines(file)):
        name = f"{file}[{number}]"
        id, image, text = (wanted(line, key, name) for key in ("question_id", "image", "text"))
        found.append((line, picture_question(id, text, pictures / image, name=name)))
    return found


def wanted(row: Any, key: str, name: str) -> Any:
    """Return the value of `key` in a row of a benchmark.

    Raises:
        KitError: `row`, called `name`, has no `key`, or nothing under it.
    """
    if not isinstance(row, dict) or absent(row.get(key)):
        has = ", ".join(map(shown, present(row))) if isinstance(row, dict) else type(row).__name__
        raise KitError(f"{name}: has no {key!r}; it has {has}")
    return row[key]


def read_json(file: Path) -> Any:
    """Read a JSON file of a benchmark's folder.

    Raises:
        KitError: missing, or not JSON; names the file.
    """
    return parse_json(read_layout(file), str(file))


def read_json_lines(file: Path) -> list[Any]:
    """Read a file of a benchmark's folder with a JSON value on each line; empty lines are skipped.

    Raises:
        KitError: missing, or a line that is not JSON; names the file and the line.
    """
    lines = enumerate(read_layout(file).split("\n"), 1)
    return [parse_json(line, str(file), number) for number, line in lines if line.strip()]


def read_layout(file: Path) -> str:
    """The text of a benchmark's file.

    Raises:
        KitError: missing, or not text; names the file.
    """
    try:
        return read_text(file)
    except KitError as error:
        raise KitError(f"{error}; see docs/evaluation.md for the layout") from error
