"""Whose class a model type is: that of a plugin is known to transformers once the plugin's module is imported."""

from __future__ import annotations

from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from ..errors import KitError
from ..files.failures import read_mapping
from ..plugin.discovery import installed_catalog
from ..plugin.specs import LanguageModelSpec, load
from .checkpoint import find_file, read_pretrained


def import_owner(model_type: Any) -> bool:
    """Import the installed LLMs whose specs name this model type, where transformers does not know it.

    Returns:
        Whether transformers knows it now.

    Raises:
        KitError: one of them cannot be imported.
    """
    if not isinstance(model_type, str):
        return False
    for offer in () if model_type in CONFIG_MAPPING else installed_catalog().of_kind(LanguageModelSpec.kind):
        assert isinstance(offer.spec, LanguageModelSpec)
        if model_type in offer.spec.model_types:
            load(offer.spec)
    return model_type in CONFIG_MAPPING


def read_llm_config(checkpoint: str) -> PreTrainedConfig:
    """The configuration of a checkpoint, of transformers or of an installed plugin's own class.

    Raises:
        KitError: not found, damaged, or of a type that nobody knows.
    """
    try:
        config: PreTrainedConfig = read_pretrained(AutoConfig, checkpoint)
    except KitError:
        file = find_file(checkpoint, "config.json")
        if file is None or not import_owner(read_mapping(file).get("model_type")):
            raise
        config = read_pretrained(AutoConfig, checkpoint)
    return config
