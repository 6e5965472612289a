"""POPE on COCO's val2014 (Li et al. 2023): is a thing in the picture or not. Light."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ...errors import KitError
from ..question import Question
from .benchmark import Benchmark, read_json_lines, read_question_file, wanted

_PREFIX = "coco_pope_"


def _read(root: Path) -> list[Question]:
    """Labels belong to the questions of their category by order."""
    folder = root / "pope"
    labels = {file.stem.removeprefix(_PREFIX): _labels(file) for file in sorted(folder.glob(f"coco/{_PREFIX}*.json"))}
    found = []
    for line, question in read_question_file(folder / "llava_pope_test.jsonl", folder / "val2014"):
        category = wanted(line, "category", question.conversation.name)
        label = next(labels.get(category, iter(())), None)
        if label is None:
            raise KitError(
                f"{question.conversation.name}: 'coco/{_PREFIX}{category}.json' in {str(folder)!r} has no label for it"
            )
        found.append(replace(question, truths=(label,), category=category))
    for category, rest in labels.items():
        if next(rest, None) is not None:
            raise KitError(f"{folder}: 'coco/{_PREFIX}{category}.json' has more labels than there are questions")
    return found


def _labels(file: Path) -> Iterator[str]:
    return iter([wanted(line, "label", f"{file}[{n}]") for n, line in enumerate(read_json_lines(file))])


POPE = Benchmark(name="pope", read=_read, scorers=("yes_no",))
