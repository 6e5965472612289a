"""Export to gguf: other readers of the files compute what the model does; what llama.cpp does not know is refused."""

from __future__ import annotations

import json
import sys

import gguf
import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GemmaConfig,
    GemmaForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    StableLmConfig,
    StableLmForCausalLM,
)

from tests import toys
from tests.golden_models import GOLDEN
from tinyllava_kit import KitError, assemble, load_pretrained
from tinyllava_kit.assembly.assembly import Assembly
from tinyllava_kit.checkpoints.exporting import gguf_files, gguf_writing

pytestmark = pytest.mark.slow

CLIP = "tinyllama_clip_mlp2x_gelu"
SIGLIP = "tinyllama_siglip_mlp2x_gelu_cls_patch"  # all of its patches
TURNS = {"rope_parameters": {"rope_theta": 7000.0, "partial_rotary_factor": 0.67}}  # four of six dimensions
IDS = torch.tensor([[1, 7, 90, 5, 301, 44, 44, 3]])
TEXTS = ("Hello, world 12!", "the a  b\nnew é 漢", "USER: What's there? ASSISTANT:", "a</s>b")


def golden(case, **how):
    model, processor = load_pretrained(GOLDEN / case, **how)
    return model.eval(), processor


def read(file):
    """A file's metadata and its tensors, in float32."""
    reader = gguf.GGUFReader(file)
    tensors = {t.name: torch.from_numpy(np.array(t.data)).float() for t in reader.tensors}
    return {key: field.contents() for key, field in reader.fields.items()}, tensors


def llama_cpps_rows(file, pixels):
    """What llama.cpp's projector `mlp` does with one picture (1, 3, H, W), from the file alone, in its own order.

    As in its clip.cpp and models/llava.cpp: the class token is put behind the patches, position i is added to row i,
    and as many rows as there are patches are read, from the second on where there is a class token.
    """
    facts, t = read(file)
    vision = {key.removeprefix("clip.vision."): value for key, value in facts.items()}
    heads, eps = vision["attention.head_count"], vision["attention.layer_norm_epsilon"]

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], t[f"{name}.weight"], t[f"{name}.bias"], eps)

    def linear(x, name):
        return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]

    def activation(x):
        return F.gelu(x, approximate="tanh") if facts["clip.use_gelu"] else x * torch.sigmoid(1.702 * x)

    patches = F.conv2d(pixels, t["v.patch_embd.weight"], t.get("v.patch_embd.bias"), stride=vision["patch_size"])
    x = patches[0].flatten(1).T
    first = 0
    if "v.class_embd" in t:
        x, first = torch.cat([x, t["v.class_embd"][None]]), 1
    x = x + t["v.position_embd.weight"]
    if "v.pre_ln.weight" in t:
        x = norm(x, "v.pre_ln")
    for number in range(max(vision["feature_layer"])):
        block = f"v.blk.{number}"
        y = norm(x, f"{block}.ln1")
        q, k, v = (linear(y, f"{block}.attn_{n}").unflatten(1, (heads, -1)).transpose(0, 1) for n in "qkv")
        weights = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1)
        x = x + linear((weights @ v).transpose(0, 1).flatten(1), f"{block}.attn_out")
        x = x + linear(activation(linear(norm(x, f"{block}.ln2"), f"{block}.ffn_up")), f"{block}.ffn_down")
    return linear(F.gelu(linear(x[first:], "mm.0")), "mm.2")[None]


