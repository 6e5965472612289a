"""Toy checkpoints in the hub's layout, pictures, and models assembled from them through the public way."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoTokenizer

from tinyllava_kit import TinyLlavaProcessor, assemble
from tinyllava_kit.assembly.assembly import Assembly
from tinyllava_kit.testing.toys import CHAT_TEMPLATE, save_toy_llm

ASSETS = Path(__file__).parent / "golden" / "assets"
CLIP = ASSETS / "clip-tiny"


def save_llama(folder: Path, *, tied: bool = False, hidden: int = 24, seed: int = 0) -> Path:
    """A two-layer Llama with the golden tokenizer and a chat template."""
    tokenizer = AutoTokenizer.from_pretrained(ASSETS / "tinyllama-tiny")
    tokenizer.chat_template = CHAT_TEMPLATE
    return save_toy_llm(folder, tokenizer=tokenizer, tied=tied, hidden=hidden, seed=seed)


def save_pictures(folder: Path, count: int = 4) -> list[str]:
    """Small noisy pictures of different sizes; returns their names."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    names = [f"{number}.png" for number in range(count)]
    for number, name in enumerate(names):
        pixels = rng.integers(0, 256, (31 + number, 37, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return names


def picture_assembly(llm: Path, connector: str = "mlp2x_gelu", **options: str) -> Assembly:
    return Assembly.from_flags(
        llm=f"llama:{llm}",
        towers=[f"image=clip:{CLIP}"],
        connectors=[f"image={connector}"],
        settings=[f"{key}={value}" for key, value in options.items()],
    )


def picture_model(folder: Path, *, tied: bool = False, connector: str = "mlp2x_gelu"):
    """A model that reads pictures, and its processor."""
    torch.manual_seed(3)
    return assemble(picture_assembly(save_llama(folder, tied=tied), connector))


def save_picture_model(folder: Path) -> Path:
    """`picture_model`, saved as ``folder/model``; returns that. Made once for all tests: each caller has a copy."""
    made, random_state = _saved_picture_model()
    for part in ("llm", "model"):
        shutil.copytree(made / part, folder / part, dirs_exist_ok=True)
    torch.set_rng_state(random_state)  # as if it had been made here
    return folder / "model"


@cache
def _saved_picture_model() -> tuple[Path, torch.Tensor]:
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for part in picture_model(folder / "llm"):
        part.save_pretrained(folder / "model")
    return folder, torch.get_rng_state()


def picture_rows(folder: Path, count: int = 6) -> Path:
    """A LLaVA file of rows with pictures, some with two, one without."""
    names = save_pictures(folder / "images")
    rows = []
    for number in range(count):
        said = [
            {"from": "human", "value": f"<image>\nquestion {number}?"},
            {"from": "gpt", "value": f"answer {number}"},
        ]
        row = {"id": f"row-{number}", "image": f"images/{names[number % len(names)]}", "conversations": said}
        if number % 3 == 1:
            row["image"] = [row["image"], f"images/{names[0]}"]
            said[0]["value"] = "first <image> then <image>?"
        if number % 3 == 2:
            del row["image"]
            said[0]["value"] = f"no picture {number}?"
        rows.append(row)
    path = folder / "rows.json"
    path.write_text(json.dumps(rows))
    return path


def captioned_model(folder: Path, captions: Sequence[str]) -> Path:
    """A saved model that reads pictures, with ``pairs.jsonl``: a picture and its caption in a row."""
    save_picture_model(folder)
    rows = [{"image": n, "caption": c} for n, c in zip(save_pictures(folder), captions, strict=False)]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def picture_batch(processor: TinyLlavaProcessor, answer: str = "a cat") -> Any:
    """Two questions about one noisy picture, with answers of two lengths, as a batch to learn."""
    picture = {"type": "image", "image": Image.effect_noise((31, 37), 50).convert("RGB")}
    asked = {"role": "user", "content": [picture, "what?"]}
    return processor(
        [[asked, {"role": "assistant", "content": said}] for said in (answer, "a longer answer")], labels=True
    )
