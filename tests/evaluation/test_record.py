"""The record of a model's evaluations: which entries stay, and which take another's place."""

from __future__ import annotations

import json
import shutil

import pytest

from tests import toys
from tinyllava_kit.errors import KitError
from tinyllava_kit.evaluation.figures import Figure
from tinyllava_kit.evaluation.record import fingerprint, lines_of, read_record, record


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("record")
    toys.save_picture_model(folder)
    return folder


def test_a_record_keeps_the_last_of_each_and_forgets_other_weights(place, tmp_path):
    directory = shutil.copytree(place / "model", tmp_path / "model", ignore=shutil.ignore_patterns("evaluations.json"))
    weights = fingerprint(directory)
    figures = {"as given": {"accuracy": Figure(1 / 3, 6)}, "blank items": {"accuracy": Figure(0.0, 6)}}
    for data, line in (("a.json", "first"), ("b.json", "other"), ("a.json", "second")):
        record(directory, weights, data, ["exact_match"], figures, line)
    assert [entry["line"] for entry in read_record(directory)] == ["b.json: other", "a.json: second"]
    entry = read_record(directory)[-1]
    assert entry["figures"]["as given"]["accuracy"] == figures["as given"]["accuracy"].value
    assert (entry["questions"], entry["weights"]) == (6, weights)
    assert fingerprint(directory) == weights  # the record is no part of it
    (directory / "generation_config.json").write_text("{}")
    other = fingerprint(directory)
    assert other != weights
    record(directory, other, "c.json", ["wer"], figures, "new weights")
    assert [entry["data"] for entry in read_record(directory)] == ["c.json"]


def _kept(directory, data, count, **how):
    """Record an accuracy over `count` rows; what is said."""
    figures = {"as given": {"accuracy": Figure(0.5, count)}}
    return record(directory, "w", data, ["exact_match"], figures, f"accuracy 0.5 ({count})", **how)


def test_fewer_rows_take_the_place_of_more_only_where_the_data_has_no_more(tmp_path):
    assert _kept(tmp_path, "a.json", 9) == ""
    said = _kept(tmp_path, "a.json", 2)
    assert said == "a.json was evaluated on 9 rows before; these 2 do not take their place"
    assert [entry["questions"] for entry in read_record(tmp_path)] == [9]
    assert _kept(tmp_path, "a.json", 9, questions=9) == ""  # again
    assert _kept(tmp_path, "a.json", 8, limited=False) == ""  # a row was taken out of the file
    assert _kept(tmp_path, "b.json", 2) == ""
    assert [(entry["data"], entry["questions"]) for entry in read_record(tmp_path)] == [("a.json", 8), ("b.json", 2)]


def test_figures_of_other_settings_stand_beside_and_the_card_tells_them_apart(tmp_path):
    for tokens in (4, 64, 4):
        assert _kept(tmp_path, "a.json", 9, settings={"prompt": None, "max_new_tokens": tokens}) == ""
    _kept(tmp_path, "b.json", 9, settings={"max_new_tokens": 4})
    assert lines_of(read_record(tmp_path)) == [
        "a.json: accuracy 0.5 (9) (max_new_tokens 64)",
        "a.json: accuracy 0.5 (9) (max_new_tokens 4)",
        "b.json: accuracy 0.5 (9)",
    ]


def test_an_entry_of_an_earlier_version_keeps_its_place_by_its_rows(tmp_path):
    old = {"data": "a.json", "scorers": ["exact_match"], "line": "a.json: old", "questions": 9, "weights": "w"}
    (tmp_path / "evaluations.json").write_text(json.dumps([old]))
    assert "evaluated on 9 rows before" in _kept(tmp_path, "a.json", 3, settings={"max_new_tokens": 4})
    assert _kept(tmp_path, "a.json", 9, settings={"max_new_tokens": 4}) == ""
    assert len(read_record(tmp_path)) == 1


def test_the_fingerprint_is_of_every_file_that_changes_an_answer(place, tmp_path):
    directory = shutil.copytree(place / "model", tmp_path / "model")
    known = {fingerprint(directory)}
    for name in ("tokenizer_config.json", "chat_template.jinja", "processor_config.json", "generation_config.json"):
        (directory / name).write_text(f"{(directory / name).read_text()} ")
        known.add(fingerprint(directory))
    assert len(known) == 5


def test_a_record_that_is_none_is_named(tmp_path):
    (tmp_path / "evaluations.json").write_text("{}[")
    with pytest.raises(KitError, match="is no record of evaluations; remove it"):
        read_record(tmp_path)