@pytest.mark.parametrize("case", [CLIP, SIGLIP])
@torch.no_grad()
def test_the_vision_file_alone_gives_the_rows_of_a_picture(tmp_path, case):
    model, processor = golden(case)
    report = gguf_files.export(model, processor, tmp_path / "out")
    assert [each.file for each in report.files] == ["model.gguf", "mmproj.gguf"]
    assert {f.name for f in (tmp_path / "out").iterdir()} == {"model.gguf", "mmproj.gguf"}
    pixels = torch.randn(1, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    expected = model.encode("image", {"pixel_values": pixels})
    found = llama_cpps_rows(tmp_path / "out" / "mmproj.gguf", pixels)
    early = "llama.cpp gives CLIP's rows one place early" in " ".join(report.notes)
    assert early == (case == CLIP)
    if early:  # behind the class token's, which comes last
        found, expected = found[:, :-1], expected[:, 1:]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_the_vision_file_says_what_llama_cpp_asks(tmp_path):
    model, processor = golden(CLIP)
    gguf_files.export(model, processor, tmp_path / "out")
    facts, _ = read(tmp_path / "out" / "mmproj.gguf")
    said = {key: value for key, value in facts.items() if key.startswith(("clip", "general.arch", "general.type"))}
    mean, std = said.pop("clip.vision.image_mean"), said.pop("clip.vision.image_std")
    assert said.pop("clip.vision.attention.layer_norm_epsilon") == pytest.approx(1e-5)
    assert mean == pytest.approx([0.48145466, 0.4578275, 0.40821073])
    assert std == pytest.approx([0.26862954, 0.26130258, 0.27577711])
    assert said == {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "clip.has_vision_encoder": True,
        "clip.projector_type": "mlp",
        "clip.use_gelu": False,
        "clip.vision.image_size": 28,
        "clip.vision.patch_size": 14,
        "clip.vision.embedding_length": 32,
        "clip.vision.feed_forward_length": 64,
        "clip.vision.projection_dim": 64,
        "clip.vision.block_count": 1,
        "clip.vision.attention.head_count": 4,
        "clip.vision.feature_layer": [1],
    }


def as_transformers_reads(folder):
    """The LLM and its tokenizer from model.gguf."""
    llm = AutoModelForCausalLM.from_pretrained(folder, gguf_file="model.gguf", dtype=torch.float32)
    return llm.eval(), AutoTokenizer.from_pretrained(folder, gguf_file="model.gguf")


@pytest.mark.parametrize("tied", [False, True])
@torch.no_grad()
def test_transformers_reads_the_same_llm_and_tokenizer(tmp_path, tied):
    model, processor = toys.picture_model(tmp_path / "llm", tied=tied)
    gguf_files.export(model, processor, tmp_path / "out")
    llm, tokenizer = as_transformers_reads(tmp_path / "out")
    assert torch.equal(llm(IDS).logits, model.language_model(IDS).logits)
    assert llm.config.tie_word_embeddings is tied
    _, tensors = read(tmp_path / "out" / "model.gguf")
    assert ("output.weight" in tensors) is not tied
    for text in TEXTS:
        ours = processor.tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer(text, add_special_tokens=False).input_ids == ours
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)


def llm_model(folder, config_class=Qwen2Config, llm_class=Qwen2ForCausalLM, tokenizer="qwen2_instruct", **sizes):
    torch.manual_seed(4)
    tokenizer = AutoTokenizer.from_pretrained(GOLDEN / "data" / "tokenizers" / tokenizer)
    tokenizer.chat_template = toys.CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    common = {
        "vocab_size": len(tokenizer) + 5,
        "hidden_size": 24,
        "intermediate_size": 44,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": False,
        "initializer_range": 0.3,
    }
    config = config_class(**{**common, **sizes})
    llm = llm_class(config)
    for name, weight in llm.named_parameters():
        if name.endswith((".bias", "norm.weight", "layernorm.weight")):
            torch.nn.init.normal_(weight)
    llm.save_pretrained(folder)
    flags = {"towers": [f"image=clip:{toys.CLIP}"], "connectors": ["image=mlp2x_gelu"], "settings": []}
    return assemble(Assembly.from_flags(llm=f"{config.model_type}:{folder}", **flags))


