"""Loading a model from any layout that is read: the model and its processor."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..files.paths import is_there, refuse_mistyped
from ..model.configuration import TinyLlavaConfig
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..model.storage.recognition import open_external, recognize_model
from ..pretrained.checkpoint import read_pretrained
from ..processing.processor import TinyLlavaProcessor
from .external.mapping import MappedCheckpoint
from .quantization import Quantization


@dataclass(frozen=True, kw_only=True)
class SavedCheckpoint:
    """A model of this kit, its configuration read and its weights not; see `MappedCheckpoint` for another project's.

    template: the chat template, in place of the model's own.
    """

    path: str
    config: TinyLlavaConfig
    template: str | None = None

    def processor(self) -> TinyLlavaProcessor:
        """Its processor."""
        processor = TinyLlavaProcessor.of_config(self.path, self.config)
        return processor if self.template is None else processor.with_template(self.template)

    def model(self, **how: Any) -> TinyLlavaForConditionalGeneration:
        """The model; `how` is what ``from_pretrained`` takes besides a configuration."""
        model: TinyLlavaForConditionalGeneration = read_pretrained(
            TinyLlavaForConditionalGeneration, self.path, config=self.config, **how
        )
        return model


OpenedCheckpoint = SavedCheckpoint | MappedCheckpoint


def open_checkpoint(
    path: str | os.PathLike[str], *, names_from: str | None = None, template: str | None = None
) -> OpenedCheckpoint:
    """A directory or a hub name, recognised and read but for its weights: its configuration, and then what is asked
    of it, ``processor()`` and ``model()``.

    Args:
        path, names_from, template: see `load_pretrained`.

    Raises:
        KitError: as `load_pretrained`, as far as that is seen without weights.
    """
    directory = Path(path)
    if not is_there(directory):
        refuse_mistyped(str(path), "model directory", with_org=True)
    if not os.path.isdir(directory):
        config = read_pretrained(TinyLlavaConfig, str(path))
    elif (found := recognize_model(directory)).is_kit_model:
        config = TinyLlavaConfig.from_dict(dict(found.content))
    else:
        external: MappedCheckpoint = open_external(found, names_from=names_from, template=template)
        return external
    return SavedCheckpoint(path=str(path), config=config, template=template)


def load_pretrained(
    path: str | os.PathLike[str],
    *,
    dtype: torch.dtype | str = "auto",
    device_map: Any = None,
    attn_implementation: str | None = None,
    quantization: Quantization | None = None,
    names_from: str | None = None,
    template: str | None = None,
) -> tuple[TinyLlavaForConditionalGeneration, TinyLlavaProcessor]:
    """A model and its processor, from a directory or a hub name.

    Directories of this kit, of TinyLLaVA_Factory, TinyLLaVABench, LLaVA-1.5 and transformers' Llava are recognised by
    what is in them; a hub name is of this kit. No code that comes with a checkpoint is run.

    Args:
        path: a directory, or a hub name (``org/name``).
        dtype: of the weights; ``auto``: that of the checkpoint.
        device_map, attn_implementation: as in transformers.
        quantization: to 8 or 4 bits, while the weights are read.
        names_from: a folder in which an external checkpoint's names of other models are looked for first.
        template: the chat template, in place of the model's own; an external checkpoint's is the one that fits its LLM.

    Raises:
        KitError: not a model directory, or its weights do not fit; says what.
        MissingPluginError: a part is of a plugin that is not installed.
    """
    opened = open_checkpoint(path, names_from=names_from, template=template)
    processor = opened.processor()
    model = load_model(
        opened,
        dtype=dtype,
        device_map=device_map,
        attn_implementation=attn_implementation,
        quantization=quantization,
    )
    return model, processor


def load_model(
    opened: OpenedCheckpoint, *, quantization: Quantization | None = None, **how: Any
) -> TinyLlavaForConditionalGeneration:
    """The model of a checkpoint that is open.

    Args:
        how: see `load_pretrained`; None values are left out.
    """
    given = {key: value for key, value in how.items() if value is not None}
    if quantization is not None:
        given["quantization_config"] = quantization.config(opened.config)
    return opened.model(**given)


def load_config(path: str | os.PathLike[str]) -> TinyLlavaConfig:
    """The configuration of the model that `load_pretrained` gives.

    Raises:
        KitError: as `load_pretrained`, as far as that is seen in it.
    """
    return open_checkpoint(path).config
