"""A prompt's ids, cut at its items, as the kit tokenizes: each piece of text between items alone."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any


def cut_at_placeholders(ids: list[int], placeholders: Collection[str], tokenizer: Any) -> list[list[int] | str] | None:
    """The ids of the text between items and, where an item stands, its placeholder.

    vLLM has tokenized the whole text, so that the letters of a placeholder may share ids with those beside it.

    Returns:
        None where the ids do not say which text they are of.
    """
    begin = ids[:1] if ids[:1] == [tokenizer.bos_token_id] else []
    text = tokenizer.decode(ids[len(begin) :], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if begin + tokenizer.encode(text, add_special_tokens=False) != ids:
        return None
    marks = "|".join(re.escape(each) for each in sorted(placeholders, key=len, reverse=True))
    pieces: list[list[int] | str] = [begin]
    for piece in re.split(f"({marks})", text):
        if piece in placeholders:
            pieces.append(piece)
        elif piece:
            pieces.append(tokenizer.encode(piece, add_special_tokens=False))
    return pieces
