"""Word and character error rates: how many edits turn the truth into the answer. Light.

The normaliser is `normalise`, the same for both rates and both sides, and the only one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from ..errors import KitError
from ..plugin.extras import imported
from .figures import Figure, Figures
from .judged import Judged


@dataclass(frozen=True, kw_only=True)
class ErrorCount:
    """The edits over all pairs, and the length of all truths, in words or characters.

    Words after the end of the truth count as insertions, and so does every word where the truth is empty.
    """

    substitutions: int
    deletions: int
    insertions: int
    num_truth: int

    @property
    def rate(self) -> float:
        """Edits per word (character) of the truth; above 1 where more is inserted than there was to say."""
        return (self.substitutions + self.deletions + self.insertions) / self.num_truth


def normalise(text: str) -> str:
    """Lower case, no punctuation, one space between words.

    Punctuation and symbols (Unicode's categories P and S) become spaces, but for an apostrophe inside a word; a
    typographic one is the same as ``'``. Numbers are left alone: "3" is not "three". Composed and decomposed letters
    are the same (NFC).

    Example:
        >>> normalise("“Don’t” -- it's 3.5 well-known DOGS'...")
        "don't it's 3 5 well known dogs"
    """
    text = unicodedata.normalize("NFC", text.lower()).replace("\u2019", "'")
    spaced = "".join(" " if unicodedata.category(c)[0] in "PS" and c != "'" else c for c in text)
    return " ".join(word for word in (word.strip("'") for word in spaced.split()) if word)


def word_errors(pairs: Iterable[tuple[str, str]]) -> ErrorCount:
    """The word error rate (WER) and its parts, over all pairs together.

    Args:
        pairs: (truth, said) texts, normalised here.

    Raises:
        KitError: no truth has a word, so that there is no rate; jiwer is not installed.
    """
    truths, said = _normalised(pairs)
    return _count(_jiwer().process_words(truths, said), sum(len(truth.split()) for truth in truths))


def character_errors(pairs: Iterable[tuple[str, str]]) -> ErrorCount:
    """The character error rate (CER) and its parts, over all pairs together; the spaces between words count.

    Args:
        pairs: (truth, said) texts, normalised here.

    Raises:
        KitError: as `word_errors`.
    """
    truths, said = _normalised(pairs)
    return _count(_jiwer().process_characters(truths, said), sum(map(len, truths)))


def wer(judged: Sequence[Judged]) -> Figures:
    """The word error rate, and the part of it that is words said too much.

    Raises:
        KitError: as `word_errors`.
    """
    errors = word_errors((j.truth, j.said) for j in judged)
    values = {"WER": errors.rate, "of it inserted": errors.insertions / errors.num_truth}
    return {name: Figure(value, len(judged)) for name, value in values.items()}


def cer(judged: Sequence[Judged]) -> Figures:
    """The character error rate.

    Raises:
        KitError: as `character_errors`.
    """
    return {"CER": Figure(character_errors((j.truth, j.said) for j in judged).rate, len(judged))}


def _normalised(pairs: Iterable[tuple[str, str]]) -> tuple[list[str], list[str]]:
    both = [(normalise(truth), normalise(said)) for truth, said in pairs]
    truths = [truth for truth, _ in both]
    if not any(truths):
        raise KitError(f"none of {len(truths)} truth(s) has a word; an error rate needs at least one")
    return truths, [said for _, said in both]


def _count(found: Any, num_truth: int) -> ErrorCount:
    return ErrorCount(
        substitutions=found.substitutions,
        deletions=found.deletions,
        insertions=found.insertions,
        num_truth=num_truth,
    )


def _jiwer() -> ModuleType:
    return imported("jiwer", "an error rate")
