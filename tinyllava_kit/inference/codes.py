"""The ids that the LLM writes for items, made once."""

from __future__ import annotations

from collections.abc import Iterable

from ..core.conversation import Conversation, Item
from ..core.errors import KitError
from ..core.modeling import TinyLlavaForConditionalGeneration
from ..core.processing import TinyLlavaProcessor


class ItemCodes:
    """Turns items that an assistant gives into ids, with the model's decoders; what `TinyLlavaProcessor.encode` asks.

    An item is known by its modality and source, and encoded when it is first asked for.

    Args:
        model: its decoders encode. They are frozen but for their rows, so ids never change.
        processor: reads the items.
    """

    def __init__(self, model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor) -> None:
        self.model, self.processor = model, processor
        # with its source, which is kept alive because what is no file's name is known by its id
        self._kept: dict[tuple[str, object], tuple[object, list[int]]] = {}

    def __call__(self, item: Item) -> list[int]:
        """The ids of an item, marks included.

        Raises:
            KitError: it cannot be read or written; names its row, too, where it has one.
        """
        key = (item.modality, item.source if isinstance(item.source, str) else id(item.source))
        if key not in self._kept:
            try:
                read = self.processor.modalities[item.modality].read(item.source)
                ids = self.model.ids_of(item.modality, read, str(item.source) if isinstance(item.source, str) else "")
            except KitError as error:
                raise KitError(f"{item.name}: {error}" if item.name else str(error)) from error
            self._kept[key] = (item.source, ids)
        return self._kept[key][1]

    def fill(self, conversations: Iterable[Conversation]) -> int:
        """Encode what the assistant gives in these; returns how many ids are kept."""
        for conversation in conversations:
            for item, answered in zip(conversation.items, conversation.answered(self.processor.writes), strict=True):
                if answered:
                    self(item)
        return sum(len(ids) for _, ids in self._kept.values())