@torch.no_grad()
def test_a_qwen2_is_written_with_its_biases(tmp_path):
    model, processor = llm_model(tmp_path / "llm")
    gguf_files.export(model, processor, tmp_path / "out")
    llm, tokenizer = as_transformers_reads(tmp_path / "out")
    assert type(llm) is Qwen2ForCausalLM
    assert torch.equal(llm(IDS).logits, model.language_model(IDS).logits)
    assert tokenizer("the hat 12").input_ids == processor.tokenizer("the hat 12").input_ids
    facts, _ = read(tmp_path / "out" / "model.gguf")
    assert (facts["tokenizer.ggml.model"], facts["tokenizer.ggml.pre"]) == ("gpt2", "qwen2")


@torch.no_grad()
def test_a_qwen3_is_written_with_the_norms_of_its_heads(tmp_path):
    """Heads of another width than an even share of the LLM's."""
    model, processor = llm_model(tmp_path / "llm", Qwen3Config, Qwen3ForCausalLM)
    gguf_files.export(model, processor, tmp_path / "out")
    llm, _ = as_transformers_reads(tmp_path / "out")
    assert type(llm) is Qwen3ForCausalLM
    assert torch.equal(llm(IDS).logits, model.language_model(IDS).logits)
    _, tensors = read(tmp_path / "out" / "model.gguf")
    assert tensors["blk.1.attn_q_norm.weight"].shape == (128,)


