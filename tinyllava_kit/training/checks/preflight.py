"""What is checked of every stage before the first model is loaded: a mistake in the last shall not cost the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ...checkpoints.loading import load_config
from ...errors import KitError
from ...model.parts import part_prefixes
from ..parts import check_parts
from ..recipe import Stage


def check_ahead(model: str, stages: Sequence[Stage]) -> None:
    """
    Args:
        model: the directory or hub name that the recipe starts from; no weight of it is read.

    Raises:
        KitError: it cannot be read, a stage trains a part that it does not have or in a way that the part
            does not take, or a file of data is not there.
    """
    parts = part_prefixes(load_config(model))
    for stage in stages:
        with of_stage(stage.name):
            check_parts(stage.train, parts)
            for source in stage.data:
                source.check_there()


@contextmanager
def of_stage(name: str) -> Iterator[None]:
    """Where a KitError is raised: it names the stage, if it does not yet."""
    try:
        yield
    except KitError as error:
        if not str(error).startswith("stage "):
            error.args = (f"stage {name!r}: {error}", *error.args[1:])
        raise
