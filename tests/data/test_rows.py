"""Files of rows: what is read from each kind, whose folder names are taken from, and what is refused."""

from __future__ import annotations

import json
import sys

import pytest

from tinyllava_kit.core.errors import KitError
from tinyllava_kit.data.rows import read_rows, with_root

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
        {"id": "2", "text": ""},
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("rows.json", '[{"id": 1},\n {"id": }]', r"rows\.json line 2, column 9: not JSON: Expecting value"),
        ("rows.jsonl", '{"id": 1}\n\n{"id": 2,}\n', r"rows\.jsonl line 3, column 10: not JSON"),
        ("rows.json", '{"id": 1}', r"rows\.json: wants a list of rows, like \[\{'id'"),
        ("rows.json", "[1, 2]", r"rows\.json: wants a list of rows"),
        ("rows.jsonl", "[]\n", r"rows\.jsonl: wants a list of rows"),
        ("rows.json", "[]", r"rows\.json: has no rows"),
        ("rows.jsonl", "\n", r"rows\.jsonl: has no rows"),
        ("rows.csv", "id,text\n", r"rows\.csv: has no rows"),
        ("rows.csv", "", r"rows\.csv: has no rows"),
        ("rows.csv", "id,text\n1,a\n2\n", r"rows\.csv row 2: has another number of fields than the head line"),
        ("rows.csv", "id,text\n1,a,b\n", r"rows\.csv row 1: has another number of fields"),
        ("rows.csv", 'id,text\n1,"a\n', r"rows\.csv line 2: unexpected end of data"),
        ("rows.json", b"\xff\xfe", r"cannot read data '.*rows\.json': 'utf-8' codec can't decode"),
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
    with pytest.raises(KitError, match="a directory needs datasets; pip install datasets"):
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
