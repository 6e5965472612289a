"""The recipe that a command is given, and the packages that its stages need, asked for before anything is loaded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tinyllava_kit.plugin.extras import need
from tinyllava_kit_cli.items import need_packages
from tinyllava_kit_cli.models import check_model

if TYPE_CHECKING:
    from tinyllava_kit.data.sources import Source
    from tinyllava_kit.training.recipe import Recipe, Stage


def read_recipe(path: str, stage: str | None, changes: Sequence[str] = ()) -> Recipe:
    """A checked recipe.

    Args:
        stage: the one that is run alone, whose packages alone are asked for; those of scorers are, wherever they stand.
        changes: keys that are set anew, ``STAGE.KEY=VALUE``.

    Raises:
        KitError: as `Recipe.from_yaml`; there is no such stage; a package that a stage needs is not installed; the
            model or a file of data is not there.
    """
    from tinyllava_kit.training.recipe import Recipe

    recipe = Recipe.from_yaml(path, changes)
    stages = recipe.stages if stage is None else [recipe.stage(stage)]
    for each in stages:
        if each.quantization is not None:
            need("bitsandbytes", f"stage {each.name!r}: quantization")
        for source in each.sources:
            _need_of(source, f"stage {each.name!r}: data {source.dataset or source.path!r}")
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:  # several processes meet first, and one of them tells it
        _check_paths(recipe, stages)
    return recipe


def _check_paths(recipe: Recipe, stages: Sequence[Stage]) -> None:
    """A stage that is complete needs neither its data nor, as those behind it, the model that the recipe begins with.

    Raises:
        KitError: what a recipe names is not there.
    """
    from tinyllava_kit.training.stages import in_stage, is_complete

    if not any(is_complete(recipe.directory(each)) for each in recipe.stages):
        check_model(recipe.model)
    for each in stages:
        if not is_complete(recipe.directory(each)):
            with in_stage(each.name):
                for source in each.sources:
                    source.check_there()


def _need_of(source: Source, where: str) -> None:
    from tinyllava_kit.data.rows import reader_of

    packages = ("datasets",) if source.path is None else reader_of(Path(source.path), source.reader).packages
    for package in packages:
        need(package, where)
    if source.pairs is not None:
        need_packages([source.pairs.modality])
