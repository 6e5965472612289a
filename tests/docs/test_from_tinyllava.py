"""The page for those who come from TinyLLaVA_Factory has a row for each of its arguments."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "from-tinyllava.md"

# What its ModelArguments, DataArguments and TrainingArguments add to those of transformers.
ARGUMENTS = """
    cache_dir model_name_or_path tokenizer_name_or_path attn_implementation vision_tower vision_tower2 connector_type
    mm_vision_select_layer mm_patch_merge_type mm_vision_select_feature resampler_hidden_size num_queries
    num_resampler_layers model_max_length tokenizer_use_fast tokenizer_padding_side
    data_path lazy_preprocess is_multimodal image_folder image_aspect_ratio conv_version
    training_recipe tune_type_llm tune_type_vision_tower tune_vision_tower_from_layer tune_type_connector
    tune_embed_tokens optim double_quant quant_type bits lora_r lora_alpha lora_dropout lora_weight_path lora_bias
    mm_projector_lr group_by_modality_length vision_tower_lr pretrained_model_path
"""


def rows() -> list[tuple[str, str]]:
    """What stands in the two columns of the page's tables."""
    return re.findall(r"^\| (.+?) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_every_argument_of_the_factory_has_its_row() -> None:
    named = {name for there, _ in rows() for name in re.findall(r"`--(\w+)", there)}
    assert set(ARGUMENTS.split()) - named == set()


def test_nothing_stands_in_two_rows() -> None:
    there = [left for left, _ in rows() if left not in ("there", "---")]
    assert len(set(there)) == len(there)
