"""What a directory holds and whether it fits together, found without reading a weight."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import KitError
from ..model.configuration import TinyLlavaConfig
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..model.parts import part_prefixes
from ..model.storage.recognition import KIT_LAYOUT, open_external, recognize_model
from ..plugin.catalog import Catalog
from ..plugin.discovery import installed_catalog
from ..pretrained.checkpoint import check_loaded
from ..pretrained.generation_settings import GENERATION_FILE, check_ids, read_generation
from ..processing.processor import TinyLlavaProcessor
from .external.mapping import WeightRow
from .external.weights import Lazy, open_weights


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A directory that fits together.

    tensors: by our names, unread. rows: every key of an external checkpoint. notes: what a user should know.
    """

    layout: str
    config: TinyLlavaConfig
    tensors: Mapping[str, Lazy]
    rows: tuple[WeightRow, ...] = ()
    notes: tuple[str, ...] = ()

    def parts(self) -> list[list[str]]:
        """A table: each part, its component, its weights and their dtype."""
        table = [["PART", "COMPONENT", "PLUGIN", "PARAMETERS", "DTYPE"]]
        for part, prefix in part_prefixes(self.config).items():
            component = self.config.component(*part.split(".", 1))
            mine = [tensor for name, tensor in self.tensors.items() if name.startswith(f"{prefix}.")]
            dtypes = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in mine})
            count = sum(torch.Size(tensor.shape).numel() for tensor in mine)
            plugin = f"{component.distribution} {component.version}".strip()
            table.append([part.replace(".", " "), component.name, plugin, f"{count:,}", ", ".join(dtypes)])
        return table


def check(
    directory: str | os.PathLike[str],
    *,
    names_from: str | None = None,
    template: str | None = None,
    catalog: Catalog | None = None,
) -> Checked:
    """Recognise a directory, and compare its configuration with the names and shapes of its weights.

    Raises:
        KitError: missing, surplus or wrongly shaped weights, a damaged file, a part that is not there.
        MissingPluginError: a part is of a plugin that is not installed.
    """
    directory, catalog = Path(directory), catalog or installed_catalog()
    found = recognize_model(directory, catalog)
    if not found.is_kit_model:
        external = open_external(found, names_from=names_from, template=template, catalog=catalog)
        external.generation_config()
        return Checked(
            layout=external.layout,
            config=external.config,
            tensors=external.tensors,
            rows=external.rows,
            notes=external.notes,
        )
    processor = TinyLlavaProcessor.from_pretrained(str(directory), catalog=catalog)
    if template is not None:
        processor = processor.with_template(template)
    config = processor.config
    tensors = open_weights(directory)
    with torch.device("meta"):
        model = TinyLlavaForConditionalGeneration(config, catalog=catalog)
    if (directory / GENERATION_FILE).is_file():
        settings = read_generation(directory / GENERATION_FILE)
        check_ids(settings, config.get_text_config().vocab_size, str(directory / GENERATION_FILE))
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    notes: tuple[str, ...] = ()
    if (quantized := getattr(config, "quantization_config", None)) is not None:
        if not isinstance(quantized, dict) or quantized.get("quant_method") != "bitsandbytes":
            raise KitError(f"{directory / 'config.json'}: quantization_config: only bitsandbytes' is read")
        notes = ("the weights are quantized; their shapes were not compared",)
        own = {name: tensors[name].shape if name in tensors else shape for name, shape in own.items()}
    surplus = () if notes else tensors.keys() - own.keys()
    check_loaded(
        str(directory),
        missing=own.keys() - tensors.keys() - set(model.all_tied_weights_keys),
        unexpected=surplus,
        mismatched=[
            f"{name} {tensors[name].shape}, config.json says {own[name]}"
            for name in own.keys() & tensors.keys()
            if own[name] != tensors[name].shape
        ],
    )
    return Checked(layout=KIT_LAYOUT, config=config, tensors=tensors, notes=notes)
