"""The contract of a benchmark."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from ..core.conversation import ITEM
from ..evaluation.benchmarks.answer_file import write_answers
from ..evaluation.benchmarks.benchmark import Benchmark
from ..evaluation.figures import Figure
from ..evaluation.question import Question
from ..evaluation.scorer import Scorer
from ..plugin.specs import load_class
from .comparing import random_state, refusal
from .contract import DoesNotApply, check
from .folders import changed_files, check_packages, content_of
from .specified import SpecifiedContract

_ROUNDING = 1e-6
_WRONG = "a certain zebra"  # what no question is answered with
_EMPTY = "is empty"
_DAMAGES: Mapping[str, bytes | None] = {"is not there": None, "is of noise": b"\xff\x00{\xfe", _EMPTY: b""}


class BenchmarkContract(SpecifiedContract):
    """What holds for a benchmark. An author gives `toy_root`, `expected_truths`, and `perfect` where it is not 1."""

    kind = "benchmark"
    takes_options: ClassVar[tuple[str, int] | None] = None

    # name of a scorer -> its first figure where every answer is right. Default: 1, of an error rate 0.
    perfect: ClassVar[Mapping[str, float]] = {}

    def toy_root(self, folder: Path) -> None:
        """Write at least two questions to `folder`, the folder of all benchmarks, in the layout that it reads.

        Their items, too: a few bytes that are a picture or a sound.
        """
        raise NotImplementedError(f"{type(self).__name__} must give toy_root(folder)")

    def expected_truths(self) -> Sequence[str]:
        """The right answer to each question of the toy, in order; empty where none is known. Default: unknown."""
        raise DoesNotApply("expected_truths gives none to compare with")

    def right_answer(self, question: Question) -> str:
        """An answer that every scorer takes as right. Default: the first of its truths."""
        return question.truths[0]

    @check("the questions: distinct, each a turn of the user at the end, with a place and a file for each item")
    def test_questions(self) -> None:
        """Each question asks something, ends with the user, and names items that are there."""
        questions = self._questions(self._root())
        assert len(questions) > 1, f"its toy has {len(questions)} questions, expected at least 2"
        for question in questions:
            assert isinstance(question, Question), f"a {type(question).__name__}, expected a Question"
            self._check_question(question)
        asked = [(question.id, question.judged("").question) for question in questions]
        twice = next((each for each in asked if asked.count(each) > 1), None)
        assert twice is None, f"{twice} is asked twice"
        names = [question.conversation.name for question in questions]
        assert len(set(names)) == len(names), f"two questions are called {names[0]!r}; a name tells its file and line"
        assert self._benchmark().max_new_tokens > 0, f"max_new_tokens is {self._benchmark().max_new_tokens}"

    @check("read: no shuffling and no random choice, and nothing of the folder's own name")
    def test_again(self) -> None:
        """Read twice, and in another folder, questions are equal and in one order."""
        root, other = self._root(), self.folder / "copy"
        shutil.copytree(root, other)
        first, before = self._plain(root), random_state()
        assert self._plain(root) == first, "read again, the questions are others, or in another order"
        assert random_state() == before, "reading draws from the random numbers of the process"
        assert self._plain(other) == first, "read in another folder, the questions are others"

    @check("read: each question of the files, in their order, with its own truth")
    def test_expected(self) -> None:
        """The truths are those that the author knows."""
        got = [question.judged("").truth for question in self._questions(self._root())]
        expected = list(self.expected_truths())
        assert got == expected, f"the truths are {got}, expected {expected}"

    @check("scorers: names of installed scorers that take its questions")
    def test_scorers(self) -> None:
        """Each is installed, and finds what it needs in every question."""
        questions = self._questions(self._root())
        for scorer in self._scorers():
            scorer.check(questions)

    @check("the truths, or scorers: a right answer is scored as right")
    def test_right(self) -> None:
        """Answered with its truths, the first figure of each scorer is perfect, over all questions."""
        for scorer in self._scorers():
            first = self._first(scorer, self._right())
            assert first.count == len(self._right()), f"{scorer.name} counts {first.count} of {len(self._right())}"
            best = self._best(scorer)
            told = f"answered with its truths, {scorer.name} gives {first.value:g}, expected {best:g}"
            assert math.isclose(first.value, best, abs_tol=_ROUNDING), told

    @check("the truths, or scorers: an answer that says nothing is not right")
    def test_blank(self) -> None:
        """An empty answer, a space and anything else score worse than the right answer."""
        for scorer in self._scorers():
            sign = -1 if scorer.lower_is_better else 1
            for answer in ("", " \n", _WRONG):
                got = self._first(scorer, [answer] * len(self._right()))
                assert sign * got.value < sign * self._best(scorer), (
                    f"answers of {answer!r} are as good as right ones: {scorer.name} gives {got.value:g}"
                )

    @check("the scorer: figures are finite, and lie between none right and all right")
    def test_bounded(self) -> None:
        """Whatever is answered, figures are finite and none is better than perfect, or less than 0."""
        scorers, right = self._scorers(), self._right()
        half = [answer if number % 2 else "" for number, answer in enumerate(right)]
        for scorer in scorers:
            highest = math.inf if scorer.lower_is_better else self._best(scorer)
            for answers in (right, half, [_WRONG] * len(right), [""] * len(right), right[::-1]):
                figures = scorer.figures(self._judged(answers))
                odd = [name for name, figure in figures.items() if not math.isfinite(figure.value)]
                assert not odd, f"{scorer.name}: {odd[0]} is {figures[odd[0]].value}"
                first = next(iter(figures.values())).value
                told = f"{scorer.name} gives {first:g}, expected from 0 to {highest:g}"
                assert -_ROUNDING <= first <= highest + _ROUNDING, told

    @check("read: raise a KitError that names a file which is not there, or not as it should be")
    def test_missing(self) -> None:
        """A file that is missing, empty or noise gives an error of one line with its name, or is not needed."""
        root = self._root()
        before = self._plain(root)
        items = {str(item.source) for q in self._questions(root) for item in q.conversation.items}
        for file in sorted(path for path in root.rglob("*") if path.is_file() and str(path) not in items):
            content = file.read_bytes()
            for damage, instead in _DAMAGES.items():
                file.unlink()
                if instead is not None:
                    file.write_bytes(instead)
                self._check_told(root, before, file.name, damage)
                file.write_bytes(content)

    @check("converted: what the benchmark's own scorer reads, of every answer")
    def test_converted(self) -> None:
        """The files contain each answer, and are the same for the same answers; they are JSON, or texts of files."""
        benchmark, root = self._benchmark(), self._root()
        if benchmark.converted is None:
            raise DoesNotApply("its own scorer reads the answers unchanged")
        questions = self._questions(root)
        answers = [f"word{number}" for number in range(len(questions))]
        before = self._written(root, questions, answers)
        assert self._written(root, questions, answers) == before, "the same answers are written in another way"
        for number, question in enumerate(questions):
            others = [*answers[:number], "other", *answers[number + 1 :]]
            told = f"the answer to {question.conversation.name} is not in the written files"
            assert self._written(root, questions, others) != before, told

    @check("read and converted: write nothing to the folder of benchmarks")
    def test_untouched(self) -> None:
        """The files do not change, and none is added."""
        root = self._root()
        before = content_of(root)
        questions = self._questions(root)
        if self._benchmark().converted is not None:
            self._written(root, questions, [""] * len(questions))
        changed = changed_files(before, content_of(root))
        assert not changed, f"changes {changed}"

    def _benchmark(self) -> Benchmark:
        assert isinstance(self.component, Benchmark), f"{self.component!r} is no Benchmark"
        return self.component

    def _root(self) -> Path:
        root = self.folder / "benchmarks"
        root.mkdir()
        self.toy_root(root)
        return root

    def _questions(self, root: Path) -> list[Question]:
        return list(self._benchmark().read(root))

    def _plain(self, root: Path) -> list[Any]:
        """All that questions say, without the name of the folder."""
        return [
            (
                *(question.id, question.truths, question.choices, question.category, question.conversation.turns),
                [(item.modality, str(item.source).replace(str(root), "")) for item in question.conversation.items],
            )
            for question in self._questions(root)
        ]

    def _check_question(self, question: Question) -> None:
        conversation, name = question.conversation, question.conversation.name
        roles = [turn.role for turn in conversation.turns]
        assert roles[-1:] == ["user"], f"{name}: the last turn is not the user's"
        assert question.judged("").question, f"{name}: asks nothing"
        places = sum(turn.text.count(ITEM) for turn in conversation.turns)
        assert places == len(conversation.items), f"{name}: {len(conversation.items)} items in {places} places"
        for item in conversation.items:
            if isinstance(item.source, (str, Path)):
                assert Path(item.source).is_file(), f"{name}: {item.source} is not there"

    def _check_told(self, root: Path, before: list[Any], name: str, damage: str) -> None:
        found: list[Any] = []
        message = refusal(lambda: found.extend(self._plain(root)))
        if message:
            assert "\n" not in message, f"{name} {damage}: more than one line: {message}"
            named = name in message or (damage == _EMPTY and str(root) in message)  # it may be read, and then lack rows
            assert named, f"{name} {damage}: the message does not name it: {message}"
        else:
            assert found in ([], before), f"{name} {damage}, and the questions are others without a word"

    def _scorers(self) -> list[Scorer]:
        """Build the scorers that the benchmark names.

        Raises:
            DoesNotApply: it has none, or a package of one is missing.
            KitError: one is not installed.
        """
        names = self._benchmark().scorers
        if not names:
            raise DoesNotApply("it has no scorer: its own server or judge scores the answers")
        assert self.catalog is not None, "give the contract a catalog, in which its scorers are found"
        specs = [self.catalog.find("scorer", name).spec for name in names]
        for spec in specs:
            check_packages(spec)
        made = [load_class(spec, Scorer, "evaluation.Scorer")(spec.name) for spec in specs]  # type: ignore[type-abstract]
        if any(scorer.ranks for scorer in made):
            raise DoesNotApply("its scorer ranks answers by likelihood, and reads none")
        return made

    def _best(self, scorer: Scorer) -> float:
        return self.perfect.get(scorer.name, 0.0 if scorer.lower_is_better else 1.0)

    def _right(self) -> list[str]:
        return [self.right_answer(question) for question in self._questions(self._root())]

    def _judged(self, answers: Sequence[str]) -> list[Any]:
        questions = self._questions(self._root())
        return [question.judged(answer) for question, answer in zip(questions, answers, strict=True)]

    def _first(self, scorer: Scorer, answers: Sequence[str]) -> Figure:
        return next(iter(scorer.score(self._judged(answers)).values()))

    def _written(self, root: Path, questions: Sequence[Question], answers: Sequence[str]) -> Any:
        """The files of answers, as `eval` writes them."""
        benchmark = self._benchmark()
        target = self.folder / ("answers" if benchmark.in_folder else "answers.json")
        judged = [question.judged(answer) for question, answer in zip(questions, answers, strict=True)]
        write_answers(target, questions, judged, model="toy", benchmark=benchmark, root=root)
        return content_of(target.parent)
