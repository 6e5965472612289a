"""The examples with TRL run for some steps on a toy. Skipped without trl, which is no dependency."""

from __future__ import annotations

import json

import pytest

from tests import toys

pytest.importorskip("trl", reason="trl is not installed; pip install trl")
pytest.importorskip("datasets")

from examples.trl import dpo, grpo, running, sft

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:`(is_)?gradient_checkpointing(_enable|_disable)?` is deprecated:FutureWarning"
    ),  # trl
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trl")
    toys.save_picture_model(folder)
    names = toys.save_pictures(folder / "images")
    asked = [("what color?", "red"), ("is it red?", "yes"), ("what color?", "blue"), ("is it blue?", "no")]
    rows = [
        {
            "image": f"images/{name}",
            "conversations": [{"from": "human", "value": f"<image>\n{q}"}, {"from": "gpt", "value": a}],
        }
        for name, (q, a) in zip(names, asked, strict=True)
    ]
    rows[0]["image"] = [rows[0]["image"], rows[1]["image"]]  # easy-VQA's rows show several pictures, one after another
    (folder / "train.json").write_text(json.dumps(rows[:2]))
    parts = [
        [{"type": "image", "path": f"images/{name}", "text": "a shape"}, {"type": "text", "text": f"\n{q}"}]
        for name, (q, _) in zip(names, asked, strict=True)
    ]
    rows = [
        {"messages": [{"role": "user", "content": part}, {"role": "assistant", "content": a}]}
        for part, (_, a) in zip(parts, asked, strict=True)
    ]
    (folder / "open.json").write_text(json.dumps(rows[2:]))
    return folder


@pytest.mark.parametrize("example", [sft, dpo, grpo], ids=["sft", "dpo", "grpo"])
def test_an_example_trains_and_leaves_a_model_and_its_curve(place, tmp_path, capsys, example):
    files = [place / "train.json", place / "open.json"]
    words = [place / "model", tmp_path / "out", *files, "--steps", 2, "--batch", 2, "--rate", 1e-3]
    curve = example.main([*map(str, words)])
    assert len(curve) == 2
    assert json.loads((tmp_path / "out" / "curve.json").read_text()).popitem()[1] == curve
    assert (tmp_path / "out" / "model.safetensors").exists()
    assert "in 2 steps, means of fifths: " in capsys.readouterr().out


def test_the_wrong_answer_is_of_the_same_kind(place):
    data = dpo.preferences(dpo.read_rows([place / "train.json", place / "open.json"], 4))
    pairs = {(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in data}
    assert pairs == {("red", "blue"), ("blue", "red"), ("yes", "no"), ("no", "yes")}


def test_a_curve_is_told_in_fifths():
    assert running.fifths([float(step) for step in range(10)]) == [0.5, 2.5, 4.5, 6.5, 8.5]
    assert running.fifths([3.0, 1.0]) == [3.0, 1.0]
    assert running.fifths([1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0]) == [1.0, 1.0, 1.0, 0.0, 0.5]


def test_an_answer_is_rewarded_by_whether_it_is_right():
    said = [[{"content": text}] for text in ("Red.", "a red one", "redder", "")]
    assert grpo.right_answer(said, ["red"] * 4) == [1.0, 0.2, 0.0, 0.0]
