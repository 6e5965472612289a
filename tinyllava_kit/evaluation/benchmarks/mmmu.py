"""MMMU, validation (Yue et al. 2024): multiple choice, and open questions. Light."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase as LETTERS
from typing import Any

from ..figures import Figures, share
from ..judged import Judged
from ..question import Question
from ..scorer import Scorer
from .benchmark import Benchmark, picture_question, read_json, wanted

_MULTIPLE = "multiple-choice"
_BEFORE_ANSWERS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_NUMBERS = tuple(
    map(
        re.compile,
        (
            r"-?\b\d{1,3}(?:,\d{3})+\b",  # with thousands' commas
            r"-?\d+(?:\.\d+)?[eE][+-]?\d+",  # with an exponent
            r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])",
        ),
    )
)


def _read(root: Path) -> list[Question]:
    """A question on several pictures names none in the file, and is asked in words alone."""
    folder = root / "MMMU"
    file, truths = folder / "anns_for_eval.json", folder / "eval" / "answer_dict_val.json"
    known = read_json(truths)
    found = []
    for number, row in enumerate(read_json(file)):
        name = f"{file}[{number}]"
        id, prompt, kind = (wanted(row, key, name) for key in ("id", "prompt", "question_type"))
        right = wanted(wanted(known, id, str(truths)), "ground_truth", f"{truths}: {id}")
        choices: Mapping[str, str] = wanted(row, "index2ans", name) if kind == _MULTIPLE else {}
        found.append(
            picture_question(
                id,
                prompt,
                folder / "all_images" / row["image"] if "image" in row else None,
                name=name,
                truths=right if isinstance(right, list) else [right],
                choices=[choices[letter] for letter in LETTERS[: len(choices)]],
            )
        )
    return found


def chosen(said: str, choices: Sequence[str]) -> str:
    """The letter that an answer names, or nothing.

    The last one in brackets; else the last that stands alone; else, in an answer of more than five words, the last
    choice that it holds. MMMU's own reader draws a letter where none of these is found.
    """
    letters = LETTERS[: len(choices)]
    for mark in ",.!?;:'":
        said = said.strip(mark)
    said = f" {said} "
    for form in ("({})", " {} "):
        places = {letter: said.rfind(form.format(letter)) for letter in letters}
        if named := [letter for letter in letters if places[letter] >= 0]:
            return max(named, key=lambda letter: places[letter])
    if len(said.split()) > 5:
        texts = {letter: said.lower().rfind(text.lower()) for letter, text in zip(letters, choices, strict=True)}
        if named := [letter for letter in letters if texts[letter] >= 0]:
            return max(named, key=lambda letter: texts[letter])
    return ""


def is_right(judged: Judged) -> bool:
    """As MMMU judges: the right letter; or, in an open answer's telling parts, a right number or text."""
    if judged.choices:
        return chosen(judged.said, judged.choices) in judged.truths
    truths = [form for truth in judged.truths for form in _normal(truth)]
    for part in _open_parts(judged.said):
        if isinstance(part, float):
            if part in truths:
                return True
        elif any(isinstance(truth, str) and truth in part for truth in truths):
            return True
    return False


def _open_parts(said: str) -> list[str | float]:
    """What may be the answer in an open answer: what follows words like "answer" or "is", and the numbers there."""
    said = said.strip().strip(".").lower()
    sentences = said.split("\n")
    parts = []
    for number, sentence in enumerate(sentences):
        marks = _BEFORE_ANSWERS if number < len(sentences) - 1 else (*_BEFORE_ANSWERS, "=")
        after = [sentence.rpartition(mark)[2].strip() for mark in marks if mark in sentence]
        shortest = ""
        for text in after:
            if not shortest or len(text) < len(shortest):
                shortest = text
        if shortest and shortest not in (":", ",", ".", "!", "?", ";", "'"):
            parts.append(shortest)
    parts = parts or [said]
    numbers = [found for part in parts for pattern in _NUMBERS for found in pattern.findall(part)]
    return [form for part in (*parts, *numbers) for form in _normal(part)]


def _normal(text: str) -> list[str | float]:
    """A number, to two digits; or the text in lower case, a single letter with a space beside it."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
        return [f" {text}", f"{text} "] if len(text) == 1 else [text]


def _score(judged: Sequence[Judged]) -> Figures:
    parts = {
        "accuracy": judged,
        "multiple choice": [j for j in judged if j.choices],
        "open": [j for j in judged if not j.choices],
    }
    return {name: share(sum(map(is_right, part)), len(part)) for name, part in parts.items()}


def _outputs(root: Path, questions: Sequence[Question], judged: Sequence[Judged]) -> Any:
    return {j.id: read_answer(j) for j in judged}


def read_answer(judged: Judged) -> str:
    """What the benchmark's scorer reads: the letter that was chosen, where there is one, or else the answer."""
    return chosen(judged.said, judged.choices) or judged.said


class MmmuAccuracy(Scorer):
    """Of all questions, of those with choices, and of the open ones."""

    wants = "the right answers in MMMU's own file"
    grouped = False

    def score(self, judged: Sequence[Judged]) -> Figures:
        return _score(judged)


MMMU = Benchmark(
    name="mmmu",
    read=_read,
    scorers=("mmmu",),
    max_new_tokens=1024,
    converted=_outputs,
)
