"""Retrieval: which of all rows' answers belongs to which row, judged by the model's own probabilities.

Legend: N conversations, M different answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..core.conversation import Conversation, Turn
from ..core.errors import KitError
from ..core.modeling import TinyLlavaForConditionalGeneration
from ..core.processing import TinyLlavaProcessor
from ..inference.features import FeatureCache
from .answers import split_answer
from .controls import Control, controlled
from .likelihood import answer_log_probs


@dataclass(frozen=True, eq=False, kw_only=True)
class Retrieval:
    """What the model made of N conversations and the M different answers that they have together.

    answers: the texts. log_probs: (N, M) float32, log p(answer | items, prompt) in nats, summed over its tokens.
    truths: (N,) int64, which answer is the row's own.
    """

    answers: Sequence[str]
    log_probs: Tensor
    truths: Tensor

    @property
    def scores(self) -> Tensor:
        """(N, M): the log p less the answer's prior, which is the mean of its log p over the N conversations.

        Without it, answers that are short or usual would win everywhere.
        """
        return self.log_probs - self.log_probs.mean(dim=0)  # (N, M)

    @property
    def ranks(self) -> Tensor:
        """(N,) int64: the place of each row's own answer, from 1; what does not score less stands in front of it."""
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
    conversations: Sequence[Conversation],
    *,
    control: Control = "as given",
    batch_size: int = 16,
    seed: int = 0,
    features: FeatureCache | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Retrieval:
    """Score the last answer of every conversation as the last answer of each.

    Equal texts are one answer, which is right for every row that has it. Towers encode an item once, and the prompt of
    a conversation is read once for all answers.

    Args:
        control: what is done to the items first; see `controls.controlled`. `seed`: of its shuffle.
        batch_size: answers that run at a time.
        features: keeps the towers' features from one call to the next.
        progress: called after each conversation with how many are done and how many there are.

    Raises:
        KitError: fewer than two different answers; a conversation that does not end with an answer; see also
            `controlled` and `answer_log_probs`.
    """
    rows = list(controlled(conversations, control, processor.modalities, seed=seed))
    asked = [split_answer(row) for row in rows]
    texts = list(dict.fromkeys(truth for _, truth in asked))
    if len(texts) < 2:
        raise KitError(f"retrieval wants at least two different answers, got {len(texts)}; give more rows")
    reader = features or FeatureCache(model, processor)
    reader.fill(item for row in rows for item in row.items)
    log_probs = []
    for prompt, _ in asked:
        endings = (replace(prompt, turns=(*prompt.turns, Turn("assistant", text))) for text in texts)
        samples = [processor.encode(conversation, reader=reader) for conversation in endings]
        log_probs.append(answer_log_probs(model, processor, samples, batch_size=batch_size))  # (M,)
        progress(len(log_probs), len(rows))
    truths = torch.tensor([texts.index(truth) for _, truth in asked])
    return Retrieval(answers=texts, log_probs=torch.stack(log_probs), truths=truths)
