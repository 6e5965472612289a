"""The parts of a model that a stage trains: found by name, frozen, opened, given adapters."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from peft import LoraConfig
from peft.tuners.lora import LoraModel
from torch import nn

from ..checkpoints.quantization import keep_trainable
from ..errors import KitError, near
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..model.parts import named_parts
from .stage_settings import PartTraining


class OpenParts:
    """Freezes a model but for the parts that a stage trains, and puts LoRA adapters on those that want them.

    Raises:
        KitError: a part that the model does not have, or that has nothing to train.
    """

    def __init__(self, model: TinyLlavaForConditionalGeneration, training: Mapping[str, PartTraining]) -> None:
        parts = named_parts(model)
        check_parts(training, parts)
        model.requires_grad_(False)
        keep_trainable(model)
        self.adapters: dict[str, LoraModel] = {}
        training = {name: how for name, how in training.items() if how.mode != "frozen"}
        self.trained = {name: parts[name] for name in training}
        self.kept = [name for name, how in training.items() if how.mode == "lora" and how.lora.keep]
        for name, wanted in training.items():
            if wanted.mode == "lora":
                self.adapters[name] = _add_lora(parts[name], wanted, model)
            elif wanted.mode == "partial":
                for layer in _layers_from(wanted.from_layer or 0, parts[name], name):
                    layer.requires_grad_(True)
            else:
                parts[name].requires_grad_(True)
            if not any(p.requires_grad for p in self.trained[name].parameters()):
                raise KitError(f"train.{name}: the part has no parameters to train; leave it out")

    def merge(self) -> None:
        """Add the adapters to the weights they stand on, and take them off."""
        for adapter in self.adapters.values():
            adapter.merge_and_unload()
        self.adapters = {}


def check_parts(training: Mapping[str, PartTraining], parts: Collection[str]) -> None:
    """Check that the model has every part that a stage trains.

    Raises:
        KitError: a part that the model does not have, or adapters for one that takes none.
    """
    for name, how in training.items():
        if name not in parts:
            raise KitError(f"train.{name}: the model has no such part; {near(name, list(parts))}")
        if how.mode == "lora" and name.startswith("decoder."):
            raise KitError(f"train.{name}: a decoder takes no adapters; train it full")


def _layers_from(first: int, part: nn.Module, name: str) -> list[nn.Module]:
    """The layers of a part from a number on, as TinyLLaVA_Factory's ``vision_tower_from_layer`` counts them.

    Raises:
        KitError: the part has no such layer, or no stack of layers that is longer than its others.
    """
    stacks = sorted((m for m in part.modules() if isinstance(m, nn.ModuleList)), key=len, reverse=True)
    if not stacks or (len(stacks) > 1 and len(stacks[0]) == len(stacks[1])):
        raise KitError(f"train.{name}: has no one stack of layers to train a part of; choose full or lora")
    if first >= len(stacks[0]):
        raise KitError(f"train.{name}: from_layer {first}, but its layers are 0 to {len(stacks[0]) - 1}")
    return list(stacks[0][first:])


def _add_lora(part: nn.Module, wanted: PartTraining, model: TinyLlavaForConditionalGeneration) -> LoraModel:
    head = model.get_output_embeddings()
    targets = [name for name, module in part.named_modules() if isinstance(module, nn.Linear) and module is not head]
    config = LoraConfig(
        r=wanted.lora.rank,
        lora_alpha=wanted.lora.alpha,  # type: ignore[arg-type]  # peft multiplies with it
        lora_dropout=wanted.lora.dropout,
        target_modules=targets,
    )
    return LoraModel(part, {"default": config}, "default")
