"""How the next id of an answer is chosen, request by request, and how likely it was.

Legend: B requests of a step, V ids of the vocabulary, t ids of the prompt and of the answer so far.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.generation.continuous_batching.cb_logits_processors import ContinuousBatchingLogitsProcessor


@dataclass(frozen=True)
class TokenScore:
    """How likely an id was before anything changed the model's scores: its log probability.

    likeliest: the most probable ids there and their log probabilities, in order.
    """

    id: int
    logprob: float
    likeliest: tuple[tuple[int, float], ...] = ()


class TokenChoice:
    """Chooses the ids of one answer, as `generate` would choose them alone.

    So an answer has a seed, penalties and log probabilities of its own beside others in one batch.

    Args:
        prompt: (1, t) its ids.
        processors: what changes scores: penalties, temperature.
        num_ids: the width that these expect; None: that of the scores.
        do_sample: by chance, from `seed`; else the likeliest.
        num_likeliest: how many ids are scored beside the chosen one; None: none is scored.
    """

    def __init__(
        self,
        prompt: Tensor,
        processors: LogitsProcessorList,
        *,
        num_ids: int | None = None,
        do_sample: bool = False,
        seed: int | None = None,
        num_likeliest: int | None = None,
    ) -> None:
        self.prompt, self.processors = prompt, processors
        self.num_ids, self.num_likeliest = num_ids, num_likeliest
        self.scores: list[TokenScore] = []
        self._ids: list[int] = []
        self._generator: torch.Generator | None = None
        if do_sample:
            self._generator = torch.Generator(prompt.device)
            self._generator.manual_seed(seed) if seed is not None else self._generator.seed()

    def __deepcopy__(self, memo: Any) -> TokenChoice:
        return self  # the manager copies what a request brings when it computes one anew

    @property
    def is_plain(self) -> bool:
        """Whether the likeliest id is taken, and nobody asks how likely it was."""
        return not self.processors and self._generator is None and self.num_likeliest is None

    def among(self, scores: Tensor) -> Tensor:
        """The scores (1, V): -inf for all but the chosen id; unchanged where the likeliest id is taken."""
        if self.is_plain:
            return scores
        chosen = self._choose(scores)
        return torch.full_like(scores, -torch.inf).index_fill(1, torch.tensor([chosen], device=scores.device), 0.0)

    def _choose(self, raw: Tensor) -> int:
        new = torch.tensor([self._ids], dtype=self.prompt.dtype, device=self.prompt.device)  # (1, t - T)
        missing = 0 if self.num_ids is None else self.num_ids - raw.shape[1]
        scores = F.pad(raw, (0, missing), value=-torch.inf)  # (1, V)
        ids: Any = torch.cat([self.prompt, new], 1)  # (1, t)
        scores = self.processors(ids, scores)  # (1, V)
        if self._generator is None:
            chosen = int(scores.argmax(-1))
        else:
            chosen = int(torch.multinomial(scores.softmax(-1), 1, generator=self._generator))
        self._ids.append(chosen)
        if self.num_likeliest is not None:
            self.scores.append(_scored(raw[0].log_softmax(-1), chosen, self.num_likeliest))
        return chosen


def _scored(logprobs: Tensor, chosen: int, num_likeliest: int) -> TokenScore:
    """logprobs: (V,)."""
    values, ids = logprobs.topk(num_likeliest)
    likeliest = tuple(zip(ids.tolist(), values.tolist(), strict=True))
    return TokenScore(chosen, float(logprobs[chosen]), likeliest)


class CountPenalties(LogitsProcessor):
    """Lowers the scores of ids that an answer holds already, as OpenAI's API says.

    Args:
        length: of the prompt, which does not count.
        presence: taken from each id that is there. frequency: as often as it is there.
    """

    def __init__(self, length: int, *, presence: float, frequency: float) -> None:
        self.length, self.presence, self.frequency = length, presence, frequency

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(1, t), (1, V) -> (1, V)."""
        said = input_ids[0, self.length :]
        counts = torch.bincount(said, minlength=scores.shape[1])[: scores.shape[1]].to(scores.dtype)  # (V,)
        return scores - self.frequency * counts - self.presence * (counts > 0)


class TokenBias(LogitsProcessor):
    """Adds to the scores of some ids."""

    def __init__(self, bias: Mapping[int, float], device: torch.device) -> None:
        self.ids = torch.tensor(list(bias), dtype=torch.int64, device=device)  # (b,)
        self.values = torch.tensor(list(bias.values()), device=device)  # (b,)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(1, t), (1, V) -> (1, V)."""
        return scores.index_add(1, self.ids, self.values[None].to(scores.dtype))


class TokenChoices(ContinuousBatchingLogitsProcessor):
    """The `TokenChoice` of each request in a step of continuous batching."""

    supported_kwargs = {"choice": TokenChoice}  # noqa: RUF012 (as its base class has it)
    ignored_kwargs = ()

    def __init__(self) -> None:
        self._step: list[TokenChoice] = []

    def fill_defaults(self, int32_tensor: Tensor) -> None:
        """Zeros: this processor has no numeric arguments."""
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: list[Any]) -> Tensor:
        """Remember whose scores come next, in order; (B,)."""
        self._step = [request.state.logit_processor_kwargs["choice"] for request in requests_with_new_token]
        return torch.zeros(len(self._step), dtype=torch.int32)

    def __call__(self, scores: Tensor, tensor_arg: Tensor) -> Tensor:
        """(B, V) -> (B, V)."""
        if all(choice.is_plain for choice in self._step):
            return scores
        return torch.cat([choice.among(row) for choice, row in zip(self._step, scores.split(1), strict=True)])
