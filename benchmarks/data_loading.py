"""Rows of LLaVA-665K's kind to batches, beside a plain pipeline of transformers' `LlavaProcessor`, on one core.

Both sides read the same JPEG files and the same conversations, and give the same labels and, to the last bit, the same
pixels. The plain side is what TinyLLaVA_Factory's `LazySupervisedDataset` and its collator do, with `LlavaProcessor` in
place of its own text preprocessing: a picture is opened, the conversation is written as one text and tokenized, each
round is tokenized twice to find its answer, and a batch is padded and stacked. Its image processor is the one of PIL,
as the Factory's; `torchvision` is the same with the one that `LlavaProcessor` takes by itself, whose pixels differ by
up to a grey level. Ours also lays out the batch (the plan), which the plain side leaves to the model.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .clock import one_thread, ratios
from .figure import Figure

TIME = 1.0
PIL, TORCHVISION = "plain", "torchvision"  # whose image processor the plain side takes
IGNORED = -100
WORDS = (
    "the",
    "one",
    "of",
    "on",
    "is",
    "are",
    "picture",
    "what",
    "where",
    "how",
    "many",
    "red",
    "small",
    "cat",
    "street",
)
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'user' %}USER: {{ m['content'] }} ASSISTANT:"
    "{% else %} {{ m['content'] }}</s>{% endif %}{% endfor %}"
)


@dataclass(frozen=True)
class Sizes:
    """How many rows, in batches of how many, with so many rounds each; pictures as (width, height), and the tower's."""

    rows: int = 64
    batch: int = 8
    rounds: tuple[int, int] = (1, 8)
    pictures: tuple[tuple[int, int], ...] = ((640, 480), (480, 640), (500, 375))
    side: int = 336
    patch: int = 14


def figures(sizes: Sizes | None = None, *, rounds: int = 5) -> Iterator[Figure]:
    """Our CPU time in that of the plain pipeline, with pictures and without, and rows a second of CPU of each."""
    sizes = sizes or Sizes()
    with tempfile.TemporaryDirectory() as folder, one_thread():
        for name, pictures in (("pictures", True), ("text", False)):
            rows = write_rows(Path(folder), sizes, pictures=pictures)
            ours = make_ours(Path(folder), rows, sizes)
            ways = {name: make_plain(Path(folder), rows, sizes, name) for name in (PIL, TORCHVISION)[: 1 + pictures]}
            for side, way in ways.items():
                spent = ratios(way.run, {"ours": ours.run}, rounds=rounds)
                goal = TIME if side == PIL else None
                yield Figure(name=f"data_{name}_time_in_{side}", value=spent["ours"], goal=goal)
            for side, way in {"ours": ours, **ways}.items():
                yield Figure(name=f"data_{name}_rows_per_second_{side}", value=way.rows_per_second(rounds))


class Way:
    """Batches of all rows, by a function that makes one of a list of indices."""

    def __init__(self, make: Any, sizes: Sizes) -> None:
        self.make = make
        self.indices = [list(range(i, min(i + sizes.batch, sizes.rows))) for i in range(0, sizes.rows, sizes.batch)]

    def run(self) -> None:
        """Make every batch once."""
        for indices in self.indices:
            self.make(indices)

    def rows_per_second(self, rounds: int) -> float:
        """Of CPU, the best of several rounds."""
        import time

        best = float("inf")
        for _ in range(rounds):
            start = time.process_time()
            self.run()
            best = min(best, time.process_time() - start)
        return sum(map(len, self.indices)) / best


def write_rows(folder: Path, sizes: Sizes, *, pictures: bool) -> list[dict[str, Any]]:
    """Rows of random words and, where they have some, JPEG files of soft noise."""
    draw, noise = random.Random(0), np.random.default_rng(0)
    rows = []
    for number in range(sizes.rows):
        said = []
        for turn in range(draw.randint(*sizes.rounds)):
            question = " ".join(draw.choices(WORDS, k=draw.randint(6, 20)))
            said.append({"from": "human", "value": f"<image>\n{question}" if pictures and not turn else question})
            said.append({"from": "gpt", "value": " ".join(draw.choices(WORDS, k=draw.randint(3, 60)))})
        row: dict[str, Any] = {"id": str(number), "conversations": said}
        if pictures:
            width, height = sizes.pictures[number % len(sizes.pictures)]
            coarse = noise.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
            row["image"] = str(folder / f"{number}.jpg")
            Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(row["image"], quality=90)
        rows.append(row)
    return rows


