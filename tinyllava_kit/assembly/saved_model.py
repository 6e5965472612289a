"""A saved model that gives parts to a new one: a tower, a trained connector or decoder, the LLM."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from ..core.interfaces import Preprocessor
from ..errors import KitError
from ..files.failures import read_mapping, reading
from ..files.opening import check_directory, open_file
from ..model.configuration import Component, TinyLlavaConfig
from ..pretrained.checkpoint import INDEX, load_state, read_index, without_reports
from ..processing.jinja import restore_template
from ..processing.processor import SETTINGS_FILE, read_preprocessor
from .assembly import ResolvedPart


class SavedModel:
    """A local model directory of this kit, opened for its parts.

    Args:
        directory: see `is_saved_model`.
    """

    def __init__(self, directory: str) -> None:
        check_directory(directory)
        self.directory = Path(directory)
        with without_reports():  # transformers wonders about the LLM's type inside
            self.config: TinyLlavaConfig = TinyLlavaConfig.from_pretrained(directory)

    def component(self, part: ResolvedPart, kind: str, modality: str) -> Component:
        """How the directory's model has this part.

        Raises:
            KitError: it has none, or another; or options are given, which a saved part has already.
        """
        where = f"{kind} {modality}".strip()
        if modality and modality not in getattr(self.config, f"{kind}s"):
            raise KitError(f"{str(self.directory)!r} is a model without a {where}")
        found = self.config.component(kind, modality)
        if found.name != part.part.name:
            raise KitError(f"{str(self.directory)!r} has {found.name!r} as its {where}, not {part.part.name!r}")
        if part.part.options:
            raise KitError(f"{where}: options are those of the saved part; leave {', '.join(part.part.options)} out")
        return found

    def preprocessor(self, modality: str, kind: type[Preprocessor]) -> Preprocessor:
        """The preprocessor of the modality's tower."""
        return read_preprocessor(self.directory / SETTINGS_FILE, modality, kind)

    def restore_template(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Give the tokenizer, read from the directory, the LLM's own chat template."""
        settings = self.directory / SETTINGS_FILE
        restore_template(tokenizer, read_mapping(settings), str(self.directory))

    def fill(self, module: nn.Module, prefix: str) -> None:
        """Load the module from the weights under `prefix`.

        Raises:
            KitError: the file of the weights is damaged; keys are missing or of other shapes.
        """
        state = self._state(prefix)
        own = module.state_dict()
        for name, shared in _tied(own).items():  # saved once
            if name not in state and shared in state:
                state[name] = state[shared]
        load_state(module, state, f"{self.directory}: {prefix}")

    def _state(self, prefix: str) -> dict[str, Tensor]:
        state = {}
        for file in self._files():
            with reading(f"{file}: damaged or incomplete"), safe_open(file, framework="pt") as tensors:
                for key in tensors.keys():  # noqa: SIM118 (not a mapping)
                    if key.startswith(prefix):
                        state[key.removeprefix(prefix)] = tensors.get_tensor(key)
        return state

    def _files(self) -> list[Path]:
        index = self.directory / INDEX
        if not index.exists():
            return [self.directory / "model.safetensors"]
        return read_index(index)


def is_saved_model(checkpoint: str) -> bool:
    """Whether a checkpoint argument is a local model directory of this kit."""
    try:
        with open_file(Path(checkpoint) / "config.json") as file:
            config = json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(config, Mapping) and config.get("model_type") == TinyLlavaConfig.model_type


def _tied(state: Mapping[str, Any]) -> dict[str, str]:
    """Names of tensors that share memory with an earlier one -> that one."""
    first: dict[int, str] = {}
    return {
        name: first[tensor.data_ptr()]
        for name, tensor in state.items()
        if first.setdefault(tensor.data_ptr(), name) != name
    }