def llama_cpps_logits(file, ids):
    """What llama.cpp computes of Phi-2, StableLM and Gemma, from the file alone: ids (T,) -> (T, V)."""
    facts, t = read(file)
    arch = facts["general.architecture"]
    said = {key.removeprefix(f"{arch}."): value for key, value in facts.items()}
    eps, rms_eps = (said.get(f"attention.layer_norm_{key}") for key in ("epsilon", "rms_epsilon"))

    def norm(x, name):
        if rms_eps is not None:
            return x * (x.pow(2).mean(-1, keepdim=True) + rms_eps).rsqrt() * t[f"{name}.weight"]
        return F.layer_norm(x, x.shape[-1:], t[f"{name}.weight"], t.get(f"{name}.bias"), eps)

    def linear(x, name):
        return F.linear(x, t[f"{name}.weight"], t.get(f"{name}.bias"))

    def rotated(x):
        """(heads, T, d), of which the first dimensions are turned, each half with the other."""
        turned, left = x.split([said["rope.dimension_count"], x.shape[-1] - said["rope.dimension_count"]], -1)
        half = turned.shape[-1] // 2
        speeds = said["rope.freq_base"] ** -(torch.arange(half) / half)
        angles = torch.arange(x.shape[1])[:, None] * speeds
        one, other = turned.split(half, -1)
        cos, sin = angles.cos(), angles.sin()
        return torch.cat([one * cos - other * sin, other * cos + one * sin, left], -1)

    def ffn(x, block):
        up = linear(x, f"{block}.ffn_up")
        if arch == "phi2":
            return linear(F.gelu(up, approximate="tanh"), f"{block}.ffn_down")
        gate = linear(x, f"{block}.ffn_gate")
        gate = F.gelu(gate, approximate="tanh") if arch == "gemma" else F.silu(gate)
        return linear(gate * up, f"{block}.ffn_down")

    x = t["token_embd.weight"][ids]
    if arch == "gemma":
        x = x * x.shape[-1] ** 0.5
    heads, key_heads = said["attention.head_count"], said["attention.head_count_kv"]
    mask = torch.full((len(ids), len(ids)), -torch.inf).triu(1)
    for number in range(said["block_count"]):
        block = f"blk.{number}"
        normed = norm(x, f"{block}.attn_norm")
        counts = {"q": heads, "k": key_heads, "v": key_heads}
        q, k, v = (
            linear(normed, f"{block}.attn_{n}").unflatten(1, (count, -1)).transpose(0, 1) for n, count in counts.items()
        )
        k, v = (each.repeat_interleave(heads // key_heads, 0) for each in (rotated(k), v))
        weights = (rotated(q) @ k.transpose(1, 2) / said["attention.key_length"] ** 0.5 + mask).softmax(-1)
        attended = linear((weights @ v).transpose(0, 1).flatten(1), f"{block}.attn_output")
        if f"{block}.ffn_norm.weight" in t:
            x = x + attended
            x = x + ffn(norm(x, f"{block}.ffn_norm"), block)
        else:  # both at once
            x = x + attended + ffn(normed, block)
    head = t.get("output.weight", t["token_embd.weight"])
    return F.linear(norm(x, "output_norm"), head, t.get("output.bias"))


@pytest.mark.parametrize(
    ("config_class", "llm_class", "tokenizer", "sizes"),
    [
        (PhiConfig, PhiForCausalLM, "phi", TURNS),
        (StableLmConfig, StableLmForCausalLM, "stablelm", {"use_qkv_bias": True, **TURNS}),
        (StableLmConfig, StableLmForCausalLM, "stablelm", {"use_parallel_residual": True, **TURNS}),
        (GemmaConfig, GemmaForCausalLM, "gemma", {"head_dim": 8, "tie_word_embeddings": True}),
    ],
    ids=["phi", "stablelm", "stablelm at once", "gemma"],
)
@torch.no_grad()
def test_the_file_alone_gives_the_logits_of_another_llm(tmp_path, config_class, llm_class, tokenizer, sizes):
    model, processor = llm_model(tmp_path / "llm", config_class, llm_class, tokenizer, **sizes)
    gguf_files.export(model, processor, tmp_path / "out")
    found = llama_cpps_logits(tmp_path / "out" / "model.gguf", IDS[0])
    torch.testing.assert_close(found, model.language_model(IDS).logits[0], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_transformers_reads_a_stablelm(tmp_path):
    model, processor = llm_model(tmp_path / "llm", StableLmConfig, StableLmForCausalLM, "stablelm")
    gguf_files.export(model, processor, tmp_path / "out")
    llm, _ = as_transformers_reads(tmp_path / "out")
    assert torch.equal(llm(IDS).logits, model.language_model(IDS).logits)


def test_a_begin_token_is_asked_for_where_the_model_was_trained_with_one(tmp_path):
    """Not by a template that writes its own."""
    found = {}
    for name, (model, processor) in {"vicuna": golden(CLIP), "auto": toys.picture_model(tmp_path / "llm")}.items():
        gguf_files.export(model, processor, tmp_path / name)
        facts, _ = read(tmp_path / name / "model.gguf")
        found[name] = facts["tokenizer.ggml.add_bos_token"], facts["tokenizer.chat_template"]
    assert found["auto"] == (False, toys.CHAT_TEMPLATE)
    assert found["vicuna"][0] is True


def test_the_chat_template_gives_our_text_with_llama_cpps_marker(tmp_path):
    model, processor = golden(CLIP)
    gguf_files.export(model, processor, tmp_path / "out")
    facts, _ = read(tmp_path / "out" / "model.gguf")
    tokenizer = processor.tokenizer
    tokenizer.chat_template = facts["tokenizer.chat_template"]
    messages = [
        {"role": "user", "content": "what is <__media__> this?"},
        {"role": "assistant", "content": "a cat"},
        {"role": "user", "content": "sure?"},
    ]
    said = [{**m, "content": m["content"].replace("<__media__>", "")} for m in messages]
    said[0]["content"] = ["what is ", {"type": "image", "image": "a.png"}, " this?"]
    turns = processor.conversation(said).turns
    ours = "".join(span.text for span in processor.template.render(turns, answer=True)).replace("\0", "<__media__>")
    assert tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == ours


@torch.no_grad()
def test_halves_are_for_matrices_alone(tmp_path):
    model, processor = golden(CLIP)
    gguf_files.export(model, processor, tmp_path / "out", dtype="float16")
    for name in ("model.gguf", "mmproj.gguf"):
        for tensor in gguf.GGUFReader(tmp_path / "out" / name).tensors:
            single = len(tensor.shape) == 1 or tensor.name.startswith("v.position_embd")
            assert tensor.tensor_type.name == ("F32" if single else "F16"), tensor.name
    llm, _ = as_transformers_reads(tmp_path / "out")
    torch.testing.assert_close(llm(IDS).logits, model.language_model(IDS).logits, atol=2e-2, rtol=0)


@pytest.mark.parametrize(("dtype", "written"), [(torch.float32, "float32"), (torch.bfloat16, "float16")])
def test_the_default_is_the_models_precision(tmp_path, dtype, written):
    model, processor = golden(CLIP, dtype=dtype)
    report = gguf_files.export(model, processor, tmp_path / "out")
    assert {each.dtype for each in report.files} == {written}


def test_a_weight_too_large_for_halves_is_refused(tmp_path):
    model, processor = golden(CLIP)
    with torch.no_grad():
        model.language_model.model.layers[1].mlp.up_proj.weight[3, 4] = -70000.0
    with pytest.raises(KitError, match=r"blk\.1\.ffn_up\.weight: has weights beyond 65504.*use --dtype float32"):
        gguf_files.export(model, processor, tmp_path / "out", dtype="float16")
    assert list(tmp_path.iterdir()) == []


def test_the_llm_alone_is_written_of_a_model_that_llama_cpp_cannot_see_with(tmp_path):
    model, processor = golden("tinyllama_clip_qformer")
    report = gguf_files.export(model, processor, tmp_path / "out", llm_only=True)
    assert [each.file for each in report.files] == ["model.gguf"]
    assert not [note for note in report.notes if "picture" in note or "CLIP" in note]
    assert [f.name for f in (tmp_path / "out").iterdir()] == ["model.gguf"]


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("tinyllama_clip_qformer", "its connector is 'qformer'; mlp2x_gelu is written"),
        ("tinyllama_dinov2_mlp2x_gelu", "its tower is 'dinov2'; CLIP and SigLIP are written"),
        ("tinyllama_siglip_mlp2x_gelu", "its tower's features are not the patches of a layer"),
        ("phi_siglip_mlp2x_gelu", "its tower's features are not the patches of a layer"),
    ],
)
def test_what_llama_cpp_does_not_know_is_refused_with_the_reason(tmp_path, case, reason):
    model, processor = golden(case)
    with pytest.raises(KitError, match=f"cannot be a gguf: .*{reason}"):
        gguf_files.export(model, processor, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("attention_bias", True, "its attention has biases"),
        ("mlp_bias", True, "its MLP has biases"),
        ("hidden_act", "gelu", "its LLM's activation is 'gelu'; llama.cpp's is 'silu'"),
        ("rope_parameters", {"rope_type": "llama3", "factor": 8.0}, "its LLM's positions are scaled ('llama3')"),
    ],
)
def test_a_llama_unlike_llama_cpps_is_refused(field, value, reason):
    model, processor = golden(CLIP)
    object.__setattr__(model.config.text_config, field, value)
    assert any(reason in fault for fault in gguf_files.faults(model, processor))


