"""Files of rows: what is read from each kind, whose folder names are taken from, and what is refused."""

from __future__ import annotations

import codecs
import json
import os
import socket
import sys

import pytest

from tests.fakes import FakeSite, offering
from tinyllava_kit.data import json_rows
from tinyllava_kit.data.rows import read_rows, with_root
from tinyllava_kit.data.sources import Source
from tinyllava_kit.errors import KitError
from tinyllava_kit.files import opening as files

ROWS = [{"id": 1, "text": "naïve\u2028line"}, {"id": 2, "text": 'a "word", another'}, {"id": 3, "text": ""}]


def write(path, text):
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_json_list_is_its_rows(tmp_path):
    assert read_rows(write(tmp_path / "rows.json", json.dumps(ROWS))) == ROWS


def test_a_file_name_may_be_text(tmp_path):
    assert read_rows(str(write(tmp_path / "rows.json", json.dumps(ROWS)))) == ROWS


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_each_line_of_a_jsonl_file_is_a_row(tmp_path, end):
    text = "".join(json.dumps(row, ensure_ascii=False) + end for row in ROWS)
    assert read_rows(write(tmp_path / "rows.jsonl", text)) == ROWS


@pytest.mark.parametrize(("name", "mark"), [("rows.csv", ","), ("rows.tsv", "\t")])
@pytest.mark.parametrize("begin", ["", "\ufeff"])
def test_a_table_is_rows_of_texts_under_its_head_line(tmp_path, name, mark, begin):
    text = f'{begin}id{mark}text\r\n1{mark}"a{mark}""b""\nc"\r\n2{mark}\r\n'
    assert read_rows(write(tmp_path / name, text)) == [
        {"id": "1", "text": f'a{mark}"b"\nc'},
        {"id": "2"},
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("rows.json", '[{"id": 1},\n {"id": }]', r"rows\.json line 2, column 9: not JSON: Expecting value"),
        ("rows.jsonl", '{"id": 1}\n\n{"id": 2,}\n', r"rows\.jsonl line 3, column 10: not JSON"),
        ("rows.json", "1", r"rows\.json: needs a list of rows, like \[\{'id'"),
        ("rows.json", "[1, 2]", r"rows\.json: needs a list of rows"),
        ("rows.jsonl", "[[]]\n", r"rows\.jsonl: needs a list of rows"),
        ("rows.json", "[]", r"rows\.json: has no rows"),
        ("rows.jsonl", "\n", r"rows\.jsonl: has no rows"),
        ("rows.csv", "id,text\n", r"rows\.csv: has no rows"),
        ("rows.csv", "", r"rows\.csv: has no rows"),
        ("rows.csv", "id,text\n1,a\n2\n", r"rows\.csv row 2: has another number of fields than the head line"),
        ("rows.csv", "id,text\n1,a,b\n", r"rows\.csv row 1: has another number of fields"),
        ("rows.csv", 'id,text\n1,"a\n', r"rows\.csv line 2: unexpected end of data"),
        ("rows.json", b"\xff\xfa", r"cannot read data '.*rows\.json': 'utf-8' codec can't decode"),
    ],
)
def test_what_is_not_rows_is_refused_by_name_and_place(tmp_path, name, text, message):
    with pytest.raises(KitError, match=message):
        read_rows(write(tmp_path / name, text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(KitError, match=r"cannot read data '.*none\.json': no such file; "):
        read_rows(tmp_path / "none.json")


def test_a_directory_without_the_package_that_reads_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(KitError, match=r"a directory needs datasets; pip install 'tinyllava-kit\[datasets\]'"):
        read_rows(tmp_path)


def test_relative_names_are_taken_from_the_root(tmp_path):
    row = {"image": "a.png", "audio": ["b/c.wav", str(tmp_path / "d.wav")], "id": "a.png"}
    located = with_root(row, ["image", "audio", "sensor"], "data")
    assert located == {"image": "data/a.png", "audio": ["data/b/c.wav", str(tmp_path / "d.wav")], "id": "a.png"}
    assert row["image"] == "a.png"


def test_sources_that_are_no_names_stay(tmp_path):
    row = {"sensor": [[1.0, 2.0]], "audio": None}
    assert with_root(row, ["sensor", "audio"], tmp_path) == row


def test_parts_of_messages_are_taken_from_the_root_and_their_text_is_not():
    parts = [
        {"type": "image", "image": "a.png"},
        {"type": "audio", "path": "b.wav"},
        {"type": "text", "text": "c"},
        "d",
    ]
    row = {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "image.png"}]}
    located = with_root(row, ["image", "audio"], "data")
    assert located["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "image", "image": "data/a.png"},
                {"type": "audio", "path": "data/b.wav"},
                {"type": "text", "text": "c"},
                "d",
            ],
        },
        {"role": "assistant", "content": "image.png"},
    ]
    assert parts[0] == {"type": "image", "image": "a.png"}


