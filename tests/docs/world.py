"""The folder that the documentation's commands run in: toy models and data under the names that the pages use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile
import timm
import torch
from PIL import Image
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)

from tests import toys
from tinyllava_kit import Assembly, assemble

QUESTION, ANSWERS = "what shape is in the image?", ("circle", "triangle")
CARD = "---\nlicense: apache-2.0\n---\n"


def build(folder: Path) -> None:
    """What the examples leave in ``.demo``, toy-sized: weights, data, a model; and an encoder as the hub holds it."""
    demo = folder / ".demo"
    _language_model(demo / "smollm2-135m-instruct")
    _tower(demo / "efficientnet-lite0")
    for split in ("train", "test"):
        _pictures(demo / "easy-vqa", split)
    _open_questions(demo / "easy-vqa")
    _trained(demo)
    _prompts(demo / "asterisk")
    _synthetic_speech(demo / "voices")
    _spoken_captions(demo / "tuxpaint")
    _wav2vec2(demo / "speech-encoder")
    _whisper(demo / "whisper-tiny.en")


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


def _open_questions(folder: Path) -> None:
    """A question a row, about the training pictures, each with what it shows in so few tokens as it has embeddings."""
    rows = []
    for number, answer in enumerate((*ANSWERS, ANSWERS[0])):
        picture = {"type": "image", "path": f"images/train/{number}.png", "text": answer[0]}
        asked = {"role": "user", "content": [picture, {"type": "text", "text": QUESTION}]}
        rows.append({"id": f"open-{number}", "messages": [asked, {"role": "assistant", "content": answer}]})
    (folder / "open.json").write_text(json.dumps(rows), encoding="utf-8")


def _trained(demo: Path) -> None:
    """Where the demo leaves its model."""
    parts = Assembly.from_flags(
        llm=f"llama:{demo / 'smollm2-135m-instruct'}",
        towers=[f"image=timm:{demo / 'efficientnet-lite0'}"],
        connectors=["image=linear"],
    )
    for part in assemble(parts):
        part.save_pretrained(demo / "runs" / "match")


def _wav2vec2(folder: Path) -> None:
    """An encoder and its feature extractor, no tokenizer; with the group norm and the lengths of the real one."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 22, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 29}
    positions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 11}
    Wav2Vec2Model(Wav2Vec2Config(**sizes, **positions, conv_dim=[13] * 7)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    (folder / "README.md").write_text(CARD, encoding="utf-8")


def _whisper(folder: Path) -> None:
    torch.manual_seed(0)
    sizes = {
        f"{side}_{name}": number
        for side in ("encoder", "decoder")
        for name, number in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 29))
    }
    ids = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"), 0)
    WhisperModel(WhisperConfig(d_model=22, num_mel_bins=17, vocab_size=7, **sizes, **ids)).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=17).save_pretrained(folder)
    (folder / "README.md").write_text(CARD, encoding="utf-8")


def _prompts(folder: Path) -> None:
    """Recordings, and what is said in them; one is held out."""
    rows = []
    for number, name in enumerate(("do-not-disturb", "activated", "added", "goodbye")):
        rows.append({"audio": f"clips/{name}.wav", "text": f"{name.replace('-', ' ').capitalize()}."})
        _sound(folder / rows[-1]["audio"], number)
    _write_rows(folder / "test.jsonl", rows[:1])
    _write_rows(folder / "train.jsonl", rows[1:])


def _synthetic_speech(folder: Path) -> None:
    rows = [{"audio": f"clips/{number:04}.wav", "text": f"Press {number}.", "voice": "toy"} for number in range(2)]
    for number, row in enumerate(rows):
        _sound(folder / row["audio"], number)
    _write_rows(folder / "train.jsonl", rows)


def _spoken_captions(folder: Path) -> None:
    rows = []
    for number, name in enumerate(("blackbird", "cuckoo")):
        stem = f"animals/birds/{name}"
        rows.append({"image": f"images/{stem}.png", "audio": f"speech/{stem}_desc.ogg", "text": f"A {name}."})
        _sound(folder / rows[-1]["audio"], number)
        (folder / rows[-1]["image"]).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (61, 43), (90 * number, 20, 50)).save(folder / rows[-1]["image"])
    _write_rows(folder / "train.jsonl", rows)


def _sound(path: Path, number: int) -> None:
    """A tone of half a second or more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    steps = np.arange(4_000 * (number + 1))
    soundfile.write(path, 0.3 * np.sin(steps * (0.1 + 0.1 * number)), 8_000)


def _write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
