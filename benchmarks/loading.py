"""Memory that `from_pretrained` takes for a model of 1.5 billion parameters, in the size of its weights.

The model has the dimensions of TinyLlama-1.1B and SigLIP-so400m-384 and random weights in bf16, 3 GB. It is made once,
in the cache directory. Saving and loading have a process each.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import process
from .figure import Figure

PEAK = 1.15

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


def figures(cache: Path) -> Iterator[Figure]:
    """The peak of loading, and how much of what stays is private to the process.

    Args:
        cache: where the model is, or will be saved.
    """
    model = cache / "tinyllama-1.1b-siglip-so400m"
    if not (model / "config.json").is_file():
        process.call(save, model)
    peak, private = process.call(measure, model)
    yield Figure(name="from_pretrained_peak", value=peak, goal=PEAK)
    yield Figure(name="from_pretrained_private", value=private)


def make_config() -> Any:
    """The assembly from its dimensions alone, without a checkpoint -> `TinyLlavaConfig`."""
    from transformers import LlamaConfig

    from tinyllava_kit import TinyLlavaConfig

    side = VISION["image_size"] // VISION["patch_size"]
    joint = {"in_dim": VISION["hidden_size"], "out_dim": LLM["hidden_size"], "grid": [side, side]}
    return TinyLlavaConfig(
        text_config=LlamaConfig(**LLM),
        llm={"name": "llama"},
        template={"name": "llama"},
        towers={"image": {"name": "siglip", "config": {"vision_config": VISION, "layer": -2, "select": "all"}}},
        connectors={"image": {"name": "mlp2x_gelu", "options": {"depth": 2}, "config": joint}},
        modalities={"image": {"name": "image", "options": {"aspect": "square"}}},
    )


def save(target: Path) -> None:
    """Make a model with random weights in bf16 and save it."""
    import torch

    from tinyllava_kit import TinyLlavaForConditionalGeneration

    target.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    TinyLlavaForConditionalGeneration(make_config()).save_pretrained(target)


def measure(source: Path) -> tuple[float, float]:
    """Load a model and read every weight once -> (peak, private), both in the size of its weights.

    peak: the most that was resident since before the load (`VmHWM`), less what was resident then (`VmRSS`). Pages of
        the files that are mapped count like any other.
    private: what stays in anonymous memory, which no other process shares and the kernel cannot drop.

    All that loading imports is imported before: a model of the same configuration is built without memory.
    """
    import torch

    from tinyllava_kit import TinyLlavaConfig, TinyLlavaForConditionalGeneration

    with torch.device("meta"):
        TinyLlavaForConditionalGeneration(TinyLlavaConfig.from_pretrained(source))
    before = process.memory()
    model = TinyLlavaForConditionalGeneration.from_pretrained(source)
    for weight in model.state_dict().values():
        weight.view(torch.uint8).max()  # a page that is mapped is not resident until it is read
    after = process.memory()
    weights = sum(weight.nbytes for weight in model.state_dict().values())
    return (after["VmHWM"] - before["VmRSS"]) / weights, (after["RssAnon"] - before["RssAnon"]) / weights