def test_a_head_of_its_own_is_refused_before_anything_is_written_where_llama_cpp_has_none(tmp_path):
    model, processor = llm_model(tmp_path / "llm", GemmaConfig, GemmaForCausalLM, "gemma", head_dim=8)
    reason = "llama.cpp has no name for the weight 'lm_head.weight'"
    assert gguf_files.faults(model, processor, llm_only=True) == [reason]
    with pytest.raises(KitError, match=f"cannot be a gguf: {reason}"):
        gguf_files.export(model, processor, tmp_path / "out")


def test_what_a_picture_is_to_llama_cpp_is_said():
    model, processor = golden(CLIP)

    def told(aspect):
        model.config.modalities["image"]["options"] = {"aspect": aspect}
        notes = [note for note in gguf_files.notes(model, processor) if "square" in note]
        return [*gguf_files.faults(model, processor), *notes]

    assert told("square") == ["llama.cpp pads a picture to a square, this model does not: give it square pictures"]
    assert told("pad") == []
    assert told("tiles") == ["pictures are read with aspect 'tiles'; llama.cpp takes them whole"]
    processor.preprocessors["image"]._processor.image_mean = [0.5, 0.5, 0.5]
    assert "this model with (127, 127, 127)" in told("pad")[0]


def test_a_space_behind_an_end_token_is_told_of_where_the_tokenizer_writes_none():
    _, processor = golden(CLIP)
    told = "one token more, a space, behind each end token"
    found = {}
    for name in ("llama_legacy_false", "qwen2_instruct"):
        processor.tokenizer = AutoTokenizer.from_pretrained(GOLDEN / "data" / "tokenizers" / name)
        found[name] = any(told in note for note in gguf_files.notes(golden(CLIP)[0], processor, llm_only=True))
    assert found == {"llama_legacy_false": True, "qwen2_instruct": False}


