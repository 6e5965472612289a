"""Words of a command line that name a modality. Light."""

from __future__ import annotations

from ..errors import KitError


def split_word(word: str, flag: str, form: str) -> tuple[str, str]:
    """A modality and what a word of the command line says of it.

    Raises:
        KitError: the word does not have the `form` that the `flag` requires.
    """
    modality, equals, rest = word.partition("=")
    if not (modality and equals and rest):
        raise KitError(f"{flag} needs {form}, got {word!r}")
    return modality, rest
