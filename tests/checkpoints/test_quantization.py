"""8 and 4 bits, beside bitsandbytes' own dequantized weights in plain layers.

On a processor with bfloat16 instructions 4-bit layers compute in bfloat16 when they are not trained, and 8-bit layers
round their inputs anywhere; in training mode both multiply the dequantized weight, and that is compared exactly.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bitsandbytes import functional as bnb
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.quantizers.quantizers_utils import should_convert_module

from tests import toys
from tinyllava_kit import KitError, TinyLlavaForConditionalGeneration, assemble
from tinyllava_kit.checkpoints.checking import check
from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.checkpoints.quantization import Quantization, full_bytes, kept_layers, stored_bytes, table_of
from tinyllava_kit.model import pretrained
from tinyllava_kit.model.parts import named_parts
from tinyllava_kit.model.storage.replaced import save_together
from tinyllava_kit.plugin import extras
from tinyllava_kit.pretrained.checkpoint import read_pretrained
from tinyllava_kit.training.stage_settings import PartTraining
from tinyllava_kit.training.trained_parts import OpenParts

pytestmark = pytest.mark.slow

EIGHT = Quantization(bits=8)
NF4 = Quantization(bits=4)
WAYS = {
    "8": EIGHT,
    "nf4": NF4,
    "nf4-single": replace(NF4, double_quant=False),
    "fp4": replace(NF4, type="fp4"),
    "fp4-single": replace(NF4, type="fp4", double_quant=False),
}
Q_PROJ = "language_model.model.layers.0.self_attn.q_proj"
DOWN_PROJ = "language_model.model.layers.0.mlp.down_proj"
every_way = pytest.mark.parametrize("how", WAYS.values(), ids=WAYS)
both_widths = pytest.mark.parametrize("how", [EIGHT, NF4], ids=["8", "4"])


def load_quantized(directory: Path | str, how: Quantization):
    """The model and its processor, quantized while the weights are read."""
    return load_pretrained(directory, quantization=how)


def wide_llm(folder: Path, intermediate: int) -> Path:
    """A toy Llama of width 64, which 4 bits need."""
    toys.save_llama(folder, hidden=64)
    config = LlamaConfig.from_pretrained(folder)
    config.intermediate_size = intermediate
    torch.manual_seed(1)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model that reads pictures; every linear layer of its LLM fits 4 bits, of its connector the second."""
    folder = tmp_path_factory.mktemp("full")
    torch.manual_seed(3)
    for part in assemble(toys.picture_assembly(wide_llm(folder / "llm", 192))):
        part.save_pretrained(folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def batch(source: Path, tmp_path_factory: pytest.TempPathFactory):
    """Two conversations, a picture in one of them, padded."""
    folder = tmp_path_factory.mktemp("pictures")
    names = toys.save_pictures(folder, 1)
    _, processor = load_pretrained(source)
    rows = [
        [{"role": "user", "content": [{"type": "image", "image": str(folder / names[0])}, "what is it?"]}],
        [{"role": "user", "content": "and now?"}],
    ]
    return processor(rows)


@torch.no_grad()
def logits(model: nn.Module, batch) -> torch.Tensor:
    return model(**batch, logits_to_keep=0).logits


def quantized(model: nn.Module) -> dict[str, nn.Module]:
    return {name: m for name, m in model.named_modules() if isinstance(m, (Linear4bit, Linear8bitLt))}


def dequantized(layer: nn.Module) -> torch.Tensor:
    """What bitsandbytes says that a weight is."""
    if isinstance(layer, Linear8bitLt):
        return bnb.int8_vectorwise_dequant(layer.weight.data, layer.weight.SCB)
    return bnb.dequantize_4bit(layer.weight.data, layer.weight.quant_state).float()


def plain(model: nn.Module, source: Path) -> nn.Module:
    """The model in full precision, its weights those that the quantized one has."""
    twin = TinyLlavaForConditionalGeneration.from_pretrained(source)
    for name, layer in quantized(model).items():
        twin.get_submodule(name).weight.data = dequantized(layer).clone()
    return twin


# What is computed


@every_way
def test_a_layer_multiplies_the_dequantized_weight(source: Path, how: Quantization) -> None:
    layer = load_quantized(source, how)[0].get_submodule(Q_PROJ).train()
    weight = dequantized(layer)
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer(x), x @ weight.T, rtol=0, atol=1e-5)
    answered = layer.eval()(x)
    if how.bits == 8:  # an input is off by half of its row's largest / 127, and by what float16 rounds away
        bound = (x.abs().amax(1, keepdim=True) * (0.5 / 127 + 2**-10)) * weight.abs().sum(1)  # (5, 64)
    else:  # bfloat16 has 8 bits of mantissa: inputs, scales and the sum
        bound = (x.abs() @ weight.abs().T) * 2**-7
    assert ((answered - x @ weight.T).abs() <= bound).all()


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_four_bits_are_the_nearest_of_sixteen_values_times_the_largest_of_sixty_four(source: Path, kind: str) -> None:
    full = TinyLlavaForConditionalGeneration.from_pretrained(source).get_submodule(Q_PROJ).weight.detach()
    model, _ = load_quantized(source, Quantization(bits=4, type=kind, double_quant=False))
    layer = model.get_submodule(Q_PROJ)
    values = layer.weight.quant_state.code
    blocks = full.reshape(-1, 64)
    largest = blocks.abs().amax(1, keepdim=True)
    nearest = (blocks / largest)[..., None].sub(values).abs().argmin(-1)
    torch.testing.assert_close(dequantized(layer).reshape(-1, 64), values[nearest] * largest, rtol=0, atol=1e-6)


