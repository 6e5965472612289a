"""Rows of decoders added to an LLM's own: embeddings, logits, and a loss for each range and each parallel stream.

The LLM is not changed: its rows, its head and its vocabulary are what they were, tied or not, quantized or not.

Legend: B rows of the batch, T positions, D width of the LLM, V ids in all, K streams, n target positions, g of them
in a group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.decoders import Losses, TokenDecoder, TokenSampler
from ...core.ids import NO_ID, TEXT
from .grammar import Grammar

Head = Callable[[Tensor], Tensor]  # hidden states (..., D) -> the LLM's own logits


class VocabularyExtension:
    """What a model with decoders that have ids computes in place of a lookup and of a head.

    Args:
        grammar: of all its ids.
        decoders: modality -> decoder, with its rows.
    """

    def __init__(self, grammar: Grammar, decoders: Mapping[str, TokenDecoder]) -> None:
        self.grammar, self.decoders = grammar, {m: decoders[m] for m in grammar.ranges}
        self.weights = {TEXT: 1.0}  # of each group's mean loss
        for modality, decoder in self.decoders.items():
            self.weights.update({f"{modality}.{name}": weight for name, weight in decoder.loss_weights.items()})
        self._columns = {group: grammar.columns(group) for group in grammar.groups if group not in grammar.parallel}
        self._parallel_embeddings: dict[
            str, tuple[str, slice]
        ] = {}  # stream -> its modality, and which of its decoder's rows
        for modality, decoder in self.decoders.items():
            _, start = grammar.span(modality)
            for name, stream in decoder.parallel.items():
                self._parallel_embeddings[f"{modality}.{name}"] = (modality, slice(start, start + stream.size))
                start += stream.size
        starts = [rows.start for _, rows in self._parallel_embeddings.values()]
        self._starts = torch.tensor(starts, dtype=torch.int64, device="cpu")  # (K,)

    def embed(self, table: Callable[[Tensor], Tensor], ids: Tensor, parallel_ids: Tensor | None = None) -> Tensor:
        """Ids of any kind -> their embeddings, (..., D), those of the LLM's own as `table` has them.

        Those of the ids beside them, (..., K), are added.
        """
        out: Tensor = table(ids.clamp(max=self.grammar.num_text - 1))  # (..., D)
        for modality, decoder in self.decoders.items():
            first, size = self.grammar.span(modality)
            inside = (ids >= first) & (ids < first + size)
            rows = F.embedding((ids - first).clamp(0, size - 1), decoder.rows.embedding)  # (..., D)
            out = torch.where(inside[..., None], rows.to(out.dtype), out)  # (..., D)
        return out if parallel_ids is None else out + self._embed_parallel(parallel_ids).to(out.dtype)

    def _embed_parallel(self, parallel_ids: Tensor) -> Tensor:
        """The sum of the embeddings of the parallel ids at each position, (..., K) -> (..., D)."""
        if self._starts.device != parallel_ids.device:
            self._starts = self._starts.to(parallel_ids.device)
        # row 0 is the begin mark's and no stream's, so it serves as none
        places = torch.where(parallel_ids == NO_ID, 0, parallel_ids + self._starts)  # (..., K)
        sums = []
        for modality, decoder in self.decoders.items():
            if decoder.parallel:
                mine = places[..., self.grammar.parallel_columns(modality)].flatten(0, -2)  # (n, streams)
                sums.append(F.embedding_bag(mine, decoder.rows.embedding, mode="sum", padding_idx=0))  # (n, D)
        return torch.stack(sums).sum(0).view(*parallel_ids.shape[:-1], -1)  # (..., D)

    def logits(self, head: Head, hidden: Tensor) -> Tensor:
        """Hidden states (..., D) -> (..., V): the LLM's own logits, unchanged, and those of the decoders after them."""
        own = head(hidden)  # (..., V_llm)
        gap = own.new_full((), -torch.inf).expand(*own.shape[:-1], self.grammar.first - own.shape[-1])
        others = []
        for modality, decoder in self.decoders.items():
            rows = decoder.rows.head[: self.grammar.span(modality)[1]]
            others.append(self._rows_logits(hidden, rows).to(own.dtype))
        return torch.cat([own, gap, *others], -1)  # (..., V)

    def parallel_logits(self, hidden: Tensor) -> tuple[Tensor, ...]:
        """Hidden states (..., D) -> the logits of each parallel stream, (..., its size), for the *next* position."""
        return tuple(self._stream(hidden, stream) for stream in self._parallel_embeddings)

    def losses(
        self,
        head: Head,
        hidden: Tensor,
        previous: Tensor,
        labels: Tensor,
        parallel_ids: Tensor | None,
        targets: Mapping[str, Tensor],
    ) -> Losses:
        """Cross-entropy of each label among the ids that may stand there, and whether it is the likeliest of them.

        That is the distribution from which answers are generated. Only the logits that compete are computed.

        Args:
            head: of the LLM.
            hidden: (n, D) of the target positions. previous, labels: (n,) the ids there, and those that follow.
            parallel_ids: (n, K) the parallel ids that follow, or None.
            targets: group -> (g,) which of the n are of it.
        """
        found = {}
        columns_of = {stream: number for number, stream in enumerate(self._parallel_embeddings)}
        for group, rows in targets.items():
            mine = hidden.index_select(0, rows)  # (g, D)
            if not rows.shape[0]:
                nothing = hidden.new_zeros(0, dtype=torch.float32)
                found[group] = nothing, nothing.bool()
                continue
            if parallel_ids is not None and group in columns_of:
                logits = self._stream(mine, group).float()  # (g, c)
                wanted = parallel_ids[:, columns_of[group]].index_select(0, rows)  # (g,)
            else:
                columns = self._on(group, hidden.device)  # (c,)
                logits = self._competing(head, mine, group, columns).float()  # (g, c)
                state_of, allowed = self.grammar.tables(hidden.device)
                fits = allowed[state_of[previous.index_select(0, rows)]].index_select(1, columns)  # (g, c)
                logits = logits.masked_fill(~fits, -torch.inf)
                wanted = torch.searchsorted(columns, labels.index_select(0, rows))  # (g,)
            found[group] = F.cross_entropy(logits, wanted, reduction="none"), logits.argmax(-1) == wanted
        return found

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

    def _stream(self, hidden: Tensor, stream: str) -> Tensor:
        """The logits of a parallel stream, (..., its size)."""
        modality, rows = self._parallel_embeddings[stream]
        return self._rows_logits(hidden, self.decoders[modality].rows.head[rows])

    def _on(self, group: str, device: torch.device) -> Tensor:
        if self._columns[group].device != device:
            self._columns[group] = self._columns[group].to(device)
        return self._columns[group]

    @staticmethod
    def _rows_logits(hidden: Tensor, rows: Tensor) -> Tensor:
        return F.linear(hidden.to(rows.dtype), rows)


