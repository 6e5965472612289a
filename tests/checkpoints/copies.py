"""Directories of other projects, copied and changed, and what their models give."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import GemmaConfig, GemmaForCausalLM

from tests.golden_models import GOLDEN
from tinyllava_kit.checkpoints.parity import lay_out

CASE = GOLDEN / "tinyllama_clip_mlp2x_gelu"
LEGACY = GOLDEN / "legacy"
PARTS = GOLDEN / "parts"


def copied(source: Path, folder: Path) -> Path:
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("scenarios"))
    return folder


def change_config(folder: Path, **changes) -> Path:
    file = folder / "config.json"
    config = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return folder


def change_weights(folder: Path, change) -> Path:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@torch.no_grad()
def logits_of(model, theirs):
    inputs, layout, images = lay_out(model, theirs, "right")
    items = {"image": {"pixel_values": images}}
    output = model(**inputs, items=items, plan=layout)
    return output.logits, layout.attention_mask.bool()


def with_gemma(folder: Path) -> tuple[Path, GemmaForCausalLM]:
    """Put a toy Gemma, 64 wide, in the place of a checkpoint's LLM."""
    torch.manual_seed(2)
    text = GemmaConfig(
        vocab_size=320,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=16,
    )
    gemma = GemmaForCausalLM(text).eval()
    change_config(folder, text_config=text.to_dict())
    state = {k: v for k, v in load_file(folder / "model.safetensors").items() if not k.startswith("language_model.")}
    llm = {f"language_model.{k}": v for k, v in gemma.state_dict().items() if k != "lm_head.weight"}
    save_file({**state, **llm}, folder / "model.safetensors", metadata={"format": "pt"})
    return folder, gemma
