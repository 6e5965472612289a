"""Bringing a connector's rows near the LLM's embeddings of an item's words, without running the LLM.

Rows and words are aligned by connectionist temporal classification (Graves et al. 2006), as CTC compressors for
speech LLMs do (Wu et al. 2023), with the LLM's own embeddings as the classes: each is the centre of a Gaussian, and
one more at their mean says nothing. The rows come to lie on the embeddings, not only on the right side of them. A
stage of this costs a small part of one through the LLM, which can then read the rows nearly as it reads words.

Legend: N items, P rows of an item, W words (token ids) of one, C classes, D width of the LLM.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from ...data.dataset import ConversationDataset
from ...errors import KitError
from ...processing.batch import Batch
from ...processing.encoded import Encoded
from ...processing.processor import TinyLlavaProcessor

OTHERS = 2000  # classes beside the words of the data, so that rows do not come near what nobody says

CTCTargets = list[list[int]]


class CTCDataset(Dataset[Any]):
    """Each sample with the token ids of its items' texts.

    Raises:
        KitError: an item without a text, or one that the processor cuts into several; names the conversation.
    """

    def __init__(self, dataset: ConversationDataset) -> None:
        self.dataset = dataset
        tokenizer = dataset.processor.tokenizer
        self.words: list[CTCTargets] = []
        for conversation in dataset.conversations:
            texts = [item.text for item in conversation.items]
            if not texts or None in texts:
                raise KitError(f"{conversation.name}: match_words needs items, each with its text; use 'pairs'")
            self.words.append([word_ids(text or "", tokenizer) for text in texts])

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Encoded, CTCTargets]:
        encoded = self.dataset[index]
        if len(encoded.items) != len(self.words[index]):
            raise KitError(f"{encoded.name}: an item is cut into several; match_words needs them whole")
        return encoded, self.words[index]


class CTCCollator:
    """Samples of a `CTCDataset` -> ``items``, and per modality ``words``, ``num_words`` and ``num_rows``.

    `num_cut` counts the items that have more words than rows, which no alignment fits: they teach nothing.
    """

    def __init__(self, processor: TinyLlavaProcessor) -> None:
        self.processor = processor
        self.num_cut = 0

    def __call__(self, samples: Sequence[tuple[Encoded, CTCTargets]]) -> Batch:
        data: dict[str, Any] = {"words": {}, "num_words": {}, "num_rows": {}}
        for modality in self.processor.connectors:
            connector = self.processor.connectors[modality]
            pairs = [pair for e, words in samples for pair in zip(e.items, words, strict=True)]
            mine = [(item, words) for item, words in pairs if item.modality == modality]
            rows = [connector.num_tokens(sum(item.num_features)) for item, _ in mine]
            self.num_cut += sum(fewest_rows(words) > n for (_, words), n in zip(mine, rows, strict=True))
            if mine:
                data["words"][modality] = pad_sequence(
                    [torch.tensor(words, dtype=torch.int64) for _, words in mine], batch_first=True
                )
                data["num_words"][modality] = torch.tensor([len(words) for _, words in mine])
                data["num_rows"][modality] = torch.tensor(rows)
        data["names"] = [encoded.name for encoded, _ in samples]
        data["items"] = self.processor.collate([encoded for encoded, _ in samples])["items"]
        return Batch(data)


class WordMatcher:
    """The loss of a batch of a `CTCCollator`: () mean over items of the loss per word.

    Args:
        embeddings: (V, D), the LLM's.
        vocabulary: the token ids that are classes.
        sharpness: how sure, as a logit over the one that says nothing, a row on an embedding is on average.
    """

    def __init__(self, embeddings: Tensor, vocabulary: Sequence[int], sharpness: float) -> None:
        self.mean = embeddings.detach().float().mean(0)  # (D,)
        self.offsets = embeddings.detach()[list(vocabulary)].float() - self.mean  # (C, D)
        self.squares = self.offsets.square().sum(1)  # (C,)
        self.variance = float(self.squares.mean()) / (2 * sharpness)
        self.class_of = torch.zeros(len(embeddings), dtype=torch.int64)
        self.class_of[list(vocabulary)] = torch.arange(1, len(vocabulary) + 1)

    def __call__(self, model: Any, batch: Mapping[str, Any], num_items: Any = None) -> Tensor:
        rows: Mapping[str, Tensor] = model(items=batch["items"]).item_embeddings
        losses = [
            self.losses(rows[m], batch["num_rows"][m], batch["words"][m], batch["num_words"][m]) for m in batch["words"]
        ]
        return torch.cat(losses).mean() + sum(rows[m].sum() * 0 for m in rows if m not in batch["words"])

    def losses(self, rows: Tensor, num_rows: Tensor, words: Tensor, num_words: Tensor) -> Tensor:
        """(N, P, D), (N,), (N, W), (N,) -> (N,): the loss of each item, per word.

        Which words the rows say, from their scores beside each other (CTC), and how far the rows are from all
        embeddings. The first alone lets the rows run away from the embeddings, in the direction in which those
        differ. The second counts as much as the words are likely: rows that say nothing yet would all be drawn to
        the mean.
        """
        scores = self.scores(rows)  # (N, P, 1 + C)
        said = F.ctc_loss(
            F.log_softmax(scores, -1).transpose(0, 1),  # (P, N, 1 + C)
            self.class_of[words.cpu()].to(rows.device),  # (N, W)
            num_rows,
            num_words,
            reduction="none",
            zero_infinity=True,
        )
        real = torch.arange(rows.shape[1], device=rows.device) < num_rows.to(rows.device)[:, None]  # (N, P)
        real &= (said > 0)[:, None]  # an item without room for its words teaches nothing
        away = -(scores.logsumexp(-1) * real).sum(1)  # (N,)
        per_word = 1 / num_words.to(rows.device).clamp(min=1)  # (N,)
        said, away = said * per_word, away * per_word  # (N,), (N,)
        return said + (-said.detach()).exp() * away

    def scores(self, rows: Tensor) -> Tensor:
        """(N, P, D) -> (N, P, 1 + C) float32: of nothing, then of each class; Gaussians around the embeddings."""
        with torch.autocast(rows.device.type, enabled=False):
            offsets = rows.float() - self.mean.to(rows.device)  # (N, P, D)
            near = offsets @ self.offsets.to(rows.device).T - self.squares.to(rows.device) / 2  # (N, P, C)
            own = offsets.square().sum(-1, keepdim=True) / 2  # (N, P, 1)
            return (F.pad(near, (1, 0)) - own) / self.variance  # (N, P, 1 + C)


def matcher(embeddings: Tensor, words: Iterable[CTCTargets], sharpness: float) -> WordMatcher:
    """For the words of a dataset, with `OTHERS` drawn from the rest of the vocabulary."""
    own = {token for sample in words for item in sample for token in item}
    rest = sorted(set(range(len(embeddings))) - own)
    others = random.Random(0).sample(rest, min(OTHERS, len(rest)))
    return WordMatcher(embeddings, sorted(own.union(others)), sharpness)


def word_ids(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """A text's token ids with its first word written as inside a sentence, where items usually are."""
    alone, inside = (tokenizer(t, add_special_tokens=False)["input_ids"] for t in (text.strip(), " " + text.strip()))
    return inside if len(inside) <= len(alone) else alone


def fewest_rows(words: Sequence[int]) -> int:
    """How many rows an alignment needs: one a word, and one between two that are equal."""
    return len(words) + sum(a == b for a, b in itertools.pairwise(words))
