"""LLMs of whole words, which are made to be measured: a tokenizer, and random weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

PAD, IMAGE = 0, 4  # ids
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<image>", "<user>", "<assistant>", "\n")


def save_llm(place: Path, words: int, sizes: Mapping[str, Any]) -> None:
    """An LLM of random weights, its sizes as transformers names them, and the tokenizer of so many words."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(vocab_size=words + len(SPECIAL), max_position_embeddings=2048, pad_token_id=PAD, **sizes)
    LlamaForCausalLM(config).save_pretrained(place)
    word_tokenizer(words).save_pretrained(place)


def word_tokenizer(words: int) -> Any:
    """A token for each of the words w0, w1, ... behind `SPECIAL`, and a template of turns."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *(f"w{n}" for n in range(words))])}
    level = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    level.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=level, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<user>", "<assistant>"]})
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} </s>{% endfor %}"
        "{% if add_generation_prompt %}<assistant> {% endif %}"
    )
    return tokenizer