def test_another_activation_of_the_tower_is_refused():
    model, processor = golden(CLIP)
    model.towers["image"].vision_config.hidden_act = "relu"
    assert any("its tower's activation is 'relu', not one of" in fault for fault in gguf_files.faults(model, processor))


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    model, processor = golden(CLIP)
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert gguf_files.faults(model, processor) == ["a gguf file needs gguf; pip install 'tinyllava-kit[gguf]'"]


def test_rows_are_paired_as_a_rotation_of_neighbours_wants_them():
    """Row i of a head's first half is followed by row i of its second half."""
    rows = torch.arange(2 * 6 * 5).reshape(12, 5)
    paired = gguf_writing.paired(rows, 2)
    order = [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]
    assert torch.equal(paired, rows[order])
    assert torch.equal(gguf_writing.unpaired(paired, 2), rows)


@torch.no_grad()
def test_without_the_order_of_rows_transformers_would_compute_something_else(tmp_path, monkeypatch):
    """The control of the logits: they see the order."""
    model, processor = toys.picture_model(tmp_path / "llm")
    monkeypatch.setattr(gguf_writing, "paired", lambda rows, heads: rows)
    monkeypatch.setattr(gguf_writing, "unpaired", lambda rows, heads: rows)
    gguf_files.export(model, processor, tmp_path / "out")
    llm, _ = as_transformers_reads(tmp_path / "out")
    assert (llm(IDS).logits - model.language_model(IDS).logits).abs().max() > 1e-2


@pytest.mark.parametrize("what", ["value", "order"])
def test_a_file_that_holds_something_else_is_not_published(tmp_path, monkeypatch, what):
    """The control of the comparison."""
    model, processor = golden(CLIP)
    if what == "order":
        monkeypatch.setattr(gguf_writing, "paired", lambda rows, heads: rows)
    else:
        values = gguf_writing.Entry.values
        monkeypatch.setattr(gguf_writing.Entry, "values", lambda self, dtype: values(self, dtype) * np.float32(1.001))
    with pytest.raises(KitError, match=r"model\.gguf: .* differs from the model's when it is read back"):
        gguf_files.export(model, processor, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_file_with_other_tensors_is_found_out(tmp_path):
    model, processor = golden(CLIP)
    gguf_files.export(model, processor, tmp_path / "out")
    entries = list(gguf_files._vision_entries(model))
    with pytest.raises(KitError, match=r"read back with other tensors than were written: \{'mm\.2\.bias'\}"):
        gguf_writing.check_written(tmp_path / "out" / "mmproj.gguf", entries[:-1], torch.float32)


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    model, processor = golden(CLIP)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensor_data", full)
    with pytest.raises(KitError, match=r"cannot save '.*out': .*No space left"):
        gguf_files.export(model, processor, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_no_path_of_this_machine_is_in_a_file(tmp_path):
    model, processor = golden(CLIP)
    gguf_files.export(model, processor, tmp_path / "out")
    for name in ("model.gguf", "mmproj.gguf"):
        facts, _ = read(tmp_path / "out" / name)
        assert str(tmp_path) not in json.dumps(facts)
        assert facts["general.name"] == "out"
