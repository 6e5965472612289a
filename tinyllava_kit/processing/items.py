"""The items of conversations as spans: read for a tower, written in ids, or counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from ..core.conversation import Conversation, Item, naming
from ..core.decoders import Decoder, HiddenDecoder
from ..core.ids import NO_ID
from ..core.interfaces import Modality, Preprocessor
from ..core.spans import IGNORE_INDEX, AnySpan, GeneratedSpan, TextSpan
from ..errors import KitError
from ..model.vocabulary.grammar import Grammar
from .encoded import EncodedItem, ItemWriter, Parts
from .item_tensors import window_inputs


class ItemProcessor:
    """What of a processor knows items.

    modalities, preprocessors, decoders: modality -> what reads its items, prepares them for its tower, and makes them.
    grammar: of the ids that the LLM writes for items; None where it writes none.
    """

    modalities: dict[str, Modality]
    preprocessors: dict[str, Preprocessor]
    decoders: dict[str, Decoder]
    grammar: Grammar | None

    @property
    def reads(self) -> list[str]:
        """The modalities whose items a tower reads, in the model's order."""
        return list(self.preprocessors)

    @property
    def writes(self) -> set[str]:
        """The modalities whose items the LLM writes, as ids."""
        return set(self.grammar.begin) if self.grammar else set()

    @property
    def makes(self) -> set[str]:
        """The modalities whose items a decoder makes of the words of an answer, and learns to."""
        return {modality for modality, decoder in self.decoders.items() if isinstance(decoder, HiddenDecoder)}

    @property
    def gives(self) -> set[str]:
        """The modalities whose items the model learns to give."""
        return self.writes | self.makes

    def input_items(self, conversation: Conversation) -> list[Item]:
        """The items of a conversation that towers read: all but those that the assistant learns to give."""
        answered = conversation.answered(self.gives)
        return [item for item, given in zip(conversation.items, answered, strict=True) if not given]

    def read_source(self, item: Item) -> Any:
        """What its modality reads of an item's source.

        Raises:
            KitError: it is missing, corrupt or of the wrong shape; names its row, too, where it has one.
        """
        with naming(item):
            return self.modalities[item.modality].read(item.source)

    def probe_source(self, item: Item) -> Any:
        """The same from a header alone, see `Modality.probe`.

        Raises:
            KitError: as `read_source`, as far as that is seen without decoding.
        """
        with naming(item):
            return self.modalities[item.modality].probe(item.source)

    def read_item(self, item: Item) -> Parts:
        """Read one item: the parts at its placeholder, each ready for the tower.

        Raises:
            KitError: it cannot be read; names its row, too, where it has one.
        """
        return self._parts(item, self.read_source, self.preprocessors[item.modality])

    def tower_inputs(
        self, modality: str, rows: Sequence[Mapping[str, Tensor]], num_features: Sequence[Sequence[int]]
    ) -> dict[str, Tensor]:
        """What a model's ``encode`` takes of items of a modality.

        Args:
            rows: of all items, in order, as the preprocessor made them.
            num_features: of each item, how many features each of its rows gives.
        """
        return {**self.preprocessors[modality].collate(rows), **window_inputs(num_features)}

    def probe_item(self, item: Item) -> Parts:
        """What `read_item` gives, without rows.

        Raises:
            KitError: as `read_item`, as far as that is seen without decoding.
        """
        return self._parts(item, self.probe_source, lambda part: [])

    def probe_ids(self, item: Item) -> TextSpan | GeneratedSpan:
        """As many ids as are learned for an item: marks included, all the begin mark, and nothing beside it.

        Those of a decoder that makes it of words are NO_ID.

        Raises:
            KitError: as far as it is seen without decoding, the item cannot be written.
        """
        decoder: Any = self.decoders[item.modality]
        count: int = decoder.num_ids(self.probe_source(item))
        if item.modality in self.makes or self.grammar is None:
            return GeneratedSpan(item.modality, [NO_ID] * count)
        ids = [self.grammar.begin[item.modality]] * (count + 2)
        return TextSpan(ids, ids)

    def written(self, item: Item, writer: ItemWriter | None, before: Sequence[AnySpan]) -> TextSpan | GeneratedSpan:
        """The ids of an item that the assistant gives.

        Args:
            before: the spans in front of it.

        Raises:
            KitError: nothing turns it into ids, or a decoder makes it of words and there are none.
        """
        words = before[-1] if before else None
        learned = isinstance(words, TextSpan) and words.labels and words.labels[-1] != IGNORE_INDEX
        if item.modality in self.makes and not learned:
            raise KitError(
                f"{item.name or 'conversation'}: the assistant gives an item of {item.modality!r}, which its decoder "
                "makes of the words in front of it, and there are none; write them, or give the item's 'text'"
            )
        if writer is None:
            raise KitError(
                f"{item.name or 'conversation'}: the assistant gives an item of {item.modality!r}, whose ids the model "
                "makes; set processor.writer = features.item_codes.ItemCodes(model, processor)"
            )
        return writer(item)

    def _parts(
        self, item: Item, read: Callable[[Item], Any], prepare: Callable[[Any], Sequence[Mapping[str, Tensor]]]
    ) -> Parts:
        preprocessor = self.preprocessors[item.modality]
        source = read(item)
        with naming(item):
            return [
                part
                if isinstance(part, str)
                else EncodedItem(
                    modality=item.modality, num_features=preprocessor.num_features(part), rows=prepare(part)
                )
                for part in self.modalities[item.modality].expand(source, preprocessor)
            ]
