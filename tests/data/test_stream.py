"""Streams: every row once over ranks and workers, the same order however it is read, weights, and going on."""

from __future__ import annotations

import itertools
import json
from collections import Counter

import pytest
from torch.utils.data import DataLoader

from tests import toys
from tinyllava_kit import KitError
from tinyllava_kit.data.sources import Source
from tinyllava_kit.data.stream import RowStream


@pytest.fixture(scope="module")
def processor(tmp_path_factory):
    return toys.picture_model(tmp_path_factory.mktemp("stream"))[1]


def write_rows(path, count, word="row"):
    said = [{"from": "human", "value": "what?"}, {"from": "gpt", "value": "that"}]
    rows = [{"id": f"{word}{number}", "conversations": said} for number in range(count)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def names(batches):
    """The ids of the rows of each batch."""
    return [[sample.name.split("'")[1] for sample in batch] for batch in batches]


def first_batches(stream, count, workers=0):
    loader = DataLoader(stream, batch_size=None, num_workers=workers, collate_fn=list)
    return names(itertools.islice(iter(loader), count))


@pytest.fixture
def shards(tmp_path):
    for shard in range(3):
        write_rows(tmp_path / f"{shard}.jsonl", 8, f"{shard}-")
    return Source(path=str(tmp_path / "{0..2}.jsonl"), stream=True, shuffle=5)


@pytest.mark.parametrize(("ranks", "workers"), [(1, 0), (1, 2), (2, 0), (3, 2)])
def test_ranks_and_workers_share_the_rows_and_each_comes_once_a_pass(shards, processor, ranks, workers):
    expected = first_batches(RowStream([shards], processor, batch_size=2), 24)
    parts = [
        first_batches(RowStream([shards], processor, batch_size=2, rank=rank, ranks=ranks), 24 // ranks, workers)
        for rank in range(ranks)
    ]
    assert [batch for together in zip(*parts, strict=True) for batch in together] == expected
    for turn in (expected[:12], expected[12:]):
        assert sorted(name for batch in turn for name in batch) == [f"{s}-{n}" for s in range(3) for n in range(8)]
    assert expected[:12] != expected[12:]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_goes_on_where_it_stopped(shards, processor, workers):
    whole = first_batches(RowStream([shards], processor, batch_size=3), 11)
    rest = RowStream([shards], processor, batch_size=3)
    rest.start = 5
    assert first_batches(rest, 6, workers) == whole[5:]


def test_the_order_is_the_seeds(shards, processor):
    one, other = (first_batches(RowStream([shards], processor, batch_size=4, seed=seed), 6) for seed in (1, 2))
    assert one != other
    assert one == first_batches(RowStream([shards], processor, batch_size=4, seed=1), 6)


def test_a_row_moves_no_further_than_the_buffer_lets_it(tmp_path, processor):
    path = write_rows(tmp_path / "a.jsonl", 60)

    def order(shuffle):
        stream = RowStream([Source(path=path, stream=True, shuffle=shuffle)], processor, batch_size=60)
        return [int(name[3:]) for name in first_batches(stream, 1)[0]]

    assert order(1) == list(range(60))
    numbers = order(9)
    assert sorted(numbers) == list(range(60)) != numbers
    assert all(number <= place + 8 for place, number in enumerate(numbers))


def test_sources_are_drawn_by_weight(tmp_path, processor):
    many = Source(path=write_rows(tmp_path / "a.jsonl", 50, "a"), stream=True, weight=3)
    few = Source(path=write_rows(tmp_path / "b.jsonl", 5, "b"), weight=1)
    drawn = [name for batch in first_batches(RowStream([many, few], processor, batch_size=10), 40) for name in batch]
    counted = Counter(name[0] for name in drawn)
    assert counted["a"] / 400 == pytest.approx(0.75, abs=0.06)
    of_few = Counter(name for name in drawn if name[0] == "b")
    assert len(of_few) == 5
    assert max(of_few.values()) - min(of_few.values()) <= 1  # held in memory, drawn in whole passes


def test_pairs_of_a_stream_share_conversations_and_their_prompts_take_turns(tmp_path, processor):
    pictures = toys.save_pictures(tmp_path)
    rows = [{"image": pictures[n % 4], "text": f"t{n}"} for n in range(8)]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pairs = {"modality": "image", "prompts": ["One?", "Two?", "Three?"], "turns": 2}
    source = Source(path=str(tmp_path / "p.jsonl"), pairs=pairs, stream=True, shuffle=1)
    stream = RowStream([source], processor, batch_size=4)
    seen = [[row.values["text"] for row in rows] for rows, _, _ in itertools.islice(stream.rows(), 4)]
    assert seen == [["t0", "t1"], ["t2", "t3"], ["t4", "t5"], ["t6", "t7"]]
    batch = next(iter(stream))
    assert [len(sample.items) for sample in batch] == [2] * 4
    prompts = [processor.tokenizer.decode([i for s in sample.spans for i in getattr(s, "ids", ())]) for sample in batch]
    assert ["Three?" in text for text in prompts] == [False, True, True, False]


def test_limit_takes_the_first_rows_of_a_pass(tmp_path, processor):
    source = Source(path=write_rows(tmp_path / "a.jsonl", 30), stream=True, limit=4, shuffle=100)
    once = first_batches(RowStream([source], processor, batch_size=4), 2)
    assert sorted(once[0]) == sorted(once[1]) == ["row0", "row1", "row2", "row3"]


def test_what_cannot_be_streamed_is_refused(tmp_path, processor):
    (tmp_path / "a.jsonl").write_text("")
    with pytest.raises(KitError, match=r"a\.jsonl: has no rows"):
        next(iter(RowStream([Source(path=str(tmp_path / "a.jsonl"), stream=True)], processor, batch_size=1)))
    with pytest.raises(KitError, match=r"a\.jsonl: a stream has no epochs that repeat could count"):
        RowStream([Source(path=str(tmp_path / "a.jsonl"), repeat=2)], processor, batch_size=1)
