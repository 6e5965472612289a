"""A logits processor that lets an answer follow the grammar: B samples, t ids so far, V ids in all."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from ...errors import KitError, near
from .grammar import Grammar


class FollowGrammar:
    """A logits processor of transformers: only what may follow on the last id keeps its score.

    Args:
        grammar: of the model.
        prompt: (B, t) ids in front of the answer; new ids count from there.
        ends: ids that end an answer.
        force: modalities whose items an answer must hold: where it would end without one, the item begins.
        forbid: modalities that an answer must not hold.

    Raises:
        KitError: a modality that the model does not write, or one that is in both.
    """

    def __init__(
        self,
        grammar: Grammar,
        *,
        prompt: Tensor | None,
        ends: Sequence[int],
        force: Collection[str] = (),
        forbid: Collection[str] = (),
    ) -> None:
        for modality in (*force, *forbid):
            if modality not in grammar.begin:
                raise KitError(f"the model does not write {modality!r} in ids; {near(modality, grammar.begin)}")
            if modality in force and modality in forbid:
                raise KitError(f"{modality!r} cannot be forced and forbidden; leave one of them out")
        self.grammar, self.prompt, self.ends, self.force = grammar, prompt, list(ends), list(force)
        self.closed = [grammar.begin[modality] for modality in forbid]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(B, t) or, where generation began from embeddings, (B, new); (B, V) -> (B, V)."""
        state_of, allowed = self.grammar.tables(scores.device)
        length = 0 if self.prompt is None else self.prompt.shape[1]
        new = input_ids[:, length:] if input_ids.shape[1] >= length else input_ids  # (B, new)
        if input_ids.shape[1]:
            state = state_of[input_ids[:, -1]]  # (B,)
        else:
            state = torch.zeros(len(scores), dtype=torch.int64, device=scores.device)
        scores = scores.clone()
        in_text = state == 0  # (B,)
        for modality in self.force:
            begin = self.grammar.begin[modality]
            waits = in_text & ~(new == begin).any(1)  # (B,)
            wish = scores[:, [begin, *self.ends]].amax(1)  # (B,)
            scores[:, begin] = torch.where(waits, wish, scores[:, begin])
            scores[:, self.ends] = scores[:, self.ends].masked_fill(waits[:, None], -torch.inf)
        scores[:, self.closed] = -torch.inf
        return scores.masked_fill(~allowed[state], -torch.inf)  # (B, V)
