"""Transcripts: tidied, compared, split so that no sentence stands in two parts, and recombined into new sentences."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]

SENTENCE_WORDS = range(4, 15)

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_DIGITS = {str(digit): word for digit, word in enumerate(_NUMBERS)}


def tidy(text: str) -> str:
    """A transcript as it is said: the dots that mark a fragment taken off, every space one space.

    Example:
        >>> tidy("...to leave  the conference...")
        'to leave the conference'
    """
    return " ".join(text.replace("...", " ").split())


def has_brackets(text: str) -> bool:
    """Whether a transcript describes a sound, or how something is said, beside words."""
    return any(character in "()[]{}<>" for character in text)


def normalised(text: str) -> str:
    """What two transcripts must differ in to count as two: no case, no punctuation, digits as words.

    Example:
        >>> normalised("Press 1, to re-record it.")
        'press one to rerecord it'
    """
    words = re.sub(r"[^\w\s]", "", text.lower()).split()
    return " ".join(_DIGITS.get(word, word) for word in words)


def split(rows: Iterable[Row], sizes: Mapping[str, int], words: range, seed: int) -> dict[str, list[Row]]:
    """Rows in parts that share no transcript.

    Args:
        rows: each with a ``text`` and an ``audio``.
        sizes: of the parts that are held out, in transcripts; of several recordings of one, the first is kept.
        words: how many words a transcript that is held out has, as far as there are enough such.
        seed: of the draw.

    Returns:
        The parts of `sizes` in the order drawn, and ``"train"`` with all recordings of the other transcripts.
    """
    groups: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["audio"]):
        groups.setdefault(normalised(row["text"]), []).append(row)
    order = sorted(groups)
    random.Random(seed).shuffle(order)
    drawn = iter(sorted(order, key=lambda text: len(text.split()) not in words))
    parts = {name: [groups.pop(text)[0] for text in itertools.islice(drawn, size)] for name, size in sizes.items()}
    return {**parts, "train": [row for group in groups.values() for row in group]}


def sentences(texts: Iterable[str], count: int, avoid: Collection[str], seed: int) -> list[str]:
    """New sentences of the words of `texts`, each pair of neighbours in them neighbours there too.

    Fewer than `count` where the texts do not give as many.

    Args:
        avoid: what no sentence may say, normalised.
    """
    draw = random.Random(seed)
    after = _neighbours(texts)
    said = set(avoid)
    made: list[str] = []
    for _ in range(100 * count):
        if len(made) == count:
            break
        words = _walk(after, draw)
        sentence = " ".join(words)
        if len(words) in SENTENCE_WORDS and normalised(sentence) not in said:
            said.add(normalised(sentence))
            made.append(f"{sentence[0].upper()}{sentence[1:]}.")
    return made


def _neighbours(texts: Iterable[str]) -> dict[str, list[str]]:
    """Every word's followers, as often as they follow; "" begins and ends a phrase."""
    after: dict[str, list[str]] = {}
    for text in texts:
        for phrase in re.split(r"[.,?!:;]+(?:\s+|$)", text):
            for word, following in itertools.pairwise(["", *phrase.split(), ""]):
                if word or following:
                    after.setdefault(word, []).append(following)
    return after


def _walk(after: Mapping[str, Sequence[str]], draw: random.Random) -> list[str]:
    """Words from the beginning of a phrase to the end of one, or until they are too many."""
    words: list[str] = []
    while len(words) < SENTENCE_WORDS.stop and (word := draw.choice(after.get(words[-1] if words else "", [""]))):
        words.append(word)
    return words


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """A JSON object a line."""
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")


def read_rows(path: Path) -> list[Row]:
    """What `write_rows` wrote."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
