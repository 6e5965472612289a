"""Multiple choice: the share of answers that name the letter of the right choice. Light.

Answers are read as ScienceQA's are in LLaVA's and TinyLLaVA_Factory's evaluation (Lu et al. 2022, "Learn to Explain").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase as LETTERS

from .figures import Figures, share
from .judged import Judged

_SENTENCE = re.compile(r"The answer is ([A-Z]).")


def letter(said: str, num_choices: int) -> str:
    """The letter that an answer names, or nothing: ``B``, ``B. ...``, or ``The answer is B.``, once.

    Example:
        >>> letter("B. the moon", 3), letter("The answer is D.", 3)
        ('B', '')
    """
    named = _SENTENCE.findall(said)
    if said in LETTERS and len(said) == 1:
        found = said
    elif said[1:3] == ". " and said[0] in LETTERS:
        found = said[0]
    else:
        found = named[0] if len(named) == 1 else ""
    return found if found in LETTERS[:num_choices] else ""


def choice(judged: Sequence[Judged]) -> Figures:
    """The accuracy; an answer that names no choice, or more than one, is wrong."""
    right = sum(letter(j.said, len(j.choices)) == j.truth for j in judged)
    return {"accuracy": share(right, len(judged))}
