"""POPE: labels belong to questions by order."""

from __future__ import annotations

import pytest

from tests.evaluation.benchmarks.layouts import (
    BENCHMARKS,
    make_pope,
)
from tinyllava_kit.errors import KitError


def test_labels_and_questions_of_pope_are_as_many(tmp_path):
    make_pope(tmp_path)
    file = tmp_path / "pope" / "coco" / "coco_pope_random.json"
    first, second = file.read_text().splitlines()
    file.write_text(first)
    with pytest.raises(KitError, match=r"jsonl\[2\]: 'coco/coco_pope_random.json' in .* has no label for it"):
        BENCHMARKS["pope"].read(tmp_path)
    file.write_text(f"{first}\n{second}\n{second}")
    with pytest.raises(KitError, match=r"'coco/coco_pope_random\.json' has more labels than there are questions"):
        BENCHMARKS["pope"].read(tmp_path)
