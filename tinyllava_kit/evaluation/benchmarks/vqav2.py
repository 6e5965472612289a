"""VQAv2, test-dev (Goyal et al. 2017): answered here, scored by the challenge's server. Light."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..judged import Judged
from ..question import Question
from ..vqa import normal_answer
from .benchmark import Benchmark, read_json_lines, read_question_file, wanted


def _read(root: Path) -> list[Question]:
    folder = root / "vqav2"
    file = folder / "llava_vqav2_mscoco_test-dev2015.jsonl"
    return [question for _, question in read_question_file(file, folder / "test2015")]


def _submission(root: Path, questions: Sequence[Question], judged: Sequence[Judged]) -> Any:
    """An answer to each question of the whole test split, empty where it was not asked."""
    said = {j.id: normal_answer(j.said) for j in judged}
    file = root / "vqav2" / "llava_vqav2_mscoco_test2015.jsonl"
    ids = [wanted(line, "question_id", f"{file}[{number}]") for number, line in enumerate(read_json_lines(file))]
    return [{"question_id": id, "answer": said.get(id, "")} for id in ids]


VQAV2 = Benchmark(name="vqav2", read=_read, converted=_submission)
