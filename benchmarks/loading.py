"""Time and memory that loading a model of 1.5 billion parameters takes, beside transformers' Llava of the same weights.

The model has the dimensions of TinyLlama-1.1B and SigLIP-so400m-384 and random weights in bf16, 3 GB. It is made once
as transformers' `LlavaForConditionalGeneration`, in the cache directory, and converted to ours. Every load has a
process of its own; those of the two sides take turns.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from . import process
from .figure import Figure

PEAK, TIME = 1.1, 1.1
ROUNDS = 3

Bits = Literal[16, 4]

# TinyLlama/TinyLlama-1.1B-Chat-v1.0 and google/siglip-so400m-patch14-384
LLM = {
    "vocab_size": 32000,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
}
VISION = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
}


# The layers that are not quantized, in the kit's names and in transformers'.
OURS_KEPT = ["towers", "connectors", "lm_head"]
LLAVA_KEPT = ["vision_tower", "multi_modal_projector", "lm_head"]


def figures(cache: Path) -> Iterator[Figure]:
    """Time in that of transformers' Llava, and the peak in the size of the weights that are kept; in bf16 and 4 bit.

    Args:
        cache: where the two model directories are, or will be saved.
    """
    llava, ours = cache / "llava-1.1b-siglip-so400m", cache / "tinyllama-1.1b-siglip-so400m"
    if not (llava / "config.json").is_file():
        process.call(save_llava, llava)
    if not (ours / "config.json").is_file():
        process.call(convert_llava, llava, ours)
    for directory in (llava, ours):
        process.read_anew(*sorted(directory.glob("*.safetensors")))
    for bits in (16, 4):
        times, peaks = [], []
        for _ in range(ROUNDS):
            theirs = process.call(measure_llava, llava, bits)
            mine = process.call(measure, ours, bits)
            times.append(mine[0] / theirs[0])
            peaks.append((mine[1], theirs[1], mine[2]))
        peak, their_peak, private = (statistics.median(column) for column in zip(*peaks, strict=True))
        name = "bf16" if bits == 16 else "4bit"
        yield Figure(name=f"load_{name}_time_in_llava", value=statistics.median(times), goal=TIME)
        yield Figure(name=f"load_{name}_peak", value=peak, goal=PEAK)
        yield Figure(name=f"load_{name}_peak_of_llava", value=their_peak)
        yield Figure(name=f"load_{name}_private", value=private)


def llava_config(llm: Mapping[str, Any] | None = None, vision: Mapping[str, Any] | None = None) -> Any:
    """The model from its dimensions alone, `LLM` and `VISION` by default, without a checkpoint -> `LlavaConfig`."""
    from transformers import LlamaConfig, LlavaConfig, SiglipVisionConfig

    llm, vision = llm or LLM, vision or VISION
    return LlavaConfig(
        text_config=LlamaConfig(**llm),
        vision_config=SiglipVisionConfig(**{key: value for key, value in vision.items() if key != "model_type"}),
        vision_feature_select_strategy="full",
        image_token_id=llm["vocab_size"] - 1,
    )


def save_llava(target: Path, config: Any = None) -> None:
    """Make transformers' class with random weights in bf16, and a tokenizer, and save both."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

    target.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        model = LlavaForConditionalGeneration(config or llava_config())
    finally:
        torch.set_default_dtype(before)
    model.save_pretrained(target)
    words = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2, "<image>": 3}, unk_token="<unk>"))
    tokens = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=words, **tokens).save_pretrained(target)


def convert_llava(source: Path, target: Path) -> None:
    """The same weights as a model directory of this kit."""
    from tinyllava_kit.checkpoints.conversion import convert
    from tinyllava_kit.model.storage.recognition import open_external

    convert(open_external(source), target)


def measure(source: Path, bits: Bits) -> tuple[float, float, float]:
    """Load our model; see `_measure`. Built once without memory before, so that all imports are done."""
    import torch

    from tinyllava_kit import TinyLlavaConfig, TinyLlavaForConditionalGeneration

    with torch.device("meta"):
        TinyLlavaForConditionalGeneration(TinyLlavaConfig.from_pretrained(source))
    return _measure(TinyLlavaForConditionalGeneration, source, bits, OURS_KEPT)


def measure_llava(source: Path, bits: Bits) -> tuple[float, float, float]:
    """Load transformers' model of the same weights; see `_measure`."""
    import torch
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    with torch.device("meta"):
        LlavaForConditionalGeneration(LlavaConfig.from_pretrained(source, trust_remote_code=False))
    return _measure(LlavaForConditionalGeneration, source, bits, LLAVA_KEPT)


def _measure(kind: Any, source: Path, bits: Bits, kept: list[str]) -> tuple[float, float, float]:
    """Load and read every weight once -> (seconds, peak, private), the latter two in the size of the weights kept, the
    scales of quantized ones included.

    peak: the most that was resident since before the load (`VmHWM`), less what was resident then (`VmRSS`). Pages of
        the files that are mapped count like any other.
    private: what stays in anonymous memory, which no other process shares and the kernel cannot drop.
    """
    import torch
    from transformers import BitsAndBytesConfig

    from tinyllava_kit.checkpoints.quantization import stored_bytes

    how: dict[str, Any] = {"dtype": torch.bfloat16}
    if bits == 4:
        how["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", llm_int8_skip_modules=kept
        )
        import bitsandbytes  # noqa: F401
    before, start = process.memory(), time.perf_counter()
    model = kind.from_pretrained(source, trust_remote_code=False, **how)
    weights = [*model.parameters(), *model.buffers()]
    for weight in weights:
        weight.detach().contiguous().view(torch.uint8).max()  # a page that is mapped is not resident until it is read
    seconds, after = time.perf_counter() - start, process.memory()
    size = stored_bytes(model)
    return seconds, (after["VmHWM"] - before["VmRSS"]) / size, (after["RssAnon"] - before["RssAnon"]) / size
