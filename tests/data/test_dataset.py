"""Conversations as samples, and batches of them."""

from __future__ import annotations

import pytest

from tests import toys
from tinyllava_kit import KitError
from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.data.dataset import Collator, ConversationDataset


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset")
    toys.save_picture_model(folder)
    toys.picture_rows(folder)
    return folder


def test_a_batch_with_nothing_to_learn_names_its_rows(place):
    _, processor = load_pretrained(place / "model")
    dataset = ConversationDataset.from_file(place / "rows.json", processor)
    with pytest.raises(KitError, match=r"nothing to learn in .*/rows\.json\[0\] 'row-0'.*max_length 3 cuts it off"):
        Collator(processor, max_length=3)([dataset[0]])
