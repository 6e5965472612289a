"""The five families against transformers' own classes, at toy size, alone and in a model that reads pictures."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from tinyllava_kit_llm_hf import llm
from tinyllava_kit_llm_hf.plugin import CAUSAL_LM, tinyllava_llms
from tokenizers import Tokenizer, models
from transformers import (
    AutoTokenizer,
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    StableLmConfig,
    StableLmForCausalLM,
)

from tinyllava_kit import Assembly, KitError, TinyLlavaForConditionalGeneration, TinyLlavaProcessor, assemble
from tinyllava_kit.specs import load

GOLDEN = Path(__file__).parents[3] / "tests" / "golden"
CLIP = GOLDEN / "assets" / "clip-tiny"
TOKENIZERS = GOLDEN / "data" / "tokenizers"  # in the layouts that the hub has them in

V = 431  # more than each of the tokenizers has
FAMILIES = {
    "phi": (llm.PhiLanguageModel, PhiConfig, PhiForCausalLM, "phi"),
    "qwen2": (llm.Qwen2LanguageModel, Qwen2Config, Qwen2ForCausalLM, "qwen2_instruct"),
    "qwen3": (llm.Qwen3LanguageModel, Qwen3Config, Qwen3ForCausalLM, "qwen2_instruct"),
    "gemma": (llm.GemmaLanguageModel, GemmaConfig, GemmaForCausalLM, "gemma"),
    "stablelm": (llm.StableLmLanguageModel, StableLmConfig, StableLmForCausalLM, "stablelm"),
}
SPECS = {spec.name: spec for spec in tinyllava_llms()}
IDS = torch.tensor([[3, 5, 17, 300, 4, 2, 11]])  # (1, 7)
every_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module")
def directories(tmp_path_factory) -> dict[str, Path]:
    """A checkpoint of each family as a hub has it."""
    return {name: save(name, tmp_path_factory.mktemp(name)) for name in FAMILIES}


def save(family: str, folder: Path) -> Path:
    torch.manual_seed(3)
    _, config_class, model_class, tokenizer = FAMILIES[family]
    config = config_class(
        vocab_size=V,
        hidden_size=24,
        intermediate_size=29,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=128,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        tie_word_embeddings=family in ("gemma", "qwen2"),
    )
    model = model_class(config)
    for parameter in model.parameters():  # biases too, so that a forgotten one is seen
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZERS / tokenizer)
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{{ eos_token }}{% endfor %}"
    tokenizer.chat_template += "{% if add_generation_prompt %}assistant: {% endif %}"
    tokenizer.save_pretrained(folder)
    return folder


def read(family: str, folder: Path, dtype: torch.dtype = torch.float32):
    """The component's model, and that of transformers."""
    interface, _, model_class, _ = FAMILIES[family]
    config = interface.read_config(str(folder))
    return interface.load(str(folder), config, dtype).eval(), model_class.from_pretrained(folder, dtype=dtype).eval()


# --- alone ---


@every_family
def test_the_spec_points_to_the_class_and_has_a_checkpoint(family):
    spec = SPECS[family]
    assert load(spec) is FAMILIES[family][0]
    assert spec.model_types == load(spec).model_types == (family,)
    assert spec.checkpoint.count("/") == 1


@every_family
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_loaded_model_gives_the_logits_of_the_transformers_class(directories, family, dtype):
    model, reference = read(family, directories[family], dtype)
    with torch.no_grad():
        expected = reference(IDS).logits  # (1, 7, V)
        hidden = model.get_decoder()(IDS).last_hidden_state  # (1, 7, D)
        assert torch.equal(model(IDS).logits, expected)
        assert torch.equal(FAMILIES[family][0].logits(model, hidden), expected)


def test_phis_head_has_a_bias_that_counts(directories):
    model, reference = read("phi", directories["phi"])
    assert model.lm_head.bias.abs().max() > 0.1
    assert torch.equal(model.lm_head.bias, reference.lm_head.bias)


@every_family
def test_it_says_what_the_transformers_class_says(directories, family):
    model, reference = read(family, directories[family])
    wanted = {"max_new_tokens": 9, "do_sample": False, "attention_mask": torch.ones_like(IDS)}
    assert torch.equal(model.generate(IDS, **wanted), reference.generate(IDS, **wanted))


@every_family
def test_a_checkpoint_of_another_architecture_is_refused(tmp_path, family):
    LlamaConfig(hidden_size=12, num_attention_heads=3).save_pretrained(tmp_path)
    with pytest.raises(KitError, match=rf"is a 'llama' checkpoint; this component takes '{family}'"):
        FAMILIES[family][0].read_config(str(tmp_path))


# --- tokenizers ---


