"""The launch configurations are what accelerate and DeepSpeed read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import DistributedType

pytestmark = pytest.mark.slow

LAUNCH = Path(__file__).parents[2] / "examples" / "launch"
KINDS = {"ddp": "MULTI_GPU", "fsdp2": "FSDP", "zero2": "DEEPSPEED", "zero3": "DEEPSPEED"}


def test_every_configuration_is_known_here():
    assert {path.stem for path in LAUNCH.glob("*.yaml")} == KINDS.keys()


@pytest.mark.parametrize("name", KINDS)
def test_accelerate_reads_it_and_says_nothing_of_unknown_keys(name):
    path = LAUNCH / f"{name}.yaml"
    config = load_config_from_file(str(path))
    assert config.distributed_type == DistributedType(KINDS[name])
    assert config.mixed_precision in ("no", None)  # the recipe says it
    assert f"--config_file examples/launch/{name}.yaml -m tinyllava_kit_cli train" in path.read_text()
    if name == "fsdp2":
        assert config.fsdp_config["fsdp_version"] == 2
    if KINDS[name] == "DEEPSPEED":
        file = LAUNCH.parents[1] / config.deepspeed_config["deepspeed_config_file"]
        settings = json.loads(file.read_text())
        assert settings["zero_optimization"]["stage"] == int(name[-1])
        assert {k for k, v in settings.items() if v == "auto"} >= {"gradient_accumulation_steps", "gradient_clipping"}
