"""What a model can be exported to, by name. Light: a target's module is imported when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...model.modeling import TinyLlavaForConditionalGeneration
    from ...processing.processor import TinyLlavaProcessor

# Each module has `faults` (why a model cannot be exported to it), `notes` (what to know where it can) and `export`,
# whose result has `lines` for people.
_MODULES = {"hf-llava": "llava", "hf-components": "components", "gguf": "gguf_files"}
TARGETS = tuple(_MODULES)


def load_target(name: str) -> ModuleType:
    """The module of a target that is one of `TARGETS`."""
    return importlib.import_module(f"{__package__}.{_MODULES[name]}")


def table_of(
    model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor, names: Iterable[str] = TARGETS
) -> list[list[str]]:
    """A row for each target, the head first: whether the model can be exported to it, and why not or what to know."""
    table = [["TARGET", "POSSIBLE", "WHY NOT, OR WHAT TO KNOW"]]
    for name in names:
        target = load_target(name)
        if why := target.faults(model, processor):
            table.append([name, "no", "; ".join(why)])
        else:
            table.append([name, "yes", "; ".join(target.notes(model, processor))])
    return table
