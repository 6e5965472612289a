"""Pictures as files, and what is read of them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image
from transformers import CLIPImageProcessorPil, SiglipImageProcessorPil

from tinyllava_kit.components.modalities.image import ImageModality
from tinyllava_kit.components.towers.vision_tower import TransformersImagePreprocessor

GOLDEN = Path(__file__).parents[2] / "golden"
WIDTH, HEIGHT = 7, 5


def read(source: object) -> np.ndarray:
    image = ImageModality().read(source)
    assert image.mode == "RGB"
    return np.asarray(image)  # (H, W, 3)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


class ClipPreprocessor(TransformersImagePreprocessor):
    processor_class = CLIPImageProcessorPil


class SiglipPreprocessor(TransformersImagePreprocessor):
    processor_class = SiglipImageProcessorPil


def preprocessor(kind: str) -> TransformersImagePreprocessor:
    cls = {"clip": ClipPreprocessor, "siglip": SiglipPreprocessor}[kind]
    processor = cls.processor_class.from_pretrained(GOLDEN / "assets" / f"{kind}-tiny")
    return cls(processor, features_per_image=4)
