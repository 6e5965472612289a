"""TextVQA 0.5.1, validation (Singh et al. 2019). Light."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from ...errors import KitError
from ..question import Question
from .benchmark import Benchmark, read_json, read_question_file, wanted

_OCR = "Reference OCR token: "
_OCR_PROMPT = re.compile(r"Question: (.*?) Short answer:", re.DOTALL)


def _read(root: Path) -> list[Question]:
    folder = root / "textvqa"
    annotations = folder / "TextVQA_0.5.1_val.json"
    known = {}
    for number, row in enumerate(wanted(read_json(annotations), "data", str(annotations))):
        name = f"{annotations}[{number}]"
        key = (wanted(row, "image_id", name), wanted(row, "question", name).lower())
        known[key] = tuple(map(str, wanted(row, "answers", name)))
    found = []
    file = folder / "llava_textvqa_val_v051_ocr.jsonl"
    for line, question in read_question_file(file, folder / "train_images"):
        asked = asked_in(line["text"], question.conversation.name)
        if (question.id, asked) not in known:
            raise KitError(f"{question.conversation.name}: {annotations} has no question {asked!r} on {question.id!r}")
        found.append(replace(question, truths=known[question.id, asked]))
    return found


def asked_in(prompt: str, name: str) -> str:
    """The question in a prompt that may name what was read in the picture, in lower case.

    Raises:
        KitError: none of the forms in which TextVQA's prompts are written.
    """
    lines = prompt.split("\n")
    written = _OCR_PROMPT.search(prompt) if prompt.startswith("OCR tokens: ") else None
    if written:
        return written[1].lower()
    if len(lines) == 2 or (len(lines) == 3 and _OCR in prompt):
        return lines[1 if len(lines) == 3 and prompt.startswith(_OCR.rstrip()) else 0].lower()
    raise KitError(f"{name}: needs a question, a line of OCR tokens if any, and a line that says how to answer")


TEXTVQA = Benchmark(
    name="textvqa",
    read=_read,
    scorers=("vqa", "anls"),
)
