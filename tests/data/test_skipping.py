"""Bad rows: left out and listed where a source says so, an error otherwise; nothing else moves."""

from __future__ import annotations

import json
import os
import re

import pytest
import torch
from torch.utils.data import DataLoader

from tests import toys
from tinyllava_kit import KitError
from tinyllava_kit.data.dataset import Collator, ConversationDataset
from tinyllava_kit.data.skipping import SkippedRow, SkippedRows
from tinyllava_kit.data.sources import Source
from tinyllava_kit.data.stream import RowStream

pytestmark = pytest.mark.slow


@pytest.fixture
def place(tmp_path):
    """Eight rows: row 1 names a missing picture, row 3 has a role that nobody knows, row 6 a picture cut off."""
    names = toys.save_pictures(tmp_path / "images", 8)
    (tmp_path / "images" / names[1]).unlink()
    cut = tmp_path / "images" / names[6]
    cut.write_bytes(cut.read_bytes()[:-2000])
    rows = []
    for number, name in enumerate(names):
        asked = "usr" if number == 3 else "human"
        said = [{"from": asked, "value": "<image> what?"}, {"from": "gpt", "value": f"a {number}"}]
        rows.append({"id": number, "image": f"images/{name}", "conversations": said})
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    return tmp_path


@pytest.fixture(scope="module")
def processor(tmp_path_factory):
    return toys.picture_model(tmp_path_factory.mktemp("skipping"))[1]


def listed(path):
    return {json.loads(line)["row"]: json.loads(line)["reason"] for line in path.read_text().split("\n") if line}


def test_rows_that_a_header_shows_are_left_out_first_and_the_rest_when_read(place, processor):
    skipped = SkippedRows(place / "out" / "skipped.jsonl")
    source = Source(path=str(place / "rows.json"), on_error="skip")
    dataset = ConversationDataset.from_sources([source], processor, skipped=skipped)
    name = f"{place}/rows.json"
    assert [c.name for c in dataset.conversations] == [f"{name}[{n}] {n}" for n in (0, 2, 4, 5, 6, 7)]
    assert set(skipped.reasons) == {f"{name}[1] 1", f"{name}[3] 3"}
    assert set(listed(skipped.file)) == {"rows.json[1] 1", "rows.json[3] 3"}
    samples = [dataset[index] for index in range(len(dataset))]
    assert [isinstance(sample, SkippedRow) for sample in samples] == [False] * 4 + [True, False]
    reasons = listed(skipped.file)
    assert re.search(r"'images/.*' .*does not exist|does not exist: 'images/", reasons["rows.json[1] 1"])
    assert "role 'usr'" in reasons["rows.json[3] 3"]
    assert "truncated" in reasons["rows.json[6] 6"]
    assert str(place) not in skipped.file.read_text()
    assert skipped.tidy() == 3


def test_decoding_them_first_leaves_no_bad_row(place, processor):
    source = Source(path=str(place / "rows.json"), on_error="skip")
    dataset = ConversationDataset.from_sources([source], processor, decode=True)
    assert len(dataset) == 5
    assert dataset.skipped.tidy() == 3


@pytest.mark.parametrize("row", [1, 3])
def test_a_bad_row_is_an_error_where_nothing_else_is_said(place, processor, row):
    rows = json.loads((place / "rows.json").read_text())
    (place / "rows.json").write_text(json.dumps([rows[row]]))
    with pytest.raises(KitError, match=rf"rows\.json\[0\] {row}: "):
        ConversationDataset.from_sources([Source(path=str(place / "rows.json"))], processor)[0]


def test_what_other_processes_find_is_listed_once(place, processor):
    skipped = SkippedRows(place / "skipped.jsonl")
    dataset = ConversationDataset.from_sources(
        [Source(path=str(place / "rows.json"), on_error="skip")], processor, skipped=skipped
    )
    for _ in range(2):
        assert len(list(DataLoader(dataset, batch_size=None, num_workers=2))) == 6
    assert len(skipped.file.read_text().splitlines()) > 3
    assert skipped.tidy() == 3
    assert len(skipped.file.read_text().splitlines()) == 3


def test_the_other_rows_of_a_batch_learn_what_they_learn_without_the_bad_one(place, processor):
    dataset = ConversationDataset.from_sources([Source(path=str(place / "rows.json"), on_error="skip")], processor)
    with_bad = Collator(processor)([dataset[3], dataset[4], dataset[5]])
    without = Collator(processor)([dataset[3], dataset[5]])
    assert torch.equal(with_bad["labels"][[0, 2]], without["labels"])
    assert len(with_bad["plan"].target_positions) == len(without["plan"].target_positions)
    assert (with_bad["labels"][1] == -100).all()
    assert with_bad["attention_mask"][1].sum() == 1


