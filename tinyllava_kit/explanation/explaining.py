"""An answer taken apart: how probable each token was, which rows it attended to, which words those rows are like.

Legend: T positions of the prompt, A tokens of the answer, L layers, H heads, P features of an item, P' rows of an item,
D width of the LLM, V vocabulary.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache

from ..core.conversation import ITEM, Conversation, Item
from ..core.interfaces import Grid, Preprocessor
from ..core.plan import PlannedItem
from ..errors import KitError
from ..inference.generation_options import options_for
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..pretrained.cache_name import CACHE
from ..processing.encoded import Encoded
from ..processing.processor import TinyLlavaProcessor

TOP = 5  # tokens beside the one that was taken, and words beside a row
AT_ONCE = 16  # positions whose attention is held of all layers and heads


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A token of the answer, how probable it was, and the most probable ones, each with its probability."""

    text: str
    probability: float
    likeliest: tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True)
class Word:
    """Tokens `first` to `last` (not included) of the answer.

    `shares`: of the attention of its tokens, mean over layers and heads, how much fell on each item, on the first
    position of the prompt, on the rest of its text, and on the answer so far. Their sum is 1. Empty where the LLM tells
    no attention.
    """

    text: str
    first: int
    last: int
    shares: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What became of an item, or of one of its parts.

    modality, source: of the item. part: what `Modality.expand` made of it, which `Modality.draw` takes.
    num_features, grid: of the tower; preprocessor: the tower's.
    sources: the features that each row depends on, None where that is not known (`Connector.sources`).
    attention: (words, P') mean over the word's tokens, layers and heads; None where the LLM tells none.
    nearest: for each row the words of the LLM that are most like it, with the cosine.
    """

    modality: str
    source: Any
    part: Any
    preprocessor: Preprocessor
    num_features: int
    grid: Grid | None
    sources: list[list[int]] | None
    attention: Tensor | None
    nearest: tuple[tuple[tuple[str, float], ...], ...]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A question, its answer, and why. `choices` has one for each token, `words` leaves special tokens out.

    between: (words, words) how much of a word's attention fell on each word before it; None where the LLM tells none.
    """

    question: str
    answer: str
    choices: tuple[Choice, ...]
    words: tuple[Word, ...]
    between: Tensor | None
    items: tuple[Rows, ...]


@torch.no_grad()
def explain(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    conversation: Conversation,
    *,
    max_new_tokens: int | None = None,
    top: int = TOP,
) -> Explanation:
    """The greedy answer to a conversation, and what the model did for it.

    A token's attention is that of the position before it, where it was chosen. Means over all layers and heads say
    where a model looked, not what it used there (Jain and Wallace 2019); the first position takes most of it in most
    LLMs, for want of anything else to look at (Xiao et al. 2023), and is listed apart.

    Raises:
        KitError: an item that cannot be read, or no room for an answer.
    """
    encoded = processor.encode(conversation, answer=True)
    batch = processor.collate([encoded]).to(model.device)
    prompt = model.embed(batch["input_ids"], batch.get("items"), batch["plan"])  # (1, T, D)
    length = prompt.shape[1]
    ids = model.generate(
        input_ids=batch["input_ids"],
        plan=batch["plan"],
        inputs_embeds=prompt,
        **options_for(model, processor, length, max_new_tokens),
    )[0, length:]  # (A,)
    logits, attention = answer_run(model, prompt, ids)  # (A, V), (A, T + A - 1)
    words = [Word(text=t, first=a, last=b) for t, a, b in split_words(processor, ids.tolist())]
    by_word = None
    if attention is not None and words:
        by_word = torch.stack([attention[w.first : w.last].mean(0) for w in words])  # (words, T + A - 1)
        places = [(item.start, item.start + item.num_tokens) for item in batch["plan"].items]
        words = [
            Word(text=w.text, first=w.first, last=w.last, shares=_shares(row, places, length))
            for w, row in zip(words, by_word, strict=True)
        ]
    return Explanation(
        question=_question(processor, conversation),
        answer=processor.decode(ids, skip_special_tokens=True).strip(),
        choices=tuple(_choices(processor, logits, ids, top)),
        words=tuple(words),
        between=None if by_word is None else _between(by_word[:, length:], words),
        items=tuple(_items(model, processor, conversation, encoded, batch["plan"].items, prompt[0], by_word, top)),
    )


def answer_run(model: TinyLlavaForConditionalGeneration, prompt: Tensor, ids: Tensor) -> tuple[Tensor, Tensor | None]:
    """Run the prompt (1, T, D) and the tokens (A,) that follow it.

    Only the last positions are run with attention that is written down, a few at a time, so that what is held of all
    layers and heads is small beside the whole.

    Returns:
        logits: (A, V) float32, from which each token was chosen. attention: (A, T + A - 1) float32, mean over layers
        and heads; None where the LLM tells none.
    """
    llm = model.language_model
    cache = DynamicCache(config=model.config.text_config)
    length = prompt.shape[1]
    if length > 1:
        model.get_decoder()(inputs_embeds=prompt[:, :-1], use_cache=True, **{CACHE: cache})
    following = model.get_input_embeddings()(ids[None, :-1])  # (1, A - 1, D)
    rows = torch.cat([prompt[:, -1:], following], dim=1)  # (1, A, D)
    logits, attention = [], []
    with _eager(llm):
        for start in range(0, len(ids), AT_ONCE):
            step = rows[:, start : start + AT_ONCE]  # (1, c, D)
            out = llm(inputs_embeds=step, use_cache=True, output_attentions=True, **{CACHE: cache})
            logits.append(out.logits[0].float())  # (c, V)
            attention.append(_mean(out.attentions, length + start + step.shape[1] - 1))
    known = [found for found in attention if found is not None]
    if len(known) < len(attention):
        return torch.cat(logits), None
    width = length + len(ids) - 1
    padded = [F.pad(found, (0, width - found.shape[1])) for found in known]  # each (c, T + A - 1)
    return torch.cat(logits), torch.cat(padded)


def _mean(attentions: Sequence[Tensor | None] | None, width: int) -> Tensor | None:
    """Of layers of (1, H, c, `width`) the mean over layers and heads, (c, `width`); None where a window slid on."""
    layers = [layer for layer in attentions or () if layer is not None]
    if not layers or any(layer.shape[-1] != width for layer in layers):
        return None
    return torch.stack([layer[0].float().mean(0) for layer in layers]).mean(0)


@contextmanager
def _eager(llm: Any) -> Iterator[None]:
    """Attention that is computed step by step: the other kinds keep no weights to show."""
    before = llm.config._attn_implementation
    try:
        llm.set_attn_implementation("eager")
    except (ValueError, ImportError, NotImplementedError) as error:
        raise KitError(f"the LLM cannot run eager attention, which alone can be shown: {error}") from error
    try:
        yield
    finally:
        llm.set_attn_implementation(before)


def split_words(processor: TinyLlavaProcessor, ids: Sequence[int]) -> Iterator[tuple[str, int, int]]:
    """The words of an answer: their text, first token, and the one after the last.

    A token begins a word that begins with a space, or with a letter of a script that writes none (Chinese, Japanese).
    Special tokens and spaces alone are no words.
    """
    text, first = "", 0
    for piece, start, _ in [*_pieces(processor, ids), ("", len(ids), len(ids))]:
        if not piece or not text.strip() or piece[0].isspace() or _stands_alone(piece):
            if text.strip():
                yield text.strip(), first, start
            text, first = "", start
        text += piece


def _pieces(processor: TinyLlavaProcessor, ids: Sequence[int]) -> Iterator[tuple[str, int, int]]:
    """What tokens add to the text, with the first of them and the one after the last; special ones add nothing.

    It is one token a piece but where several write one letter.
    """
    special = set(processor.tokenizer.all_special_ids)
    text, first = "", 0
    for last in range(1, len(ids) + 1):
        if ids[last - 1] in special:
            yield "", last - 1, last
            first = last
            continue
        whole = processor.decode(ids[:last], clean_up_tokenization_spaces=False, skip_special_tokens=True)
        if whole.endswith("\N{REPLACEMENT CHARACTER}") and last < len(ids):
            continue  # a letter that is not complete yet
        yield whole[len(text) :], first, last
        text, first = whole, last


def _stands_alone(piece: str) -> bool:
    return bool(piece) and unicodedata.east_asian_width(piece[0]) in "WF"


def _shares(row: Tensor, places: Sequence[tuple[int, int]], length: int) -> tuple[float, ...]:
    """The attention (T + A - 1,) of a word, summed over each item, the first position, other text and the answer."""
    items = [float(row[start:stop].sum()) for start, stop in places]
    first = 0.0 if any(start == 0 for start, _ in places) else float(row[0])
    text = float(row[:length].sum()) - first - sum(items)
    return (*items, first, text, float(row[length:].sum()))


def _between(rows: Tensor, words: Sequence[Word]) -> Tensor:
    """The attention of words to the answer's tokens but the last, (words, A - 1), summed over each word's tokens."""
    return torch.stack([rows[:, word.first : word.last].sum(-1) for word in words], dim=1).cpu()  # (words, words)


def _choices(processor: TinyLlavaProcessor, logits: Tensor, ids: Tensor, top: int) -> Iterator[Choice]:
    probabilities = logits.softmax(-1)  # (A, V)
    values, tokens = probabilities.topk(min(top, probabilities.shape[-1]), dim=-1)  # each (A, top)
    for at, token in enumerate(ids.tolist()):
        likeliest = zip(tokens[at].tolist(), values[at].tolist(), strict=True)
        yield Choice(
            text=processor.decode([token]),
            probability=float(probabilities[at, token]),
            likeliest=tuple((processor.decode([other]), value) for other, value in likeliest),
        )


def nearest_words(table: Tensor, rows: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """The rows of the embedding table (V, D) that have the largest cosine with each of `rows` (P', D).

    Returns:
        ids (P', top), cosines (P', top)
    """
    cosine = F.normalize(rows.float(), dim=-1) @ F.normalize(table.float(), dim=-1).T  # (P', V)
    values, ids = cosine.topk(min(top, len(table)), dim=-1)  # each (P', top)
    return ids, values


def _items(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    conversation: Conversation,
    encoded: Encoded,
    planned: Sequence[PlannedItem],
    prompt: Tensor,
    by_word: Tensor | None,
    top: int,
) -> Iterator[Rows]:
    table: Any = model.get_input_embeddings().weight  # (V, D)
    parts = ((item, part) for item in conversation.items for part in _parts(processor, item))
    for (item, part), ready, place in zip(parts, encoded.items, planned, strict=True):
        stop = place.start + place.num_tokens
        ids, cosines = nearest_words(table, prompt[place.start : stop], top)  # each (P', top)
        num_features = sum(ready.num_features)
        tower: Any = model.towers[item.modality]
        yield Rows(
            modality=item.modality,
            source=item.source,
            part=part,
            preprocessor=processor.preprocessors[item.modality],
            num_features=num_features,
            grid=tower.grid,
            sources=processor.connectors[item.modality].sources(num_features),
            attention=None if by_word is None else by_word[:, place.start : stop].cpu(),  # (words, P')
            nearest=tuple(
                tuple((processor.decode([token]), value) for token, value in zip(t, v, strict=True))
                for t, v in zip(ids.tolist(), cosines.tolist(), strict=True)
            ),
        )


def _parts(processor: TinyLlavaProcessor, item: Item) -> list[Any]:
    """What an item is expanded to, without the text between."""
    modality = processor.modalities[item.modality]
    parts = modality.expand(processor.read_source(item), processor.preprocessors[item.modality])
    return [part for part in parts if not isinstance(part, str)]


def _question(processor: TinyLlavaProcessor, conversation: Conversation) -> str:
    """The turns as a person would write them, placeholders where the items stand."""
    waiting = iter(conversation.items)
    lines = []
    for turn in conversation.turns:
        first, *rest = turn.text.split(ITEM)
        lines.append(first + "".join(processor.specs[next(waiting).modality].token.placeholder + p for p in rest))
    return "\n".join(lines)
