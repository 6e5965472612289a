"""The contracts of the forms of export that the kit ships."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, LlavaForConditionalGeneration

from .exports import ExportContract
from .toy_models import ToyModel, clip_model, text_model


class LlavaContract(ExportContract):
    """A model with a CLIP; one without is refused."""

    def toy(self, *, seed: int = 0) -> ToyModel:
        """Pictures and text."""
        return clip_model(self.catalog, seed=seed)

    def unsuited(self) -> ToyModel:
        """Text alone."""
        return text_model()

    def reference(self, output: Path, ids: Tensor) -> Tensor:
        """transformers' own class, which has a row more, for the placeholder."""
        read = LlavaForConditionalGeneration.from_pretrained(output, trust_remote_code=False)
        return _of(read, ids)[..., : _rows(self.toy())]


class ComponentsContract(LlavaContract):
    """Any model but a quantized one."""

    def unsuited(self) -> ToyModel:
        """One that says it is quantized."""
        model, processor = text_model()
        model.config.quantization_config = {"load_in_8bit": True}
        return model, processor

    def reference(self, output: Path, ids: Tensor) -> Tensor:
        """transformers' own class of the LLM."""
        return _of(AutoModelForCausalLM.from_pretrained(output / "llm", trust_remote_code=False), ids)


class GgufContract(LlavaContract):
    """A model with a CLIP; one with another connector is refused."""

    other_options: ClassVar[Mapping[str, Any]] = {"dtype": "float16"}

    def unsuited(self) -> ToyModel:
        """With a connector that llama.cpp does not know."""
        return clip_model(self.catalog, connector="linear")

    def reference(self, output: Path, ids: Tensor) -> Tensor:
        """transformers' own reader of such files."""
        read = AutoModelForCausalLM.from_pretrained(output, gguf_file="model.gguf", trust_remote_code=False)
        return _of(read, ids)


def _of(model: Any, ids: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model.eval()(input_ids=ids).logits
    return logits


def _rows(toy: ToyModel) -> int:
    rows: int = toy[0].config.text_config.vocab_size
    return rows
