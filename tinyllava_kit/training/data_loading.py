"""What a stage reads: its rows held in memory, or streamed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.data_loader import DataLoaderShard
from torch.utils.data import DataLoader

from ..data.dataset import ConversationDataset
from ..data.skipping import SkippedRows
from ..data.stream import RowStream
from ..processing.processor import TinyLlavaProcessor
from .recipe import Stage


def read_data(
    stage: Stage, processor: TinyLlavaProcessor, *, seed: int, skipped: SkippedRows
) -> ConversationDataset | RowStream:
    """The stage's samples: streamed where one of its sources is.

    Where something else than the batches reads the items, rows that cannot be decoded are left out before.

    Raises:
        KitError: a source that cannot be read, a row that cannot be used and is not to be skipped.
    """
    in_words = stage.items == "text"
    if stage.is_streamed:
        return RowStream(
            stage.data, processor, batch_size=stage.batch_size, seed=seed, skipped=skipped, in_words=in_words
        )
    decode = bool(stage.cache_features.mode) or bool(stage.chosen)
    return ConversationDataset.from_sources(
        stage.data, processor, seed=seed, skipped=skipped, decode=decode, in_words=in_words
    )


def read_held_out(stage: Stage, processor: TinyLlavaProcessor, *, seed: int) -> ConversationDataset | None:
    """The rows of the stage's `validation`; None without one.

    Raises:
        KitError: as `read_data`.
    """
    if stage.validation is None:
        return None
    return ConversationDataset.from_sources(
        stage.validation.data, processor, seed=seed, decode=True, in_words=stage.items == "text"
    )


def stream_loader(
    stream: RowStream, collate: Callable[..., Any], accelerator: Accelerator, **how: Any
) -> DataLoader[Any]:
    """The batches of this process, on its device; accelerate is not asked to share them out once more.

    Args:
        how: the data are read, as torch's DataLoader takes it.
    """
    stream.rank, stream.ranks = accelerator.process_index, accelerator.num_processes
    return DataLoaderShard(
        stream,
        device=accelerator.device,
        batch_size=None,
        collate_fn=collate,
        **how,
        generator=torch.Generator(),  # of its own, so that making it draws nothing from what dropout draws from
    )
