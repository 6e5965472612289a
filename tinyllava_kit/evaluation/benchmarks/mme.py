"""MME (Fu et al. 2023): two questions on every picture, one to be answered with yes and one with no. Light."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import KitError
from ..figures import Figure, Figures
from ..judged import Judged
from ..question import Question
from ..scorer import Scorer
from .benchmark import Benchmark, read_layout, read_question_file

CATEGORIES = {
    "perception": (
        *("existence", "count", "position", "color", "posters"),
        *("celebrity", "scene", "landmark", "artwork", "OCR"),
    ),
    "cognition": ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning"),
}

_SHORT = "Answer the question using a single word or phrase."
_YES_OR_NO = "Please answer yes or no."

# (category, file of the picture's questions) -> question, as the benchmark writes it -> answer
_Truths = Mapping[tuple[str, str], Mapping[str, str]]


def _read(root: Path) -> list[Question]:
    folder = root / "MME"
    pictures = folder / "MME_Benchmark_release_version"
    truths = _truths(pictures)
    found = []
    for _, question in read_question_file(folder / "llava_mme.jsonl", pictures):
        _, truth = _looked_up(question, truths)
        found.append(replace(question, truths=(truth,), category=_place(question)[0]))
    return found


def _truths(pictures: Path) -> _Truths:
    """Of every picture, from the text file of its name, beside it or in ``questions_answers_YN``."""
    found: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for file in sorted([*pictures.glob("*/*.txt"), *pictures.glob("*/questions_answers_YN/*.txt")]):
        for line in read_layout(file).splitlines():
            question, tab, truth = line.strip().partition("\t")
            if tab:
                found[file.relative_to(pictures).parts[0], file.name][question] = truth
    return found


def _place(question: Question) -> tuple[str, str]:
    """``color/000.jpg`` -> (``color``, ``000.txt``)."""
    category, _, picture = str(question.id).partition("/")
    return category, f"{picture.rpartition('/')[2].partition('.')[0]}.txt"


def _looked_up(question: Question, truths: _Truths) -> tuple[str, str]:
    """The question as the benchmark writes it, and its answer."""
    asked = question.judged("").question.replace(_SHORT, "").strip()
    asked = asked if _YES_OR_NO in asked else f"{asked} {_YES_OR_NO}"
    known = truths.get(_place(question), {})
    for form in (asked, asked.replace(f" {_YES_OR_NO}", f"  {_YES_OR_NO}")):
        if form in known:
            return form, known[form]
    raise KitError(f"{question.conversation.name}: no answer to {asked!r} in {'/'.join(_place(question))!r} of MME")


def _said(text: str) -> str:
    """``yes``, ``no`` or ``other``, from the first four letters of an answer."""
    start = text.strip().lower()[:4]
    return next((word for word in ("yes", "no") if word in start), "other")


def _score(judged: Sequence[Judged]) -> Figures:
    """The sums over the subtasks of 100 times accuracy and of 100 times the share of pictures with both right."""
    pictures: dict[str, dict[str | int, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for j in judged:
        pictures[j.category][j.id].append(_said(j.said) == j.truth.lower())
    figures, every = {}, {}
    for category, of in pictures.items():
        right = [r for each in of.values() for r in each]
        value = 100 * (sum(right) / len(right) + sum(map(all, of.values())) / len(of))
        every[category] = Figure(value, len(right), ".1f")
    for kind, categories in CATEGORIES.items():
        parts = [every[category] for category in categories if category in every]
        figures[kind] = Figure(sum(p.value for p in parts), sum(p.count for p in parts), ".1f")
    return {**figures, **every}


def _results(root: Path, questions: Sequence[Question], judged: Sequence[Judged]) -> Any:
    """A text file for each subtask, with lines of the picture's file, question, truth and answer."""
    truths = _truths(root / "MME" / "MME_Benchmark_release_version")
    lines: dict[str, str] = defaultdict(str)
    for question, j in zip(questions, judged, strict=True):
        category, file = _place(question)
        lines[f"{category}.txt"] += "\t".join([file, *_looked_up(question, truths), " ".join(j.said.split())]) + "\n"
    return lines


class MmeScores(Scorer):
    """Perception, cognition, and each subtask."""

    wants = "the right answers in MME's own files"
    grouped = False

    def score(self, judged: Sequence[Judged]) -> Figures:
        return _score(judged)


MME = Benchmark(name="mme", read=_read, scorers=("mme",), converted=_results, in_folder=True)