def test_a_batch_of_bad_rows_alone_teaches_nothing_and_is_no_error(place, processor):
    dataset = ConversationDataset.from_sources([Source(path=str(place / "rows.json"), on_error="skip")], processor)
    batch = Collator(processor)([dataset[4]])
    assert not len(batch["plan"].target_positions)
    assert batch["labels"].tolist() == [[-100]]


def test_batches_of_a_stream_stay_the_same_around_bad_rows(place, processor):
    source = Source(path=str(place / "rows.json"), stream=True, shuffle=3, on_error="skip")
    stream = RowStream([source], processor, batch_size=2)
    batches = [batch for batch, _ in zip(stream, range(4), strict=False)]
    assert [len(batch) for batch in batches] == [2] * 4
    bad = [sample.name for batch in batches for sample in batch if isinstance(sample, SkippedRow)]
    assert sorted(bad) == [f"{place}/rows.json[{n}] {n}" for n in (1, 3, 6)]
    assert set(stream.skipped.reasons) == set(bad)
    with pytest.raises(KitError, match=r"rows\.json\[\d\] \d: "):
        next(iter(RowStream([source.model_copy(update={"on_error": "error"})], processor, batch_size=8)))


def test_a_source_of_bad_rows_alone_is_an_error(place, processor):
    rows = json.loads((place / "rows.json").read_text())
    (place / "rows.json").write_text(json.dumps([rows[1], rows[3]]))
    with pytest.raises(KitError, match=r"rows\.json: no row of it can be used"):
        ConversationDataset.from_sources([Source(path=str(place / "rows.json"), on_error="skip")], processor)


def test_rows_with_names_and_texts_that_nothing_can_hold_are_left_out(place, processor):
    rows = json.loads((place / "rows.json").read_text())
    (good,) = (row for row in rows if row["id"] == 0)
    os.mkfifo(place / "pipe.png")
    bad = [
        *({**good, "image": name} for name in ("a\0.png", "a" * 5000, "\ud83d.png", "pipe.png", "https://x.org/a.png")),
        {**good, "image": "data:image/png;base64,AAAA"},
        {**good, "id": "\udcff", "image": None},
        {**good, "conversations": [{"from": "human", "value": "<image>\ud83d"}, {"from": "gpt", "value": "a"}]},
        {**good, "conversations": [{"from": "human", "value": "no placeholder"}, {"from": "gpt", "value": "a"}]},
    ]
    (place / "rows.json").write_text(json.dumps([good, *bad]))
    skipped = SkippedRows(place / "skipped.jsonl")
    source = Source(path=str(place / "rows.json"), on_error="skip")
    dataset = ConversationDataset.from_sources([source], processor, skipped=skipped)
    assert len(dataset) == 1
    assert skipped.tidy() == len(bad) == len(listed(skipped.file))
    assert max(map(len, listed(skipped.file).values())) < 600


def test_a_name_that_is_no_text_does_not_end_the_list(tmp_path):
    skipped = SkippedRows(tmp_path / "skipped.jsonl")
    skipped.add("rows-\udcff.json[0]", "a reason\u2028in two lines")
    assert SkippedRows(skipped.file).tidy() == 1 == skipped.tidy()
    assert listed(skipped.file) == {"rows-\\udcff.json[0]": "a reason\u2028in two lines"}


def test_rows_of_files_of_one_name_are_told_apart(tmp_path):
    skipped = SkippedRows(tmp_path / "skipped.jsonl")
    for folder in ("/data/a", "/data/b", "c"):
        for reason in ("no picture", "another process says: no picture"):
            SkippedRows(skipped.file).add(f"{folder}/rows.json[1] 'x'", reason)
    skipped.add("/data/a/rows.json[1] 'x'", "known before")
    assert skipped.tidy() == 3 == SkippedRows(skipped.file).tidy()
    lines = [json.loads(line) for line in skipped.file.read_text().splitlines()]
    assert [each["row"] for each in lines] == ["rows.json[1] 'x'"] * 2 + ["c/rows.json[1] 'x'"]
    assert len({each.get("folder") for each in lines}) == 3
    assert "/data" not in skipped.file.read_text()
