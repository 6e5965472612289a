"""What programs around transformers do with a model: encoders by name, PEFT's saved modules, NEFTune, offloading."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from PIL import Image
from transformers import Trainer, TrainingArguments

from tests import toys
from tinyllava_kit import KitError, TinyLlavaForConditionalGeneration, TinyLlavaProcessor, assemble
from tinyllava_kit.assembly.assembly import Assembly
from tinyllava_kit.data.dataset import Collator, ConversationDataset

LORA = {"target_modules": r"language_model\..*\.(q_proj|v_proj)", "r": 2}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("neighbours")
    toys.picture_rows(folder)
    return toys.save_picture_model(folder)


@pytest.fixture
def made(saved):
    return TinyLlavaForConditionalGeneration.from_pretrained(saved), TinyLlavaProcessor.from_pretrained(saved)


def batch_of(processor, answer="a cat"):
    picture = {"type": "image", "image": Image.effect_noise((31, 37), 50).convert("RGB")}
    said = [{"role": "user", "content": [picture, "what?"]}, {"role": "assistant", "content": answer}]
    other = [*said[:1], {"role": "assistant", "content": "a longer answer"}]
    return processor([said, other], labels=True)


def test_a_modality_has_its_encoder_and_its_features(made):
    model, processor = made
    inputs = batch_of(processor)["items"]["image"]
    assert model.get_encoder("image") is model.towers["image"]
    features = model.get_image_features(**inputs)
    assert torch.equal(features.last_hidden_state, model.towers["image"](**inputs).features)
    assert torch.equal(features.pooler_output, model.encode("image", inputs))
    last, pooled = model.get_image_features(inputs["pixel_values"], return_dict=False)
    assert torch.equal(last, features.last_hidden_state)
    assert torch.equal(pooled, features.pooler_output)
    with pytest.raises(KitError, match=r"get_image_features takes .* not output_hidden_states: a tower gives its"):
        model.get_image_features(**inputs, output_hidden_states=True)
    unasked = model.get_image_features(**inputs, output_hidden_states=False, output_attentions=None)
    assert torch.equal(unasked.pooler_output, features.pooler_output)
    for call in (lambda: model.get_encoder("audio"), lambda: model.get_audio_features):
        with pytest.raises(KitError, match="the model does not read 'audio'; it reads image"):
            call()


def test_a_tower_is_exchanged_through_transformers_name(made):
    model, _ = made
    other = TinyLlavaForConditionalGeneration(model.config).towers["image"]
    model.set_encoder(other, "image")
    assert model.get_encoder("image") is other


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks by the old name
def test_all_connectors_are_saved_with_an_adapter(made, saved, tmp_path):
    model, processor = made
    batch = batch_of(processor)
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


def test_noise_of_neftune_is_on_the_text_and_as_large_as_its_rows_say(made):
    model, processor = made
    batch, alpha = batch_of(processor), 5.0
    plan, table = batch["plan"], model.get_input_embeddings()
    plain = model.embed(batch["input_ids"], batch["items"], plan)  # (B, T, D)

    def noisy(module, given, output):
        bound = alpha / math.sqrt(output.size(1) * output.size(2))
        return output + torch.full_like(output, bound)

    hook = table.register_forward_hook(noisy)
    found = model.embed(batch["input_ids"], batch["items"], plan) - plain
    hook.remove()
    rows, length = plan.shape
    expected = torch.zeros(rows * length, plain.shape[-1])
    expected[plan.text_positions] = alpha / math.sqrt(length * plain.shape[-1])
    assert torch.allclose(found.flatten(0, 1), expected, atol=1e-6)


def test_a_trainer_with_neftune_trains(made, saved, tmp_path):
    model, processor = made
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=1,
        per_device_train_batch_size=3,
        report_to=[],
        use_cpu=True,
        save_strategy="no",
        disable_tqdm=True,
        neftune_noise_alpha=5.0,
    )
    data = ConversationDataset.from_file(saved.parent / "rows.json", processor)
    trainer = Trainer(model=model, args=arguments, train_dataset=data, data_collator=Collator(processor))
    assert trainer.train().training_loss > 0
    assert not model.get_input_embeddings()._forward_hooks


@pytest.mark.parametrize("tower", ["clip", "siglip", "dinov2", "dinov2_with_registers"])
def test_an_offloaded_tower_answers_as_it_does_in_place(saved, tmp_path, tower):
    checkpoint = toys.ASSETS / f"{tower.removesuffix('_with_registers')}-tiny"
    if tower == "dinov2_with_registers":
        from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

        config = Dinov2WithRegistersConfig(
            hidden_size=24, num_hidden_layers=2, num_attention_heads=4, image_size=28, patch_size=14
        )
        Dinov2WithRegistersModel(config).save_pretrained(tmp_path / "tower")
        (tmp_path / "tower" / "preprocessor_config.json").write_text(
            (checkpoint / "preprocessor_config.json").read_text()
        )
        checkpoint = tmp_path / "tower"
    parts = Assembly.from_flags(
        llm=f"llama:{saved.parent}/llm",
        towers=[f"image={tower}:{checkpoint}"],
        connectors=["image=resampler"],
        settings=["connector.image.num_queries=3"],
    )
    model, processor = assemble(parts)
    model.save_pretrained(tmp_path / "model")
    batch = batch_of(processor)
    with torch.no_grad():
        wanted = model(**batch).logits
    placed = {"towers": "disk", "connectors": "disk", "language_model": "cpu"}
    offloaded = TinyLlavaForConditionalGeneration.from_pretrained(
        tmp_path / "model", device_map=placed, offload_folder=str(tmp_path / "offload")
    )
    with torch.no_grad():
        for _ in range(2):  # what was brought has gone again
            assert torch.allclose(offloaded(**batch).logits, wanted, atol=1e-5)
    assert all(weight.is_meta for weight in offloaded.towers.parameters())
