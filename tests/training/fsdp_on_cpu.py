"""``tinyllava train RECIPE`` under accelerate's FSDP2 on a CPU, which accelerate does for devices only.

Run by `test_distributed`, in two processes. accelerate is told that it has found devices, called ``cpu``; the settings
are those that ``accelerate launch`` makes of `examples/launch/fsdp2.yaml`.
"""

from __future__ import annotations

import os
import sys

import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from transformers import TrainingArguments

from tinyllava_kit.training import run
from tinyllava_kit.training.loop import arguments, sharding
from tinyllava_kit.training.output import completion
from tinyllava_kit_cli.app import main


class OnCpu(TrainingArguments):
    """As on devices: accelerate decides."""

    def __post_init__(self) -> None:
        self.use_cpu, self.ddp_backend = False, "gloo"
        super().__post_init__()


def trained_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What the kit does, of a model that is sharded for sure."""
    assert sharding.is_sharded(model)
    return sharding.trained_state(model)


if __name__ == "__main__":
    settings = load_config_from_file("examples/launch/fsdp2.yaml").fsdp_config
    os.environ.update({name.upper(): str(value) for name, value in settings.items()})
    os.environ.update(ACCELERATE_USE_FSDP="true", ACCELERATE_TORCH_DEVICE="cpu")
    PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)
    PartialState.set_device = lambda self: setattr(self, "device", torch.device("cpu"))
    arguments.TrainingArguments, run.join = OnCpu, PartialState
    completion.trained_state = trained_state
    sys.argv = ["tinyllava", "train", sys.argv[1]]
    main()
