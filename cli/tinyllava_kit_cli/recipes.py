"""The recipe that a command is given, and the packages that its stages need, asked for before anything is loaded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tinyllava_kit.plugin.extras import need
from tinyllava_kit_cli.items import need_packages

if TYPE_CHECKING:
    from tinyllava_kit.data.sources import Source
    from tinyllava_kit.training.recipe import Recipe


def read_recipe(path: str, stage: str | None) -> Recipe:
    """A checked recipe.

    Args:
        stage: the one that is run alone, whose packages alone are asked for.

    Raises:
        KitError: as `Recipe.from_yaml`; or a package that a stage needs is not installed.
    """
    from tinyllava_kit.training.recipe import Recipe

    recipe = Recipe.from_yaml(path)
    for each in recipe.stages:
        if stage in (None, each.name):
            if each.quantization is not None:
                need("bitsandbytes", f"stage {each.name!r}: quantization")
            for source in each.data:
                _need_of(source, f"stage {each.name!r}: data {source.dataset or source.path!r}")
    return recipe


def _need_of(source: Source, where: str) -> None:
    if source.dataset is not None or (source.path is not None and os.path.isdir(source.path)):
        need("datasets", where)
    elif str(source.path).endswith(".parquet"):
        need("pyarrow", where)
    if source.pairs is not None:
        need_packages([source.pairs.modality])
