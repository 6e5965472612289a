"""What a check finds in data that are wrong on purpose, and that what it predicts is what training does."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from tests import toys
from tinyllava_kit import KitError, TinyLlavaProcessor
from tinyllava_kit.core.spans import TextSpan
from tinyllava_kit.data.dataset import ConversationDataset
from tinyllava_kit.training.checks.data_check import StageReport, check_data
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checking")
    toys.save_picture_model(folder)
    toys.picture_rows(folder, 9)
    return folder


def recipe(place, name, data=None, **stage):
    stage = {
        "name": "s",
        "data": data or str(place / "rows.json"),
        "train": {"connector.image": "full"},
        "batch_size": 2,
        **stage,
    }
    path = place / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"model": str(place / "model"), "output": str(place / name), "stages": [stage]}))
    return path


def check(path, **how):
    (report,) = check_data(Recipe.from_yaml(path), **how)
    return report


def said(question, answer):
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


def test_counts_are_those_of_the_samples(place):
    report = check(recipe(place, "counts"))
    samples = ConversationDataset.from_file(place / "rows.json", _processor(place))
    samples = [samples[index] for index in range(9)]
    assert report.findings == []
    assert report.rows == 9
    assert report.lengths == [sample.num_tokens for sample in samples]
    assert report.tokens["image"] == sum(s.num_tokens for sample in samples for s in sample.spans if not _is_text(s))
    assert report.tokens["text"] == sum(len(s.ids) for sample in samples for s in sample.spans if _is_text(s))
    labels = [label for sample in samples for s in sample.spans if _is_text(s) for label in s.labels or ()]
    assert report.learned == sum(label != -100 for label in labels)


def _is_text(span):
    return isinstance(span, TextSpan)


def _processor(place):
    return TinyLlavaProcessor.from_pretrained(place / "model")


def test_everything_that_is_wrong_is_named_with_its_row(place):
    folder = place / "wrong"
    names = [f"images/{name}" for name in toys.save_pictures(folder / "images")]
    cut = folder / names[1]
    cut.write_bytes(cut.read_bytes()[:-2000])
    rows = [
        {"image": names[0], "conversations": said("<image> what?", "a")},
        {"image": "images/none.png", "conversations": said("<image> what?", "a")},
        {"image": names[1], "conversations": said("<image> what?", "a")},
        {"image": names[0], "conversations": said("<image><image> what?", "a")},
        {"conversations": [{"from": "gpt", "value": "first"}, {"from": "usr", "value": "then"}]},
        {"conversations": said("what?", "word " * 40)},
        {"conversations": said("word " * 40, "a")},
        {"conversations": [{"from": "human", "value": "what?"}]},
        {"image": names[0], "conversations": [*said("what?", "a"), {"from": "human", "value": "x " * 25 + "<image>"}]},
    ]
    (folder / "rows.json").write_text(json.dumps(rows))
    (folder / "broken.jsonl").write_text('{"id": 1,}\n')
    data = [str(folder / "rows.json"), str(folder / "broken.jsonl")]
    report = check(recipe(place, "wrong", data, max_length=50))
    found = {(each.kind, each.row.rpartition("/")[2]): each.reason for each in report.findings}
    expected = {
        ("row", "rows.json[1]"): "image '.*none.png' does not exist",
        ("row", "rows.json[2]"): "cannot read image '.*1.png'.*truncated",
        ("row", "rows.json[3]"): "the text has 2 <image> and the row names 1",
        ("row", "rows.json[4]"): "role 'usr'",
        ("answer cut", "rows.json[5]"): r"takes \d+ positions of 50; \d+ of the \d+ that are learned are cut",
        ("teaches nothing", "rows.json[6]"): "max_length 50 cuts its answers off",
        ("teaches nothing", "rows.json[7]"): "nothing in it is an answer",
        ("item cut", "rows.json[8]"): r"1 image item\(s\) are cut",
        ("source", "broken.jsonl"): "line 1, column 10: not JSON",
    }
    assert found.keys() == expected.keys()
    for key, message in expected.items():
        assert re.search(message, found[key]), (key, found[key])
    assert report.rows == 9
    assert report.steps is None  # of data that cannot all be read


def test_headers_alone_show_what_is_missing_and_not_what_is_damaged(place, monkeypatch):
    folder = place / "headers"
    names = [f"images/{name}" for name in toys.save_pictures(folder / "images", 2)]
    cut = folder / names[1]
    cut.write_bytes(cut.read_bytes()[:-2000])
    rows = [{"image": name, "conversations": said("<image>", "a")} for name in ["no.png", *names]]
    (folder / "rows.json").write_text(json.dumps(rows))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    report = check(recipe(place, "headers", str(folder / "rows.json")), decode=False)
    assert [finding.row.rpartition("/")[2] for finding in report.findings] == ["rows.json[0]"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage",
    [
        {"epochs": 2, "gradient_accumulation": 2},
        {"epochs": 1.5},
        {"max_steps": 3},
        {"group_by_size": True, "epochs": 2, "gradient_accumulation": 2},
        {"batch_budget": {"image": 3}},
        {"packing": {"length": 120}, "max_length": 120, "epochs": 2},
    ],
    ids=str,
)
def test_steps_are_those_of_training(place, stage):
    name = f"steps{abs(hash(str(stage)))}"
    path = recipe(place, name, logging_steps=1, **stage)
    report = check(path)
    log = json.loads((run_recipe(Recipe.from_yaml(path)) / "log.json").read_text())
    assert report.steps == max(entry["step"] for entry in log)
    assert (report.fill is not None) == ("packing" in stage)
    if report.fill is not None:
        assert 0.3 < report.fill <= 1


def test_a_stream_is_read_once_and_not_held(place):
    data = {"path": str(place / "rows.json"), "stream": True}
    report = check(recipe(place, "stream", data, max_steps=7, gradient_accumulation=3))
    assert (report.rows, report.steps, report.batches) == (9, 7, 21)
    assert report.lengths == check(recipe(place, "held")).lengths


def test_weights_lengthen_the_epoch(place):
    (place / "few.json").write_text(json.dumps(json.loads((place / "rows.json").read_text())[:1]))
    data = [{"path": str(place / "rows.json"), "weight": 1}, {"path": str(place / "few.json"), "weight": 1}]
    assert check(recipe(place, "weights", data)).batches == 9  # 18 rows


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([7, 7], [(7, 7, 2)]),
        ([1, 12], [(length, length, int(length in (1, 12))) for length in range(1, 13)]),
        ([90, 110, 319], [(low, low + 19, int(low in (80, 100, 300))) for low in range(80, 320, 20)]),
    ],
)
def test_the_histogram_has_bins_of_a_round_width(lengths, expected):
    assert StageReport("s", lengths=lengths).histogram() == expected


def test_a_stage_that_is_not_there_is_refused(place):
    with pytest.raises(KitError, match="the recipe has no stage 't'; it has s"):
        check(recipe(place, "none"), only="t")
