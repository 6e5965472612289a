"""YAML files of users: plain values, or one line that says where and why not."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from tests.yaml_attacks import ATTACKS
from tinyllava_kit import KitError
from tinyllava_kit.files.yaml_files import MOST_BYTES, read_yaml

REFUSED = {
    "a: 1\na: 2\n": r"line 2, column 1: 'a' is given twice",
    "a: {b: 1, b: 2}\n": r"line 1, column 11: 'b' is given twice",
    "1: a\n": r"line 1, column 1: a key that is no text, '1'; write it in quotes",
    "on: a\n": r"a key that is no text, 'on'; write it in quotes",
    "[a]: b\n": r"a key that is no text, a list or a mapping",
    "a: &x [*x]\n": r"line 1, column 8: an alias of a value that contains it",
    "a: !!python/object/apply:os.system [ls]\n": r"python/object/apply:os.system' is not read; write text",
    "a: !!binary aGk=\n": r"binary' is not read",
    "a: 0x" + "f" * 5000: r"a number of more than 63 bits",
    "a: " + "9" * 5000: r"a number that cannot be read",
    "a: .inf": r"a number that is not finite",
    "a: " + "[" * 60 + "]" * 60: r"more than 50 levels deep",
    "a:\n\tb: c": r"line 2, column 1: not YAML: found character",
    "- a\n": r"needs a mapping, got list",
    "a: " + "x" * MOST_BYTES: r"has more than 300,000 bytes",
}


@pytest.mark.parametrize("text", REFUSED, ids=[text[:12] for text in REFUSED])
def test_what_is_no_plain_mapping_is_refused_with_its_place(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(KitError, match=REFUSED[text]) as refused:
        read_yaml(file)
    assert str(refused.value).startswith(str(file))
    assert "\n" not in str(refused.value)


def test_plain_values_are_read_and_dates_are_text(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("\ufeffa: &x {b: [1, 0.5, yes, ~, 2020-13-01]}\nc: *x\nd: {<<: *x, e: 'é'}\n", encoding="utf-8")
    inner = [1, 0.5, True, None, "2020-13-01"]
    assert read_yaml(file) == {"a": {"b": inner}, "c": {"b": inner}, "d": {"b": inner, "e": "é"}}


def test_attacks_are_plain_values_or_a_line(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    for attack in ATTACKS:
        file.write_bytes(attack)
        with suppress(KitError):
            assert len(repr(read_yaml(file))) < 1000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [x, x, x, x, x, x, x, x, x, x]\n"
         + "".join(f"{n}: &{n} [{', '.join([f'*{m}'] * 10)}]\n" for m, n in zip("abcdefgh", "bcdefghi", strict=True)),
         "more than 100,000 values"),
        ("a: &a [*a]", "an alias of a value that contains it"),
        ("a: " + "[" * 20_000, "more than 50 levels deep"),
        ("a: " + "9" * 5000, "a number that cannot be read"),
        ('a: "b\\0"', "a text that holds a NUL"),
    ],
)  # fmt: skip
def test_yaml_without_an_end_is_one_line(tmp_path, text, message):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(KitError, match=message) as error:
        read_yaml(tmp_path / "a.yaml")
    assert len(str(error.value)) < 500
