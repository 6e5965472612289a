"""What a model can be exported to, by name: what the installed plugins offer. Light."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ...errors import KitError
from ...plugin.discovery import installed_catalog
from ...plugin.extras import need
from ...plugin.specs import ExportSpec, load_class
from .target import ExportTarget

if TYPE_CHECKING:
    from ...model.modeling import TinyLlavaForConditionalGeneration
    from ...processing.processor import TinyLlavaProcessor


def target_names() -> list[str]:
    """Those of the installed targets."""
    return installed_catalog().names(ExportSpec.kind)


def find_target(name: str) -> ExportSpec:
    """Find the spec of an installed export target by its name.

    Raises:
        KitError: nobody offers it, with the near ones.
    """
    spec = installed_catalog().find(ExportSpec.kind, name).spec
    assert isinstance(spec, ExportSpec)
    return spec


def check_target(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a target with their values.

    Raises:
        KitError: nobody offers it, with the near ones; an option that it does not have; a package that is missing.
    """
    spec = find_target(name)
    checked = spec.check_options(dict(options), f"--to {spec.name}")
    for package in spec.packages:
        need(package, f"--to {spec.name}")
    return checked


def load_target(name: str, **options: Any) -> ExportTarget:
    """An installed target.

    Raises:
        KitError: nobody offers it; an option that it does not have; or it is no target.
    """
    spec = find_target(name)
    target = load_class(spec, ExportTarget, "checkpoints.ExportTarget")  # type: ignore[type-abstract]
    return target(**spec.check_options(options, f"--to {spec.name}"))


def table_of(
    model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor, names: Iterable[str]
) -> list[list[str]]:
    """A row for each target, the head first: whether the model can be exported to it, and why not or what to know."""
    table = [["TARGET", "POSSIBLE", "WHY NOT, OR WHAT TO KNOW"]]
    for name in names:
        try:
            target = load_target(name)
        except KitError as error:  # one that cannot be asked says nothing of the others
            table.append([name, "no", str(error)])
            continue
        if why := target.faults(model, processor):
            table.append([name, "no", "; ".join(why)])
        else:
            table.append([name, "yes", "; ".join(target.notes(model, processor))])
    return table
