"""A dataset of encoded conversations, and the collator that makes batches of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from ..core.conversation import Conversation
from ..core.errors import KitError
from ..core.processing import Batch, Encoded, ItemReader, TinyLlavaProcessor
from .rows import read_rows, with_root
from .sources import Source, ask_about


class ConversationDataset(Dataset):
    """Rows -> `Encoded` conversations with labels, made when asked for.

    Every row's form is checked when the dataset is made; its files are read when it is asked for.

    Args:
        rows: LLaVA rows or rows with messages.
        processor: of the model.
        name: the file's path, used in errors: its rows are ``NAME[0]`` and so on.
        reader: reads an item, in place of the processor (a feature cache).

    Raises:
        KitError: a row that is not a conversation.
    """

    def __init__(
        self,
        rows: Sequence[Mapping[str, Any]],
        processor: TinyLlavaProcessor,
        *,
        name: str = "row",
        reader: ItemReader | None = None,
    ) -> None:
        self.processor = processor
        self.reader = reader
        self.conversations: list[Conversation] = [
            processor.conversation(row, name=f"{name}[{index}]") for index, row in enumerate(rows)
        ]

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], processor: TinyLlavaProcessor, **how: Any) -> ConversationDataset:
        """From one file; `how` is what a `Source` says beside its path."""
        return cls.from_sources([Source(path=str(path), **how)], processor)

    @classmethod
    def from_sources(cls, sources: Sequence[Source], processor: TinyLlavaProcessor) -> ConversationDataset:
        """From the files of several sources, behind one another.

        Raises:
            KitError: a file that cannot be read, a row that is not a conversation.
        """
        dataset = cls([], processor)
        for source in sources:
            name = str(Path(source.path))  # as `read_rows` shows it: files of one name are told apart
            root = source.root if source.root is not None else os.path.dirname(source.path)
            rows = read_rows(source.path)[: source.limit]
            if source.pairs is None:
                rows = rows * source.repeat
            else:
                rows = ask_about(rows, source.pairs, processor.specs, name=name, repeat=source.repeat)
            located = [with_root(row, processor.specs, root) for row in rows]
            dataset.conversations += cls(located, processor, name=name).conversations
        return dataset

    def __len__(self) -> int:
        return len(self.conversations)

    def __getitem__(self, index: int) -> Encoded:
        return self.processor.encode(self.conversations[index], reader=self.reader)


class Collator:
    """`Encoded` conversations -> a batch with labels; `packs` of them share rows, see `fusion.plan`.

    Args:
        processor: of the model.
        max_length: positions kept of a sample at most; what is cut is counted in `num_cut`.

    Raises:
        KitError: a batch in which nothing is left to learn.
    """

    def __init__(self, processor: TinyLlavaProcessor, max_length: int | None = None) -> None:
        self.processor = processor
        self.max_length = max_length
        self.num_cut = 0

    def __call__(self, samples: Sequence[Encoded], packs: Sequence[int] | None = None) -> Batch:
        batch = self.processor.collate(samples, labels=True, max_length=self.max_length, packs=packs)
        plan = batch["plan"]
        self.num_cut += len(plan.cuts)
        if plan.target_rows is None or not len(plan.target_rows):
            names = ", ".join(sample.name for sample in samples)
            raise KitError(f"nothing to learn in {names}: no answer, or max_length {self.max_length} cuts it off")
        return batch
