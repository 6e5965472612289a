"""The folder that the documentation's commands run in: toy models and data under the names that the pages use."""

from __future__ import annotations

import json
from pathlib import Path

import timm
from PIL import Image

from tests import toys

QUESTION, ANSWERS = "what shape is in the image?", ("circle", "triangle")
CARD = "---\nlicense: apache-2.0\n---\n"


def build(folder: Path) -> None:
    """What `examples/easy_vqa/prepare.py` makes, toy-sized, in ``.demo``."""
    demo = folder / ".demo"
    _language_model(demo / "smollm2-135m-instruct")
    _tower(demo / "efficientnet-lite0")
    for split in ("train", "test"):
        _pictures(demo / "easy-vqa", split)


def _language_model(folder: Path) -> None:
    toys.save_llama(folder, tied=True, hidden=24)
    (folder / "README.md").write_text(CARD, encoding="utf-8")


def _tower(folder: Path) -> None:
    model = timm.create_model("test_efficientnet", pretrained=False)
    timm.models.save_for_hf(model, folder, safe_serialization=True)
    (folder / "README.md").write_text(CARD, encoding="utf-8")


def _pictures(folder: Path, split: str, count: int = 3) -> None:
    """Grey pictures, each with a row that asks two questions."""
    (folder / "images" / split).mkdir(parents=True)
    rows = []
    for number in range(count):
        name = f"images/{split}/{number}.png"
        Image.new("RGB", (64, 64), (80 * number,) * 3).save(folder / name)
        said = [("human", f"<image>\n{QUESTION}"), ("gpt", ANSWERS[number % 2]), ("human", "is it red?"), ("gpt", "no")]
        turns = [{"from": who, "value": text} for who, text in said]
        rows.append({"id": f"{split}-{number}", "image": name, "conversations": turns})
    (folder / f"{split}.json").write_text(json.dumps(rows), encoding="utf-8")
