"""A way out for any codec: a small transformer writes its ids, of what the LLM holds of the words of its answer.

The LLM writes words alone. LLaMA-Omni 2 (Fang et al., 2025, arXiv:2505.02625) and Qwen2.5-Omni (Xu et al., 2025,
arXiv:2503.20215) speak so; here the words are complete before the first id is written.

Legend: N items, P words, n ids, K streams, D width of the LLM, W of the talker, V ids in all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import DynamicCache, LlamaConfig, LlamaModel
from typing_extensions import TypedDict

from ...core.decoders import (
    AnswerStates,
    GeneratedChunk,
    HiddenDecoder,
    Losses,
    TokenDecoder,
    TokenEmbeddings,
    TokenSampler,
)
from ...core.ids import NO_ID, allot
from ...errors import KitError
from ...files.content import Layers, checked
from ...model.vocabulary.extension import ParallelWriter, VocabularyExtension
from ...model.vocabulary.grammar import Grammar
from ...model.vocabulary.item_ids import ItemIds
from ...pretrained.cache_name import CACHE
from .talker_spec import TALKER_OPTIONS

_ITEM = "item"  # what its ids are called in a grammar of their own


class TalkerSizes(TypedDict):
    """What a file says of a talker itself."""

    width: int
    heads: int
    layers: Layers
    max_ids: int
    dropout: float


class Talker(HiddenDecoder):
    """Writes the ids of a `TokenDecoder`, which decodes them.

    In front of an item's ids stand its words: of each, what the LLM holds and the embedding, each normed, joined by a
    linear layer. Its ids are those of a vocabulary that has nothing else: begin mark, end mark, the codec's. While it
    is trained, some of its previous ids are hidden (`dropout`), so that it follows the words rather than
    the ids so far (Bowman et al., 2016, arXiv:1511.06349; in speech, Tacotron: Wang et al., 2017, arXiv:1703.10135).

    Args:
        config: ``codec``, its configuration; ``layers``, ``width`` and ``heads`` of the transformer; ``dropout``, the
            share of ids that are hidden; ``max_ids``, the most that an item has.
        width: D.

    Raises:
        KitError: sizes that no transformer has.
    """

    codec_class: ClassVar[type[TokenDecoder]]

    def __init__(self, config: Mapping[str, Any], width: int) -> None:
        super().__init__(config, width)
        checked(TalkerSizes, {key: config.get(key) for key in TalkerSizes.__annotations__}, "decoder's config")
        own, heads = config["width"], config["heads"]
        if min(own, heads, config["layers"], config["max_ids"]) < 1 or own % (2 * heads):
            raise KitError(
                f"a talker of width {own} and {heads} heads, {config['layers']} layers and {config['max_ids']} ids: "
                "expected numbers from 1, and a width that twice the heads divides"
            )
        if not 0 <= config["dropout"] < 1:
            raise KitError(f"a talker's dropout is {config['dropout']}; expected a share from 0 to below 1")
        self.codec = self.codec_class(config["codec"])
        parallel, break_points = {_ITEM: self.codec.parallel}, {_ITEM: self.codec.break_points}
        ranges = allot({_ITEM: dict(self.codec.ranges)}, 0)
        self.grammar = Grammar(ranges, {_ITEM: self.codec.follows}, 0, parallel=parallel, break_points=break_points)
        self.codec.rows = TokenEmbeddings(
            self.grammar.size + sum(stream.size for stream in self.codec.parallel.values()), own
        )
        nn.init.normal_(self.codec.rows.embedding)  # as large as the words
        self.extension = VocabularyExtension(self.grammar, {_ITEM: self.codec})
        self.hidden_norm, self.embedding_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.join = nn.Linear(2 * width, own)
        self.transformer = LlamaModel(
            LlamaConfig(
                vocab_size=1,  # it is given embeddings
                hidden_size=own,
                intermediate_size=4 * own,
                num_hidden_layers=config["layers"],
                num_attention_heads=heads,
                num_key_value_heads=heads,
                max_position_embeddings=config["max_ids"],
                bos_token_id=None,
                eos_token_id=None,
            )
        )

    @classmethod
    def read_config(cls, checkpoint: str, **options: Any) -> dict[str, Any]:
        """See `Decoder.read_config`; options other than `TALKER_OPTIONS` are the codec's, and so is `checkpoint`."""
        own = {option.name: options.pop(option.name, option.default) for option in TALKER_OPTIONS}
        return {"codec": cls.codec_class.read_config(checkpoint, **options), **own}

    def load_weights(self, checkpoint: str) -> None:
        """Those of the codec; the talker is new."""
        self.codec.load_weights(checkpoint)

    def trained_modules(self) -> Sequence[nn.Module]:
        """All but the codec and the transformer's one embedding, which nothing looks up."""
        own = (self.codec.rows, self.hidden_norm, self.embedding_norm, self.join)
        return (*own, self.transformer.layers, self.transformer.norm)

    @property
    def loss_weights(self) -> Mapping[str, float]:
        return self.codec.loss_weights

    @property
    def coder(self) -> TokenDecoder:
        return self.codec

    def num_ids(self, item: Any) -> int:
        """Marks included.

        Raises:
            KitError: more than the talker writes.
        """
        count, most = self.codec.num_ids(item) + 2, self.config["max_ids"]
        if count > most:
            raise KitError(
                f"an item of {count} ids, and the model's talker writes {most} at most; give a shorter one, or "
                "assemble the model with a larger max_ids"
            )
        return count

    def encode(self, item: Any) -> Tensor:
        """(n,) or (n, 1 + K), marks included.

        Raises:
            KitError: more than the talker writes, or what the codec cannot write.
        """
        self.num_ids(item)
        ids = self.codec.encode(item).cpu()
        whole = torch.tensor(self.grammar.enclosed(_ITEM, ids, "item"))  # (n,)
        parallel_ids = self.grammar.parallel_ids(_ITEM, ids)
        if parallel_ids is None:
            return whole
        return torch.cat([whole[:, None], torch.tensor(parallel_ids)], 1)  # (n, 1 + K)

    def decode(self, ids: Tensor) -> Any:
        main, parallel = self._columns(ids)
        (segment,) = self.grammar.segments(main.tolist(), None if parallel is None else parallel.tolist())
        return self.codec.decode(torch.tensor(segment.ids))

    def targets(self, ids: Tensor) -> Mapping[str, Tensor]:
        """Indices of positions that an id follows, item after item, (N * (n - 1),)."""
        main, parallel = self._columns(ids)
        at = (main[:, 1:] != NO_ID).flatten().nonzero()[:, 0]  # (t,)
        parallel_ids = None if parallel is None else parallel[:, 1:].flatten(0, 1)[at]  # (t, K)
        found = self.grammar.targets(main[:, :-1].flatten()[at], parallel_ids)
        return {group: at[found[f"{_ITEM}.{group}"]] for group in self.loss_weights}

    def losses(self, words: AnswerStates, ids: Tensor, targets: Mapping[str, Tensor]) -> Losses:
        before, after = ids[:, :-1], ids[:, 1:]
        hidden = self._run(words, before)[:, words.mask.shape[1] :]  # (N, n - 1, W)
        previous, _ = self._columns(before.flatten(0, 1))
        following, parallel_ids = self._columns(after.flatten(0, 1))
        wanted = {f"{_ITEM}.{group}": each for group, each in targets.items()}
        found = self.extension.losses(_no_text, hidden.flatten(0, 1), previous, following, parallel_ids, wanted)
        return {group.removeprefix(f"{_ITEM}."): each for group, each in found.items()}

    @torch.no_grad()
    def make(self, words: AnswerStates, sampler: TokenSampler) -> Iterator[GeneratedChunk]:
        """As soon as the codec is certain of a piece. An item that is longer than `max_ids` is cut."""
        num_parallel = len(self.grammar.parallel)
        at_begin = [torch.full((1, num_parallel), NO_ID)] if num_parallel else []
        item, closed = ItemIds(self.codec.stream(), self.grammar, _ITEM, at_begin), False
        for each, parallel_ids in self._written(words, sampler):
            closed = each == self.grammar.end[_ITEM]
            chunk = None if closed else item.push(each, parallel_ids)
            if chunk is not None:
                yield GeneratedChunk(chunk)
        yield GeneratedChunk(item.stream.finish(), closed, 0 if closed else item.waiting)

    @torch.no_grad()
    def _written(self, words: AnswerStates, sampler: TokenSampler) -> Iterator[tuple[int, list[Tensor]]]:
        """The ids of an item one by one, to the end mark or `max_ids`, with the parallel ids of each, (1, K)."""
        device, begin, end = self.join.weight.device, self.grammar.begin[_ITEM], self.grammar.end[_ITEM]
        state_of, allowed = self.grammar.tables(device)
        writer = ParallelWriter(self.grammar, sampler, [])
        ids = torch.tensor([[begin]], device=device)  # (1, n)
        embeds = torch.cat([self._embed_words(words), self._embed(ids)], 1)  # (1, P + 1, W)
        cache = DynamicCache(config=self.transformer.config)
        while ids[0, -1] != end and ids.shape[1] < self.config["max_ids"]:
            hidden = self.transformer(inputs_embeds=embeds, use_cache=True, **{CACHE: cache}).last_hidden_state
            logits = self.extension.logits(_no_text, hidden[:, -1])  # (1, V)
            logits = logits.masked_fill(~allowed[state_of[ids[:, -1]]], -torch.inf)
            ids = torch.cat([ids, sampler(logits)[:, None]], 1)
            if self.grammar.parallel:
                writer.choose(self.extension.parallel_logits(hidden))
            yield int(ids[0, -1]), [each.cpu() for each in writer.chosen[-1:]]
            embeds = self._embed(ids[:, -1:], writer.last(ids) if self.grammar.parallel else None)  # (1, 1, W)

    def dummy(self) -> Tensor:
        """Through every layer, of one word and one id."""
        nothing = self.join.weight.new_zeros(1, 1, self.width)  # (1, 1, D)
        begin = torch.full((1, 1), self.grammar.begin[_ITEM], device=nothing.device)
        word = AnswerStates(nothing, nothing, torch.ones_like(begin, dtype=torch.bool))
        embeds = torch.cat([self._embed_words(word), self._embed(begin)], 1)  # (1, 2, W)
        hidden = self.transformer(inputs_embeds=embeds, use_cache=False).last_hidden_state  # (1, 2, W)
        zero: Tensor = (hidden.sum() + self.codec.rows.head.sum()) * 0
        return zero

    def _run(self, words: AnswerStates, ids: Tensor) -> Tensor:
        """Words and ids (N, n) or (N, n, 1 + K) behind them -> (N, P + n, W)."""
        main, parallel = self._columns(ids)
        written = self._embed(main.clamp(min=0), parallel)  # (N, n, W)
        if self.join.training and self.config["dropout"]:
            written = written * (torch.rand_like(written[..., :1]) >= self.config["dropout"])
        embeds = torch.cat([self._embed_words(words), written], 1)  # (N, P + n, W)
        mask = torch.cat([words.mask, main != NO_ID], 1)  # (N, P + n)
        positions = (mask.cumsum(1) - 1).clamp(min=0)  # (N, P + n)
        out = self.transformer(
            inputs_embeds=embeds, attention_mask=mask.long(), position_ids=positions, use_cache=False
        )
        hidden: Tensor = out.last_hidden_state
        return hidden

    def _embed_words(self, words: AnswerStates) -> Tensor:
        """(N, P, W)."""
        dtype = self.join.weight.dtype
        hidden, embeddings = self.hidden_norm(words.hidden.to(dtype)), self.embedding_norm(words.embeddings.to(dtype))
        joined: Tensor = self.join(torch.cat([hidden, embeddings], -1))
        return joined

    def _embed(self, ids: Tensor, parallel: Tensor | None = None) -> Tensor:
        """(N, n) and (N, n, K) -> (N, n, W)."""
        return self.extension.embed(self._no_row, ids, parallel)

    def _columns(self, ids: Tensor) -> tuple[Tensor, Tensor | None]:
        """Ids as they are learned -> main ids (...) and, of a codec that has streams, theirs (..., K)."""
        return (ids[..., 0], ids[..., 1:]) if self.codec.parallel else (ids, None)

    def _no_row(self, ids: Tensor) -> Tensor:
        """In place of the LLM's own embeddings; a talker has none."""
        return self.join.weight.new_zeros(1).expand(*ids.shape, len(self.join.weight))


def _no_text(hidden: Tensor) -> Tensor:
    """In place of the LLM's own logits; a talker has none: (..., W) -> (..., 0)."""
    return hidden[..., :0]
