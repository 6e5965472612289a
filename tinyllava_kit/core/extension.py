"""The rows of decoders beside an LLM's own: embeddings, logits, and a loss for each range of ids.

The LLM is not changed: its rows, its head and its vocabulary are what they were, tied or not, quantized or not.

Legend: B rows of the batch, T positions, D width of the LLM, V ids in all, n target positions, g of them in a group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .decoders import TokenDecoder
from .grammar import TEXT, Grammar

Head = Callable[[Tensor], Tensor]  # hidden states (..., D) -> the LLM's own logits


class Extension:
    """What a model with decoders that have ids computes in place of a lookup and of a head.

    Args:
        grammar: of all its ids.
        decoders: modality -> decoder, with its rows.
    """

    def __init__(self, grammar: Grammar, decoders: Mapping[str, TokenDecoder]) -> None:
        self.grammar, self.decoders = grammar, {m: decoders[m] for m in grammar.ranges}
        self.weights = {TEXT: 1.0}
        for modality, decoder in self.decoders.items():
            self.weights.update({f"{modality}.{name}": weight for name, weight in decoder.loss_weights.items()})
        self._columns = {group: grammar.columns(group) for group in grammar.groups}

    def embed(self, table: nn.Module, ids: Tensor) -> Tensor:
        """Ids of any kind -> their embeddings, (..., D), those of the LLM's own as `table` has them."""
        out = table(ids.clamp(max=self.grammar.num_text - 1))  # (..., D)
        for modality, decoder in self.decoders.items():
            first, size = self.grammar.span(modality)
            inside = (ids >= first) & (ids < first + size)
            rows = F.embedding((ids - first).clamp(0, size - 1), decoder.rows.embedding)  # (..., D)
            out = torch.where(inside[..., None], rows.to(out.dtype), out)  # (..., D)
        return out

    def logits(self, head: Head, hidden: Tensor) -> Tensor:
        """Hidden states (..., D) -> (..., V): the LLM's own logits as they are, those of the decoders behind them."""
        own = head(hidden)  # (..., V_llm)
        gap = own.new_full((), -torch.inf).expand(*own.shape[:-1], self.grammar.first - own.shape[-1])
        others = [self._rows_logits(hidden, decoder.rows.head).to(own.dtype) for decoder in self.decoders.values()]
        return torch.cat([own, gap, *others], -1)  # (..., V)

    def losses(
        self, head: Head, hidden: Tensor, previous: Tensor, labels: Tensor, targets: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy of each label among the ids that may stand there, and whether it is the likeliest of them.

        That is the distribution from which answers are generated. Only the logits that compete are computed.

        Args:
            head: of the LLM.
            hidden: (n, D) of the target positions. previous, labels: (n,) the ids there, and those that follow.
            targets: group -> (g,) which of the n are of it.

        Returns:
            (n,) float32 and (n,) bool.
        """
        losses = hidden.new_zeros(len(hidden), dtype=torch.float32)
        hits = torch.zeros_like(losses, dtype=torch.bool)
        for group, rows in targets.items():
            if not rows.shape[0]:
                continue
            mine = hidden.index_select(0, rows)  # (g, D)
            columns = self._on(group, hidden.device)  # (c,)
            logits = self._competing(head, mine, group, columns).float()  # (g, c)
            state_of, allowed = self.grammar.tables(hidden.device)
            fits = allowed[state_of[previous.index_select(0, rows)]].index_select(1, columns)  # (g, c)
            logits = logits.masked_fill(~fits, -torch.inf)
            wanted = torch.searchsorted(columns, labels.index_select(0, rows))  # (g,)
            losses = losses.index_copy(0, rows, F.cross_entropy(logits, wanted, reduction="none"))
            hits[rows] = logits.argmax(-1) == wanted
        return losses, hits

    def mean(self, losses: Tensor, targets: Mapping[str, Tensor], num_items: Tensor | int | None) -> Tensor:
        """The mean loss of each group, weighted and added.

        Args:
            losses: (n,). targets: as for `losses`.
            num_items: how many targets of each group the whole step has, in the order of the grammar's groups; a single
                number is of all groups together, and each group is then averaged over the batch; None: over the batch.
        """
        counts = [rows.shape[0] for rows in targets.values()]
        means = []
        for index, (group, rows) in enumerate(targets.items()):
            total = losses.index_select(0, rows).sum()
            whole = num_items[index] if isinstance(num_items, Tensor) and num_items.ndim else counts[index]
            whole = whole.to(total.device).clamp(min=1) if isinstance(whole, Tensor) else max(whole, 1)
            means.append(self.weights[group] * total / whole)
        loss = torch.stack(means).sum()
        if num_items is None or (isinstance(num_items, Tensor) and num_items.ndim):
            return loss
        return loss * sum(counts) / num_items

    def _competing(self, head: Head, hidden: Tensor, group: str, columns: Tensor) -> Tensor:
        """The logits of a group's columns, (g, c)."""
        if group == TEXT:
            begins = torch.stack([decoder.rows.head[0] for decoder in self.decoders.values()])  # (M, D)
            own = head(hidden)[:, : self.grammar.num_text]  # (g, V_llm)
            return torch.cat([own, self._rows_logits(hidden, begins).to(own.dtype)], -1)  # (g, V_llm + M)
        modality = group.partition(".")[0]
        first, _ = self.grammar.span(modality)
        rows = self.decoders[modality].rows.head.index_select(0, columns - first)  # (c, D)
        return self._rows_logits(hidden, rows)  # (g, c)

    def _on(self, group: str, device: torch.device) -> Tensor:
        if self._columns[group].device != device:
            self._columns[group] = self._columns[group].to(device)
        return self._columns[group]

    @staticmethod
    def _rows_logits(hidden: Tensor, rows: Tensor) -> Tensor:
        return F.linear(hidden.to(rows.dtype), rows)
