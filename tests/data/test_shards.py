"""Parquet files and tar shards: their rows with what lies in them, the patterns that name many, and what is refused."""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile
from PIL import Image

from tests import toys
from tinyllava_kit import KitError
from tinyllava_kit.components.modalities.audio import AudioModality
from tinyllava_kit.data import shards
from tinyllava_kit.data.dataset import ConversationDataset
from tinyllava_kit.data.rows import iterate_rows, read_rows
from tinyllava_kit.data.shards import named_files, tar_rows
from tinyllava_kit.data.sources import Source


@pytest.fixture(scope="module")
def processor(tmp_path_factory):
    return toys.picture_model(tmp_path_factory.mktemp("shards"))[1]


def write_tar(path, files):
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def picture(number):
    file = io.BytesIO()
    Image.new("RGB", (20 + number, 30), (number, 0, 0)).save(file, "PNG")
    return file.getvalue()


def said(number, place="<image>"):
    return [{"from": "human", "value": f"{place} what is {number}?"}, {"from": "gpt", "value": f"a {number}"}]


def json_bytes(value):
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a-{08..10}.x", ["a-08.x", "a-09.x", "a-10.x"]),
        ("{a,b}-{1..2}.x", ["a-1.x", "a-2.x", "b-1.x", "b-2.x"]),
        ("a-?.x", ["a-1.x", "a-2.x"]),
        ("[ab]-1.x", ["a-1.x", "b-1.x"]),
        ("odd{1}.x", ["odd{1}.x"]),
        ("none.x", ["none.x"]),
    ],
)
def test_a_pattern_names_files_in_order(tmp_path, monkeypatch, pattern, expected):
    monkeypatch.chdir(tmp_path)
    for name in ("a-08.x", "a-09.x", "a-10.x", "a-1.x", "a-2.x", "b-1.x", "b-2.x", "odd{1}.x"):
        (tmp_path / name).touch()
    assert named_files(pattern) == expected


@pytest.mark.parametrize(("pattern", "missing"), [("a-{1..3}.x", r"a-3\.x"), ("*.y", r"\*\.y")])
def test_a_pattern_without_a_file_is_refused(tmp_path, monkeypatch, pattern, missing):
    monkeypatch.chdir(tmp_path)
    for name in ("a-1.x", "a-2.x"):
        (tmp_path / name).touch()
    with pytest.raises(KitError, match=rf"there is no file '{missing}'$"):
        named_files(pattern)


def test_a_shard_is_its_samples_with_their_files(tmp_path):
    shard = write_tar(
        tmp_path / "s.tar",
        [
            ("d/000.json", json_bytes({"image": "000.png", "conversations": said(0)})),
            ("d/000.png", picture(0)),
            ("d/001.left.png", picture(1)),
            ("d/001.txt", "naïve".encode()),
            ("e/001.txt", b"other"),
        ],
    )
    first, second, third = read_rows(shard)
    assert first["image"] == first["png"] == {"bytes": picture(0), "path": f"{shard}/d/000.png"}
    assert (first["id"], first["conversations"]) == ("000", said(0))
    assert second == {"id": "001", "left.png": {"bytes": picture(1), "path": f"{shard}/d/001.left.png"}, "txt": "naïve"}
    assert third == {"id": "001", "txt": "other"}


def test_rows_of_several_shards_become_conversations_with_their_pictures(tmp_path, processor):
    for shard in range(2):
        files = []
        for number in range(2):
            files += [
                (f"{number}.json", json_bytes({"conversations": said(number)})),
                (f"{number}.png", picture(shard)),
            ]
        write_tar(tmp_path / f"s-{shard}.tar", files)
    source = Source(path=str(tmp_path / "s-{0..1}.tar"), columns={"image": "png"})
    dataset = ConversationDataset.from_sources([source], processor)
    assert [c.name for c in dataset.conversations] == [
        f"{tmp_path}/s-{shard}.tar[{number}] '{number}'" for shard in range(2) for number in range(2)
    ]
    assert [len(dataset[n].items) for n in range(4)] == [1] * 4
    assert dataset.conversations[2].items[0].source["bytes"] == picture(1)


