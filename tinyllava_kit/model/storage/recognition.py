"""The project that a model directory belongs to, by its ``config.json`` and never by its name. Light.

A directory is of this kit, of a project whose layout a plugin reads (`CheckpointSpec`), or of neither: a language model
or a tower alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import KitError
from ...files.failures import read_mapping
from ...files.opening import check_directory, open_file
from ...files.paths import refuse_mistyped
from ...plugin.catalog import Catalog, Offer
from ...plugin.discovery import installed_catalog
from ...plugin.specs import CheckpointSpec, load

KIT_LAYOUT = "tinyllava_kit"
AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class Recognized:
    """A directory with a ``config.json``, which is in `content`.

    is_kit_model: whether it is a model of this kit. layouts: the layouts of other projects that it has; more than one
    only where two plugins say so.
    """

    directory: Path
    content: Mapping[str, Any] = field(repr=False)
    is_kit_model: bool
    layouts: tuple[Offer, ...] = ()

    @property
    def project(self) -> str:
        """Whose it is, where that is another project."""
        return " or ".join(sorted({_spec(offer).project for offer in self.layouts}))

    def layout(self, catalog: Catalog, wanted: str = AUTO) -> Offer:
        """The layout of another project that it has.

        Args:
            wanted: the name of the one that it must have, or `AUTO`.

        Raises:
            KitError: none, another than is wanted, or several.
        """
        name = str(self.directory)
        if wanted != AUTO:
            offer = catalog.find(CheckpointSpec.kind, wanted)
            if offer in self.layouts:
                return offer
        if not self.layouts:
            known = [f"{_spec(o).project} ({o.spec.summary})" for o in catalog.of_kind(CheckpointSpec.kind)]
            layouts = "; ".join([KIT_LAYOUT, *known])
            raise KitError(
                f"{name!r} ({self.content.get('model_type')!r}) is of no layout that is read: {layouts}; a language "
                "model or a tower alone is a part for 'tinyllava assemble'"
            )
        found = self.layouts[0]
        if wanted != AUTO:
            raise KitError(
                f"{name!r} is not of {wanted!r} ({_spec(offer).project}): its config.json is of {found.spec.name!r} "
                f"({_spec(found).project}); say --from {found.spec.name}, or leave it to {AUTO!r}"
            )
        if len(self.layouts) > 1:
            names = " and ".join(offer.qualified for offer in self.layouts)
            raise KitError(f"{name!r} is of several layouts, {names}; say --from with one of them")
        return found


def recognize(path: str | os.PathLike[str], catalog: Catalog | None = None) -> Recognized | None:
    """The project that a directory belongs to; None where there is no directory or no readable ``config.json``.

    Args:
        catalog: the installed plugins; found when not given, and not asked for a model of this kit.
    """
    try:
        with open_file(Path(path) / "config.json") as file:
            content = json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return None
    return _recognized(Path(path), content, catalog) if isinstance(content, dict) else None


def recognize_model(path: str | os.PathLike[str], catalog: Catalog | None = None) -> Recognized:
    """As `recognize`, for a directory that must be a model's.

    Raises:
        KitError: it has no ``config.json``, or one that is damaged.
    """
    file = Path(path) / "config.json"
    if not file.is_file():
        raise KitError(f"{str(path)!r} is not a model directory: it has no config.json")
    return _recognized(Path(path), read_mapping(file), catalog)


def _recognized(directory: Path, content: dict[str, Any], catalog: Catalog | None) -> Recognized:
    if content.get("model_type") == "tinyllava" and isinstance(content.get("llm"), Mapping):
        return Recognized(directory=directory, content=content, is_kit_model=True)
    offers = (catalog or installed_catalog()).of_kind(CheckpointSpec.kind)
    layouts = tuple(offer for offer in offers if _spec(offer).recognizes(content))
    return Recognized(directory=directory, content=content, is_kit_model=False, layouts=layouts)


def _spec(offer: Offer) -> CheckpointSpec:
    assert isinstance(offer.spec, CheckpointSpec)
    return offer.spec


def open_external(
    directory: str | os.PathLike[str] | Recognized,
    *,
    layout: str = AUTO,
    names_from: str | None = None,
    template: str | None = None,
    catalog: Catalog | None = None,
) -> Any:
    """A checkpoint of another project, recognised and read but for its weights.

    Args:
        directory: of the checkpoint, or what `recognize` found.
        layout: the name of one that it must be of, or ``auto``.
        names_from: a folder in which the names of its vision model and of others are looked for first.
        template: the chat template, in place of the one that fits its LLM.
        catalog: the installed plugins; found when not given.

    Returns:
        A `MappedCheckpoint`.

    Raises:
        KitError: of no layout that is known, of another than is wanted, or damaged.
    """
    catalog = catalog or installed_catalog()
    found = directory if isinstance(directory, Recognized) else recognize_model(directory, catalog)
    reader = load(found.layout(catalog, layout).spec)()
    return reader.open(found.directory, found.content, names_from=names_from, template=template, catalog=catalog)


def open_if_external(
    path: str | os.PathLike[str], cache_dir: str | os.PathLike[str] | None = None, catalog: Catalog | None = None
) -> Any:
    """Another project's checkpoint, where `path` is a directory of one, opened.

    None for a directory of this kit, one without ``config.json``, and a hub name.

    Raises:
        KitError: of no layout that is read, or damaged, or with a pipe, a socket or a device among its files; or no
            directory, and no name that a hub may know, or nearly that of one that is here.
    """
    if not Path(path).expanduser().exists():
        refuse_mistyped(str(path), "model directory", with_org=True, cache=cache_dir)
    check_directory(path)
    found = recognize(path, catalog)
    return None if found is None or found.is_kit_model else open_external(found, catalog=catalog)