def test_a_name_that_is_nearly_right_is_advised(tmp_path):
    (tmp_path / "train.json").write_text("[]")
    with pytest.raises(KitError, match=r"cannot read data '.*trian\.json': no such file; did you mean 'train\.json'\?"):
        list(read_rows(tmp_path / "trian.json"))
    with pytest.raises(KitError, match="no such file; check the path; its folder is not there"):
        list(read_rows(tmp_path / "gone" / "train.json"))


@pytest.mark.parametrize("name", ["rows.json", "rows.JSON", "rows.jsonl", "rows.JSONL", "rows.txt"])
@pytest.mark.parametrize("kind", ["list", "lines"])
def test_json_is_read_by_its_content_whatever_the_ending_says(tmp_path, name, kind):
    text = json.dumps(ROWS, indent=1) if kind == "list" else "\n".join(map(json.dumps, ROWS))
    assert read_rows(write(tmp_path / name, text)) == ROWS


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
    ],
)
@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.CSV"])
def test_a_byte_order_mark_says_how_a_file_is_written(tmp_path, mark, encoding, name):
    text = "id,text\n1,naïve\u2028line\n" if name.endswith("CSV") else json.dumps([ROWS[0]], ensure_ascii=False)
    (row,) = read_rows(write(tmp_path / name, mark + text.encode(encoding)))
    assert row["text"] == ROWS[0]["text"]


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.csv"])
def test_a_line_without_an_end_is_refused_before_it_is_read(tmp_path, monkeypatch, name):
    for module in (files, json_rows):
        monkeypatch.setattr(module, "MAX_LINE", 1000)
    monkeypatch.setattr(json_rows, "_CHUNK", 100)
    text = {"rows.json": '[{"id": "', "rows.jsonl": '{"id": "', "rows.csv": "id\n"}[name] + "a" * 2001
    with pytest.raises(KitError, match=rf"{name} line \d.*longer than 0 Mi characters"):
        read_rows(write(tmp_path / name, text))


def pipe(path):
    os.mkfifo(path)


def bound(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize(("make", "what"), [(pipe, "is a pipe"), (bound, "is a socket")])
@pytest.mark.parametrize("ending", ["json", "jsonl", "csv", "parquet", "tar"])
def test_what_is_no_file_is_not_waited_for(tmp_path, monkeypatch, make, what, ending):
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    make(f"rows.{ending}")
    with pytest.raises(KitError, match=rf"cannot read data 'rows\.{ending}': {what} and not a file"):
        read_rows(f"rows.{ending}")


@pytest.mark.parametrize("name", ["a\0.json", "a\ud83d.json", "a" * 5000 + ".json", "/dev/zero"])
def test_a_name_that_no_file_can_have_is_one_short_line(name):
    with pytest.raises(KitError, match="cannot read data '") as error:
        read_rows(name)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500
    str(error.value).encode()


def test_what_is_absent_is_no_part_of_a_row(tmp_path):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"id": [1, 2], "text": ["a", None], "n": [1.0, float("nan")], "image": [None, "a.png"]})
    table.to_parquet(tmp_path / "rows.PARQUET")
    table.to_json(tmp_path / "rows.json", orient="records")
    table.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "rows.jsonl").write_text('{"id": 1, "text": "a", "n": 1.0}\n{"id": 2, "n": NaN, "image": "a.png"}\n')
    expected = [{"id": 1, "text": "a", "n": 1.0}, {"id": 2, "image": "a.png"}]
    for name in ("rows.PARQUET", "rows.json", "rows.jsonl"):
        assert read_rows(tmp_path / name) == expected
    assert read_rows(tmp_path / "rows.csv") == [{name: str(value) for name, value in row.items()} for row in expected]


