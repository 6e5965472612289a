"""``tinyllava eval``: a model judged on rows that it did not see, or on a benchmark."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinyllava_kit.errors import KitError
from tinyllava_kit.evaluation.benchmarks.answer_file import check_answer_file
from tinyllava_kit.evaluation.benchmarks.answer_file import write_answers as write_answer_file
from tinyllava_kit.evaluation.benchmarks.tasks import benchmark_names, find_benchmark, is_benchmark
from tinyllava_kit.evaluation.scorer import find_scorer, scorer_names
from tinyllava_kit.files.paths import meant
from tinyllava_kit.files.writing import check_writable
from tinyllava_kit_cli.generation import AUTOMATIC, load_to_run, placed, placement
from tinyllava_kit_cli.items import need_packages
from tinyllava_kit_cli.models import check_model
from tinyllava_kit_cli.printing import say, say_table
from tinyllava_kit_cli.shell_completion import directories, names, tasks_and_files

if TYPE_CHECKING:
    from tinyllava_kit.evaluation.benchmarks.benchmark import Benchmark
    from tinyllava_kit.evaluation.evaluation import Evaluation, Results
    from tinyllava_kit.evaluation.question import Question
    from tinyllava_kit.evaluation.scorer import Scorer

ROW_TOKENS = 64  # of an answer to a row, where nobody says how many


@click.command(epilog=f"Tasks: {', '.join(benchmark_names())}; the kit's own have TinyLLaVA_Factory's layout.")
@click.argument("directory", type=click.Path(), shell_complete=directories)
@click.argument("data", metavar="TASK|DATA", shell_complete=tasks_and_files)
@click.option("-o", "--output", required=True, type=click.Path(), help="The folder that keeps answers and figures.")
@click.option(
    "--scorer",
    "scorers",
    multiple=True,
    shell_complete=names("scorer"),
    metavar="NAME",
    help=f"One or more of: {', '.join(scorer_names())}.",
)
@click.option("--root", type=click.Path(), help="The folder of the rows' files; of a task, of all benchmarks.")
@click.option("--prompt", metavar="TEXT", help="The question for rows of an item and its text, with a placeholder.")
@click.option("--text", metavar="COLUMN", show_default="text", help="The column of their texts.")
@click.option("--limit", type=click.IntRange(min=1), help="The number of rows to ask, drawn at random.")
@click.option("--seed", default=0, show_default=True, help="The seed of --limit and of the shuffled items.")
@click.option("--batch-size", default=16, show_default=True, type=click.IntRange(min=1), help="Rows asked at a time.")
@click.option(
    "--max-new-tokens",
    type=click.IntRange(min=1),
    show_default=f"{ROW_TOKENS}, or the number of the task",
    help="The length of an answer; a longer one is cut.",
)
@click.option("--write-answers", metavar="FILE", type=click.Path(), help="Write the answers for another scorer, too.")
@placement
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object in place of the table.")
@click.option("--no-record", is_flag=True, help="Do not change the record and the card in the model's directory.")
def command(
    directory: str,
    data: str,
    output: str,
    scorers: tuple[str, ...],
    root: str | None,
    prompt: str | None,
    text: str | None,
    limit: int | None,
    seed: int,
    batch_size: int,
    max_new_tokens: int | None,
    write_answers: str | None,
    device: str,
    dtype: str,
    as_json: bool,
    no_record: bool,
) -> None:
    """Judge the model in DIRECTORY on DATA, a file of rows with answers, or on a TASK.

    Every figure is printed alongside the same figure without the items, with other rows' items, and with blank items.
    An evaluation that was stopped resumes from the answers in its output folder. Several processes (torchrun) share
    the questions.
    """
    check_model(directory)
    task = find_benchmark(data) if is_benchmark(data) else None
    chosen = _scorers(data, task, scorers, has_own_text=bool(prompt or text))
    judging = chosen if task is None else [find_scorer(name) for name in task.scorers]
    folder = Path(root or ".")
    if write_answers:
        _check_answer_file(write_answers, task, chosen, folder)
    questions = _questions_of(task, data, folder)
    for place in filter(None, (output, write_answers)):
        check_writable(place)
    where = placed(device, dtype)

    from tinyllava_kit.checkpoints.loading import open_checkpoint
    from tinyllava_kit.distributed import join, one_telling, rank
    from tinyllava_kit.evaluation.evaluation import Evaluation
    from tinyllava_kit.evaluation.question_rows import read_questions
    from tinyllava_kit.evaluation.record import fingerprint

    with one_telling():
        join()
        opened = open_checkpoint(directory)
        processor = opened.processor()
        if questions is None:
            questions = read_questions(data, processor, root=root, prompt=prompt, text=text)
        every, questions = len(questions), _drawn(questions, limit, seed)
        need_packages({item.modality for question in questions for item in question.conversation.items})
        model = load_to_run(opened, where)
        weights = fingerprint(directory)
        evaluation = Evaluation(
            model,
            processor,
            questions,
            judging,
            output,
            weights=weights if dtype == AUTOMATIC else f"{weights} in {dtype}",
            batch_size=batch_size,
            max_new_tokens=max_new_tokens or (ROW_TOKENS if task is None else task.max_new_tokens),
            seed=seed,
        )
        results = _run(evaluation)
    if rank() > 0:
        return
    if write_answers:
        given = results.answers["as given"]
        write_answer_file(write_answers, questions, given, model=directory, benchmark=task, root=folder)
        say(f"wrote {write_answers}", err=True)
    facts: dict[str, Any] = {"model": directory, "data": data, "scorers": [each.name for each in evaluation.scorers]}
    facts |= {"output": output, "dtype": dtype, "left_out": evaluation.left_out, "line": results.line}
    _show(facts, results, as_json=as_json)
    asked = {"prompt": prompt, "text": text, "max_new_tokens": evaluation.max_new_tokens if evaluation.writes else None}
    if dtype != AUTOMATIC:
        asked["dtype"] = dtype
    if results.figures and not no_record:
        limited = len(questions) < every
        _record(directory, weights, data, evaluation, results, limited=limited, settings=asked)


def _drawn(questions: list[Question], limit: int | None, seed: int) -> list[Question]:
    """All of them, or so many drawn at random."""
    if limit is None or limit >= len(questions):
        return questions
    return random.Random(seed).sample(questions, limit)


def _scorers(data: str, task: Benchmark | None, names: Sequence[str], *, has_own_text: bool) -> list[Scorer]:
    """The scorers that are asked for, whose packages are there.

    Raises:
        KitError: an unknown one; none for rows; a package that is not installed.
        UsageError: a task has its own.
    """
    chosen = [find_scorer(name) for name in dict.fromkeys(names)]
    if task is None and not chosen:
        tasks, known = ", ".join(benchmark_names()), ", ".join(scorer_names())
        raise KitError(f"{data!r} is no task ({tasks}), and rows need a --scorer: {known}")
    if task is not None and (chosen or has_own_text):
        raise click.UsageError(f"task {data} has its own questions and scorers; leave --scorer, --prompt, --text out")
    return chosen


def _check_answer_file(file: str, task: Benchmark | None, chosen: Sequence[Scorer], folder: Path) -> None:
    """Check, before any answer, that the answers can be written to a file.

    Raises:
        KitError: there will be no answers to write, or the task has no such file.
    """
    if chosen and all(scorer.ranks for scorer in chosen):
        raise KitError(f"--scorer {chosen[0].name} writes no answers; leave --write-answers out, or add a scorer")
    check_answer_file(file, task, folder)


def _questions_of(task: Benchmark | None, data: str, folder: Path) -> list[Question] | None:
    """Those of a task; None for a file of rows, which is read once it is known what the model reads.

    Raises:
        KitError: the task's files cannot be read; there are no such rows.
    """
    if task is not None:
        return task.read(folder)
    if not Path(data).exists():
        advice = meant(data, files=True) or f"tasks: {', '.join(benchmark_names())}"
        raise KitError(f"no data {data!r}, and no task of that name; {advice}")
    return None


def _run(evaluation: Evaluation) -> Results:
    """Ask, and show how far it is."""
    from tinyllava_kit.distributed import rank
    from tinyllava_kit.terminal.counting import counting

    known, asked = evaluation.num_known, evaluation.num_asked
    for control, reason in evaluation.left_out.items() if rank() == 0 else ():
        say(f"left out: {control}; {reason}", err=True)
    if known and rank() == 0:
        say(f"{known} of {asked} answers exist", err=True)
    there = known

    def tell(done: int, total: int) -> None:
        nonlocal there
        advance(done - there)
        there = done

    with counting("asking", asked, "answers", done=known, out=sys.stderr) as advance:
        return evaluation.run(tell)


def _show(facts: Mapping[str, Any], results: Results, *, as_json: bool) -> None:
    from tinyllava_kit.evaluation.evaluation import plain
    from tinyllava_kit.evaluation.tables import table

    if as_json:
        say(json.dumps({**facts, "figures": plain(results.figures)}, indent=2))
    if not results.figures:
        say(f"{facts['data']} is scored elsewhere; the answers are in {facts['output']}", err=True)
    elif not as_json:
        say_table(table(results.figures, facts["data"]))


def _record(
    directory: str,
    weights: str,
    data: str,
    evaluation: Evaluation,
    results: Results,
    *,
    limited: bool,
    settings: Mapping[str, Any],
) -> None:
    """Into the model's own directory, where it is one of this kit that can be written."""
    from tinyllava_kit.checkpoints.card import write_card
    from tinyllava_kit.evaluation.record import RECORD_FILE, lines_of, read_record, record
    from tinyllava_kit.model.storage.recognition import recognize

    found = recognize(directory)
    if found is not None and found.is_kit_model and os.access(directory, os.W_OK):
        names = [scorer.name for scorer in evaluation.scorers]
        why_not = record(
            directory,
            weights,
            data,
            names,
            results.figures,
            results.line,
            questions=len(evaluation.questions),
            limited=limited,
            settings=settings,
        )
        write_card(directory, lines_of(read_record(directory)))
        say(f"not recorded: {why_not}" if why_not else f"recorded in {Path(directory) / RECORD_FILE}", err=True)
