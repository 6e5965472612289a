"""JSON read value after value: over the borders of what is read at once, and no further than the bounds."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllava_kit.data import json_rows
from tinyllava_kit.data.rows import read_rows
from tinyllava_kit.errors import KitError

ROWS = [{"id": 1, "text": "naïve\u2028line"}, {"id": 2, "text": 'a "word", another'}, {"id": 3, "text": ""}]


def write(path, text):
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_items_that_lie_over_the_borders_of_what_is_read_at_once_are_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(json_rows, "_CHUNK", 7)
    assert read_rows(write(tmp_path / "rows.json", json.dumps(ROWS, indent=3))) == ROWS
    text = '[{"id": 1},\n {"id": [1, 2, 3],\n "a": tru}]'
    with pytest.raises(KitError, match=r"rows\.json line 3, column 7: not JSON: Expecting value"):
        read_rows(write(tmp_path / "rows.json", text))
    for text, message in (
        ('[{"id": 1} {"id": 2}]', r"line 1, column 12: not JSON: Expecting ',' delimiter"),
        ('[{"id": 1}', r"column 11: not JSON: Expecting ',' delimiter"),
        ('[{"id": 1}]\n]', "line 2, column 1: not JSON: Extra data"),
        ('[{"id": 1},]', "column 12: not JSON: Expecting value"),
        ('[{"id": "1', "column 9: not JSON: Unterminated string"),
    ):
        with pytest.raises(KitError, match=message):
            read_rows(write(tmp_path / "rows.json", text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 200_000, "stand in one another more than 100 deep"),
        ('[{"a": ' + "[" * 150 + "]" * 150 + "}]", "stand in one another more than 100 deep"),
        ('{"a": ' * 200_000, "stand in one another more than 100 deep"),
        ('[{"id": ' + "9" * 5000 + "}]", "holds a number of thousands of digits"),
        ('{"id": ' + "9" * 5000 + "}", "holds a number of thousands of digits"),
    ],
)
@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_json_past_the_bounds_is_one_line(tmp_path, name, text, message):
    with pytest.raises(KitError, match=rf"{name} line 1.*{message}") as error:
        read_rows(write(tmp_path / name, text))
    assert len(str(error.value)) < 500


def test_lists_and_mappings_within_the_bounds_are_read(tmp_path):
    text = '[{"a": ' + "[" * 98 + "]" * 98 + "}]"
    assert read_rows(write(tmp_path / "rows.json", text)) == json.loads(text)


@given(
    st.lists(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5)),
    st.integers(1, 9),
    st.booleans(),
)
def test_values_are_those_of_the_whole_file_wherever_it_is_cut(values, chunk, indented):
    text = json.dumps(values, indent=2 if indented else None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "_CHUNK", chunk)
        assert list(json_rows.json_values(io.StringIO(text), "f")) == values


@pytest.mark.parametrize("text", ["[]", " [ ]\n", "", "\n \n"])
def test_a_list_of_nothing_and_an_empty_file_hold_no_value(text):
    assert list(json_rows.json_values(io.StringIO(text), "f")) == []


def test_values_are_given_before_the_file_is_read_to_its_end(monkeypatch):
    monkeypatch.setattr(json_rows, "_CHUNK", 4)
    file = io.StringIO("[1, 2, " + "3, " * 90 + "}")
    values = json_rows.json_values(file, "f")
    assert next(values) == 1
    assert file.tell() < 20
    with pytest.raises(KitError, match=r"f line 1, column 278: not JSON: Expecting value"):
        list(values)
