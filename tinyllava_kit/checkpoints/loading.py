"""Loading a model from any layout that is read: the model and its processor."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from ..files.paths import is_there, refuse_mistyped
from ..model.configuration import TinyLlavaConfig
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..model.storage.external import is_kit_model
from ..pretrained.checkpoint import read_pretrained
from ..processing.processor import TinyLlavaProcessor
from .external.layouts import open_external
from .external.mapping import MappedCheckpoint
from .external.recognition import read_config
from .quantization import Quantization


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
        dtype: of the weights; ``auto``: as they are saved.
        device_map, attn_implementation: as in transformers.
        quantization: to 8 or 4 bits, while the weights are read.
        names_from: a folder in which an external checkpoint's names of other models are looked for first.
        template: the chat template, in place of the model's own; an external checkpoint's is the one that fits its LLM.

    Raises:
        KitError: not a model directory, or its weights do not fit; says what.
        MissingPluginError: a part is of a plugin that is not installed.
    """
    how = {"dtype": dtype, "device_map": device_map, "attn_implementation": attn_implementation}
    how = {key: value for key, value in how.items() if value is not None}
    external = _open_if_external(path, names_from, template)
    if quantization is not None:
        how["quantization_config"] = quantization.config(_config(path, external))
    if external:
        return external.model(**how), external.processor()
    processor = _read_processor(path, template)
    return read_pretrained(TinyLlavaForConditionalGeneration, str(path), **how), processor


def load_config(path: str | os.PathLike[str]) -> TinyLlavaConfig:
    """The configuration of the model that `load_pretrained` gives.

    Raises:
        KitError: as `load_pretrained`, as far as that is seen in it.
    """
    return _config(path, _open_if_external(path, None, None))


def load_processor(path: str | os.PathLike[str], *, template: str | None = None) -> TinyLlavaProcessor:
    """The processor that `load_pretrained` gives, for what is found out without weights.

    Raises:
        KitError: as `load_pretrained`.
    """
    external = _open_if_external(path, None, template)
    return external.processor() if external else _read_processor(path, template)


def _config(path: str | os.PathLike[str], external: MappedCheckpoint | None) -> TinyLlavaConfig:
    return external.config if external else read_pretrained(TinyLlavaConfig, str(path))


def _open_if_external(
    path: str | os.PathLike[str], names_from: str | None, template: str | None
) -> MappedCheckpoint | None:
    directory = Path(path)
    if not is_there(directory):
        refuse_mistyped(str(path), "model directory", with_org=True)
    if not os.path.isdir(directory) or is_kit_model(read_config(directory)):
        return None
    return open_external(directory, names_from=names_from, template=template)


def _read_processor(path: str | os.PathLike[str], template: str | None) -> TinyLlavaProcessor:
    processor = TinyLlavaProcessor.from_pretrained(str(path))
    return processor if template is None else processor.with_template(template)
