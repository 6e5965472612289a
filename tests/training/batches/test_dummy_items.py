"""Items for a process whose batch has none: every part runs, and nothing changes."""

from __future__ import annotations

import pytest
import torch

from tinyllava_kit import KitError
from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.data.dataset import Collator, ConversationDataset
from tinyllava_kit.training.batches.dummy_items import WithDummyItems, dummy_items


def test_idle_items_change_neither_loss_nor_gradient(place):
    model, processor = load_pretrained(place / "model")
    dataset = ConversationDataset.from_file(place / "rows.json", processor)
    model.requires_grad_(True).train()
    collate = Collator(processor)
    found = []
    for make in (collate, WithDummyItems(collate, dummy_items(dataset))):
        model.zero_grad()
        output = model(**make([dataset[2], dataset[5]]))
        output.loss.backward()
        found.append((output.loss, {name: p.grad for name, p in model.named_parameters()}))
    (plain, without), (dummy, with_items) = found
    assert torch.equal(plain, dummy)
    assert all(torch.equal(with_items[n], g) for n, g in without.items() if n.startswith("language_model"))
    assert not any(with_items[n].any() for n in with_items if not n.startswith("language_model"))


def test_idle_items_run_the_tower_though_it_is_frozen(place):
    model, processor = load_pretrained(place / "model")
    dataset = ConversationDataset.from_file(place / "rows.json", processor)
    calls = []
    model.towers["image"].register_forward_hook(lambda *_: calls.append(1))
    batch = WithDummyItems(Collator(processor), dummy_items(dataset))([dataset[2]])
    model.train()
    with torch.no_grad():
        model(**batch)
    assert calls == [1]


def test_a_modality_without_a_dummy_item_is_refused(place):
    _, processor = load_pretrained(place / "model")
    dataset = ConversationDataset.from_file(place / "rows.json", processor)
    with pytest.raises(KitError, match=r"image items come late in the stream, and the other processes cannot wait"):
        WithDummyItems(Collator(processor), {})([dataset[0]])