def make_ours(folder: Path, rows: Sequence[Mapping[str, Any]], sizes: Sizes) -> Way:
    """The kit's dataset and collator."""
    from tinyllava_kit import assemble
    from tinyllava_kit.assembly.assembly import Assembly
    from tinyllava_kit.data.dataset import Collator, ConversationDataset

    llm, tower = _checkpoints(folder, sizes)
    parts = Assembly.from_flags(llm=f"llama:{llm}", towers=[f"image=clip:{tower}"], connectors=["image=linear"])
    _, processor = assemble(parts)
    (folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    dataset = ConversationDataset.from_file(folder / "rows.json", processor)
    collate = Collator(processor)
    return Way(lambda indices: collate([dataset[index] for index in indices]), sizes)


def make_plain(folder: Path, rows: Sequence[Mapping[str, Any]], sizes: Sizes, backend: str = PIL) -> Way:
    """A dataset and a collator around transformers' processor."""
    from transformers import AutoTokenizer, CLIPImageProcessor, CLIPImageProcessorPil, LlavaProcessor

    llm, tower = _checkpoints(folder, sizes)
    processor = LlavaProcessor(
        (CLIPImageProcessorPil if backend == PIL else CLIPImageProcessor).from_pretrained(
            tower, trust_remote_code=False
        ),
        AutoTokenizer.from_pretrained(llm, trust_remote_code=False),
        patch_size=sizes.patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )

    def make(indices: Sequence[int]) -> dict[str, Tensor]:
        samples = [plain_sample(rows[index], processor) for index in indices]
        batch = {
            "input_ids": pad_sequence([s["input_ids"] for s in samples], batch_first=True),  # (B, T)
            "labels": pad_sequence([s["labels"] for s in samples], batch_first=True, padding_value=IGNORED),  # (B, T)
        }
        batch["attention_mask"] = batch["input_ids"] != 0
        if "pixel_values" in samples[0]:
            batch["pixel_values"] = torch.stack([s["pixel_values"] for s in samples])  # (B, 3, H, W)
        return batch

    return Way(make, sizes)


def plain_sample(row: Mapping[str, Any], processor: Any) -> dict[str, Tensor]:
    """Ids (T,), labels (T,) and, with a picture, pixels (3, H, W)."""
    prompts = [turn["value"] for turn in row["conversations"][::2]]
    answers = [turn["value"] for turn in row["conversations"][1::2]]
    rounds = [(f"USER: {p} ASSISTANT:", f" {a}</s>") for p, a in zip(prompts, answers, strict=True)]
    images = [Image.open(row["image"]).convert("RGB")] if "image" in row else None
    text = "".join(asked + said for asked, said in rounds)
    encoded = processor(text=text, images=images, return_tensors="pt")
    ids = encoded["input_ids"][0]  # (T,)
    labels = torch.full_like(ids, IGNORED)
    at = len(ids)
    for asked, said in reversed(rounds):  # from the end: the picture's tokens stand in front
        whole = len(processor.tokenizer(asked + said)["input_ids"])
        answer = whole - len(processor.tokenizer(asked)["input_ids"])
        labels[at - answer : at] = ids[at - answer : at]
        at -= whole
    sample = {"input_ids": ids, "labels": labels}
    if images is not None:
        sample["pixel_values"] = encoded["pixel_values"][0]  # (3, H, W)
    return sample


def _checkpoints(folder: Path, sizes: Sizes) -> tuple[Path, Path]:
    """Toy weights, a tokenizer that knows the rows' words, and CLIP's preprocessing at the real size; made once."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        CLIPVisionModel,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
    )

    llm, tower = folder / "llm", folder / "tower"
    if llm.exists():
        return llm, tower
    words = Tokenizer(models.BPE())
    words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>", "<image>"]
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words.train_from_iterator([" " + " ".join(WORDS), "USER: ASSISTANT:"] * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens={"image_token": "<image>"},
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(llm)
    toy = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **toy)).save_pretrained(llm)
    vision = CLIPVisionConfig(**toy, image_size=sizes.side, patch_size=sizes.patch)
    CLIPVisionModel(vision).save_pretrained(tower)
    square = {"height": sizes.side, "width": sizes.side}
    CLIPImageProcessor(size={"shortest_edge": sizes.side}, crop_size=square).save_pretrained(tower)
    return llm, tower
