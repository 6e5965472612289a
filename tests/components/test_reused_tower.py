"""A tower for pictures that a plugin extends for another modality, with a preprocessor of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from tinyllava_kit_vision_clip.tower import ClipPreprocessor, ClipTower
from torch import Tensor

from tests import toys
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
