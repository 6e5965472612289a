"""Modules by name, which can be called: so PEFT's wrapper of all of them is called in their place."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from tests.toys import picture_batch
from tinyllava_kit import TinyLlavaForConditionalGeneration
from tinyllava_kit.model.named_parts import NamedParts

LORA = {"target_modules": r"language_model\..*\.(q_proj|v_proj)", "r": 2}


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks by the old name
def test_all_connectors_are_saved_with_an_adapter(made, saved, tmp_path):
    model, processor = made
    batch = picture_batch(processor)
    before = {name: weight.clone() for name, weight in model.connectors["image"].named_parameters()}
    tuned = get_peft_model(model, LoraConfig(**LORA, modules_to_save=["connectors"]))
    tuned.train()
    optimizer = torch.optim.SGD((weight for weight in tuned.parameters() if weight.requires_grad), lr=0.1)
    tuned(**batch).loss.backward()
    optimizer.step()
    tuned.eval()
    with torch.no_grad():
        learned = tuned(**batch).logits
        with tuned.disable_adapter():
            assert torch.equal(tuned(**batch).logits, made_again(saved)(**batch).logits)
        assert not torch.allclose(learned, made_again(saved)(**batch).logits, atol=1e-3)
    tuned.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(made_again(saved), tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(**batch).logits, learned)
    merged = loaded.merge_and_unload()
    after = dict(merged.connectors["image"].named_parameters())
    assert all(not torch.equal(weight, after[name]) for name, weight in before.items())
    with torch.no_grad():
        assert torch.allclose(merged(**batch).logits, learned, atol=1e-4)


def made_again(saved):
    return TinyLlavaForConditionalGeneration.from_pretrained(saved).eval()


def test_parts_are_called_by_name_and_saved_as_those_of_a_module_dict():
    modules = {"image": torch.nn.Linear(2, 3), "audio": torch.nn.Linear(5, 3)}
    parts = NamedParts(modules)
    rows = torch.randn(7, 5)
    assert torch.equal(parts("audio", rows), modules["audio"](rows))
    assert parts["image"] is modules["image"]
    assert ("audio" in parts, "sensor" in parts, len(parts)) == (True, False, 2)
    assert list(parts) == list(parts.keys()) == ["image", "audio"]
    assert dict(parts.items()) == modules
    assert list(parts.values()) == list(modules.values())
    assert parts.state_dict().keys() == torch.nn.ModuleDict(modules).state_dict().keys()
    with pytest.raises(AttributeError, match="has no attribute `sensor`"):
        parts("sensor", rows)
    assert len(NamedParts({})) == 0
