"""The ways out of the LLM into a modality. Implement one, name it in a `DecoderSpec`, and the kit can use it.

Legend: n ids of an item, K streams, D width of the LLM, N items, P words of the longest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import KitError
from .ids import BEGIN, END, ParallelStream

TokenSampler = Callable[[Tensor], Tensor]  # logits (B, c) -> the ids that are taken, (B,)
# group -> the loss of each of its targets, (g,) float32, and whether it was the likeliest there, (g,) bool
Losses = Mapping[str, tuple[Tensor, Tensor]]


class Decoder(nn.Module, ABC):
    """What `TokenDecoder`, `HiddenDecoder` and `TextDecoder` share. Built without weights, on the meta
    device to be asked only.

    `config` is plain JSON, made by `read_config` and saved with the model. Weights are kept in float32 whatever the
    model's dtype is, because codecs give other ids in half precision; they are frozen but for what `trained_modules`
    names. Keep no non-persistent buffer, or give ``init_non_persistent_buffers()``.
    """

    reads: ClassVar[str]  # as its spec says

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = dict(config)

    @classmethod
    @abstractmethod
    def read_config(cls, checkpoint: str, **options: Any) -> dict[str, Any]:
        """The module's configuration from a hub name, a local directory or nothing; reads no weights.

        Raises:
            KitError: not found, or a checkpoint of another kind.
        """

    def load_weights(self, checkpoint: str) -> None:
        """Fill the module from the checkpoint. Default: there is nothing to fill.

        Raises:
            KitError: keys are missing or of other shapes.
        """

    def trained_modules(self) -> Sequence[nn.Module]:
        """What a recipe's ``decoder.MODALITY`` trains. Default: nothing."""
        return ()

    def requires_grad_(self, requires_grad: bool = True) -> Decoder:
        """As in torch, but only the trained parts can require gradients."""
        super().requires_grad_(False)
        for module in self.trained_modules():
            module.requires_grad_(requires_grad)
        return self


class TokenEmbeddings(nn.Module):
    """The LLM's rows for a decoder's ids, added to its own, which do not change.

    embedding, head: (n, D) each, those of the streams last.
    """

    def __init__(self, num_ids: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(num_ids, width))
        self.head = nn.Parameter(torch.empty(num_ids, width))
        for rows in self.parameters():
            nn.init.normal_(rows, std=0.02)

    @torch.no_grad()
    def spread_like(self, embedding: Tensor, head: Tensor) -> None:
        """New rows with the standard deviations of the LLM's own, whose weights are given."""
        self.embedding.normal_(std=float(embedding.float().std()))
        self.head.normal_(std=float(head.float().std()))


class IdStream(ABC):
    """Turns ids into chunks of an item as they come. The chunks joined are what `TokenDecoder.decode` gives at once."""

    @abstractmethod
    def push(self, ids: Tensor) -> Any | None:
        """Take more ids, (n,) or (n, 1 + K), up to a break point; return what is certain of the item, or None."""

    @abstractmethod
    def finish(self) -> Any | None:
        """The rest, or None."""


class CodingDecoder(Decoder):
    """A decoder that has items to learn from: it writes them as ids."""

    @abstractmethod
    def num_ids(self, item: Any) -> int:
        """How many `encode` gives for an item, by arithmetic: the one source of token counts."""

    @abstractmethod
    def encode(self, item: Any) -> Tensor:
        """An item, as its modality reads it -> int64, (n,) or (n, k). No graph.

        Raises:
            KitError: an item that cannot be written in ids; names it.
        """

    @abstractmethod
    def decode(self, ids: Tensor) -> Any:
        """What `encode` gives, up to a place where it may be cut -> an item, as the modality reads it."""

    @property
    @abstractmethod
    def loss_weights(self) -> Mapping[str, float]:
        """What the mean loss of each group of ids counts beside that of the text."""

    @property
    def coder(self) -> Decoder:
        """The part whose configuration and weights the ids of an item depend on, but for its `rows`. Default: all."""
        return self


