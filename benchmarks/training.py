"""Training beside a plain Trainer on transformers' `LlavaForConditionalGeneration`: padded batches, the same sizes.

Both learn the same sequences: the ids, labels and pictures of our processor. The lengths of the rows are spread like
those of LLaVA's instruction mixture (665K): most have a picture and some turns, a few are long text alone. Each side
trains in a process of its own, in turns, with one thread; what counts is CPU time between the begin and the end of
`Trainer.train`, for each target token.
"""

from __future__ import annotations

import json
import math
import random
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import process
from .figure import Figure
from .words import IMAGE, PAD, SPECIAL, word_tokenizer

EMPTY = 0.05
ROUNDS = 3


@dataclass(frozen=True)
class Sizes:
    """Widths, layers and rows; those of CLIP-L-336 in patches."""

    width: int
    layers: int
    vision: int
    vision_layers: int
    heads: int = 8
    image: int = 336
    patch: int = 14
    words: int = 1000
    longest: int = 2048
    rows: int = 48
    batch: int = 8

    @property
    def patches(self) -> int:
        """Features of a picture."""
        return (self.image // self.patch) ** 2


@dataclass(frozen=True)
class Task:
    """What is trained: the connector, with features that are cached, or the LLM, too.

    figure: how its figures are called. goal: for its time; None: it is information. captions: its rows are pictures
    with a sentence each, and not the mixture.
    """

    sizes: Sizes
    figure: str
    goal: float | None
    trains_llm: bool = False
    captions: bool = False

    @property
    def trained(self) -> dict[str, str]:
        """As a recipe's stage has it."""
        return {"connector.image": "full", **({"llm": "full"} if self.trains_llm else {})}


# The share of the tower in a forward is that of CLIP-L beside TinyLlama-1.1B, and of SigLIP-so400m beside SmolLM2-135M.
_LARGE_LLM = Sizes(width=512, layers=4, vision=192, vision_layers=4)
_LARGE_TOWER = Sizes(width=576, layers=2, vision=1152, vision_layers=2, words=3300)
# The goals are 1.5 and 3 times as many target tokens a second.
TASKS = {
    "instruct": Task(_LARGE_LLM, "packed", 0.667, trains_llm=True),
    "pretrain": Task(_LARGE_TOWER, "packed_and_cached", 0.333),
    "captions": Task(_LARGE_TOWER, "captions_cached", None, captions=True),
}
# LLaVA's instruction mixture: the share of a kind of rows, turns, words of a question and of an answer.
MIXTURE = (
    (0.06, 3, 40, 350, False),  # conversations of text
    (0.12, 3, 20, 90, True),  # conversations, descriptions
    (0.24, 4, 12, 4, True),  # several short questions about a picture
    (0.30, 1, 14, 6, True),  # one short question, reading
    (0.14, 8, 22, 16, True),  # regions of a picture
    (0.14, 12, 14, 14, True),
)


def figures(tasks: Mapping[str, Sizes] | None = None) -> Iterator[Figure]:
    """Time of a target token in that of transformers' Trainer, the share of empty positions, and memory."""
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        for task, sizes in (tasks or {name: task.sizes for name, task in TASKS.items()}).items():
            place = Path(scratch) / task
            process.call(prepare, place, task, sizes)
            name, goal = TASKS[task].figure, TASKS[task].goal
            times, peaks, fill = [], [], 0.0
            for number in range(ROUNDS):
                theirs = process.call(train_llava, place, task, sizes)
                mine = process.call(train_ours, place, task, sizes, number)
                times.append(mine["seconds"] / theirs["seconds"])
                peaks.append(mine["peak"] / theirs["peak"])
                fill = mine["fill"]
            yield Figure(name=f"train_{name}_time_in_llava", value=statistics.median(times), goal=goal)
            yield Figure(name=f"train_{name}_empty", value=1 - fill, goal=None if goal is None else EMPTY)
            yield Figure(name=f"train_{name}_peak_in_llava", value=statistics.median(peaks))


def prepare(place: Path, task: str, sizes: Sizes) -> None:
    """A model of ours in ``model``, pictures, and the rows of a task."""
    import numpy as np
    import torch
    from PIL import Image
    from transformers import LlamaForCausalLM, SiglipImageProcessor, SiglipVisionModel

    from tinyllava_kit import assemble
    from tinyllava_kit.assembly.assembly import Assembly

    torch.manual_seed(0)
    LlamaForCausalLM(_text_config(sizes)).save_pretrained(place / "llm")
    word_tokenizer(sizes.words).save_pretrained(place / "llm")
    SiglipVisionModel(_vision_config(sizes)).save_pretrained(place / "vision")
    side = {"height": sizes.image, "width": sizes.image}
    SiglipImageProcessor(size=side).save_pretrained(place / "vision")
    made = assemble(
        Assembly.from_flags(
            llm=f"llama:{place / 'llm'}",
            towers=[f"image=siglip:{place / 'vision'}"],
            connectors=["image=mlp2x_gelu"],
            settings=["tower.image.layer=-1"],
        )
    )
    for part in made:
        part.save_pretrained(place / "model")
    pixels = np.random.default_rng(0)
    for number in range(sizes.rows):
        shape = (sizes.image, sizes.image, 3)
        Image.fromarray(pixels.integers(0, 256, shape, dtype=np.uint8)).save(place / f"{number}.png")
    (place / f"{task}.json").write_text(json.dumps(list(make_rows(task, sizes))))


def make_rows(task: str, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Rows of words: captions of one length or so, or turns whose number and length are spread."""
    draw = random.Random(task)

    def words(count: float) -> str:
        return " ".join(f"w{draw.randrange(sizes.words)}" for _ in range(max(1, round(count))))

    kinds = draw.choices(MIXTURE, [kind[0] for kind in MIXTURE], k=sizes.rows)
    for number, (_, turns, question, answer, seen) in enumerate(kinds):
        asked = {"image": f"{number}.png"} if seen or TASKS[task].captions else {}
        if TASKS[task].captions:
            pairs = [(words(8), words(draw.gauss(24, 8)))]
        else:
            count = max(1, round(draw.gauss(turns, turns / 3)))
            pairs = [(words(question), words(draw.lognormvariate(math.log(answer), 0.6))) for _ in range(count)]
        said = []
        for place, (question, answer) in enumerate(pairs):
            front = "<image>\n" if asked and not place else ""
            said += [{"from": "human", "value": f"{front}{question}"}, {"from": "gpt", "value": answer}]
        yield {"id": f"{task}-{number}", **asked, "conversations": said}


def train_ours(place: Path, task: str, sizes: Sizes, number: int) -> dict[str, float]:
    """One epoch of a packed stage; where the connector learns alone, with features that are in the cache."""
    import torch

    from tinyllava_kit.training.loop.trainer import KitTrainer
    from tinyllava_kit.training.recipe import Recipe
    from tinyllava_kit.training.run import run_recipe

    torch.set_num_threads(1)
    spent = []
    train = KitTrainer.train

    def timed(self: KitTrainer, *args: Any, **kwargs: Any) -> Any:
        process.forget_peak()
        start = time.process_time()
        done = train(self, *args, **kwargs)
        spent.append((time.process_time() - start, process.memory()["VmHWM"]))
        return done

    KitTrainer.train = timed  # type: ignore[method-assign]
    stage = {
        "name": task,
        "data": str(place / f"{task}.json"),
        "train": TASKS[task].trained,
        "packing": True,
        "max_length": sizes.longest,
        "batch_size": sizes.batch // 4,
        "cache_features": {"mode": not TASKS[task].trains_llm, "dir": str(place / "cache")},
        "logging_steps": 1,
        "save_steps": 1000,
    }
    recipe = {"model": str(place / "model"), "output": str(place / f"run-{task}-{number}"), "stages": [stage]}
    done = run_recipe(Recipe.model_validate(recipe))
    log = json.loads((done / "log.json").read_text())
    fill = [entry["fill"] for entry in log if "fill" in entry]
    return {"seconds": spent[0][0], "peak": spent[0][1], "fill": sum(fill) / len(fill)}


def train_llava(place: Path, task: str, sizes: Sizes) -> dict[str, float]:
    """One epoch of transformers' Trainer on its Llava, batches padded to their longest."""
    import torch
    from transformers import LlavaConfig, LlavaForConditionalGeneration, Trainer, TrainingArguments

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            text_config=_text_config(sizes),
            vision_config=_vision_config(sizes),
            image_token_id=IMAGE,
            vision_feature_layer=-1,
            vision_feature_select_strategy="full",
        )
    )
    parts = model.model
    for name, part in (("tower", parts.vision_tower), ("llm", parts.language_model), ("llm", model.lm_head)):
        part.requires_grad_(name in TASKS[task].trained)
    arguments = TrainingArguments(
        output_dir=str(place / "llava"),
        per_device_train_batch_size=sizes.batch,
        num_train_epochs=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        remove_unused_columns=False,
        logging_steps=1000,
    )
    trainer = Trainer(
        model=model, args=arguments, train_dataset=list(_sequences(place, task)), data_collator=pad_sequences
    )
    process.forget_peak()
    start = time.process_time()
    trainer.train()
    return {"seconds": time.process_time() - start, "peak": process.memory()["VmHWM"]}


