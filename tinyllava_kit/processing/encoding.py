"""Text in spans to token ids: exact labels, one begin token, an empty place for each item."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from transformers import PreTrainedTokenizerBase

from ..core.conversation import CUT, ITEM, Span, check_text
from ..core.spans import IGNORE_INDEX, TextSpan
from ..errors import KitError

Offset = tuple[int, int]  # first character of a token and the one after its last, in its piece


def encode_spans(spans: Sequence[Span], tokenizer: PreTrainedTokenizerBase, *, add_bos: bool) -> list[TextSpan | None]:
    r"""Tokenize what a chat template rendered.

    Example:
        >>> encode_spans([Span("See \x00:"), Span(" yes</s>", learn=True)], tokenizer, add_bos=True)  # doctest: +SKIP
        [TextSpan(ids=[1, 7], labels=None), None, TextSpan(ids=[8, 9, 2], labels=[-100, 9, 2])]

    The text is cut at its items and each piece is tokenized alone, as TinyLLaVA_Factory does. A token is
    learned when one of its characters lies in a learned span, also where it reaches over the span's border.

    Control tokens in the text (``<|im_end|>``, ``</s>``) become their ids, because that is how templates
    write them. One that a message spells is text, because `as_text` has cut it: a piece ends at `conversation.CUT`.

    Args:
        spans: the whole text in order; an item is the character `conversation.ITEM`.
        tokenizer: the LLM's.
        add_bos: put the begin token in front, where the tokenizer is used to one.

    Returns:
        Pieces of text and, where an item stands, None. Empty pieces are left out. The labels of a piece
        are None where nothing in it is learned.

    Raises:
        KitError: something is to be learned, and the tokenizer does not say which characters a token covers; the text
            holds half of a character.
    """
    text = check_text("".join(span.text for span in spans), "the conversation")
    learned = [span.learn for span in spans for _ in span.text]  # of each character
    pieces = re.split(f"([{ITEM}{CUT}])", text)  # text, mark, text, mark, ..., text
    encoded = _tokenize([piece for piece in pieces[::2] if piece], tokenizer, offsets=True in learned)
    begin = begin_of(tokenizer) if add_bos else []
    out: list[TextSpan | None] = []
    start = 0
    for number, piece in enumerate(pieces):
        if piece == ITEM:
            out.append(None)
        elif piece != CUT:
            ids, offsets = next(encoded) if piece else ([], [])
            labels = _labels(ids, offsets, learned[start : start + len(piece)])
            if begin and number == 0:
                ids, labels = begin + ids, labels and [IGNORE_INDEX] * len(begin) + labels
            if ids:
                out.append(TextSpan(ids, labels))
        start += len(piece)
    return out


def _tokenize(
    pieces: list[str], tokenizer: PreTrainedTokenizerBase, *, offsets: bool
) -> Iterator[tuple[list[int], list[Offset]]]:
    """The ids of each piece and, where asked for, the characters that each token covers."""
    if offsets and not tokenizer.is_fast:
        raise KitError(
            f"{type(tokenizer).__name__} ({tokenizer.name_or_path!r}) does not say which characters a token covers, so "
            "labels cannot be made; training needs a fast tokenizer (a tokenizer.json beside the checkpoint)"
        )
    if not pieces:
        return iter(())
    # verbose: no warning of a length that the kit's own truncation deals with
    encoded = tokenizer(
        pieces,
        add_special_tokens=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        return_offsets_mapping=offsets,
        verbose=False,
    )
    return zip(encoded["input_ids"], encoded["offset_mapping"] if offsets else [[]] * len(pieces), strict=True)


def begin_of(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The begin token, if the tokenizer puts one in front of a text of its own accord."""
    ids = tokenizer("")["input_ids"]
    return ids[:1] if ids and ids[0] == tokenizer.bos_token_id else []


def _labels(ids: list[int], offsets: list[Offset], learned: list[bool]) -> list[int] | None:
    """Each token's id where it is learned; a token without a character counts as the character it stands before."""
    if True not in learned:
        return None
    return [
        token if any(learned[first : max(last, first + 1)]) else IGNORE_INDEX
        for token, (first, last) in zip(ids, offsets, strict=True)
    ]