class TokenDecoder(CodingDecoder):
    """Turns ids that the LLM writes into an item, and an item into such ids.

    Its ids count from 0, range after range in the order of `ranges`. Where they stand in the LLM's vocabulary is the
    assembly's affair, and so are the two marks around an item's ids.

    `encode` gives, and `decode` takes, (n,): an id for each position, n > 0, in the order of `follows`. A decoder with
    `parallel` writes further ids at the same positions: (n, 1 + K), the main ids and a column for each stream, NO_ID
    where there is none.
    """

    reads = "tokens"
    rows: TokenEmbeddings  # the kit puts them here; they alone are trained

    @property
    @abstractmethod
    def ranges(self) -> Mapping[str, int]:
        """The name and size of each range of ids, in order: a codec's codebooks, the fields of a frame."""

    @property
    @abstractmethod
    def follows(self) -> Mapping[str, Sequence[str]]:
        """Behind each range, which may follow; `BEGIN` says how an item starts, `END` stands where it may end."""

    @property
    def parallel(self) -> Mapping[str, ParallelStream]:
        """The name of each parallel stream, in order, and where it stands. Default: there are none."""
        return {}

    @property
    def break_points(self) -> Mapping[str, int]:
        """Behind which ranges what has come of an item can be decoded, and how many ids that must be at least.

        Default, and where there are none: where it may end.
        """
        return {}

    def stream(self) -> IdStream:
        """A new stream of one item. Default: everything comes at the end."""
        return _AtTheEnd(self)

    @property
    def loss_weights(self) -> Mapping[str, float]:
        """What the mean loss of each range and stream counts beside that of the text. Default: together as much."""
        names = (*self.ranges, *self.parallel)
        return dict.fromkeys(names, 1 / len(names))

    def trained_modules(self) -> Sequence[nn.Module]:
        """The rows."""
        return (self.rows,)

    @staticmethod
    def cycle(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The `follows` of frames: one id of each range in order, again and again, ending behind a whole frame.

        Example:
            >>> TokenDecoder.cycle(["a", "b"])
            {'begin': ('a',), 'a': ('b',), 'b': ('a', 'end')}
        """
        after = {name: (following,) for name, following in zip(names, [*names[1:], names[0]], strict=True)}
        return {BEGIN: (names[0],), **after, names[-1]: (names[0], END)}


@dataclass(frozen=True)
class AnswerStates:
    """What the LLM holds of the words that items are made of.

    hidden: (N, P, D) its last hidden states where they stand. embeddings: (N, P, D) of the words themselves.
    mask: (N, P) bool, False behind the last word of an item.
    """

    hidden: Tensor
    embeddings: Tensor
    mask: Tensor


@dataclass(frozen=True)
class GeneratedChunk:
    """A chunk of an item that is being made, or None in its place where there is nothing more of it.

    closed: the item was ended here. dropped: ids of one that was not, which belong to no whole step.
    """

    item: Any | None
    closed: bool = False
    dropped: int = 0


class HiddenDecoder(CodingDecoder):
    """Makes an item of what the LLM holds of the words of its answer. The LLM writes words alone, and has no ids of it.

    The ids of its items are its own affair: what `encode` gives, (n,) or (n, k), `losses` gets back, and `decode`.

    Args:
        config: see `Decoder`.
        width: D.
    """

    reads = "hidden"

    def __init__(self, config: Mapping[str, Any], width: int) -> None:
        super().__init__(config)
        self.width = width

    @abstractmethod
    def targets(self, ids: Tensor) -> Mapping[str, Tensor]:
        """Where the targets of each group of `loss_weights` are, each an index of its own: group -> (g,) int64.

        Called in data loading, on a decoder without weights.

        Args:
            ids: (N, n) or (N, n, k) of several items, NO_ID behind the last of each.
        """

    @abstractmethod
    def losses(self, words: AnswerStates, ids: Tensor, targets: Mapping[str, Tensor]) -> Losses:
        """The loss of every target, and whether it was the likeliest, in the groups and the order of `targets`.

        What items share a batch makes no difference, but for dropout.

        Raises:
            KitError: a target that cannot be learned, for which a loss of zero would be no answer.
        """

    @abstractmethod
    def make(self, words: AnswerStates, sampler: TokenSampler) -> Iterator[GeneratedChunk]:
        """An item of the words of one answer, N = 1, chunk by chunk: the last says whether it was ended.

        The chunks, joined by the modality, are the item.
        """

    def dummy(self) -> Tensor:
        """Zero, in a graph that holds all that is trained, for a batch without an item of it, () float32.

        Layers that are sharded must be called by every rank as often: a decoder that calls some once in `losses` does
        so here. Default: the parameters, times zero.
        """
        zeros = [p.flatten()[:1].sum() * 0 for p in self.parameters() if p.requires_grad]
        return torch.stack(zeros).sum() if zeros else torch.zeros(())


class TextDecoder(Decoder):
    """Turns the text of an answer into an item: a cascade. It owns no ids, and the LLM knows nothing of it."""

    reads = "text"

    @abstractmethod
    def decode(self, text: str) -> Any:
        """A text -> an item, as the modality reads it.

        Raises:
            KitError: nothing in it can be turned into one.
        """


class _AtTheEnd(IdStream):
    """Decodes once, when all ids are there."""

    def __init__(self, decoder: TokenDecoder) -> None:
        self.decoder = decoder
        self.ids: list[Tensor] = []

    def push(self, ids: Tensor) -> None:
        self.ids.append(ids)

    def finish(self) -> Any | None:
        ids = torch.cat(self.ids) if self.ids else torch.empty(0, dtype=torch.int64)
        return self.decoder.decode(ids) if len(ids) else None


READS: dict[str, type[Decoder]] = {kind.reads: kind for kind in (TokenDecoder, HiddenDecoder, TextDecoder)}


def check_kind(decoder: type[Decoder], name: str, reads: str) -> None:
    """Check that a decoder's class has the interface of what its spec says it reads.

    Raises:
        KitError: a decoder's class is not of the kind that its spec says.
    """
    if reads not in READS or not issubclass(decoder, READS[reads]):
        raise KitError(
            f"decoder {name!r} says that it reads {reads!r}, and {decoder.__name__} is no "
            f"{READS[reads].__name__ if reads in READS else 'decoder of that kind'}; report it to its authors"
        )
