"""The parts of a model by the names that recipes use.

They are ``llm``, ``tower.MODALITY``, ``connector.MODALITY`` and ``decoder.MODALITY``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from .configuration import TinyLlavaConfig
    from .modeling import TinyLlavaForConditionalGeneration


def part_prefixes(config: TinyLlavaConfig) -> dict[str, str]:
    """Every part, and the submodule that it is: ``tower.M`` is ``towers.M``, also in front of its weights' names."""
    prefixes = {"llm": "language_model"}
    prefixes.update({f"tower.{modality}": f"towers.{modality}" for modality in config.towers or ()})
    prefixes.update({f"connector.{modality}": f"connectors.{modality}" for modality in config.connectors or ()})
    prefixes.update({f"decoder.{modality}": f"decoders.{modality}" for modality in config.decoders or ()})
    return prefixes


def named_parts(model: TinyLlavaForConditionalGeneration) -> dict[str, nn.Module]:
    """Every part's module."""
    return {part: model.get_submodule(prefix) for part, prefix in part_prefixes(model.config).items()}
