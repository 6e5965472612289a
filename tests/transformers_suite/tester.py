"""What transformers' tests of models ask of a `ModelTester`: a toy configuration, and inputs for a model of it."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from tests import toys
from tinyllava_kit import TinyLlavaConfig, TinyLlavaProcessor, assemble
from tinyllava_kit.assembly.assembly import Assembly


class TextTester:
    """Text alone, of a model that reads text alone."""

    is_training = True
    batch_size = 3
    seq_length = 7
    num_hidden_layers = 2
    num_attention_heads = 4
    hidden_size = 24

    def __init__(self, parent: Any = None) -> None:
        self.parent = parent
        self.config, self.processor = _text()

    def get_config(self) -> TinyLlavaConfig:
        return TinyLlavaConfig(**self.config.to_dict())  # a new one: nothing is settled that a model settles

    def prepare_config_and_inputs_for_common(self) -> tuple[TinyLlavaConfig, dict[str, Any]]:
        config = self.get_config()
        ids = torch.randint(3, config.text_config.vocab_size, (self.batch_size, self.seq_length))
        return config, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def add_labels(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The same inputs, to be learned from."""
        return {**inputs, "labels": inputs["input_ids"].clone()}


class ItemsTester(TextTester):
    """A picture in each row."""

    def __init__(self, parent: Any = None) -> None:
        self.parent = parent
        self.config, self.processor = _pictures()
        self.seq_length = self.inputs(self.batch_size)["input_ids"].shape[1]

    def prepare_config_and_inputs_for_common(self) -> tuple[TinyLlavaConfig, dict[str, Any]]:
        return self.get_config(), self.inputs(self.batch_size)

    def inputs(self, rows: int) -> dict[str, Any]:
        """A batch of so many rows."""
        batch = self.processor(_said()[:rows])
        return {name: batch[name] for name in ("input_ids", "attention_mask", "items", "plan")}

    def add_labels(self, inputs: dict[str, Any]) -> dict[str, Any]:
        answer = {"role": "assistant", "content": "a cat"}
        return dict(self.processor([[*each, answer] for each in _said()], labels=True))


@functools.cache
def _said() -> list[list[dict[str, Any]]]:
    pictures = [Image.effect_noise((31, 37), 50 + row).convert("RGB") for row in range(ItemsTester.batch_size)]
    return [[{"role": "user", "content": [{"type": "image", "image": each}, "what?"]}] for each in pictures]


@functools.cache
def _text() -> tuple[TinyLlavaConfig, TinyLlavaProcessor]:
    with tempfile.TemporaryDirectory() as folder:
        llm = toys.save_llama(Path(folder))
        model, processor = assemble(Assembly.from_flags(llm=f"llama:{llm}", towers=[], connectors=[]))
        return model.config, processor


@functools.cache
def _pictures() -> tuple[TinyLlavaConfig, TinyLlavaProcessor]:
    with tempfile.TemporaryDirectory() as folder:
        model, processor = toys.picture_model(Path(folder))
        return model.config, processor
