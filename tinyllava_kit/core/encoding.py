"""Text in spans to token ids: exact labels, one begin token, an empty place for each item.

Everything is integers and strings; what stands at an item's place is the processor's business.
"""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from .conversation import ITEM, Span
from .errors import KitError
from .fusion import IGNORE_INDEX, TextSpan


def encode_spans(
    spans: Sequence[Span], tokenizer: PreTrainedTokenizerBase, *, add_bos: bool
) -> list[TextSpan | None]:
    """Tokenize what a chat template rendered.

    Example:
        >>> encode_spans([Span("USER: \\x00hi"), Span(" yes</s>", learn=True)], tokenizer, add_bos=True)
        [TextSpan(ids=[1, 5]), None, TextSpan(ids=[6, 7, 2], labels=[-100, 7, 2])]

    The text is cut at its items and each piece is tokenized alone, as TinyLLaVA_Factory does. A token is
    learned when one of its characters is in a learned span; one that lies across the border of a learned span is
    learned too. Special tokens in the text (``<|im_end|>``, ``</s>``) become their ids, because templates
    write them as text; a user who types one is therefore heard as if the template had written it.

    Args:
        spans: the whole text in order; an item is the character `conversation.ITEM`.
        tokenizer: gives offsets into the text where anything is learned.
        add_bos: put the begin token in front, if the tokenizer has the habit of doing so.

    Returns:
        Pieces of text and, where an item stands, None. Empty pieces are left out. `TextSpan.labels` is
        None where a piece has nothing to learn.

    Raises:
        KitError: something is to be learned and the tokenizer knows no offsets.
    """
    text = "".join(span.text for span in spans)
    learned = _learned(spans)
    pieces = text.split(ITEM)
    encoded = _tokenize([piece for piece in pieces if piece], tokenizer, offsets=True in learned)
    begin = _begin_ids(tokenizer) if add_bos else []
    found: list[TextSpan | None] = []
    start = 0
    for number, piece in enumerate(pieces):
        ids, offsets = next(encoded) if piece else ([], [])
        labels = _labels(ids, offsets, learned[start : start + len(piece)])
        if number:
            found.append(None)
        if number == 0 and begin:
            ids, labels = begin + ids, labels and [IGNORE_INDEX] * len(begin) + labels
        if ids:
            found.append(TextSpan(ids, labels))
        start += len(piece) + len(ITEM)
    return found
