"""Feature matching: the distance against one written out, a tower that takes its teacher's place, what is refused."""

from __future__ import annotations

import pytest
import torch
import yaml

from tests import toys
from tinyllava_kit import KitError
from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.core.interfaces import Features
from tinyllava_kit.data.dataset import ConversationDataset
from tinyllava_kit.training.objectives.feature_matching import (
    FeatureMatcher,
    FeatureMatchingCollator,
    FeatureMatchingDataset,
)
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two models of one kind with different towers, `model` and `teacher`."""
    folder = tmp_path_factory.mktemp("features")
    model, processor = toys.picture_model(folder / "llm")
    for part in (model, processor):
        part.save_pretrained(folder / "teacher")
    with torch.no_grad():
        for parameter in model.towers["image"].parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    for part in (model, processor):
        part.save_pretrained(folder / "model")
    toys.picture_rows(folder)
    return folder


def recipe(place, name="out", **stage):
    stage = {
        "name": "s",
        "data": {"path": str(place / "rows.json"), "limit": 2},
        "train": {"tower.image": "full"},
        "match_features": {"teacher": str(place / "teacher")},
        "batch_size": 2,
        "logging_steps": 1,
        **stage,
    }
    file = place / f"{name}.yaml"
    file.write_text(yaml.safe_dump({"model": str(place / "model"), "output": str(place / name), "stages": [stage]}))
    return Recipe.from_yaml(file)


def matched(place, rows=2, **widths):
    model, processor = load_pretrained(place / "model")
    dataset = ConversationDataset.from_file(place / "rows.json", processor, limit=rows)
    widths = widths or {"image": model.towers["image"].embed_dim}
    return model, FeatureMatchingDataset(dataset, str(place / "teacher"), widths)


def test_the_distance_is_the_mean_over_real_rows_in_units_of_the_spread():
    torch.manual_seed(0)
    features, taught, spread = torch.randn(2, 5, 3), torch.randn(2, 4, 3), torch.tensor([0.5, 1.0, 2.0])
    lengths, num_taught = torch.tensor([5, 2]), torch.tensor([3, 4])

    class Model:
        def __call__(self, items):
            return type("Output", (), {"item_features": {"m": Features(features, lengths)}})

    total, count = 0.0, 0
    for item in range(2):
        for row in range(min(int(lengths[item]), int(num_taught[item]))):
            for e in range(3):
                total += abs(float(features[item, row, e] - taught[item, row, e])) / float(spread[e])
                count += 1
    batch = {"items": {}, "taught": {"m": taught}, "num_taught": {"m": num_taught}}
    assert FeatureMatcher({"m": spread})(Model(), batch).item() == pytest.approx(total / count, rel=1e-5)


def test_a_sample_brings_what_the_teachers_tower_makes_of_its_items_in_order(place):
    model, dataset = matched(place)
    teacher, _ = load_pretrained(place / "teacher")
    batch = FeatureMatchingCollator(dataset.dataset.processor)([dataset[0], dataset[1]])
    expected = teacher.encode_features("image", batch["items"]["image"]).features  # a picture, then two
    torch.testing.assert_close(batch["taught"]["image"], expected.detach(), rtol=1e-4, atol=1e-5)
    own = model.encode_features("image", batch["items"]["image"]).features
    assert not torch.allclose(own, expected, atol=1e-2)
    everything = torch.cat([expected[0], expected[1], expected[2]])  # the second sample's last is the first's
    assert dataset.spread()["image"].shape == everything.std(0).shape


def test_a_tower_learns_to_stand_in_its_teachers_place(place):
    before, dataset = matched(place)
    after, _ = load_pretrained(run_recipe(recipe(place, "learned", max_steps=150, learning_rate=3e-3)))
    batch = FeatureMatchingCollator(dataset.dataset.processor)([dataset[0], dataset[1]])
    distance = FeatureMatcher(dataset.spread())
    with torch.no_grad():
        assert distance(after, batch) < distance(before, batch) / 4
    changed = {k for k, v in after.state_dict().items() if not torch.equal(v, before.state_dict()[k])}
    assert changed
    assert all(key.startswith("towers.image.") for key in changed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"connector.image": "full"}}, "match_features trains towers; take connector.image out of train"),
        ({"train": {"llm": "full"}}, "match_features trains towers; take llm out of train"),
        ({"match_words": {}}, "stage s: has match_words and match_features; make two stages of them"),
        ({"match_features": {}}, "match_features.teacher: is missing"),
    ],
)
def test_what_does_not_go_together_is_refused(place, changes, message):
    with pytest.raises(KitError, match=message):
        recipe(place, "refused", **changes)


def test_a_sample_without_an_item_is_refused_by_name(place):
    with pytest.raises(KitError, match=r"rows.json\[2\] 'row-2': has no image item to learn from"):
        matched(place, rows=3)


def test_a_teacher_of_another_width_is_refused(place):
    with pytest.raises(KitError, match=r"features of the teacher '.*' are \d+ wide, those of the tower that learns 7;"):
        matched(place, image=7)


def test_a_teacher_without_such_a_tower_is_refused(place):
    with pytest.raises(KitError, match=r"the teacher '.*teacher' has no tower for 'sensor'"):
        matched(place, sensor=7)


def test_a_teacher_of_another_rate_is_refused(place, monkeypatch):
    _, dataset = matched(place)
    kept = dataset._features
    monkeypatch.setattr(dataset, "_features", lambda c: {m: [f[::2] for f in every] for m, every in kept(c).items()})
    monkeypatch.setattr("tinyllava_kit.training.objectives.feature_matching.SLACK", (1, 0.02))
    with pytest.raises(KitError, match=r"'row-0': its items have \[4\] features, with the teacher \[2\]; match_"):
        dataset[0]