@every_way
def test_the_model_computes_what_its_dequantized_twin_computes(source: Path, batch, how: Quantization) -> None:
    model, _ = load_quantized(source, how)
    twin = plain(model, source)
    torch.testing.assert_close(logits(model.train(), batch), logits(twin.train(), batch), rtol=0, atol=1e-4)


@every_way
def test_what_was_saved_gives_the_logits_of_what_was_quantized_at_loading(
    source: Path, batch, tmp_path: Path, how: Quantization
) -> None:
    model, processor = load_quantized(source, how)
    save_together(tmp_path / "saved", model, processor)
    again, same = load_pretrained(tmp_path / "saved")
    assert same.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    assert torch.equal(logits(again, batch), logits(model, batch))
    assert quantized(again).keys() == quantized(model).keys()


def test_8_bits_of_a_model_that_has_run_are_saved_as_they_were(source: Path, batch, tmp_path: Path) -> None:
    model, processor = load_quantized(source, EIGHT)
    answered = logits(model, batch)
    save_together(tmp_path / "saved", model, processor)
    assert torch.equal(logits(load_pretrained(tmp_path / "saved")[0], batch), answered)


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16", None])
def test_the_compute_dtype_is_as_asked_or_the_models(source: Path, name: str | None) -> None:
    model, _ = load_quantized(source, replace(NF4, compute_dtype=name))
    assert model.get_submodule(Q_PROJ).compute_dtype is getattr(torch, name or "float32")
    assert model.dtype is torch.float32


# Which layers


def test_the_llm_is_quantized_and_nothing_else(source: Path) -> None:
    model, _ = load_quantized(source, NF4)
    linears = {n for n, m in model.language_model.model.named_modules(prefix="language_model.model") if is_linear(m)}
    assert quantized(model).keys() == linears
    assert len(linears) == 14
    assert kept_layers(model, ["llm"]) == ["language_model.lm_head 320x64"]


def is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear)


@pytest.mark.parametrize("part", ["llm", "tower.image", "connector.image"])
def test_a_part_is_named_as_recipes_name_it(source: Path, part: str) -> None:
    model, _ = load_quantized(source, Quantization(bits=8, parts=(part,)))
    module = named_parts(model)[part]
    assert set(quantized(model).values()) == set(quantized(module).values()) != set()