def test_captions_in_shards_are_pairs(tmp_path, processor):
    write_tar(tmp_path / "s.tar", [("7.png", picture(0)), ("7.txt", b"a hen")])
    pairs = {"modality": "image", "item": "png", "text": "txt", "prompts": ["What is it?"]}
    dataset = ConversationDataset.from_sources([Source(path=str(tmp_path / "s.tar"), pairs=pairs)], processor)
    assert dataset.conversations[0].turns[1].text == "a hen"
    assert dataset[0].items[0].num_features == [4]


def test_a_damaged_picture_in_a_shard_is_named(tmp_path, processor):
    write_tar(tmp_path / "s.tar", [("7.json", json_bytes({"conversations": said(0)})), ("7.png", picture(0)[:40])])
    dataset = ConversationDataset.from_sources(
        [Source(path=str(tmp_path / "s.tar"), columns={"image": "png"})], processor
    )
    with pytest.raises(KitError, match=r"s\.tar\[0\] '7': cannot read image '.*s\.tar/7\.png'"):
        dataset[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no tar", r"cannot read data '.*s\.tar': .*; expected a whole tar file"),
        (None, r"cannot read data '.*s\.tar': unexpected end of data; expected a whole tar file"),
    ],
)
def test_what_is_no_whole_tar_is_named(tmp_path, content, message):
    whole = write_tar(tmp_path / "s.tar", [("a.bin", bytes(3000)), ("b.bin", bytes(3000))]).read_bytes()
    (tmp_path / "s.tar").write_bytes(whole[:5000] if content is None else content)
    with pytest.raises(KitError, match=message):
        read_rows(tmp_path / "s.tar")


@pytest.mark.parametrize(("name", "content"), [("a.json", b"[1]"), ("a.json", b"{"), ("a.txt", b"\xff")])
def test_a_file_of_a_sample_that_is_no_row_is_named(tmp_path, name, content):
    with pytest.raises(KitError, match=rf"s\.tar/{name}.*(expected a row as JSON, or text|column 2: not JSON)"):
        read_rows(write_tar(tmp_path / "s.tar", [(name, content)]))


def test_a_parquet_file_is_its_rows_some_at_a_time(tmp_path):
    rows = [{"id": n, "conversations": said(n), "image": {"bytes": picture(n), "path": None}} for n in range(130)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=50)
    assert read_rows(tmp_path / "a.parquet") == rows
    assert next(iterate_rows(tmp_path / "a.parquet")) == rows[0]


