"""Checks of every stage before the first model is loaded: a mistake in the last shall not cost the others."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ...checkpoints.loading import load_config
from ...core.conversation import Conversation
from ...errors import KitError, shown
from ...files.item_sources import is_address
from ...model.parts import part_prefixes
from ..loop.arguments import check_settings
from ..recipe import Stage
from ..stages import in_stage
from ..trained_parts import check_parts


def check_stages(model: str, stages: Sequence[Stage]) -> None:
    """Check that a model has the parts that the stages train, and that the files of their data are there.

    Args:
        model: the directory or hub name that the recipe starts from; no weight of it is read.

    Raises:
        KitError: it cannot be read, a stage trains a part that it does not have or in a way that the part
            does not take, has settings that the Trainer refuses, or a file of data is not there.
    """
    parts = part_prefixes(load_config(model))
    for stage in stages:
        with in_stage(stage.name):
            check_parts(stage.train, parts)
            check_settings(stage)
            for source in stage.sources:
                source.check_there()


def check_item_files(conversations: Sequence[Conversation]) -> None:
    """Check that the file of every item is there: found now rather than in the middle of the training.

    Raises:
        KitError: one is not; names the row.
    """
    known: set[str] = set()
    for conversation in conversations:
        for item in conversation.items:
            if isinstance(item.source, str) and item.source not in known:
                if not os.path.isfile(item.source):
                    what = "is an address; download it" if is_address(item.source) else "is no file; check its path"
                    raise KitError(f"{conversation.name}: {item.modality} {shown(item.source)} {what}")
                known.add(item.source)
