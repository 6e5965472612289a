"""A saved model that gives parts to a new one: a tower, a trained connector or decoder, the LLM."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ..core.decoders import Decoder
from ..core.interfaces import LanguageModel, Preprocessor, Tower
from ..errors import KitError
from ..files.failures import read_mapping, reading
from ..files.opening import check_directory
from ..model.configuration import Component, TinyLlavaConfig
from ..plugin.specs import load
from ..pretrained.checkpoint import INDEX, load_state, read_index, without_reports
from ..pretrained.sizes import bounded
from ..processing.jinja import restore_template
from ..processing.processor_config import SETTINGS_FILE, preprocessor_of
from .assembly import ResolvedPart
from .licence import read_licence


class SavedModel:
    """A `PartSource`: a local model directory of this kit, opened for its parts.

    Args:
        directory: of a model of this kit, see `recognize`.
    """

    def __init__(self, directory: str) -> None:
        check_directory(directory)
        self.directory = Path(directory)
        with without_reports():  # transformers wonders about the LLM's type inside
            self.config: TinyLlavaConfig = TinyLlavaConfig.from_pretrained(directory)
        self._read_tokenizer = cache(self._tokenizer_of)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What ``processor_config.json`` holds."""
        return read_mapping(self.directory / SETTINGS_FILE)

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

    def read_text_config(self, part: ResolvedPart) -> PreTrainedConfig:
        self.component(part, "llm", "")
        return copy.deepcopy(self.config.text_config)

    def read_tokenizer(self, part: ResolvedPart) -> PreTrainedTokenizerBase:
        return self._read_tokenizer(load(part.offer.spec))

    def _tokenizer_of(self, llm: type[LanguageModel]) -> PreTrainedTokenizerBase:
        """The LLM's own chat template is in the processor's settings."""
        with without_reports():  # and about the model's
            tokenizer = llm.read_tokenizer(str(self.directory))
        restore_template(tokenizer, self.settings, str(self.directory))
        return tokenizer

    def read_tower(self, part: ResolvedPart, modality: str) -> tuple[dict[str, Any], Preprocessor]:
        saved = self.component(part, "tower", modality)
        tower: type[Tower] = load(part.offer.spec)
        file = self.directory / SETTINGS_FILE
        return dict(saved.config), preprocessor_of(self.settings, file, modality, tower.preprocessor_class)

    def connector_options(self, part: ResolvedPart, modality: str, joint: Mapping[str, Any]) -> Mapping[str, Any]:
        """Those of the saved connector.

        Raises:
            KitError: it joins other widths.
        """
        saved = self.component(part, "connector", modality)
        if dict(saved.config) != dict(joint):
            raise KitError(
                f"connectors.{modality}: the connector in {part.checkpoint!r} joins {dict(saved.config)}, this "
                f"assembly needs {dict(joint)}; train a new one"
            )
        return saved.options

    def read_decoder(self, part: ResolvedPart, modality: str) -> dict[str, Any]:
        return dict(self.component(part, "decoder", modality).config)

    def licence(self, kind: str, modality: str) -> str:
        """What the model notes of the part, or else its model card says."""
        return self.config.component(kind, modality).licence or read_licence(str(self.directory))

    def load_language_model(self, part: ResolvedPart, config: TinyLlavaConfig, dtype: torch.dtype) -> PreTrainedModel:
        llm: type[LanguageModel] = load(part.offer.spec)
        with bounded(f"{part.checkpoint}: text_config"):
            built: Any = llm.build(config.text_config)
            language_model: PreTrainedModel = built.to(dtype)
        self.fill(language_model, "language_model.")
        return language_model

    def fill_tower(self, tower: Tower, modality: str) -> None:
        self.fill(tower, f"towers.{modality}.")

    def fill_connector(self, connector: nn.Module, modality: str) -> None:
        self.fill(connector, f"connectors.{modality}.")

    def fill_decoder(self, decoder: Decoder, modality: str, language_model: PreTrainedModel) -> None:
        """Its weights and its rows."""
        self.fill(decoder, f"decoders.{modality}.")

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


def _tied(state: Mapping[str, Any]) -> dict[str, str]:
    """Names of tensors that share memory with an earlier one -> that one."""
    first: dict[int, str] = {}
    return {
        name: first[tensor.data_ptr()]
        for name, tensor in state.items()
        if first.setdefault(tensor.data_ptr(), name) != name
    }
