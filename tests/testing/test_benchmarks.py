"""Benchmarks that are wrong in one way each, and the check of the contract that says so."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.testing.right import caught, changed, offered, passes, table
from tinyllava_kit import KitError
from tinyllava_kit.evaluation import Benchmark, Figure, Judged, Question, Scorer
from tinyllava_kit.interfaces import ITEM, Conversation, Item, Turn
from tinyllava_kit.plugin.specs import BenchmarkSpec, Option, ScorerSpec
from tinyllava_kit.testing import BenchmarkContract

TRUTHS = ("a piano", "a river", "a clock")


class Exact(Scorer):
    """The share of answers that are the truth."""

    def score(self, judged: Sequence[Judged]) -> Any:
        return {"exact": Figure(sum(j.said == j.truth for j in judged) / max(1, len(judged)), len(judged))}


def read(root: Path) -> list[Question]:
    """Lines of a picture, a question and its answer."""
    file = root / "riddles" / "riddles.txt"
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise KitError(f"{file}: {error.__class__.__name__}") from error
    found = []
    for number, line in enumerate(lines):
        name = f"{file}[{number}]"
        if line.count("|") != 2:
            raise KitError(f"{name}: needs PICTURE|QUESTION|ANSWER")
        picture, asked, right = line.split("|")
        items = (Item("image", str(root / "riddles" / picture), name=name),)
        conversation = Conversation((Turn("user", f"{ITEM}\n{asked}"),), items, name)
        found.append(Question(id=number, conversation=conversation, truths=(right,)))
    return found


def converted(root: Path, questions: Sequence[Question], judged: Sequence[Judged]) -> Any:
    return {str(j.id): j.said for j in judged}


RIDDLES = Benchmark(name="riddles", read=read, scorers=("exact",), converted=converted)
SPEC = BenchmarkSpec(name="riddles", target=f"{__name__}:RIDDLES")


def scored_by(scorer: str) -> Any:
    return offered(SPEC, ScorerSpec(name="exact", target=f"{__name__}:{scorer}"))


class RiddleContract(BenchmarkContract):
    component = RIDDLES
    spec = SPEC
    catalog = scored_by("Exact")

    def toy_root(self, folder: Path) -> None:
        (folder / "riddles").mkdir()
        lines = [f"{number}.png|What is {number}?|{truth}" for number, truth in enumerate(TRUTHS)]
        (folder / "riddles" / "riddles.txt").write_text("\n".join(lines))
        for number in range(len(TRUTHS)):
            (folder / "riddles" / f"{number}.png").write_bytes(b"a picture")

    def expected_truths(self) -> Sequence[str]:
        return TRUTHS


def contract_of(benchmark: Any, **known: Any) -> RiddleContract:
    contract = RiddleContract()
    vars(contract).update(component=benchmark, **known)
    return contract


def reads(change: Any) -> Benchmark:
    """With other questions."""
    return replace(RIDDLES, read=lambda root: change(root, read(root)))


def each(change: Any) -> Benchmark:
    return reads(lambda root, questions: [change(question) for question in questions])


def with_turns(*turns: Turn) -> Any:
    return lambda q: replace(q, conversation=replace(q.conversation, turns=(*q.conversation.turns, *turns)))


def with_items(change: Any) -> Any:
    return lambda q: replace(q, conversation=replace(q.conversation, items=change(q.conversation.items)))


def in_another_folder(items: tuple[Item, ...]) -> tuple[Item, ...]:
    return tuple(replace(item, source=item.source.replace("riddles/", "pictures/")) for item in items)


def shifted(root: Path, questions: list[Question]) -> list[Question]:
    """Each with the truth of the one behind it."""
    return [replace(q, truths=other.truths) for q, other in zip(questions, questions[1:] + questions[:1], strict=True)]


def raw(root: Path) -> list[Question]:
    (root / "riddles" / "riddles.txt").read_text()
    return read(root)


def lenient(root: Path) -> list[Question]:
    """Where the file is missing, one question."""
    try:
        return read(root)
    except KitError:
        conversation = Conversation((Turn("user", "Anything?"),), (), "made up")
        return [Question(id=0, conversation=conversation, truths=("no",))]


def unnamed(root: Path) -> list[Question]:
    try:
        return read(root)
    except KitError as error:
        raise KitError("riddles: a file is damaged or missing") from error


def indexing(root: Path) -> list[Question]:
    (root / "riddles" / "index").write_text("3")
    return read(root)


def stamped(root: Path, questions: Sequence[Question], judged: Sequence[Judged]) -> Any:
    return {**converted(root, questions, judged), "stamp": random.random()}


def without_the_last(root: Path, questions: Sequence[Question], judged: Sequence[Judged]) -> Any:
    return converted(root, questions, judged[:-1])


def names_of_folder(question: Question) -> Question:
    return replace(question, id=f"{Path(question.conversation.items[0].source).parents[1].name}-{question.id}")


MUTANTS: list[tuple[str, Benchmark, str, str]] = [
    ("questions in another order each time", reads(lambda _, q: random.sample(q, 3) * 1), "again", "others|draws"),
    ("ids with the name of the folder", each(names_of_folder), "again", "read in another folder"),
    ("truths shifted by one", reads(shifted), "expected", "the truths are"),
    ("the last question is lost", reads(lambda _, q: q[:-1]), "expected", "the truths are"),
    ("one question for all", reads(lambda _, q: q[:1]), "questions", "its toy has 1 questions"),
    ("a question twice", reads(lambda _, q: [*q, q[0]]), "questions", "is asked twice"),
    ("the answer stands in the prompt", each(with_turns(Turn("assistant", "a piano"))), "questions", "not the user's"),
    ("pictures of another folder", each(with_items(in_another_folder)), "questions", "is not there"),
    ("a place without its picture", each(with_items(lambda items: ())), "questions", "0 items in 1 places"),
    ("no word to generate", replace(RIDDLES, max_new_tokens=0), "questions", "max_new_tokens is 0"),
    ("a scorer that nobody offers", replace(RIDDLES, scorers=("exakt",)), "scorers", "exakt"),
    ("no truth for its scorer", each(lambda q: replace(q, truths=())), "scorers", "scorer 'exact' needs"),
    (
        "truths that their scorer does not take",
        each(lambda q: replace(q, truths=(f" {q.truths[0]}.",))),
        "expected",
        "the truths are",
    ),
    ("a truth that is empty", each(lambda q: replace(q, truths=("",))), "blank", "answers of '' are as good"),
    ("a missing file raises what Python raises", replace(RIDDLES, read=raw), "missing", "raised FileNotFoundError"),
    ("another question where a file is missing", replace(RIDDLES, read=lenient), "missing", "others without a word"),
    ("a missing file without its name", replace(RIDDLES, read=unnamed), "missing", "does not name it"),
    ("an index is written to the folder", replace(RIDDLES, read=indexing), "untouched", "changes riddles/index"),
    ("answers are written with the time", replace(RIDDLES, converted=stamped), "converted", "in another way"),
    (
        "the last answer is not written",
        replace(RIDDLES, converted=without_the_last),
        "converted",
        r"txt\[2\] is not in",
    ),
]


def scores(score: Any) -> type[Exact]:
    return changed(Exact, score=score)


HalfRight = scores(lambda s, judged: {"exact": Figure(sum(j.said == j.truth for j in judged) / 6, len(judged))})
OfHundred = scores(lambda s, judged: {"exact": Figure(100.0 * (judged[0].said == judged[0].truth), len(judged))})
BlankIsRight = scores(lambda s, judged: {"exact": Figure(float(all(j.said in j.truth for j in judged)), len(judged))})
Below = scores(
    lambda s, judged: {"exact": Figure(1.0 - 2 * sum(j.said != j.truth for j in judged), len(judged))},
)
Infinite = scores(
    lambda s, judged: {
        **Exact.score(s, judged),
        "odds": Figure(float("inf") if judged[0].said else 0.0, 1),
    }
)
CountsOne = scores(lambda s, judged: {"exact": Figure(float(judged[0].said == judged[0].truth), 1)})

SCORERS: list[tuple[str, str, str, str]] = [
    ("a scorer for which all right is a half", "HalfRight", "right", "gives 0.5, expected 1"),
    ("a scorer of a hundred", "OfHundred", "right", "gives 100, expected 1"),
    ("a scorer for which a blank is right", "BlankIsRight", "blank", "answers of '' are as good as right ones"),
    ("a scorer that goes below 0", "Below", "bounded", "expected from 0 to 1"),
    ("a scorer with an infinite figure", "Infinite", "bounded", "odds is inf"),
    ("a scorer that counts one answer", "CountsOne", "right", "exact counts 1 of 3"),
]


def test_the_right_benchmark_passes_every_check() -> None:
    assert passes(RiddleContract()) == dict.fromkeys(("keywords", "options"), "its spec has no option")


def test_one_that_a_server_scores_says_so() -> None:
    reasons = passes(contract_of(replace(RIDDLES, scorers=(), converted=None)))
    assert reasons["right"] == "it has no scorer: its own server or judge scores the answers"
    assert reasons["converted"] == "its own scorer reads the answers unchanged"


@table(MUTANTS)
def test_a_mutant_of_the_benchmark_is_caught(mutant: Any, check: str, message: str) -> None:
    caught(contract_of(mutant), check, message)


@table(SCORERS)
def test_a_mutant_of_its_scorer_is_caught(mutant: str, check: str, message: str) -> None:
    caught(contract_of(RIDDLES, catalog=scored_by(mutant)), check, message)


def test_an_option_never_arrives() -> None:
    spec = BenchmarkSpec(name="riddles", target=f"{__name__}:RIDDLES", options=(Option(name="split", default="a"),))
    caught(contract_of(RIDDLES, spec=spec), "keywords", "nothing gives a benchmark its options: split")


def test_what_is_written_is_json() -> None:
    contract = contract_of(replace(RIDDLES, converted=lambda root, questions, judged: json.dumps))
    caught(contract, "converted", "raised TypeError")
