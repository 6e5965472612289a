"""Towers of transformers' vision models: pictures as their own processors make them, a plugin that extends one, too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tinyllava_kit_vision_clip.tower import ClipPreprocessor, ClipTower
from torch import Tensor
from transformers import CLIPImageProcessorPil

from tests import toys
from tests.components.modalities.pictures import preprocessor
from tinyllava_kit import KitError
from tinyllava_kit.interfaces import Preprocessor


class FramePreprocessor(Preprocessor):
    """A list of pictures: a row of the tower each."""

    def __init__(self, picture: ClipPreprocessor) -> None:
        self.picture = picture

    def __call__(self, item: Sequence[Image.Image]) -> list[dict[str, Tensor]]:
        return [row for frame in item for row in self.picture(frame)]

    def num_features(self, item: Sequence[Image.Image]) -> list[int]:
        return [self.picture.features_per_image for _ in item]

    def settings(self) -> dict[str, Any]:
        return self.picture.settings()

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> FramePreprocessor:
        return cls(ClipPreprocessor.from_settings(settings))


class FrameTower(ClipTower):
    preprocessor_class = FramePreprocessor

    @classmethod
    def read_preprocessor(cls, checkpoint: str, config: Mapping[str, Any]) -> FramePreprocessor:
        return FramePreprocessor(super().read_preprocessor(checkpoint, config))


def test_the_pictures_of_a_subclass_are_made_as_those_of_the_tower_that_it_extends() -> None:
    assert FrameTower.image_preprocessor() is ClipPreprocessor
    config = FrameTower.read_config(str(toys.CLIP))
    tower = FrameTower(config)
    tower.load_weights(str(toys.CLIP))
    preprocessor = FrameTower.read_preprocessor(str(toys.CLIP), config)
    preprocessor = FramePreprocessor.from_settings(preprocessor.settings())
    frames = [Image.new("RGB", (20 + 7 * number, 31), (60 * number, 10, 200)) for number in range(3)]
    plain, picture = ClipTower(config), preprocessor.picture
    plain.load_weights(str(toys.CLIP))
    with torch.no_grad():
        together = tower(**preprocessor.collate(preprocessor(frames))).features
        alone = [plain(**picture.collate(picture(frame))).features for frame in frames]
    assert [len(each) for each in together] == preprocessor.num_features(frames)
    torch.testing.assert_close(together, torch.cat(alone))
    assert FrameTower.default_preprocessor(config).size == preprocessor.picture.size


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_a_preprocessor_is_made_again_from_its_settings(kind: str) -> None:
    first = preprocessor(kind)
    settings = first.settings()
    second = type(first).from_settings(json.loads(json.dumps(settings)))
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (31, 43, 3), np.uint8))
    assert settings == second.settings() == json.loads(json.dumps(settings))
    assert torch.equal(first.pixels(image), second.pixels(image))
    assert (first.size, first.mean, first.features_per_image) == (second.size, second.mean, 4)


def test_a_preprocessor_whose_output_varies_is_refused() -> None:
    processor = CLIPImageProcessorPil(do_center_crop=False, size={"shortest_edge": 28})
    with pytest.raises(KitError, match="toy: pictures of a fixed height and width are expected, it makes them"):
        ClipPreprocessor(processor, features_per_image=4, name="toy")