def test_columns_of_several_items_and_files_in_mappings_are_taken_from_the_root():
    row = {
        "images": ["a.png", "https://x.org/b.png", "data:image/png;base64,AAAA"],
        "image": {"bytes": None, "path": "c"},
    }
    assert with_root(row, ["image"], "data") == {
        "images": ["data/a.png", "https://x.org/b.png", "data:image/png;base64,AAAA"],
        "image": {"bytes": None, "path": "data/c"},
    }
    part = {"type": "image_url", "image_url": {"url": "a.png"}}
    assert with_root({"messages": [{"role": "user", "content": [part]}]}, ["image"], "data")["messages"] == [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data/a.png"}}]}
    ]


# ---- readers of a plugin ---------------------------------------------------------------------------------------------

LINES = """
from tinyllava_kit import KitError

def read(path):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if "|" not in line:
            raise KitError(f"{path} line {number}: needs QUESTION|ANSWER")
        question, answer = line.split("|")
        yield {"question": question, "answer": answer}
"""


@pytest.fixture
def _lines(tmp_path, monkeypatch):
    site = FakeSite(tmp_path / "site", monkeypatch)
    site.module("barred", LINES)
    specs = ("ReaderSpec(name='barred', target='barred:read', suffixes=('.bar', '.bar.txt'))",)
    site.plugin("barred", offering("tinyllava_readers", *specs))


@pytest.mark.usefixtures("_lines")
def test_a_file_is_read_by_the_reader_of_its_ending_or_by_the_one_that_is_named(tmp_path):
    for name in ("a.bar", "a.BAR.txt", "a.other"):
        (tmp_path / name).write_text("How?|So.\nWhy?|\n")
    expected = [{"question": "How?", "answer": "So."}, {"question": "Why?", "answer": ""}]
    assert read_rows(tmp_path / "a.bar") == read_rows(tmp_path / "a.BAR.txt") == expected
    source = Source(path=str(tmp_path / "a.other"), reader="barred")
    assert [dict(row.values) for row in source.rows()] == expected
    (tmp_path / "bad.bar").write_text("How?|So.\nWhy?\n")
    with pytest.raises(KitError, match=r"bad\.bar line 2: needs QUESTION\|ANSWER"):
        read_rows(tmp_path / "bad.bar")


@pytest.mark.usefixtures("_lines")
def test_two_readers_of_an_ending_are_told_apart_by_name(tmp_path, monkeypatch):
    other = FakeSite(tmp_path / "other", monkeypatch)
    more = "ReaderSpec(name='more', target='barred:read', suffixes=('.bar',))"
    other.plugin("more", offering("tinyllava_readers", more))
    (tmp_path / "a.bar").write_text("How?|So.\n")
    with pytest.raises(KitError, match=r"kit-barred/barred and tinyllava-kit-more/more; say which with 'reader"):
        read_rows(tmp_path / "a.bar")
    assert Source(path=str(tmp_path / "a.bar"), reader="more").rows()


def test_a_reader_that_is_not_there_is_one_line():
    with pytest.raises(ValueError, match="no reader is called 'tabel'; did you mean 'table'"):
        Source(path="a.csv", reader="tabel")
    with pytest.raises(ValueError, match="names: reader is for files"):
        Source(dataset="names", reader="table")


def test_a_table_with_a_short_row_is_refused(tmp_path):
    (tmp_path / "a.tsv").write_text("audio\ttext\na.wav\n")
    with pytest.raises(KitError, match=r"a\.tsv row 1: has another number of fields than the head line"):
        read_rows(tmp_path / "a.tsv")


def test_json_lines_keep_working(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"a": 1}) + "\n\n" + json.dumps({"a": 2}))
    assert read_rows(tmp_path / "a.jsonl") == [{"a": 1}, {"a": 2}]
