"""The language model `llama` against transformers' LlamaForCausalLM, at toy size."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tinyllava_kit_llm_tinyllama.llm import LlamaLanguageModel
from tinyllava_kit_llm_tinyllama.plugin import LLAMA
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config

from tinyllava_kit import KitError
from tinyllava_kit.specs import load

TINYLLAMA = Path(__file__).parents[3] / "tests" / "golden" / "assets" / "tinyllama-tiny"  # saved by transformers 4.40


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    """A Llama checkpoint as a hub has it, with grouped key heads and, like SmolLM2, tied embeddings."""
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=12,
        intermediate_size=19,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=1,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
    )
    folder = tmp_path_factory.mktemp("llama")
    LlamaForCausalLM(config).save_pretrained(folder)
    for file in ("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(TINYLLAMA / file, folder)
    return folder


def test_the_spec_points_to_the_class_and_names_tinyllama():
    assert load(LLAMA) is LlamaLanguageModel
    assert (LLAMA.name, LLAMA.checkpoint) == ("llama", "TinyLlama/TinyLlama-1.1B-Chat-v1.0")
    assert LLAMA.model_types == LlamaLanguageModel.model_types


@pytest.mark.parametrize("tied", [True, False])
def test_a_loaded_model_gives_the_logits_of_the_transformers_class(directory, tied):
    folder = str(directory if tied else TINYLLAMA)
    config = LlamaLanguageModel.read_config(folder)
    model = LlamaLanguageModel.load(folder, config, torch.float32).eval()
    reference = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([[1, 5, 17, 300, 4, 2, 11]])  # (1, 7)
    with torch.no_grad():
        expected = reference(ids).logits  # (1, 7, V)
        hidden = model.get_decoder()(ids).last_hidden_state  # (1, 7, D)
        assert torch.equal(model(ids).logits, expected)
        assert torch.equal(LlamaLanguageModel.logits(model, hidden), expected)


def test_a_model_is_built_from_its_configuration_alone_on_no_device(directory):
    config = LlamaLanguageModel.read_config(str(directory))
    with torch.device("meta"):
        model = LlamaLanguageModel.build(config)
    assert isinstance(model, LlamaForCausalLM)
    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_weights_come_in_the_wanted_dtype(directory):
    config = LlamaLanguageModel.read_config(str(directory))
    model = LlamaLanguageModel.load(str(directory), config, torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_a_tokenizer_without_a_padding_token_pads_with_its_unknown_token(directory):
    tokenizer = LlamaLanguageModel.read_tokenizer(str(directory))
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == ("<unk>", 0)
    batch = tokenizer(["one", "one two three"], padding=True)
    assert len(batch.input_ids[0]) == len(batch.input_ids[1])
    assert batch.input_ids[0][-1] == 0


def test_a_tokenizer_without_padding_and_unknown_tokens_pads_with_its_end_token(tmp_path):
    save_word_tokenizer(tmp_path, eos_token="</s>")
    assert LlamaLanguageModel.read_tokenizer(str(tmp_path)).pad_token == "</s>"


def test_a_padding_token_that_is_there_stays(tmp_path):
    save_word_tokenizer(tmp_path, eos_token="</s>", unk_token="<unk>", pad_token="<pad>")
    assert LlamaLanguageModel.read_tokenizer(str(tmp_path)).pad_token == "<pad>"


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path):
    Qwen2Config(hidden_size=12, num_attention_heads=3).save_pretrained(tmp_path)
    with pytest.raises(KitError, match=r"is a 'qwen2' checkpoint; this component takes 'llama'"):
        LlamaLanguageModel.read_config(str(tmp_path))


def test_a_missing_directory_is_one_line_that_names_it(tmp_path):
    missing = str(tmp_path / "nowhere")
    for read in (LlamaLanguageModel.read_config, LlamaLanguageModel.read_tokenizer):
        with pytest.raises(
            KitError, match=r"^no checkpoint directory '.*nowhere'; give an existing one, or a hub name"
        ):
            read(missing)


def test_a_directory_without_weights_is_one_line_that_names_it(directory, tmp_path):
    shutil.copy(directory / "config.json", tmp_path)
    config = LlamaLanguageModel.read_config(str(tmp_path))
    with pytest.raises(KitError, match=r"^cannot read AutoModelForCausalLM from '.*': .*model\.safetensors"):
        LlamaLanguageModel.load(str(tmp_path), config, torch.float32)


def save_word_tokenizer(folder: Path, **names: str) -> None:
    from tokenizers import Tokenizer, models

    vocabulary = {word: i for i, word in enumerate(["<unk>", "<s>", "</s>", "<pad>", "one", "two"])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=core, **names).save_pretrained(folder)
