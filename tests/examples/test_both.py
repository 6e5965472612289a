"""The rows with a picture and a sound: files that are there, splits apart, both questions in both orders."""

from __future__ import annotations

import json

import pytest

from examples.speech import both
from tinyllava_kit.evaluation.judged import Judged

pytestmark = pytest.mark.slow


@pytest.fixture
def assets(tmp_path):
    for split in ("train", "test"):
        rows = [
            {
                "image": [f"images/{split}/{n}.png"],
                "conversations": [
                    {"from": "human", "value": f"<image>\nwhat is {n}?"},
                    {"from": "gpt", "value": "yes" if n == 0 else f"thing {n}"},
                ],
            }
            for n in range(4)
        ]
        (tmp_path / "easy-vqa").mkdir(exist_ok=True)
        (tmp_path / "easy-vqa" / f"{split}.json").write_text(json.dumps(rows))
        for folder, row in (
            ("asterisk", {"audio": f"clips/{split}.wav", "text": f"said in {split}"}),
            ("tuxpaint", {"image": "a.png", "audio": "a.ogg", "text": "A frog.", "language": "en"}),
        ):
            (tmp_path / folder).mkdir(exist_ok=True)
            other = {**row, "language": "fr"} if folder == "tuxpaint" else row
            (tmp_path / folder / f"{split}.jsonl").write_text(f"{json.dumps(row)}\n{json.dumps(other)}\n")
    return tmp_path


def test_rows_hold_a_picture_and_a_sound_of_their_split(assets):
    both.make_rows(assets)
    for split, other in (("train", "test"), ("test", "train")):
        text = (assets / "both-data" / f"{split}.json").read_text()
        rows = json.loads(text)
        assert f"/{other}" not in text
        assert f"in {other}" not in text
        assert [row["id"] for row in rows].count(f"{split}-stamp-0") == 1
        assert f"{split}-stamp-1" not in text  # not English
        orders = set()
        for row in rows:
            (picture,), (sound,) = row["image"], row["audio"]
            assert (assets / "both-data" / picture).parent.is_relative_to(assets / "both-data")
            assert sound.startswith("../")
            first, *rest = [turn["value"] for turn in row["conversations"]]
            assert first.startswith("<image>\n<audio>\n")
            assert not any("<" in value for value in rest)
            orders.add(first.endswith(both.HEAR))
        assert orders == {True, False}


def test_text_alone_is_replayed_from_the_training_transcripts(assets):
    both.make_rows(assets)
    rows = json.loads((assets / "both-data" / "text.json").read_text())
    assert [turn["value"] for turn in rows[0]["conversations"]] == [
        "Repeat exactly what is written: said in train",
        "said in train",
    ]
    assert not any("image" in row or "audio" in row for row in rows)


def test_the_page_shows_each_answer_with_its_picture_and_its_sound(assets):
    both.make_rows(assets)
    for row in json.loads((assets / "both-data" / "test.json").read_text())[:2]:
        for name in (*row["image"], *row["audio"]):
            file = assets / "both-data" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(name.encode())
    answered = [
        Judged("test-0", "q?", ("a <b>",), "A b"),
        Judged("test-1", "q?", ("a",), "b"),
    ]
    both.write_page_of_both(assets / "page.html", assets / "both-data", answered, [["head"], ["row"]])
    page = (assets / "page.html").read_text()
    assert page.count('<img src="data:image/png;base64,') == page.count('<audio controls src="data:audio/') == 2
    assert page.count('class="card wrong"') == 1
    assert "truth: a &lt;b&gt;" in page


def test_questions_with_yes_or_no_are_left_out(assets):
    both.make_rows(assets)
    assert "what is 0?" not in (assets / "both-data" / "train.json").read_text()


def test_tables_count_each_kind_apart():
    rows = [
        Judged("test-0", "what shape?", ("circle",), "circle"),
        Judged("test-1", "what shape?", ("circle",), "square"),
        Judged("test-2", both.HEAR, ("one two",), "one two"),
        Judged("test-stamp-0", both.HEAR, ("a frog",), "a dog"),
    ]
    assert both.table({"as given": rows})[1] == ["as given", "0.50 (2)", "0.00 (1)", "0.50 (1)"]
