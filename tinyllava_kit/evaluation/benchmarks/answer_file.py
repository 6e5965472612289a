"""Answer files: lines as TinyLLaVA_Factory's scripts write them, or what a benchmark's own scorer reads."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from pathlib import Path

from ...core.conversation import ITEM
from ...errors import KitError
from ...files.atomic import atomic_directory
from ...files.writing import write_file, write_json
from ..judged import Judged
from ..question import Question
from .benchmark import Benchmark
from .mmmu import MMMU, read_answer


def check_answer_file(
    target: str | os.PathLike[str], benchmark: Benchmark | None, root: str | os.PathLike[str] = "."
) -> None:
    """Check, before any answer, that answers can be written to `target` in a form that the benchmark has.

    Raises:
        KitError: answers cannot be written under that name, or the benchmark lacks a file that this needs.
    """
    target = Path(target)
    if target.suffix == ".jsonl":
        if target.is_dir():
            raise KitError(f"{str(target)!r} is a folder; give a file's name")
        return
    forms = ["FILE.jsonl"]
    if benchmark is not None and benchmark.converted is not None:
        forms.append("a new FOLDER" if benchmark.in_folder else "FILE.json")
        if benchmark.in_folder and not target.suffix:
            if target.exists():
                raise KitError(f"{str(target)!r} exists; {benchmark.name} needs a new folder for its answers")
            return
        if target.suffix == ".json" and not benchmark.in_folder:
            benchmark.converted(Path(root), [], [])
            return
    of = "these rows" if benchmark is None else benchmark.name
    raise KitError(f"answers to {of} are written to {' or '.join(forms)}, got {str(target)!r}")


def write_answers(
    target: str | os.PathLike[str],
    questions: Sequence[Question],
    judged: Sequence[Judged],
    *,
    model: str,
    benchmark: Benchmark | None = None,
    root: str | os.PathLike[str] = ".",
) -> None:
    """Write the answers: ``.jsonl`` in the Factory's form, else as the benchmark's own scorer reads them.

    Args:
        target: see `check_answer_file`. `model`: the name that lines carry. `root`: the folder of all benchmarks.

    Raises:
        KitError: a name that does not fit, or a file that cannot be written.
    """
    check_answer_file(target, benchmark, root)
    target = Path(target)
    if target.suffix == ".jsonl":
        lines = (_line(question, j, model, benchmark) for question, j in zip(questions, judged, strict=True))
        write_file(target, "".join(f"{json.dumps(line)}\n" for line in lines))
        return
    assert benchmark is not None
    assert benchmark.converted is not None
    content = benchmark.converted(Path(root), questions, judged)
    if not benchmark.in_folder:
        write_json(target, content, indent=None)
        return
    with atomic_directory(target) as stage:
        for name, text in content.items():
            write_file(stage / name, text)


def _line(question: Question, judged: Judged, model: str, benchmark: Benchmark | None) -> dict[str, object]:
    """A line of an answers file. The prompt of a benchmark's question is its text, as its scorer looks it up.

    ScienceQA's scorer tells questions with a picture by the placeholder in their prompts.
    """
    text = question.conversation.turns[-1].text
    prompt = text.replace(ITEM, "<image>") if judged.choices else text.removeprefix(f"{ITEM}\n").replace(ITEM, "")
    said = read_answer(judged) if benchmark is MMMU else judged.said
    return {
        "question_id": question.id,
        "prompt": prompt,
        "text": said,
        "answer_id": uuid.uuid5(uuid.NAMESPACE_OID, f"{question.id}\n{prompt}\n{said}").hex,
        "model_id": model,
        "metadata": {},
    }
