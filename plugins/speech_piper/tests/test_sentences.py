"""Where a voice pauses, and what it does not say."""

from __future__ import annotations

import pytest
from tinyllava_kit_speech_piper.sentences import Clause, sentences


def shown(text: str) -> str:
    """Clauses as ``words<sign>``, a bar between sentences."""
    return " | ".join(" ".join(f"{words}{sign}" for words, sign in sentence) for sentence in sentences(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello", "Hello."),
        ("Hello, you! Is it? Yes: so; it is.", "Hello, you! | Is it? | Yes: so; it is."),
        ("One\ntwo,\n\nthree", "One. | two. | three."),
        ("It costs 3.50, or 1,000", "It costs 3.50, or 1,000."),
        ("Mr. Smith met Dr. Who", "Mr Smith met Dr Who."),
        ("e.g. this, i.e. that, etc. and more. Then", "e.g. this, i.e. that, etc. and more. | Then."),
        ("Really?! Wait... No", "Really? | Wait. | No."),
        ('He said "Stop!" (loudly.) Then', 'He said "Stop! | (loudly. | Then.'),
        ("Пауза. Конец", "Пауза. | Конец."),
        ("你好。再见！", "你好. | 再见!"),
        ("wait… what — now", "wait, what, now."),
        ("# Title\n* **bold** and `code`\n* two_words | cell", "Title. | bold and code. | two words cell."),
        ("C# and #1", "C# and #1."),
        ("-- , ... !", ""),
        ("", ""),
    ],
)
def test_a_text_is_cut_where_a_voice_pauses(text, expected):
    assert shown(text) == expected


def test_every_sentence_ends():
    found = sentences("one, two; three:\nfour")
    assert found == [[Clause("one", ","), Clause("two", ";"), Clause("three", ".")], [Clause("four", ".")]]
