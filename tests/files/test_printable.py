"""What a terminal may be given."""

from __future__ import annotations

import unicodedata

import pytest

from tinyllava_kit.files.printable import one_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("\x1b]52;c;aGk=\x07", "\\x1b]52;c;aGk=\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("\x90q\x9c", "\\x90q\\x9c"),
        ("safe\rsudo", "safe\\rsudo"),
        ("a\bb\x7f\x00", "a\\x08b\\x7f\\x00"),
        ("gpj.\u202eexe\u2066", "gpj.\\u202eexe\\u2066"),
        ("a\u2028b\x85", "a\\u2028b\\x85"),
        ("half \ud83d, undecodable \udcff", "half \\ud83d, undecodable \\udcff"),
    ],
)
def test_commands_of_a_terminal_are_escapes(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_words_of_every_script_stay() -> None:
    text = "é 中文\tعربي\u200f می\u200cخواهم 👩\u200d🔬\n\\x1b"
    assert printable(text) == text


def test_no_control_is_left_but_tab_and_newline() -> None:
    left = {char for char in map(chr, range(0x11000)) if printable(char) == char}
    assert {char for char in left if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")} == {"\t", "\n"}
    turning = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    assert not {char for char in left if unicodedata.bidirectional(char) in turning}


def test_an_error_is_one_line() -> None:
    assert one_line("cannot read 'a\r\n\n  b\u2028c'\n") == "cannot read 'a b\\u2028c'"
