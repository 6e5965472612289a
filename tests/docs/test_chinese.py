"""The README in Chinese says what the README says: the same commands, numbers, names and links, in as many sections."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.markdown import blocks, inline_code, prose

ROOT = Path(__file__).parents[2]
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"


def numbers(text: str) -> list[str]:
    return sorted(re.findall(r"\d[\d.,:/-]*\d|\d", text))


def links(page: Path) -> list[str]:
    """Where the page's links lead, but for the one to the other language."""
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return sorted(target for target in targets if target not in (ENGLISH.name, CHINESE.name))


def test_its_blocks_are_the_same_but_for_the_words_in_what_is_only_text() -> None:
    english, chinese = blocks(ENGLISH), blocks(CHINESE)
    assert len(english) == len(chinese)
    for ours, theirs in zip(english, chinese, strict=True):
        assert (ours.language, ours.note) == (theirs.language, theirs.note), ours.where
        if ours.language == "text":
            assert numbers(ours.text) == numbers(theirs.text), ours.where
        else:
            assert ours.text == theirs.text, ours.where


def test_its_numbers_names_and_links_are_the_same() -> None:
    assert numbers(prose(CHINESE)) == numbers(prose(ENGLISH))
    assert sorted(inline_code(CHINESE)) == sorted(inline_code(ENGLISH))
    assert links(CHINESE) == links(ENGLISH)


def test_it_has_the_same_sections_and_each_links_to_the_other() -> None:
    for level in ("# ", "## ", "### "):
        counts = [len(re.findall(rf"^{level}", prose(page), flags=re.MULTILINE)) for page in (ENGLISH, CHINESE)]
        assert counts[0] == counts[1], level
    assert f"({CHINESE.name})" in prose(ENGLISH)
    assert f"({ENGLISH.name})" in prose(CHINESE)
