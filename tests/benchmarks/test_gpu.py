"""What is measured on a GPU, run on the CPU at toy sizes: every figure is there, and the two sides do the same."""

from __future__ import annotations

import pytest
import torch
from click.testing import CliRunner

from benchmarks import device, gpu, llava_pair, memory
from benchmarks.__main__ import main
from benchmarks.figure import Figure, guarded, verdict
from tinyllava_kit import TinyLlavaForConditionalGeneration

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
TOY = llava_pair.Sizes(
    llm={
        "vocab_size": 96,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
    },
    vision={
        "model_type": "siglip_vision_model",
        "hidden_size": 24,
        "intermediate_size": 36,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 28,
        "patch_size": 14,
    },
    prompt=9,
    new_tokens=5,
    samples=6,
    longest=400,
    batch=2,
)


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    return llava_pair.save_pair(tmp_path_factory.mktemp("pair"), TOY)


def test_every_figure_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)  # neither flash_attn nor bitsandbytes
    ways = ("sdpa", "flash_attention_2")
    found = list(gpu.figures(tmp_path, TOY, CPU, rounds=1, backend="eager", attentions=ways))
    assert {figure.name: figure.why for figure in found if figure.value is None} == {
        **{f"gpu_{b}bit_{what}_in_bf16": "no bitsandbytes" for b in (8, 4) for what in ("memory", "token_time")},
        **{f"gpu_train_packed_flash_attention_2_{w}": "no flash_attn" for w in ("time_in_padded", "tokens_per_second")},
    }
    values = {figure.name: figure.value for figure in found if figure.value is not None}
    assert {name: value for name, value in values.items() if name.endswith("_waits")} == {
        "gpu_step_padded_waits": 0.0,
        "gpu_step_packed_waits": 0.0,
        "gpu_compiled_step_waits": 0.0,
    }
    assert values["gpu_compiled_loss_off"] < 0.01
    assert 0 < values["gpu_bf16_logits_off_fp32"] < 0.1
    assert {figure.name for figure in found if figure.goal} == {
        *(f"gpu_fuse_bf16_batch{n}_{way}_in_masked_scatter" for n in (8, 32) for way in ("forward", "backward")),
        *(f"gpu_{what}_time_in_llava" for what in ("token", "first_token")),
        "gpu_bf16_forward_time_in_fp32",
        "gpu_train_packed_sdpa_time_in_padded",
        "gpu_compiled_loss_off",
        "gpu_compiled_step_time_in_eager",
    }
    assert {name for name in values if "second" in name} == {
        *(f"gpu_{what}_{side}" for what in ("tokens_per_second", "first_token_seconds") for side in ("ours", "llava")),
        "gpu_train_padded_sdpa_tokens_per_second",
        "gpu_train_packed_sdpa_tokens_per_second",
    }


@pytest.mark.parametrize("bits", [8, 4])
def test_quantized_weights_take_less(directories, bits):
    pytest.importorskip("bitsandbytes")
    bench = gpu.Bench(directories[0].parent, TOY, CPU, 1)
    bench.directories = directories
    assert gpu.stored_bytes(bench._opened_in(bits)) < gpu.stored_bytes(bench.ours)


def test_both_models_answer_alike(directories):
    from transformers import LlavaForConditionalGeneration

    mine, theirs = llava_pair.question(TOY, CPU, torch.float32)
    said = []
    for kind, folder, given in zip(
        (TinyLlavaForConditionalGeneration, LlavaForConditionalGeneration), directories, (mine, theirs), strict=True
    ):
        model = llava_pair.opened(kind, folder, CPU, dtype=torch.float32)
        said.append(gpu.answer(model, given, TOY.new_tokens)[0, -TOY.new_tokens :].tolist())
    assert said[0] == said[1]
    assert len(said[0]) == TOY.new_tokens


def test_packed_and_padded_batches_hold_the_same_targets():
    samples = llava_pair.samples_of_mixture(TOY)
    made = {way: getattr(llava_pair, way)(samples, TOY, CPU, torch.float32) for way in ("padded", "packed")}
    learned = {
        way: sorted(int(i) for batch in batches for i in batch["labels"][batch["labels"] >= 0])
        for way, batches in made.items()
    }
    assert learned["padded"] == learned["packed"]
    assert len(learned["padded"]) == llava_pair.num_targets(made["packed"]) > 0
    positions = {way: sum(batch["input_ids"].numel() for batch in batches) for way, batches in made.items()}
    assert positions["packed"] < positions["padded"]


def test_what_reads_from_the_device_is_seen_unless_it_is_let():
    layer = torch.nn.Linear(3, 3)
    layer.register_forward_hook(lambda *_: torch.ones(2).sum().item())  # within the call, before it is watched again
    with device.without_sync(CPU, but=layer):
        layer(torch.ones(1, 3)) + 1
    with (
        pytest.raises(AssertionError, match="reads back from the device: aten::_local_scalar_dense"),
        device.without_sync(CPU),
    ):
        layer(torch.ones(1, 3))


def test_a_figure_that_fails_says_why_and_is_short():
    def fails() -> float:
        raise ValueError("no room\nmore")

    failed = guarded("a", fails, goal=1.0)
    absent = Figure(name="b", value=None, why="no flash_attn", is_absent=True)
    assert failed.line().split() == ["a", "-", "1", "failed:", "ValueError:", "no", "room"]
    assert absent.line().split() == ["b", "-", "-", "absent:", "no", "flash_attn"]
    assert verdict([failed, absent, guarded("c", lambda: 1.0)]) == "verdict short: a"


def test_without_a_device_one_line_says_so(monkeypatch):
    monkeypatch.setattr(memory, "take", lambda way: None)  # it would be for the rest of this process
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = CliRunner().invoke(main, ["gpu"])
    assert result.output.splitlines() == ["gpu absent - torch finds no CUDA device", "verdict ok"]
