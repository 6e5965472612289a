"""MM-Vet (Yu et al. 2023): answered here, scored by a judge that is another model. Light."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..judged import Judged
from ..question import Question
from .benchmark import Benchmark, read_question_file


def _read(root: Path) -> list[Question]:
    folder = root / "mm-vet"
    return [question for _, question in read_question_file(folder / "llava-mm-vet.jsonl", folder / "images")]


def _results(root: Path, questions: Sequence[Question], judged: Sequence[Judged]) -> Any:
    return {f"v1_{j.id}": j.said for j in judged}


MMVET = Benchmark(name="mmvet", read=_read, max_new_tokens=1024, converted=_results)
