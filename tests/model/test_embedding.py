"""Embeddings of text and items in their places, with what programs around transformers add to them."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import Trainer, TrainingArguments

from tests.toys import picture_batch
from tinyllava_kit import KitError
from tinyllava_kit.data.dataset import Collator, ConversationDataset
from tinyllava_kit.errors import FusionError


def test_noise_of_neftune_is_on_the_text_and_as_large_as_its_rows_say(made):
    model, processor = made
    batch, alpha = picture_batch(processor), 5.0
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


def test_rows_stand_where_a_slow_reader_of_the_prompt_puts_them(made):
    """Position by position: the next row of the pictures, in order, or the embedding of the id that stands there."""
    model, processor = made
    batch = picture_batch(processor)
    types = batch["plan"].types(["image"])  # (B, T)
    table = model.get_input_embeddings().weight
    with torch.no_grad():
        found = model.embed(batch["input_ids"], batch["items"], batch["plan"])  # (B, T, D)
        pictures = iter(model.encode("image", batch["items"]["image"]).flatten(0, 1))
    assert types.sum() > 0
    for row, (ids, kinds, mask) in enumerate(zip(batch["input_ids"], types, batch["plan"].attention_mask, strict=True)):
        for at, (each, kind, real) in enumerate(zip(ids, kinds, mask, strict=True)):
            expected = next(pictures) if kind else table[each] if real else torch.zeros(table.shape[1])
            assert torch.equal(found[row, at], expected), (row, at)
    assert next(pictures, None) is None


def test_items_that_the_plan_does_not_place_are_refused(made):
    model, processor = made
    batch = picture_batch(processor)
    with pytest.raises(KitError, match="the plan has image items, but the batch brings none"):
        model.embed(batch["input_ids"], {}, batch["plan"])
    text = processor([[{"role": "user", "content": "no picture"}]])
    with pytest.raises(FusionError, match="the batch brings image items, and the plan has no place for them"):
        model.embed(text["input_ids"], batch["items"], text["plan"])


@pytest.mark.parametrize("dummy_items", [False, True])
def test_parts_without_an_item_have_a_gradient_of_zero_in_training(made, dummy_items):
    model, processor = made
    items = picture_batch(processor)["items"] if dummy_items else None
    text = processor([[{"role": "user", "content": "no picture"}]])
    model.eval()
    expected = model.embed(text["input_ids"], plan=text["plan"])
    found = model.train().embed(text["input_ids"], items, text["plan"])
    assert torch.equal(found, expected)
    found.sum().backward()
    for part in (model.towers["image"], model.connectors["image"]):
        grads = [weight.grad for weight in part.parameters()]
        assert any(grad is not None for grad in grads)
        assert all(grad is None or not grad.any() for grad in grads)
    assert all(weight.grad is not None for weight in model.connectors.parameters())
