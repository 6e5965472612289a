"""A tokenizer as llama.cpp's files describe one: byte-level BPE with the name of its splitting, or SentencePiece's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX as _QWEN2

from ...errors import KitError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # llama.cpp's types of tokens

_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
_SPLIT_BEFORE = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
# How text is split before merges, and llama.cpp's name for it.
_SPLITTINGS: tuple[tuple[list[dict[str, Any]], str], ...] = (
    ([_BYTE_LEVEL], "gpt-2"),
    ([{"type": "Digits", "individual_digits": True}, _BYTE_LEVEL], "smollm"),
    (
        [{"type": "Split", "pattern": {"Regex": _QWEN2}, "behavior": "Isolated", "invert": False}, _SPLIT_BEFORE],
        "qwen2",
    ),
)
_NOT_COMPARED = ("trim_offsets",)
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # what SentencePiece writes for a space
# SentencePiece's older form of its space: one put in front, and each replaced.
_PREPENDED = [
    {"type": "Prepend", "prepend": _SPACE},
    {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE},
]


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """What ``tokenizer.ggml.*`` holds.

    model: ``gpt2`` or ``llama``; pre: the name of the splitting. tokens, types: of each id. merges: of ``gpt2``.
    scores: of ``llama``, the higher the earlier a piece is merged. space_prefix: whether a text gets a space in front.
    special: a special token's role -> its id.
    """

    model: str
    pre: str
    tokens: Sequence[str]
    types: Sequence[int]
    merges: Sequence[str] = ()
    scores: Sequence[float] = ()
    space_prefix: bool = False
    special: Mapping[str, int]


def read_vocabulary(tokenizer: PreTrainedTokenizerBase, size: int) -> Vocabulary:
    """Read a tokenizer's tokens, merges and special ids in the form that GGUF stores.

    Args:
        tokenizer: a fast one.
        size: rows of the embeddings; ids without a token become unused ones.

    Raises:
        KitError: names the tokenizer and what about it has no place.
    """
    name = f"tokenizer {type(tokenizer).__name__} ({Path(tokenizer.name_or_path).name!r})"
    if not tokenizer.is_fast:
        raise KitError(f"{name} has no tokenizer.json, from which the vocabulary is read; save it as a fast one")
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    if len(tokenizer) > size:
        raise KitError(f"{name} has {len(tokenizer)} tokens, the LLM's embeddings {size} rows")
    if backend["model"]["type"] != "BPE":
        raise KitError(f"{name} is a {backend['model']['type']}; byte-level BPE and SentencePiece's BPE are written")
    is_pieces = bool(backend["model"].get("byte_fallback"))
    tokens, types = _tokens(tokenizer, backend, size, is_pieces=is_pieces)
    merges = [tuple(merge.split(" ") if isinstance(merge, str) else merge) for merge in backend["model"]["merges"]]
    shared: dict[str, Any] = {"tokens": tokens, "types": types, "special": _special(tokenizer)}
    if is_pieces:
        return Vocabulary(
            model="llama",
            pre="default",
            scores=_scores(tokens, merges, name),
            space_prefix=_space_prefix(backend, name),
            **shared,
        )
    if any(" " in part for merge in merges for part in merge):
        raise KitError(f"{name} merges pieces that hold a space, which llama.cpp's list of merges cannot write")
    return Vocabulary(model="gpt2", pre=_splitting(backend, name), merges=list(map(" ".join, merges)), **shared)


def _tokens(
    tokenizer: PreTrainedTokenizerBase, backend: Mapping[str, Any], size: int, *, is_pieces: bool
) -> tuple[list[str], list[int]]:
    """Each id's text and type."""
    tokens = [f"[PAD{number}]" for number in range(size)]
    types = [UNUSED] * size
    for text, number in tokenizer.get_vocab().items():
        tokens[number] = text
        types[number] = BYTE if is_pieces and _is_byte(text) else NORMAL
    for added in backend["added_tokens"]:
        types[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    if is_pieces and tokenizer.unk_token_id is not None:
        types[tokenizer.unk_token_id] = UNKNOWN
    return tokens, types


def _is_byte(text: str) -> bool:
    return len(text) == 6 and text.startswith("<0x") and text.endswith(">")


def _special(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    ids = {role: getattr(tokenizer, f"{role}_token_id") for role in ("bos", "eos", "unk", "pad")}
    return {role: number for role, number in ids.items() if number is not None}


def _splitting(backend: Mapping[str, Any], name: str) -> str:
    """llama.cpp's name of how a byte-level tokenizer splits text.

    Raises:
        KitError: it has none that is known here.
    """
    steps = backend["pre_tokenizer"] or {}
    steps = steps.get("pretokenizers", [steps])
    steps = [{key: value for key, value in step.items() if key not in _NOT_COMPARED} for step in steps]
    normalizer = (backend["normalizer"] or {}).get("type")
    for known, pre in _SPLITTINGS:
        # NFC is Qwen2's; llama.cpp leaves it out
        if steps == known and (normalizer is None or (pre == "qwen2" and normalizer == "NFC")):
            if backend["model"].get("ignore_merges"):
                break
            return pre
    names = ", ".join(pre for _, pre in _SPLITTINGS)
    kinds = " + ".join(str(step.get("type")) for step in steps)
    raise KitError(f"{name} splits text by {kinds}, which is none of those known here ({names})")


def _space_prefix(backend: Mapping[str, Any], name: str) -> bool:
    """Whether SentencePiece's tokenizer puts a space in front of a text.

    Raises:
        KitError: it does something else to the text.
    """
    normalizer, splitter = backend["normalizer"], backend["pre_tokenizer"]
    if normalizer and normalizer.get("normalizers") == _PREPENDED and splitter is None:
        return True
    if normalizer == _PREPENDED[1] and (splitter is None or splitter.get("pattern") == {"String": " "}):
        return False  # Gemma's; of a text without spaces, what splits at them leaves all
    if normalizer is None and splitter and splitter["type"] == "Metaspace" and splitter["replacement"] == _SPACE:
        return bool(splitter.get("prepend_scheme") != "never")
    raise KitError(f"{name} changes a text in ways that SentencePiece's Llama tokenizers do not; it cannot be written")


def _scores(tokens: Sequence[str], merges: Sequence[tuple[str, ...]], name: str) -> list[float]:
    """SentencePiece's scores: those of pieces that are merged fall in the order in which they are; all others are less.

    Raises:
        KitError: the ways to merge one piece do not stand together, so that no score of a piece gives their order.
    """
    order: dict[str, int] = {}
    last = ""
    for left, right in merges:
        piece = left + right
        if piece != last and piece in order:
            raise KitError(f"{name}: its merges are not in the order of pieces, as SentencePiece's are")
        order.setdefault(piece, len(order))
        last = piece
    return [-float(order.get(token, len(order))) for token in tokens]