def token_sampler(do_sample: bool, temperature: float | None) -> TokenSampler:
    """How ids are taken: the likeliest, or by chance."""
    return partial(_sampled, temperature=temperature or 1.0) if do_sample else partial(torch.argmax, dim=-1)


def _sampled(logits: Tensor, temperature: float) -> Tensor:
    """(B, c) -> (B,)."""
    return torch.multinomial((logits / temperature).softmax(-1), 1)[:, 0]


class ParallelWriter:
    """Chooses the ids beside those that are generated.

    Those of a position come from the same hidden state as its main id, and whether they stand there is known when that
    is chosen.

    Args:
        grammar: of the model.
        pick: see `token_sampler`.
        chosen: gets the parallel ids of each new position, (B, K), whether they stand there or not.
    """

    def __init__(self, grammar: Grammar, sampler: TokenSampler, chosen: list[Tensor]) -> None:
        self.grammar, self.sampler, self.chosen = grammar, sampler, chosen

    def choose(self, logits: Sequence[Tensor]) -> None:
        """Choose for the position behind those of the logits, each (B, T, c)."""
        self.chosen.append(torch.stack([self.sampler(each[:, -1].float()) for each in logits], -1))  # (B, K)

    def last(self, ids: Tensor) -> Tensor:
        """The parallel ids, (B, 1, K), of the last of the ids (B, t)."""
        standing = self.grammar.standing(ids)[:, -1:]  # (B, 1, K)
        return self.chosen[-1][:, None].masked_fill(~standing, NO_ID)