def test_pictures_and_sounds_in_a_parquet_file_are_read(tmp_path, processor):
    sound = io.BytesIO()
    soundfile.write(sound, np.zeros(900), 9000, format="WAV")
    rows = [{"conversations": said(3), "images": [{"bytes": picture(3), "path": None}], "audio": sound.getvalue()}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    source = Source(path=str(tmp_path / "*.parquet"), columns={"image": "images"})
    with pytest.raises(
        KitError, match=r"a\.parquet\[0\]: column 'audio': the model does not read 'audio'; it reads image"
    ):
        ConversationDataset.from_sources([source], processor)
    source = source.model_copy(update={"columns": {"image": "images", "unused": "audio"}})
    dataset = ConversationDataset.from_sources([source], processor)
    assert dataset[0].items[0].num_features == [4]
    assert AudioModality().measure(read_rows(tmp_path / "a.parquet")[0]["audio"]) == pytest.approx(0.1)


def test_what_is_no_parquet_file_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and nothing")
    with pytest.raises(KitError, match=r"cannot read data '.*a\.parquet': .*expected a whole Parquet file"):
        read_rows(tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(KitError, match=r"a Parquet file needs pyarrow; pip install pyarrow"):
        read_rows(tmp_path / "a.parquet")


def test_a_member_that_claims_more_than_a_sample_is_refused_before_it_is_read(tmp_path):
    head = tarfile.TarInfo("a.png")
    head.size = 20 << 30
    path = tmp_path / "a.tar"
    path.write_bytes(head.tobuf())
    os.truncate(path, 21 << 30)  # a hole, which takes no room on a disk
    with pytest.raises(KitError, match=r"a\.tar/'a\.png': is larger than 512 MiB"):
        next(tar_rows(path))


def packed_parquet(path, rows, size, **how):
    """Rows of one letter, which a few bytes hold."""
    table = pyarrow.table({"id": list(range(rows)), "messages": ["x" * size] * rows})
    pyarrow.parquet.write_table(table, path, compression="zstd", use_dictionary=False, write_statistics=False, **how)
    return path


def test_a_parquet_file_of_a_few_bytes_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    path = packed_parquet(tmp_path / "a.parquet", 40, 1 << 20)
    monkeypatch.setattr(shards, "MAX_GROUP", 50 << 20)
    assert len(read_rows(path)) == 40
    monkeypatch.setattr(shards, "MAX_GROUP", 30 << 20)
    with pytest.raises(
        KitError, match=r"a\.parquet': \d+ bytes of it unpack to 4\d{7}, more than 30 MiB and more than 100"
    ):
        read_rows(path)
    with pytest.raises(KitError, match=r"unpack to 4\d{7}"):
        Source(dataset=str(tmp_path)).rows()
    assert len(read_rows(packed_parquet(path, 40, 1 << 20, row_group_size=10))) == 40


def test_what_does_not_pack_so_well_may_be_as_long_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MAX_GROUP", 1 << 10)
    table = pyarrow.Table.from_pylist([{"image": {"bytes": os.urandom(5000), "path": None}} for _ in range(20)])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet", compression="zstd")
    assert len(read_rows(tmp_path / "a.parquet")) == 20


def test_a_parquet_row_is_bounded_and_long_ones_are_read_one_by_one(tmp_path, monkeypatch):
    path = packed_parquet(tmp_path / "a.parquet", 6, 3000)
    read = []
    keep = pyarrow.parquet.ParquetFile.iter_batches
    monkeypatch.setattr(
        pyarrow.parquet.ParquetFile, "iter_batches", lambda file, **how: read.append(how) or keep(file, **how)
    )
    monkeypatch.setattr(shards, "MAX_SAMPLE", 7000)
    assert [row["id"] for row in read_rows(path)] == list(range(6))
    assert read == [{"batch_size": 2}]
    monkeypatch.setattr(shards, "MAX_SAMPLE", 2000)
    with pytest.raises(KitError, match=r"a\.parquet': its rows are of 30\d\d bytes, a row may have"):
        read_rows(path)


def test_a_long_value_that_many_rows_share_is_not_unpacked_for_many_at_once(tmp_path, monkeypatch):
    path, long = tmp_path / "a.parquet", "x" * 100_000
    pyarrow.parquet.write_table(pyarrow.table({"messages": [long] * 70}), path, compression="zstd")
    assert path.stat().st_size < 5000
    table = pyarrow.parquet.ParquetFile(path).metadata.row_group(0).column(0)
    assert table.has_dictionary_page
    assert table.total_uncompressed_size < 300_000
    monkeypatch.setattr(shards, "MAX_SAMPLE", 1_000_000)
    sizes = [batch.num_rows for batch in batches_of(path)]
    assert sum(sizes) == 70
    assert max(sizes) <= 10
    assert read_rows(path) == [{"messages": long}] * 70
    monkeypatch.setattr(shards, "MAX_SAMPLE", 50_000)
    with pytest.raises(KitError, match=r"a\.parquet': its rows are of 1\d{5} bytes"):
        read_rows(path)


def batches_of(path):
    with pyarrow.parquet.ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=shards._rows_at_once(path, file.metadata))
