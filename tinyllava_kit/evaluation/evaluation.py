"""An evaluation: questions asked under every control, answers kept as they come, figures at the end."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError, model_validator

from ..core.conversation import check_reads
from ..distributed import on_first, rank
from ..errors import KitError
from ..features.cache import FeatureCache
from ..files.content import read_as, said
from ..files.locks import only_writer
from ..files.writing import write_json
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..processing.processor import TinyLlavaProcessor
from .answer_log import AnswerLog
from .asking import answers
from .controls import CONTROLS, Control, refused
from .figures import Figure, Figures
from .judged import Judged
from .question import Question
from .retrieval import Retrieval, retrieve
from .scorer import Scorer

EVALUATION_FILE = "settings.json"
RESULTS_FILE = "results.json"
ANSWERS_FILE = "answers.jsonl"
LOG_PROBS_FILE = "log_probs.jsonl"

# What an evaluation depends on, and whether its values tell a reader anything.
_SETTINGS = {
    "weights": "model",
    "questions": "list of questions",
    "decoding": "decoding",
    "max_new_tokens": "max_new_tokens",
    "seed": "seed",
}
_PLAIN = ("decoding", "max_new_tokens", "seed")
_DECODING = "greedy"  # and nothing of generation_config.json, as `answers` asks


@dataclass(frozen=True, kw_only=True)
class Results:
    """Figures of every control, and the answers where any were written."""

    figures: Mapping[Control, Figures]
    answers: Mapping[Control, Sequence[Judged]]

    @property
    def line(self) -> str:
        """One line for a model card: the first figure, and what it is under the controls.

        Example:
            >>> given, less = Figure(0.878, 1000), Figure(0.681, 1000)
            >>> Results(figures={"as given": {"accuracy": given}, "without items": {"accuracy": less}}, answers={}).line
            'accuracy 0.878 (1000), without items 0.681'
        """
        if not self.figures:
            return "not scored"
        first = next(iter(self.figures["as given"]))
        others = (
            f"{control} {figures[first].value:{figures[first].form}}"
            for control, figures in self.figures.items()
            if control != "as given"
        )
        return ", ".join([f"{first} {self.figures['as given'][first]}", *others])


class Evaluation:
    """The questions to one model, and the folder that keeps the answers. Processes of a run share the questions.

    The folder holds ``settings.json``, ``answers.jsonl`` (and ``log_probs.jsonl`` of scorers that rank) and, when all
    is done, ``results.json``. One that holds answers to the same questions is resumed; scorers may differ.

    Args:
        questions: to ask. `scorers`: of the answers; without any, the answers alone are written, under no control.
        folder: new, empty, or left by the same evaluation.
        weights: tells models apart; see `record.fingerprint`.
        batch_size, max_new_tokens, seed: see `answers.answers`.

    Raises:
        KitError: an item that the model does not read; a scorer that needs more of a row; a folder of something else,
            or of other questions or settings.
    """

    def __init__(
        self,
        model: TinyLlavaForConditionalGeneration,
        processor: TinyLlavaProcessor,
        questions: Sequence[Question],
        scorers: Sequence[Scorer],
        folder: str | os.PathLike[str],
        *,
        weights: str = "",
        batch_size: int = 16,
        max_new_tokens: int | None = None,
        seed: int = 0,
    ) -> None:
        _check_modalities(questions, processor)
        for scorer in scorers:
            scorer.check(questions)
        self.model, self.processor = model, processor
        self.questions, self.scorers, self.folder = questions, scorers, Path(folder)
        self.batch_size, self.max_new_tokens, self.seed = batch_size, max_new_tokens, seed
        conversations = [question.conversation for question in questions]
        self.left_out = refused(conversations, processor.modalities) if scorers else {}
        self.controls: tuple[Control, ...] = tuple(c for c in CONTROLS if c not in self.left_out)
        if not scorers:
            self.controls = CONTROLS[:1]
        self._settings = {
            "weights": weights,
            "questions": _digest(questions),
            "decoding": _DECODING,
            "max_new_tokens": max_new_tokens,
            "seed": seed,
        }
        _check_folder(self.folder, self._settings)
        self._read_logs()

    @property
    def writes(self) -> bool:
        """Whether answers are generated: not where every scorer ranks."""
        return not self.scorers or any(not scorer.ranks for scorer in self.scorers)

    @property
    def num_asked(self) -> int:
        """How many answers all of it takes."""
        kinds = self.writes + any(scorer.ranks for scorer in self.scorers)
        return kinds * len(self.controls) * len(self.questions)

    @property
    def num_known(self) -> int:
        """How many of them are there."""
        logs = [self.texts] * self.writes + [self.log_probs] * any(scorer.ranks for scorer in self.scorers)
        return sum(len(log.known(control)) for log in logs for control in self.controls)

    def run(self, progress: Callable[[int, int], None] = lambda done, total: None) -> Results:
        """Ask what was not asked before; the figures.

        Every item is read once before anything is asked, so that one that cannot be read costs no answers.

        Args:
            progress: called with how many answers are there and how many there will be.

        Raises:
            KitError: an item that cannot be read, and names its row; a folder that cannot be written, or that another
                process writes; see also `answers` and `retrieve`.
        """
        with ExitStack() as held:
            on_first(lambda: held.enter_context(only_writer(self.folder)))
            self._read_logs()
            return self._run(progress)

    def _read_logs(self) -> None:
        self.texts = AnswerLog(self.folder / ANSWERS_FILE, "said")
        self.log_probs = AnswerLog(self.folder / LOG_PROBS_FILE, "log_probs")

    def _run(self, progress: Callable[[int, int], None]) -> Results:
        if self.num_known < self.num_asked:
            self._check_items()
        judged: dict[Control, Sequence[Judged]] = {}
        figures: dict[Control, dict[str, Figure]] = {}
        features = FeatureCache(self.model, self.processor)
        for control in self.controls:
            figures[control] = {}
            if self.writes:
                judged[control] = self._ask(control, progress)
            ranked = self._rank(control, features, progress) if any(s.ranks for s in self.scorers) else None
            for scorer in self.scorers:
                found = scorer.score(ranked) if scorer.ranks else scorer.figures(judged[control])
                taken = figures[control].keys() & found.keys()
                figures[control] |= {f"{scorer.name} {n}" if n in taken else n: f for n, f in found.items()}
        results = Results(figures=figures if self.scorers else {}, answers=judged)
        if rank() == 0:
            write_json(self.folder / RESULTS_FILE, {"line": results.line, "figures": plain(results.figures)})
        return results

    def _ask(self, control: Control, progress: Callable[[int, int], None]) -> list[Judged]:
        def keep(said: Mapping[int, str]) -> None:
            self._keep(self.texts, control, {p: _line(self.questions[p], text) for p, text in said.items()})
            progress(self.num_known, self.num_asked)

        return answers(
            self.model,
            self.processor,
            self.questions,
            control=control,
            batch_size=self.batch_size,
            max_new_tokens=self.max_new_tokens,
            seed=self.seed,
            known=self.texts.known(control),
            keep=keep,
            share=True,
        )

    def _rank(self, control: Control, features: FeatureCache, progress: Callable[[int, int], None]) -> Retrieval:
        def keep(found: Mapping[int, Sequence[float]]) -> None:
            lines = {p: {"id": self.questions[p].id, "log_probs": list(values)} for p, values in found.items()}
            self._keep(self.log_probs, control, lines)
            progress(self.num_known, self.num_asked)

        return retrieve(
            self.model,
            self.processor,
            self.questions,
            control=control,
            batch_size=self.batch_size,
            seed=self.seed,
            features=features,
            known=self.log_probs.known(control),
            keep=keep,
            share=True,
        )

    def _keep(self, log: AnswerLog, control: Control, lines: Mapping[int, Mapping[str, Any]]) -> None:
        """The folder is made for the first answer; the first process writes it."""
        if rank() > 0:
            log.know(control, lines)
            return
        if not (self.folder / EVALUATION_FILE).exists():
            write_json(self.folder / EVALUATION_FILE, self._settings)
        log.add(control, lines)

    def _check_items(self) -> None:
        known: set[object] = set()
        for item in (item for question in self.questions for item in question.conversation.items):
            if item.key not in known:
                known.add(item.key)
                self.processor.read_source(item)


def read_results(folder: str | os.PathLike[str]) -> Results:
    """The results of an evaluation that is done, from its folder.

    Raises:
        KitError: there are none.
    """
    folder = Path(folder)
    if not (folder / RESULTS_FILE).exists():
        raise KitError(f"{str(folder)!r} holds no finished evaluation; run 'tinyllava eval' first")
    results: _SavedResults = read_as(_SavedResults, folder / RESULTS_FILE, "run 'tinyllava eval' again")
    answered: dict[Control, list[Judged]] = {}
    for line in sorted(_answers_in(folder / ANSWERS_FILE), key=lambda line: line.row):
        judged = Judged(line.id, line.question, line.truths, line.said, line.choices, line.category)
        answered.setdefault(line.control, []).append(judged)
    return Results(figures=results.figures, answers=answered)


class _SavedResults(BaseModel):
    """``results.json``."""

    figures: dict[Control, Annotated[dict[str, Figure], Field(min_length=1)]]

    @model_validator(mode="after")
    def _controls_have_the_first_figure(self) -> _SavedResults:
        first = next(iter(self.figures.get("as given", {})), None)
        if not all(first in every for every in self.figures.values()):
            raise ValueError(f"every control needs the figure {first!r} of 'as given'")
        return self


class _SavedAnswer(BaseModel):
    """A line of ``answers.jsonl``."""

    control: Control
    row: int
    id: str | int
    question: str
    truths: tuple[str, ...]
    said: str
    choices: tuple[str, ...]
    category: str


def _answers_in(file: Path) -> list[_SavedAnswer]:
    found = []
    for number, line in enumerate(file.read_bytes().splitlines() if file.exists() else (), 1):
        try:
            found.append(_SavedAnswer.model_validate_json(line, strict=True))
        except ValidationError as error:
            raise KitError(f"{said(error, f'{file} line {number}')}; run 'tinyllava eval' again") from error
    return found


def _check_modalities(questions: Sequence[Question], processor: TinyLlavaProcessor) -> None:
    for question in questions:
        for item in processor.input_items(question.conversation):
            check_reads(item.modality, processor.reads, question.conversation.name)


def _check_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    if folder.is_file():
        raise KitError(f"{str(folder)!r} is a file; an evaluation needs a folder of its own")
    file = folder / EVALUATION_FILE
    if not file.exists():
        if folder.is_dir() and any(folder.iterdir()):
            raise KitError(f"{str(folder)!r} is not empty and holds no evaluation; choose another output")
        return
    was = read_as(dict[str, Any], file, "choose another output")
    for key, wanted in settings.items():
        if was.get(key) != wanted:
            shown = f"{was.get(key)!r}, now it is {wanted!r}" if key in _PLAIN else "another one"
            raise KitError(
                f"{str(folder)!r} holds an evaluation whose {_SETTINGS[key]} was {shown}; choose another output, or "
                "remove the folder"
            )


def _digest(questions: Sequence[Question]) -> str:
    """Tells lists of questions apart, wherever their files lie."""
    digest = hashlib.sha256()
    for question in questions:
        turns = [(turn.role, turn.text) for turn in question.conversation.turns]
        items = [(item.modality, _named(item.source)) for item in question.conversation.items]
        digest.update(repr((question.id, turns, items, question.truths)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _named(source: Any) -> str:
    if isinstance(source, (str, os.PathLike)):
        return os.path.basename(source)
    content = source.get("bytes") if isinstance(source, Mapping) else source
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    return type(source).__name__


def _line(question: Question, said: str) -> dict[str, Any]:
    return asdict(question.judged(said))


def plain(figures: Mapping[Control, Figures]) -> dict[str, Any]:
    """Control -> name -> ``value``, ``count`` and ``form`` of a figure, as ``results.json`` holds them."""
    return {control: {name: asdict(figure) for name, figure in every.items()} for control, every in figures.items()}
