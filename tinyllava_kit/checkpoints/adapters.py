"""Adapters of parts (LoRA, Hu et al. 2021) in files, in the form that peft reads, and merging them into a model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import KitError, near
from ..files.content import Count, Finite, checked
from ..files.failures import first_line, read_mapping
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..model.parts import named_parts

if TYPE_CHECKING:
    from peft.tuners.lora import LoraModel

FOLDER, WEIGHTS, SETTINGS = "adapters", "adapter_model.safetensors", "adapter_config.json"
# Settings of LoRA that change what merging means; anything but these values is refused.
PLAIN: Mapping[str, tuple[Any, ...]] = {
    "use_dora": (False, None),
    "bias": ("none", None),
    "fan_in_fan_out": (False, None),
}
# Those that are read, and their types.
_LORA: Mapping[str, Any] = {
    "r": Count,
    "lora_alpha": Finite,
    "target_modules": str | list[str],
    "rank_pattern": dict[str, Count] | None,
    "alpha_pattern": dict[str, Finite] | None,
    "use_rslora": bool | None,
}
_NAME = "default"  # what peft calls them in a model
_PREFIX = "base_model.model."  # in front of every name in a file of peft


def write_adapters(adapters: Mapping[str, LoraModel], directory: str | os.PathLike[str]) -> None:
    """Into ``adapters/PART`` of a directory, a folder of peft for each part."""
    from safetensors.torch import save_file

    for part, adapter in adapters.items():
        folder = Path(directory) / FOLDER / part
        folder.mkdir(parents=True)
        adapter.peft_config[_NAME].save_pretrained(str(folder))
        state = {
            _PREFIX + name.replace(f".{_NAME}.", "."): parameter.detach().contiguous()
            for name, parameter in adapter.model.named_parameters()
            if f".{_NAME}." in name
        }
        save_file(state, folder / WEIGHTS, metadata={"format": "pt"})


def merge_adapters(model: TinyLlavaForConditionalGeneration, directory: str | os.PathLike[str]) -> list[str]:
    """Add the adapters that a stage kept to the weights of a model; returns the parts that got some.

    Args:
        directory: a stage's, or its ``adapters``.

    Raises:
        KitError: there are none, the model has no such part, or they are of a part of another shape.
    """
    directory = Path(directory)
    folder = directory if directory.name == FOLDER else directory / FOLDER
    found = sorted(file.parent for file in folder.glob(f"*/{WEIGHTS}"))
    if not found:
        raise KitError(f"{str(directory)!r} holds no adapters; a stage keeps them with lora: {{keep: true}}")
    parts = named_parts(model)
    for place in found:
        if place.name not in parts:
            raise KitError(f"{str(place)!r}: the model has no part {place.name!r}; {near(place.name, list(parts))}")
        _merge(parts[place.name], place)
    return [place.name for place in found]


def _merge(part: object, place: Path) -> None:
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    settings = lora_settings(place / SETTINGS)
    try:
        adapter = LoraModel(part, {_NAME: LoraConfig(**settings)}, _NAME)
        state = load_file(place / WEIGHTS)
        renamed = {_with_name(name.removeprefix(_PREFIX)): tensor for name, tensor in state.items()}
        wanted = {name for name, _ in adapter.model.named_parameters() if f".{_NAME}." in name}
        if wanted != renamed.keys():
            raise KitError(f"{str(place)!r}: {len(wanted ^ renamed.keys())} weights do not belong to this part")
        adapter.model.load_state_dict(renamed, strict=False)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise KitError(f"{str(place)!r} does not fit the model's {place.name}: {first_line(error)}") from error
    adapter.merge_and_unload()


def lora_settings(file: Path) -> dict[str, Any]:
    """What changes an adapter's meaning; where it came from is not read.

    Raises:
        KitError: not the settings of an adapter that can be merged.
    """
    content = read_mapping(file)
    for key, plain in PLAIN.items():
        if content.get(key) not in plain:
            raise KitError(f"{file}: {key} {str(content.get(key))[:80]!r} cannot be merged here")
    return {key: checked(kind, content[key], f"{file}: {key}") for key, kind in _LORA.items() if key in content}


def _with_name(name: str) -> str:
    """``q_proj.lora_A.weight`` of a file as peft has it in a model."""
    start, _, end = name.rpartition(".")
    return f"{start}.{_NAME}.{end}"