def _sequences(place: Path, task: str) -> Iterator[dict[str, Any]]:
    """The rows as our processor makes them: ids with as many placeholders as a picture has rows, labels, pixels."""
    from tinyllava_kit import TinyLlavaProcessor
    from tinyllava_kit.core.spans import IGNORE_INDEX, ItemSpan
    from tinyllava_kit.data.dataset import ConversationDataset

    dataset = ConversationDataset.from_file(place / f"{task}.json", TinyLlavaProcessor.from_pretrained(place / "model"))
    for index in range(len(dataset)):
        encoded = dataset[index]
        ids: list[int] = []
        labels: list[int] = []
        for span in encoded.spans:
            new = [IMAGE] * span.num_tokens if isinstance(span, ItemSpan) else list(span.ids)
            learned = None if isinstance(span, ItemSpan) else span.labels
            ids += new
            labels += learned or [IGNORE_INDEX] * len(new)
        yield {"ids": ids, "labels": labels, "pixels": [row["pixel_values"] for e in encoded.items for row in e.rows]}


def pad_sequences(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a collator of Llava's makes: padded on the right to the longest."""
    import torch

    length = max(len(row["ids"]) for row in rows)
    batch = {
        "input_ids": torch.tensor([row["ids"] + [PAD] * (length - len(row["ids"])) for row in rows]),
        "labels": torch.tensor([row["labels"] + [-100] * (length - len(row["labels"])) for row in rows]),
        "attention_mask": torch.tensor([[1] * len(row["ids"]) + [0] * (length - len(row["ids"])) for row in rows]),
    }
    pixels = [each for row in rows for each in row["pixels"]]
    return {**batch, "pixel_values": torch.stack(pixels)} if pixels else batch


def _text_config(sizes: Sizes) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=sizes.words + len(SPECIAL),
        hidden_size=sizes.width,
        intermediate_size=sizes.width * 8 // 3,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.heads,
        max_position_embeddings=sizes.longest,
        pad_token_id=PAD,
    )


def _vision_config(sizes: Sizes) -> Any:
    from transformers import SiglipVisionConfig

    return SiglipVisionConfig(
        hidden_size=sizes.vision,
        intermediate_size=sizes.vision * 4,
        num_hidden_layers=sizes.vision_layers,
        num_attention_heads=sizes.heads,
        image_size=sizes.image,
        patch_size=sizes.patch,
        vision_use_head=False,
    )
