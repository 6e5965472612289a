"""An LLM of two layers and its tokenizer, made on the spot: what tests of a plugin assemble a model with."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

CHAT_TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
_CONTROL = ("<pad>", "<s>", "</s>")  # their ids are 0, 1 and 2


def save_toy_llm(
    folder: str | os.PathLike[str],
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    hidden: int = 24,
    tied: bool = False,
    seed: int = 0,
) -> Path:
    """Write a Llama of two layers with random weights, as ``llama:FOLDER`` takes it; returns the folder.

    Args:
        tokenizer: with at most 320 ids; 0, 1 and 2 are padding, begin and end; default: `toy_tokenizer`.
        hidden: its width, a multiple of 8. tied: the head shares the weights of the embedding.
    """
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=hidden,
        intermediate_size=44,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=tied,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    (tokenizer or toy_tokenizer()).save_pretrained(folder)
    return Path(folder)


def toy_tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer with one id for each byte, and a chat template."""
    letters = [*_CONTROL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    pad, begin, end = _CONTROL
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, bos_token=begin, eos_token=end, chat_template=CHAT_TEMPLATE
    )