def save_words(folder: Path, **names: str) -> str:
    vocabulary = {word: i for i, word in enumerate(["<unk>", "<s>", "</s>", "<pad>", "one", "two"])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=core, **names).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("family", "pad", "unk"),
    [
        ("phi", "<unk>", "<unk>"),
        ("gemma", "<unk>", "<unk>"),
        ("qwen2", "<pad>", "<pad>"),
        ("qwen3", "<pad>", "<unk>"),
        ("stablelm", "<pad>", "<unk>"),
    ],
)
def test_padding_and_unknown_tokens_are_those_of_the_factory(tmp_path, family, pad, unk):
    folder = save_words(tmp_path, eos_token="</s>", unk_token="<unk>", pad_token="<pad>")
    tokenizer = FAMILIES[family][0].read_tokenizer(folder)
    assert (tokenizer.pad_token, tokenizer.unk_token) == (pad, unk)
    assert tokenizer("one").input_ids == [4]
    tokenizer.save_pretrained(tmp_path / "again")
    again = AutoTokenizer.from_pretrained(tmp_path / "again")
    assert (again.pad_token, again.unk_token, len(again)) == (pad, unk, len(tokenizer))


@every_family
def test_a_tokenizer_without_padding_and_unknown_tokens_pads_with_its_end_token(tmp_path, family):
    assert FAMILIES[family][0].read_tokenizer(save_words(tmp_path, eos_token="</s>")).pad_token == "</s>"


# --- in a model ---


@pytest.fixture(scope="module", params=FAMILIES)
def assembled(request, directories):
    torch.manual_seed(3)
    family = request.param
    assembly = Assembly.from_flags(
        llm=f"{family}:{directories[family]}", towers=[f"image=clip:{CLIP}"], connectors=["image=mlp2x_gelu"]
    )
    return (family, directories[family], *assemble(assembly))


def batch_of(processor, padding_side: str = "left"):
    picture = Image.linear_gradient("L").convert("RGB")
    seen = [{"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": "what is it"}]}]
    return processor([seen, [{"role": "user", "content": "hello"}]], padding_side=padding_side)


def test_text_gives_the_logits_of_the_plain_llm(assembled):
    """Also Gemma's, which scales its embeddings: once, not twice, in ids, embeddings and plans."""
    family, folder, model, processor = assembled
    reference = FAMILIES[family][2].from_pretrained(folder).eval()
    with torch.no_grad():
        assert torch.equal(model(input_ids=IDS).logits, reference(IDS).logits)
        batch = processor([[{"role": "user", "content": "hello"}]])
        assert torch.equal(model(**batch).logits, reference(batch["input_ids"]).logits)


def test_the_loss_at_target_rows_is_that_of_all_logits(assembled):
    _, _, model, processor = assembled
    said = [{"role": "user", "content": "what"}, {"role": "assistant", "content": "a thing"}]
    batch = processor([said], labels=True, padding_side="right")
    with torch.no_grad():
        rows = model(**batch, logits_to_keep="targets")
        logits = model.language_model(batch["input_ids"]).logits[0]  # (T, V), by the LLM's own forward
    assert torch.allclose(rows.logits, logits[batch["plan"].target_positions], atol=1e-5)
    expected = torch.nn.functional.cross_entropy(logits[:-1], batch["labels"][0, 1:])
    assert torch.allclose(rows.loss, expected)


def test_a_saved_model_comes_back_as_it_was(assembled, tmp_path):
    _, _, model, processor = assembled
    batch = batch_of(processor)
    for part in (model, processor):
        part.save_pretrained(tmp_path)
    again = TinyLlavaForConditionalGeneration.from_pretrained(tmp_path).eval()
    same = TinyLlavaProcessor.from_pretrained(tmp_path)
    buffers = dict(model.named_buffers())
    assert all(torch.equal(value, buffers[name]) for name, value in again.named_buffers())
    with torch.no_grad():
        assert torch.equal(again(**batch_of(same)).logits, model(**batch).logits)
    wanted = {"max_new_tokens": 5, "do_sample": False}
    assert torch.equal(again.generate(**batch_of(same), **wanted), model.generate(**batch, **wanted))


def test_a_sample_does_not_depend_on_its_batch(assembled):
    _, _, model, processor = assembled
    text = [[{"role": "user", "content": "hello"}]]
    with torch.no_grad():
        alone = model(**processor(text)).logits[0]  # (T, V)
        together = model(**batch_of(processor)).logits[1, -len(alone) :]
    assert (alone - together).abs().max() < 1e-4


def test_causal_lm_takes_any_family(directories):
    interface = load(CAUSAL_LM)
    for family, folder in directories.items():
        model = interface.load(str(folder), interface.read_config(str(folder)), torch.float32)
        assert type(model) is FAMILIES[family][2]


def test_a_directory_without_weights_is_one_line_that_names_it(directories, tmp_path):
    shutil.copy(directories["phi"] / "config.json", tmp_path)
    config = llm.PhiLanguageModel.read_config(str(tmp_path))
    with pytest.raises(KitError, match=r"^cannot read AutoModelForCausalLM from '.*': .*model\.safetensors"):
        llm.PhiLanguageModel.load(str(tmp_path), config, torch.float32)
