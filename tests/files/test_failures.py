"""Every failure of reading is one line that names the file."""

from __future__ import annotations

import pytest

from tinyllava_kit import KitError
from tinyllava_kit.errors import FusionError
from tinyllava_kit.files.failures import first_line, read_mapping, reading


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("two\nlines"), "a.json: two"),
        (OSError("no disk"), "a.json: no disk"),
        (KeyError("b"), "a.json: KeyError: 'b'"),
        (ZeroDivisionError("division by zero"), "a.json: ZeroDivisionError: division by zero"),
        (RuntimeError(), "a.json: RuntimeError: RuntimeError"),
        (RecursionError("deep"), "a.json: RecursionError: deep"),
    ],
)
def test_what_a_library_raises_is_one_line_with_its_cause(error, line):
    with pytest.raises(KitError) as caught, reading("a.json"):
        raise error
    assert str(caught.value) == line
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [FusionError("ours"), KeyboardInterrupt(), SystemExit(3)])
def test_our_own_errors_and_the_users_wish_pass_as_they_are(error):
    with pytest.raises(type(error)) as caught, reading("a.json"):
        raise error
    assert caught.value is error


def test_a_first_line_has_an_end():
    assert first_line(ValueError("  x\ny ")) == "x"
    assert first_line(ValueError("x" * 9999)) == "x" * 500 + "..."
    assert first_line(ValueError(" \n ")) == "ValueError"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", r"a\.json: expected a mapping, got list"),
        ("null", r"a\.json: expected a mapping, got NoneType"),
        ("{", r"a\.json"),
        (None, r"a\.json"),
    ],
)
def test_a_file_without_a_mapping_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    with pytest.raises(KitError, match=message):
        read_mapping(tmp_path / "a.json")


def test_a_mapping_is_read(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [1, null]}')
    assert read_mapping(tmp_path / "a.json") == {"a": [1, None]}
