"""Changed files of an evaluation that goes on or is read: a line for the user, or an evaluation."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from tests.fuzz import documents, failures
from tinyllava_kit.evaluation.answer_log import AnswerLog
from tinyllava_kit.evaluation.evaluation import _check_folder, read_results
from tinyllava_kit.evaluation.figures import Figure
from tinyllava_kit.evaluation.record import read_record, record

pytestmark = pytest.mark.slow

LINE = {"id": "1", "question": "a?", "truths": ["b"], "choices": [], "said": "b", "category": ""}
LOG = [{"control": control, "row": row, **LINE} for control in ("as given", "without items") for row in range(2)]
FIGURE = {"value": 0.5, "count": 2, "form": ".3f"}
SETTINGS = {"weights": "a", "questions": "b", "max_new_tokens": 4, "seed": 0}


def lines(log: Any) -> str:
    return "".join(json.dumps(each) + "\n" for each in log) if isinstance(log, list) else json.dumps(log)


def test_changed_answers() -> None:
    def use(text: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "answers.jsonl").write_bytes(text)
            log = AnswerLog(Path(folder) / "answers.jsonl", "said")
            for control in ("as given", "without items"):
                assert all(isinstance(said, str) for said in log.known(control).values())
                sorted(log.known(control))

    assert not "\n".join(failures(documents(LOG, lines), use))


def test_changed_log_probs() -> None:
    log = [{"control": "as given", "row": row, "id": "1", "log_probs": [-0.5, -1.5]} for row in range(3)]

    def use(text: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "log_probs.jsonl").write_bytes(text)
            known = AnswerLog(Path(folder) / "log_probs.jsonl", "log_probs").known("as given")
            assert all(sum(each) != "" for each in known.values())

    assert not "\n".join(failures(documents(log, lines), use))


def test_changed_results() -> None:
    results = {"line": "accuracy 0.5", "figures": {"as given": {"accuracy": FIGURE}}}

    def use(texts: tuple[bytes, bytes]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for name, text in zip(("results.json", "answers.jsonl"), texts, strict=True):
                (Path(folder) / name).write_bytes(text)
            str(read_results(folder).line)

    whole = json.dumps(results).encode(), lines(LOG).encode()
    changed = st.one_of(
        documents(results).map(lambda text: (text, whole[1])), documents(LOG, lines).map(lambda text: (whole[0], text))
    )
    assert not "\n".join(failures(changed, use))


def test_changed_settings() -> None:
    def use(text: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "settings.json").write_bytes(text)
            _check_folder(Path(folder), SETTINGS)

    assert not "\n".join(failures(documents(SETTINGS), use))


def test_changed_records() -> None:
    with tempfile.TemporaryDirectory() as folder:
        record(folder, "w", "rows.json", ["exact"], {"as given": {"accuracy": Figure(0.5, 2)}}, "accuracy 0.5")
        entries = read_record(folder)

    def use(text: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "evaluations.json").write_bytes(text)
            record(folder, "w", "rows.json", ["exact"], {"as given": {"accuracy": Figure(0.5, 2)}}, "accuracy 0.5")
            assert all(isinstance(entry["line"], str) for entry in read_record(folder))

    assert not "\n".join(failures(documents(entries), use))
