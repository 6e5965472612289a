"""Items for processes whose batch has none, so that in a distributed step each process runs every part.

A sharded part gathers its weights from all processes when it is called: were one to leave it out, the others would
wait for ever. A batch then brings an item that the plan has no place for; the model runs it, times zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from torch import Tensor

from ...core.conversation import Item
from ...core.spans import ItemSpan
from ...data.dataset import ConversationDataset, conversations_of
from ...data.stream import RowStream
from ...errors import KitError
from ...processing.batch import Batch
from ...processing.encoded import Encoded, EncodedItem, ItemReader
from ...processing.processor import TinyLlavaProcessor

LOOKED_AT = 1000  # rows of a stream among which each modality is looked for
COMPARED = 32  # items of a modality; the smallest is used

Collate = Callable[[Sequence[Any]], Batch]


class WithDummyItems:
    """A collator that adds an item of each modality that a batch has none of.

    Args:
        collate: makes the batch; where it holds another under ``teacher``, that gets items as well.
        dummy: modality -> the tower's inputs for one item, see `dummy_items`.

    Raises:
        KitError: a batch has items of a modality without a dummy.
    """

    def __init__(self, collate: Any, dummy: Mapping[str, Mapping[str, Tensor]]) -> None:
        self.collate, self.dummy = collate, dummy

    @property
    def num_cut(self) -> int:
        """The collator's."""
        return self.collate.num_cut

    def __call__(self, samples: Sequence[Any]) -> Batch:
        batch = self.collate(samples)
        for each in filter(None, (batch, batch.get("teacher"))):
            items = each.get("items", {})
            for modality in items:
                if modality not in self.dummy:
                    raise KitError(
                        f"{modality} items come late in the stream, and the other processes cannot wait for them; "
                        "add a source without 'stream' that has some"
                    )
            each["items"] = {**items, **{m: inputs for m, inputs in self.dummy.items() if m not in items}}
        return batch


def dummy_items(data: ConversationDataset | RowStream) -> dict[str, dict[str, Tensor]]:
    """For each modality of the data a small item, as inputs of its tower."""
    processor = data.processor
    found: dict[str, list[Item]] = {}
    for item in _items(data):
        if len(own := found.setdefault(item.modality, [])) < COMPARED:
            own.append(item)
    reader = getattr(data, "reader", None) or processor.read_item
    smallest = {
        m: min(own, key=lambda i: processor.modalities[i.modality].measure(i.source)) for m, own in found.items()
    }
    return {modality: _inputs(item, processor, reader) for modality, item in smallest.items()}


def _items(data: ConversationDataset | RowStream) -> Iterable[Item]:
    if isinstance(data, RowStream):
        for rows, source, number in islice(data.rows(), LOOKED_AT):
            for _, make in conversations_of(rows, source, data.processor, first=number, in_words=data.in_words):
                try:
                    yield from data.processor.input_items(make())
                except KitError:
                    if source.on_error == "error":
                        raise
        return
    for conversation in data.conversations:
        yield from data.processor.input_items(conversation)


def _inputs(item: Item, processor: TinyLlavaProcessor, reader: ItemReader) -> dict[str, Tensor]:
    part = next(part for part in reader(item) if isinstance(part, EncodedItem))
    tokens = processor.connectors[part.modality].num_tokens(sum(part.num_features))
    return processor.collate([Encoded([ItemSpan(part.modality, tokens)], [part])])["items"][part.modality]
