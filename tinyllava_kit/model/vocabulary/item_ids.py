"""The ids of an item while it is generated, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...core.decoders import IdStream
from .grammar import Grammar


class ItemIds:
    """An item that is being generated: ids that are waiting for their step to be whole, and the chunks there are.

    Args:
        stream: takes them in whole steps.
        grammar, modality: of the ids.
        parallel_ids: those of its begin mark, (1, K), where there are streams.
    """

    def __init__(self, stream: IdStream, grammar: Grammar, modality: str, parallel_ids: Sequence[Tensor] = ()) -> None:
        self.stream, self.grammar, self.modality = stream, grammar, modality
        self.ids, self.chosen = [grammar.begin[modality]], list(parallel_ids)
        self.waiting = 0  # how many of them were not pushed
        self.chunks: list[Any] = []

    def push(self, each: int, parallel_ids: Sequence[Tensor]) -> Any | None:
        """Take an id of the vocabulary, and its parallel ids, (1, K); return the part that is now certain, or None."""
        self.ids.append(each)
        self.chosen += parallel_ids
        self.waiting += 1
        if not self.grammar.may_break(each, len(self.ids) - 1):
            return None
        ids, self.waiting = self._last(self.waiting), 0
        return self.stream.push(ids)

    def _last(self, count: int) -> Tensor:
        """The last ids, as the decoder counts them: (n,) or (n, 1 + streams)."""
        first, _ = self.grammar.span(self.modality)
        main = torch.tensor(self.ids[-count:]) - first - 2  # (n,)
        columns = self.grammar.parallel_columns(self.modality)
        if columns.start == columns.stop:
            return main
        parallel_ids = self.grammar.written(torch.tensor([self.ids]), self.chosen)[0, -count:, columns]  # (n, streams)
        return torch.cat([main[:, None], parallel_ids], 1)  # (n, 1 + streams)
