"""Retrieval: which of all rows' answers belongs to which row, judged by the model's own probabilities.

Legend: N questions, M different answers.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..core.conversation import Turn
from ..distributed import from_all, rank, world_size
from ..errors import KitError
from ..features.cache import FeatureCache
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..processing.processor import TinyLlavaProcessor
from .controls import Control, content_key, controlled
from .likelihood import answer_log_probs
from .question import Question


@dataclass(frozen=True, eq=False, kw_only=True)
class Retrieval:
    """What the model made of N questions and the M different answers that they have together.

    answers: the texts. log_probs: (N, M) float32, log p(answer | items, prompt) in nats, summed over its tokens.
    truths: (N,) int64, which answer is the row's own.
    """

    answers: Sequence[str]
    log_probs: Tensor
    truths: Tensor

    @property
    def scores(self) -> Tensor:
        """(N, M): the log p less the answer's prior, which is the mean of its log p over the N questions.

        Without it, answers that are short or usual would win everywhere.
        """
        return self.log_probs - self.log_probs.mean(dim=0)  # (N, M)

    @property
    def ranks(self) -> Tensor:
        """(N,) int64: the place of each row's own answer, from 1; after answers that score as much or more."""
        own = self.scores.gather(1, self.truths[:, None])  # (N, 1)
        return (~(self.scores < own)).sum(dim=1)  # (N,); a row of NaN comes last, not first

    @property
    def median_rank(self) -> float:
        """The median of `ranks`; between the two in the middle where N is even."""
        return self.ranks.double().quantile(0.5).item()

    def recall(self, k: int) -> float:
        """R@k: the share of rows whose own answer is among the first `k`."""
        return (self.ranks <= k).double().mean().item()

    def chance(self, k: int) -> float:
        """R@k of one who guesses."""
        return min(k / len(self.answers), 1.0)


def retrieve(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    questions: Sequence[Question],
    *,
    control: Control = "as given",
    batch_size: int = 16,
    seed: int = 0,
    features: FeatureCache | None = None,
    known: Mapping[int, Sequence[float]] | None = None,
    keep: Callable[[Mapping[int, Sequence[float]]], None] = lambda log_probs: None,
    share: bool = False,
) -> Retrieval:
    """Score the first truth of every question as the answer to each.

    Equal texts are one answer, which is right for every question that has it. Towers encode an item once, and a prompt
    is read once for all answers.

    Args:
        control: how the items are changed first; see `controls.controlled`. `seed`: of its shuffle.
        batch_size: answers that run at a time.
        features: keeps the towers' features from one call to the next.
        known: place of a question -> its log probabilities from before, (M,); it is not read again.
        keep: given those of each question as it is done, under its place.
        share: as of `answers`, a question each in turn.

    Raises:
        KitError: fewer than two different answers; see also `controlled` and `answer_log_probs`.
    """
    rows = list(controlled([q.conversation for q in questions], control, processor.modalities, seed=seed))
    texts = list(dict.fromkeys(q.truths[0] for q in questions))
    if len(texts) < 2:
        raise KitError(f"retrieval needs at least two different answers, got {len(texts)}; give more rows")
    found = dict(known or {})
    reader = features or FeatureCache(model, processor)
    reader.fill(item for place, row in enumerate(rows) if place not in found for item in row.items)
    first: dict[Hashable, int] = {}  # the place where the same was asked about the same
    same = [first.setdefault(content_key(row), place) for place, row in enumerate(rows)]
    waiting = [place for place in dict.fromkeys(same) if place not in found]

    def read(place: int) -> Sequence[float]:
        endings = (replace(rows[place], turns=(*rows[place].turns, Turn("assistant", text))) for text in texts)
        samples = [processor.encode(conversation, reader=reader) for conversation in endings]
        log_probs: list[float] = answer_log_probs(model, processor, samples, batch_size=batch_size).tolist()  # (M,)
        return log_probs

    together = world_size() if share else 1
    for start in range(0, len(waiting), together):
        mine = waiting[start + rank() * share : start + together][:1]
        new = {place: read(place) for place in mine}
        for each in from_all(new) if share else [new]:
            found |= each
            keep(each)
    for place, before in enumerate(same):
        if place not in found:
            found[place] = found[before]
            keep({place: found[place]})
    return Retrieval(
        answers=texts,
        log_probs=torch.tensor([found[place] for place in range(len(rows))]),  # (N, M)
        truths=torch.tensor([texts.index(q.truths[0]) for q in questions]),
    )
