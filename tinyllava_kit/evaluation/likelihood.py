"""Log probabilities of answers: what several answers to one prompt share is read once.

Legend: n samples, L tokens of the longest ending, D width of the LLM, V vocabulary, k learned tokens.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import Cache

from ..core.spans import IGNORE_INDEX, ItemSpan, Sample, TextSpan
from ..errors import KitError
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..pretrained.cache_name import CACHE
from ..processing.encoded import Encoded
from ..processing.processor import TinyLlavaProcessor


class _Prompt(NamedTuple):
    """A prompt, read: what its positions leave for later ones, its last hidden state (1, D), its length."""

    cache: Cache
    last: Tensor
    length: int


class _Ending(NamedTuple):
    """The continuation of a sample: token ids, and as many labels."""

    ids: list[int]
    labels: list[int]


@torch.no_grad()
def answer_log_probs(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    samples: Sequence[Encoded],
    *,
    batch_size: int = 16,
) -> Tensor:
    """log p of the last answer of each sample, given the text before it: the sum over its learned tokens.

    The samples differ in that answer alone. What they share runs through the model once, each ending after it, with the
    LLM's head only where a learned token comes next. Where a template writes two answers behind one another, as one
    for captions does that leaves the questions out, they count as one: the first adds the same to all samples.

    Args:
        samples: encoded from one conversation with different last turns.
        batch_size: endings that run at a time.

    Returns:
        (n,) float32 on the CPU, in nats.

    Raises:
        KitError: nothing of an answer is learned, or there is no text before it; names the conversation.
    """
    prompt, endings = _split(samples)
    read = _read(model, processor, prompt)
    by_length = sorted(range(len(endings)), key=lambda number: len(endings[number].ids))  # the less is padded
    found = torch.empty(len(endings))  # (n,)
    for start in range(0, len(endings), batch_size):
        batch = by_length[start : start + batch_size]
        found[batch] = _log_probs(model, read, [endings[number] for number in batch])
    return found


def _split(samples: Sequence[Encoded]) -> tuple[Encoded, list[_Ending]]:
    """The longest prompt that all samples share, and the rest of each: its whole answer at least."""
    spans, items, name = samples[0].spans, samples[0].items, samples[0].name
    after_items = 1 + max((n for n, span in enumerate(spans) if isinstance(span, ItemSpan)), default=-1)
    texts = [_joined(sample.spans[after_items:]) for sample in samples]
    starts = [_answer_start(text.labels, name) for text in texts]
    before = [text.ids[:start] for text, start in zip(texts, starts, strict=True)]
    differs = (n for n, ids in enumerate(zip(*before, strict=False)) if len(set(ids)) > 1)
    shared = next(differs, min(starts))
    prompt = Encoded([*spans[:after_items], TextSpan(texts[0].ids[:shared])], items, name)
    if not prompt.num_tokens:
        raise KitError(f"{name}: there is no text before the answer, so its first token has no probability")
    endings = []
    for (ids, labels), start in zip(texts, starts, strict=True):
        endings.append(_Ending(ids[shared:], [IGNORE_INDEX] * (start - shared) + labels[start:]))
    return prompt, endings


def _joined(spans: Sample) -> _Ending:
    """Spans of text as one."""
    ids: list[int] = []
    labels: list[int] = []
    for span in spans:
        assert isinstance(span, TextSpan)
        ids += span.ids
        labels += [IGNORE_INDEX] * len(span.ids) if span.labels is None else span.labels
    return _Ending(ids, labels)


def _answer_start(labels: Sequence[int], name: str) -> int:
    """Where the last run of learned tokens begins."""
    learned = [label != IGNORE_INDEX for label in labels]
    if True not in learned:
        raise KitError(f"{name}: the chat template learns nothing of the answer; choose another --template")
    end = len(learned) - learned[::-1].index(True)
    return end - [*learned[:end][::-1], False].index(False)


def _read(model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor, prompt: Encoded) -> _Prompt:
    batch = processor.collate([prompt]).to(model.device)
    embeds = model.embed(batch["input_ids"], batch.get("items"), batch["plan"])  # (1, T, D)
    out = model.get_decoder()(inputs_embeds=embeds, use_cache=True)
    return _Prompt(getattr(out, CACHE), out.last_hidden_state[:, -1], embeds.shape[1])


def _log_probs(model: TinyLlavaForConditionalGeneration, prompt: _Prompt, endings: Sequence[_Ending]) -> Tensor:
    """log p of the learned tokens of each ending, (n,)."""
    n = len(endings)
    ids = pad_sequence([torch.tensor(e.ids) for e in endings], batch_first=True)  # (n, L)
    labels = pad_sequence([torch.tensor(e.labels) for e in endings], batch_first=True, padding_value=IGNORE_INDEX)
    mask = pad_sequence([torch.ones(prompt.length + len(e.ids)) for e in endings], batch_first=True)  # (n, T + L)
    positions = prompt.length + torch.arange(ids.shape[1]).expand(n, -1)  # (n, L)
    cache = copy.deepcopy(prompt.cache)  # the model appends to the one it is given
    cache.batch_repeat_interleave(n)
    device = model.device
    hidden = model.get_decoder()(
        inputs_embeds=model.get_input_embeddings()(ids.to(device)),
        attention_mask=mask.long().to(device),
        position_ids=positions.to(device),
        use_cache=True,
        **{CACHE: cache},
    ).last_hidden_state  # (n, L, D)
    before = torch.cat([prompt.last.expand(n, 1, -1), hidden[:, :-1]], dim=1)  # (n, L, D): of the token before each
    rows, places = (labels != IGNORE_INDEX).nonzero(as_tuple=True)  # (k,), (k,)
    logits = model.llm_interface.logits(model.language_model, before[rows.to(device), places.to(device)])  # (k, V)
    losses = F.cross_entropy(logits.float(), labels[rows, places].to(device), reduction="none").cpu()  # (k,)
    return torch.zeros(n).index_add(0, rows, -losses)  # (n,)
