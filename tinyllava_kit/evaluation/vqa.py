"""VQA accuracy: an answer counts as much as people agree on it. Light.

The score of the VQA challenges (Antol et al. 2015, https://visualqa.org/evaluation.html), with the normalisation of
their server as TextVQA's evaluation uses it (mmf, ``EvalAIAnswerProcessor``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .figures import Figure, Figures
from .judged import Judged

PEOPLE = 10  # who answered each question
AGREED = 3  # so many others who said the same make an answer right

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_ARTICLES = {"a", "an", "the"}
_NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {"none": "0", **{word: str(number) for number, word in enumerate(_NUMBER_WORDS)}}
_THOUSANDS = re.compile(r"(?<=\d),+(?=\d)")
_FULL_STOP = re.compile(r"\.(?!\d)")

# The written forms; each is also known by every spelling that lacks one of its apostrophes.
_CONTRACTIONS = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
    he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've
    o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
    someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've
    there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
    what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
    wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def _spellings() -> dict[str, str]:
    found = {"somebody'd": "somebodyd"}  # the challenge's own table has this one the other way round
    for word in _CONTRACTIONS.split():
        for place, letter in enumerate(word):
            if letter == "'":
                found[word[:place] + word[place + 1 :]] = word
    return found


_SPELLINGS = _spellings()


def normal_answer(text: str) -> str:
    """As the challenge compares answers.

    Lower case; commas, question marks, and punctuation beside a space or in a text with thousands' commas taken out,
    other punctuation a space; no full stop but before a digit; number words up to ten as digits; no articles;
    apostrophes put back into contractions.

    Example:
        >>> normal_answer("The two dogs aren't black-white.")
        "2 dogs aren't black white"
    """
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    text = text.replace("\n", " ").replace("\t", " ").strip()
    words = _FULL_STOP.sub("", _without_punctuation(text)).split()
    digits = [_DIGITS.get(word, word) for word in words]
    return " ".join(_SPELLINGS.get(word, word) for word in digits if word not in _ARTICLES)


def _without_punctuation(text: str) -> str:
    cleaned, thousands = text, _THOUSANDS.search(text) is not None
    for mark in _PUNCTUATION:
        beside_space = f"{mark} " in text or f" {mark}" in text
        cleaned = cleaned.replace(mark, "" if beside_space or thousands else " ")
    return cleaned


def vqa_score(said: str, truths: Sequence[str]) -> float:
    """Of one answer: the mean, over the people left out one at a time, of min(others who said it / 3, 1)."""
    answer, given = normal_answer(said), [normal_answer(truth) for truth in truths]
    same = given.count(answer)
    if not same:
        return 0.0
    scores = [min((same - (other == answer)) / AGREED, 1.0) for other in given]
    return sum(scores) / len(scores)


def vqa(judged: Sequence[Judged]) -> Figures:
    """The mean of `vqa_score`."""
    total = sum(vqa_score(j.said, j.truths) for j in judged)
    return {"VQA accuracy": Figure(total / max(len(judged), 1), len(judged))}