def test_what_is_quantized_is_read_on_its_own(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the pages behind it go with it; what is kept stays mapped, as in a model that is not quantized."""
    asked = []
    read = pretrained.open_tensors
    monkeypatch.setattr(
        pretrained, "open_tensors", lambda files, passing: asked.append(passing) or read(files, passing)
    )
    model, _ = load_quantized(source, NF4)
    assert asked == [{f"{name}.weight" for name in quantized(model)}]
    load_pretrained(source)
    assert len(asked) == 1


def test_shards_of_quantized_weights_are_one_model(source: Path, tmp_path: Path) -> None:
    for how in (NF4, EIGHT):
        model, processor = load_quantized(source, how)
        model.save_pretrained(tmp_path / "whole")
        model.save_pretrained(tmp_path / "shards", max_shard_size="60KB")
        processor.save_pretrained(tmp_path / "shards")
        assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 3
        assert not (tmp_path / "shards" / "model.safetensors").exists()
        one, many = (
            TinyLlavaForConditionalGeneration.from_pretrained(tmp_path / name).state_dict()
            for name in ("whole", "shards")
        )
        assert one.keys() == many.keys()
        assert all(torch.equal(one[name], many[name]) for name in one)
        assert check(tmp_path / "shards").layout == "tinyllava_kit"


def test_a_part_does_not_stand_for_one_whose_name_begins_like_it(source: Path) -> None:
    kept = EIGHT.config(TinyLlavaForConditionalGeneration.from_pretrained(source).config).llm_int8_skip_modules
    assert not should_convert_module("connectors.image.layers.0", kept)
    assert should_convert_module("connectors.images.layers.0", kept)
    assert should_convert_module("language_model.model.lm_head_like", kept)


def test_layers_that_do_not_fit_keep_their_dtype_and_are_named(source: Path) -> None:
    model, _ = load_quantized(source, Quantization(bits=4, parts=("llm", "connector.image")))
    assert kept_layers(model, ["connector.image"]) == ["connectors.image.layers.0 64x32"]
    assert isinstance(model.get_submodule("connectors.image.layers.2"), Linear4bit)


@pytest.mark.parametrize("odd", [{"rows": 48}, {"rows": 64, "columns": 96}], ids=["rows", "columns"])
def test_layers_that_do_not_fit_are_the_ones_that_bitsandbytes_cannot_run(odd: dict[str, int]) -> None:
    layer = nn.Linear(odd.get("columns", 64), odd["rows"])
    assert not NF4.fits(layer)
    assert EIGHT.fits(layer)
    assert NF4.fits(nn.Linear(128, 32))


def test_a_layer_kept_for_its_size_is_kept_in_a_model_that_runs(tmp_path: Path, batch) -> None:
    torch.manual_seed(3)
    for part in assemble(toys.picture_assembly(wide_llm(tmp_path / "llm", 96))):
        part.save_pretrained(tmp_path / "model")
    model, _ = load_quantized(tmp_path / "model", NF4)
    assert kept_layers(model, ["llm"]) == [
        "language_model.model.layers.*.mlp.down_proj 64x96",
        "language_model.lm_head 320x64",
    ]
    assert logits(model, batch).isfinite().all()


def test_a_part_of_which_nothing_fits_is_refused(tmp_path: Path) -> None:
    toys.picture_model(tmp_path / "llm")[0].save_pretrained(tmp_path / "model")
    config = TinyLlavaForConditionalGeneration.from_pretrained(tmp_path / "model").config
    with pytest.raises(
        KitError, match=r"cannot quantize 'llm' to 4 bits: rows must be a multiple of 32 and columns of 64"
    ):
        NF4.config(config)
    assert EIGHT.config(config).load_in_8bit


def test_a_part_without_a_linear_layer_is_refused(tmp_path: Path) -> None:
    llm = toys.save_llama(tmp_path / "llm", hidden=32)
    assemble(toys.picture_assembly(llm, "identity"))[0].save_pretrained(tmp_path / "model")
    config = TinyLlavaForConditionalGeneration.from_pretrained(tmp_path / "model").config
    with pytest.raises(KitError, match=r"cannot quantize 'connector.image' to 8 bits: it has no linear layer"):
        Quantization(bits=8, parts=("connector.image",)).config(config)


def test_the_head_of_a_tied_model_is_kept(tmp_path: Path) -> None:
    toys.picture_model(tmp_path / "llm", tied=True)[0].save_pretrained(tmp_path / "model")
    config = TinyLlavaForConditionalGeneration.from_pretrained(tmp_path / "model").config
    model = TinyLlavaForConditionalGeneration.from_pretrained(
        tmp_path / "model", quantization_config=EIGHT.config(config)
    )
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert "language_model.lm_head" not in quantized(model)


# What is refused


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"bits": 3}, "bits 3: expected 8 or 4"),
        ({"bits": 4, "type": "int4"}, "type 'int4': expected nf4 or fp4"),
        ({"bits": 4, "compute_dtype": "int8"}, "compute_dtype 'int8': expected float32 or bfloat16 or float16"),
        ({"bits": 8, "type": "fp4"}, "are of 4 bits; leave them out"),
        ({"bits": 8, "double_quant": False}, "are of 4 bits; leave them out"),
        ({"bits": 8, "compute_dtype": "float16"}, "are of 4 bits; leave them out"),
        ({"bits": 8, "parts": ()}, "no part to quantize was named"),
    ],
)
def test_a_value_that_does_not_exist_is_refused(wrong: dict, match: str) -> None:
    with pytest.raises(KitError, match=match):
        Quantization(**wrong)


def test_a_part_that_the_model_does_not_have_is_refused(source: Path) -> None:
    with pytest.raises(KitError, match=r"cannot quantize 'tower.imag'.*did you mean 'tower.image'"):
        load_quantized(source, Quantization(bits=8, parts=("tower.imag",)))


@both_widths
def test_a_quantized_model_is_not_quantized_again(source: Path, tmp_path: Path, how: Quantization) -> None:
    save_together(tmp_path / "saved", *load_quantized(source, how))
    name = "8 bit" if how.bits == 8 else "nf4"
    with pytest.raises(KitError, match=rf"quantized already \({name}\)"):
        load_quantized(tmp_path / "saved", NF4)


def test_without_bitsandbytes_the_line_says_how_to_get_it(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(KitError, match=r"needs bitsandbytes; pip install 'tinyllava-kit\[quantize\]'"):
        NF4.config(None)


def test_what_is_no_model_of_the_kit_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(KitError, match="is of no layout that is read"):
        load_quantized(source.parent / "llm", NF4)
    with pytest.raises(KitError, match="no model directory"):
        load_quantized("nowhere", NF4)


# Saving after a forward on the CPU


def run_on_the_cpu(model: nn.Module, batch) -> None:
    """A forward; where the processor has no bfloat16 instructions, what it does to the weights elsewhere."""
    logits(model, batch)
    for layer in quantized(model).values():
        if not getattr(layer.weight.quant_state, "packing_format_for_cpu", False):
            packed = bnb._convert_weight_packed_for_cpu(layer.weight.data, layer.weight.quant_state)
            layer.weight.data, layer.weight.quant_state = packed


@pytest.mark.parametrize("double", [True, False], ids=["double", "single"])
def test_a_4_bit_model_that_has_run_on_the_cpu_is_not_saved(source: Path, batch, tmp_path: Path, double: bool) -> None:
    model, processor = load_quantized(source, replace(NF4, double_quant=double))
    run_on_the_cpu(model, batch)
    with pytest.raises(KitError, match=r"has run on the CPU cannot be saved.*load it again"):
        save_together(tmp_path / "saved", model, processor)
    assert list(tmp_path.iterdir()) == []
    model.state_dict()  # packs the weights as they were, but not the scales
    with pytest.raises(KitError, match="has run on the CPU cannot be saved"):
        model.save_pretrained(tmp_path / "saved")


@pytest.mark.parametrize(("double", "least"), [(True, 1e-4), (False, 0.1)], ids=["double", "single"])
def test_without_that_check_other_weights_would_be_saved(
    source: Path, batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, double: bool, least: float
) -> None:
    model, _ = load_quantized(source, replace(NF4, double_quant=double))
    before = dequantized(model.get_submodule(DOWN_PROJ)).clone()
    run_on_the_cpu(model, batch)
    monkeypatch.setattr(pretrained, "has_repacked_weights", lambda model: False)
    model.save_pretrained(tmp_path / "saved")
    saved = TinyLlavaForConditionalGeneration.from_pretrained(tmp_path / "saved")
    after = dequantized(saved.get_submodule(DOWN_PROJ)).reshape(before.shape)
    assert (after - before).abs().max() > least * before.abs().max()


# Keys


def cut(source: Path, target: Path, *lost: str, extra: str = "") -> Path:
    """A copy of a saved model without the weights whose names end so."""
    shutil.copytree(source, target)
    tensors = load_file(source / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.endswith(tuple(lost) or "\n")}
    assert not lost or len(kept) < len(tensors)
    if extra:
        kept[extra] = torch.zeros(3)
    save_file(kept, target / "model.safetensors", metadata={"format": "pt"})
    return target


@pytest.fixture(scope="module", params=[EIGHT, NF4], ids=["8", "4"])
def saved(request: pytest.FixtureRequest, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / f"{request.param.bits}-bits"
    save_together(folder, *load_quantized(source, request.param))
    return folder


@pytest.mark.parametrize("lost", ["language_model.model.norm.weight", "connectors.image.layers.0.bias"])
def test_a_missing_key_beside_quantized_ones_is_refused(saved: Path, tmp_path: Path, lost: str) -> None:
    with pytest.raises(KitError, match=f"missing weights: {lost}"):
        TinyLlavaForConditionalGeneration.from_pretrained(cut(saved, tmp_path / "cut", lost))


def test_an_unknown_key_beside_quantized_ones_is_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(KitError, match=rf"unexpected weights: {Q_PROJ}\.oddity"):
        TinyLlavaForConditionalGeneration.from_pretrained(cut(saved, tmp_path / "cut", extra=f"{Q_PROJ}.oddity"))


def test_a_quantized_weight_without_its_scales_is_refused(saved: Path, tmp_path: Path) -> None:
    beside = [n for n in load_file(saved / "model.safetensors") if n.startswith(Q_PROJ) and n != f"{Q_PROJ}.weight"]
    assert len(beside) in (2, 5)
    with pytest.raises(KitError, match=rf"missing weights: {Q_PROJ}\.(SCB|weight\.absmax)$"):
        TinyLlavaForConditionalGeneration.from_pretrained(cut(saved, tmp_path / "cut", *beside))


def test_each_tensor_of_a_quantized_weight_is_needed(saved: Path, tmp_path: Path) -> None:
    names = [n for n in load_file(saved / "model.safetensors") if n.startswith(Q_PROJ)]
    for number, name in enumerate(
        n for n in names if not n.endswith("weight_format")
    ):  # which is there for old programs
        match = "missing weights" if name.endswith("nested_absmax") else "cannot read .* conversion of the weights"
        with pytest.raises(KitError, match=match):
            read_pretrained(TinyLlavaForConditionalGeneration, str(cut(saved, tmp_path / str(number), name)))


def test_a_missing_layer_is_refused(saved: Path, tmp_path: Path) -> None:
    names = [n for n in load_file(saved / "model.safetensors") if n.startswith(Q_PROJ)]
    with pytest.raises(KitError, match="cannot read"):
        read_pretrained(TinyLlavaForConditionalGeneration, str(cut(saved, tmp_path / "cut", *names)))


# Bytes


def layer_bytes(how: Quantization, rows: int, columns: int) -> int:
    """By the formats: a scale for a row, or for 64 numbers, those in turn for 256; and tables of 16 and 256 values."""
    if how.bits == 8:
        return rows * columns + 4 * rows
    scales = rows * columns // 64
    second = scales + 4 * -(-scales // 256) + 256 * 4 + 4 if how.double_quant else 4 * scales
    return rows * columns // 2 + second + 16 * 4


@every_way
def test_bytes_are_those_of_the_formats(source: Path, batch, how: Quantization) -> None:
    full = TinyLlavaForConditionalGeneration.from_pretrained(source)
    model, _ = load_quantized(source, how)
    sizes = {name: tuple(full.get_submodule(name).weight.shape) for name in quantized(model)}
    saving = sum(4 * rows * columns - layer_bytes(how, rows, columns) for rows, columns in sizes.values())
    before = sum(t.numel() * t.element_size() for t in (*full.parameters(), *full.buffers()))
    assert stored_bytes(full) == before == full_bytes(model, torch.float32)
    assert stored_bytes(model) == before - saving
    if how.bits == 8:
        logits(model, batch)
        assert stored_bytes(model) == before - saving


def test_the_table_has_each_part_and_the_whole(source: Path) -> None:
    model, _ = load_quantized(source, EIGHT)
    head, *rows = table_of(model)
    assert [row[0] for row in rows] == ["llm", "tower.image", "connector.image", "all"]
    assert [row[-1] for row in rows] == ["14 of 15", "0 of 6", "0 of 2", "14 of 23"]
    columns = [[int(row[column].replace(",", "")) for row in rows] for column in (2, 3)]
    for *parts, whole in columns:
        assert sum(parts) == whole
    assert [row[2] == row[3] for row in rows] == [False, True, True, False]
    assert {row[1] for row in rows} == {"float32"}
    assert len(head) == len(rows[0])


# Gradients


def lora_gradients(model: nn.Module, batch) -> dict[str, torch.Tensor]:
    lora = PartTraining.model_validate({"mode": "lora", "lora": {"rank": 3}})
    opened = OpenParts(model, {"llm": lora, "connector.image": PartTraining.model_validate({"mode": "full"})})
    generator = torch.Generator().manual_seed(5)
    for name, parameter in sorted(model.named_parameters()):
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.05
    assert opened.adapters
    ids = batch["input_ids"]
    model.train()(**batch, logits_to_keep=0).logits[:, -3:].log_softmax(-1)[..., ids.max()].sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@every_way
def test_gradients_of_adapters_and_connector_are_those_of_the_dequantized_twin(
    source: Path, batch, how: Quantization
) -> None:
    model, _ = load_quantized(source, how)
    twin = plain(model, source)
    ours, theirs = lora_gradients(model, batch), lora_gradients(twin, batch)
    assert ours.keys() == theirs.keys()
    assert len(ours) == 2 * 14 + 4
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()), msg=name)
