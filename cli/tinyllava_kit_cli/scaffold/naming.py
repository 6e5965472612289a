"""How a new plugin and what it offers are called. Light."""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from tinyllava_kit import KitError, near
from tinyllava_kit.plugin.catalog import Catalog
from tinyllava_kit.plugin.specs import ModalitySpec, TokenType

_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_READ, _WRITTEN = ("tower",), ("decoder",)  # kinds that are of a modality
DEFAULT_READ = "image"


@dataclass(frozen=True, kw_only=True)
class PluginNames:
    """Of a plugin and its components. `modality` is empty where the kind is of none; `own`: the plugin offers it."""

    name: str
    kind: str
    modality: str = ""
    own: bool = False

    @property
    def snake(self) -> str:
        """The component's."""
        return self.name.replace("-", "_")

    @property
    def camel(self) -> str:
        """What its classes begin with."""
        return "".join(part.capitalize() for part in self.snake.split("_"))

    @property
    def package(self) -> str:
        """The module that is imported."""
        return f"tinyllava_kit_{self.snake}"

    @property
    def distribution(self) -> str:
        """What pip installs."""
        return f"tinyllava-kit-{self.name}"

    @property
    def checked(self) -> tuple[str, str]:
        """Kind and name of the component that the README and the tests name."""
        return ("tower", f"{self.snake}_patches") if self.kind == "modality" else (self.kind, self.snake)

    @property
    def offers(self) -> Iterator[tuple[str, str]]:
        """Kind and name of each component."""
        if self.own:
            yield "modality", self.modality
        yield self.checked


def names_of(name: str, kind: str, modality: str = "") -> PluginNames:
    """The names from the words of a command line; a component with dashes gets underscores.

    Raises:
        KitError: a name that is none, or a modality where the kind has none.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise KitError(f"new-plugin: a name is lower case with dashes, like 'depth' or 'my-clip', got {name!r}")
    if modality and kind not in (*_READ, *_WRITTEN):
        raise KitError(f"new-plugin: a {kind} is of no modality; leave --modality out")
    if modality and not _NAME.fullmatch(modality):
        raise KitError(f"new-plugin: a modality is lower case, like 'image', got {modality!r}")
    names = PluginNames(name=name.replace("_", "-"), kind=kind)
    if kind == "modality" or (kind in _WRITTEN and not modality):
        _check_modality(names.snake)
        return replace(names, modality=names.snake, own=True)
    return replace(names, modality=(modality or DEFAULT_READ * (kind in _READ)).replace("-", "_"))


def check_free(names: PluginNames, catalog: Catalog, commands: Collection[str] = ()) -> None:
    """Check that nothing that is installed has a name of the new plugin.

    Args:
        catalog: the installed plugins. commands: those of `tinyllava` itself.

    Raises:
        KitError: another distribution offers a component of such a name, or the kit has such a command or package.
    """
    if names.package == "tinyllava_kit_cli":
        raise KitError(f"new-plugin: the package {names.package} is the kit's own; choose another name")
    if names.kind == "command" and {names.name, names.snake} & {*commands}:
        raise KitError(f"new-plugin: tinyllava has a command {names.name!r} already; choose another name")
    for kind, name in names.offers:
        for offer in catalog.of_kind(kind):
            if offer.distribution != names.distribution and offer.spec.matches(name):
                raise KitError(
                    f"new-plugin: {offer.distribution} offers the {kind} {name!r} already; choose another name, "
                    f"like 'my-{names.name}'"
                )


def check_read(names: PluginNames, catalog: Catalog) -> str:
    """What to say of a modality that is not the plugin's own.

    Raises:
        KitError: a tower of a modality whose items are cut into those of another, which towers of that one read.
    """
    if names.own or not names.modality:
        return ""
    found = next((each.spec for each in catalog.of_kind("modality") if each.spec.name == names.modality), None)
    if found is None:
        known = near(names.modality, catalog.names("modality"))
        return f"no installed plugin offers the modality {names.modality!r}, which the checks need; {known}"
    assert isinstance(found, ModalitySpec)
    if names.kind in _READ and found.parts_of:
        raise KitError(
            f"new-plugin: the parts of a {names.modality} are of {found.parts_of!r}, and its towers read them; take "
            f"--modality {found.parts_of}"
        )
    return ""


def _check_modality(name: str) -> None:
    """Check the name of a new modality as its spec will.

    Raises:
        KitError: no modality can be called so.
    """
    try:
        ModalitySpec(name=name, target="package.module:Class", token=TokenType(placeholder=f"<{name}>"))
    except ValueError as error:
        raise KitError(f"new-plugin: {error}; choose another name") from error
