"""LoRA on 4-bit weights on the CPU: gradients beside those of the same weights in full precision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bitsandbytes import functional as bnb
from bitsandbytes.nn import Linear4bit
from torch import nn

from tests import toys
from tinyllava_kit import KitError, assemble
from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.checkpoints.quantization import Quantization
from tinyllava_kit.data.dataset import Collator, ConversationDataset
from tinyllava_kit.training.stage_settings import PartTraining
from tinyllava_kit.training.trained_parts import OpenParts

pytestmark = pytest.mark.slow

NF4 = Quantization(bits=4)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model whose attention has the sizes that 4 bits need, and rows."""
    folder = tmp_path_factory.mktemp("four-bits")
    torch.manual_seed(3)
    for part in assemble(toys.picture_assembly(toys.save_llama(folder / "llm", hidden=64))):
        part.save_pretrained(folder / "model")
    toys.picture_rows(folder)
    return folder


def four_bit_layers(model: nn.Module) -> dict[str, Linear4bit]:
    return {name: module for name, module in model.named_modules() if isinstance(module, Linear4bit)}


def opened(model: nn.Module) -> OpenParts:
    """With adapters that are not zero, the same ones for every model."""
    torch.manual_seed(0)
    parts = OpenParts(model, {"llm": PartTraining(mode="lora"), "connector.image": PartTraining(mode="full")})
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    return parts


def gradients(model: nn.Module, batch) -> dict[str, torch.Tensor]:
    model.train()
    model(**batch).loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def apart(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> float:
    """The distance of all gradients together, in the size of the wanted ones."""
    away, size = (
        torch.cat([g.flatten() for g in each]) for each in ([found[n] - wanted[n] for n in wanted], wanted.values())
    )
    return float(away.norm() / size.norm())


def test_gradients_are_those_of_the_dequantized_weights_also_behind_an_eval_forward(place):
    whole, processor = load_pretrained(place / "model")
    few, _ = load_pretrained(place / "model", quantization=NF4)
    layers = four_bit_layers(few)
    assert len(layers) == 8
    with torch.no_grad():
        for name, layer in layers.items():
            whole.get_submodule(name).weight.copy_(bnb.dequantize_4bit(layer.weight.data, layer.weight.quant_state))
    dataset = ConversationDataset.from_file(place / "rows.json", processor)
    batch = Collator(processor)([dataset[0], dataset[2]])
    opened(whole)
    opened(few)
    few.eval()
    with torch.no_grad():
        few(**batch)
    wanted, found = gradients(whole, batch), gradients(few, batch)
    assert found.keys() == wanted.keys()
    assert apart(found, wanted) < 1e-5


def run(model: nn.Module, batch) -> None:
    """An eval forward; where the processor has no bfloat16 instructions, what it does to the weights elsewhere."""
    model.eval()
    with torch.no_grad():
        model(**batch)
    for layer in four_bit_layers(model).values():
        if not getattr(layer.weight.quant_state, "packing_format_for_cpu", False):
            packed = bnb._convert_weight_packed_for_cpu(layer.weight.data, layer.weight.quant_state)
            layer.weight.data, layer.weight.quant_state = packed


def test_a_4_bit_model_that_has_run_on_the_cpu_is_not_trained(place):
    model, processor = load_pretrained(place / "model", quantization=NF4)
    run(model, processor([{"role": "user", "content": "hello"}]))
    with pytest.raises(KitError, match=r"has run on the CPU cannot be trained: .*; load it again and train it before"):
        model.train()


def test_without_that_check_the_gradients_would_be_wrong(place, monkeypatch):
    from tinyllava_kit.model import modeling

    monkeypatch.setattr(modeling, "has_repacked_weights", lambda model: False)
    monkeypatch.setattr("tinyllava_kit.training.trained_parts.keep_trainable", lambda model: None)
    batches, found = [], []
    for ran in (False, True):
        model, processor = load_pretrained(place / "model", quantization=NF4)
        dataset = ConversationDataset.from_file(place / "rows.json", processor)
        batches.append(Collator(processor)([dataset[0], dataset[2]]))
        opened(model)
        if ran:
            run(model, batches[0])
            with pytest.warns(UserWarning, match="an autograd kernel was not registered"):
                found.append(gradients(model, batches[0]))
        else:
            found.append(gradients(model, batches[0]))
    assert apart(found[1], found[0]) > 0.1
