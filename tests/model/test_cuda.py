"""On a CUDA device a model gives what it gives on the CPU, and the host does not wait for it. Skipped without one."""

from __future__ import annotations

import pytest
import torch

from benchmarks.device import without_sync
from tests import toys
from tinyllava_kit import load_pretrained
from tinyllava_kit.checkpoints.quantization import Quantization

pytestmark = pytest.mark.cuda


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cuda")
    toys.save_picture_model(folder)
    return folder


def opened(folder, device="cuda", **how):
    model, processor = load_pretrained(folder / "model", **how)
    return model.to(device), processor


def learned(processor, folder, packs=None):
    pictures = [{"type": "image", "image": str(folder / name)} for name in toys.save_pictures(folder)]
    asked = [[pictures[0], "what?"], ["no picture at all"], ["first", pictures[1], "then", pictures[2]]]
    rows = [[{"role": "user", "content": c}, {"role": "assistant", "content": "a dog"}] for c in asked]
    return processor.collate([processor.encode(processor.conversation(row)) for row in rows], labels=True, packs=packs)


def gradient(model, batch):
    """The loss and the gradient of the connector."""
    model.zero_grad()
    loss = model.train()(**batch).loss
    loss.backward()
    return [loss.detach().float().cpu(), *(p.grad.float().cpu() for p in model.connectors.parameters())]


@pytest.mark.parametrize("packs", [None, [2, 1]], ids=["padded", "packed"])
def test_a_step_learns_what_it_learns_on_the_cpu(saved, packs):
    model, processor = opened(saved, "cpu")
    batch = learned(processor, saved, packs)
    wanted = gradient(model, batch)
    got = gradient(model.to("cuda"), batch.to("cuda"))
    for mine, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4 * theirs.abs().max().item(), rtol=1e-3)


def test_the_loss_in_bfloat16_is_near(saved):
    model, processor = opened(saved)
    batch = learned(processor, saved).to("cuda")
    wanted = gradient(model, batch)[0]
    got = gradient(model.to(torch.bfloat16), batch.to("cuda", torch.bfloat16))
    torch.testing.assert_close(got[0], wanted, atol=0, rtol=0.05)
    assert all(each.isfinite().all() for each in got)


@pytest.mark.parametrize("packs", [None, [2, 1]], ids=["padded", "packed"])
def test_a_step_does_not_wait_for_the_device(saved, packs):
    model, processor = opened(saved)
    batch = learned(processor, saved, packs).to("cuda")
    with without_sync(model.device, but=model.get_decoder()):
        model.train()(**batch).loss.backward()


def test_a_model_is_one_graph_with_the_same_loss(saved):
    model, processor = opened(saved)
    batch = learned(processor, saved).to("cuda")
    wanted = gradient(model, batch)
    compiled = torch.compile(model, fullgraph=True)
    torch.testing.assert_close(compiled(**batch).loss.detach().cpu(), wanted[0], atol=1e-3, rtol=1e-3)


def test_flex_attention_keeps_the_samples_of_a_row_apart(saved):
    model, processor = opened(saved)
    wanted = gradient(model, learned(processor, saved).to("cuda"))
    model.set_attn_implementation("flex_attention")
    got = gradient(model, learned(processor, saved, [2, 1]).to("cuda"))
    torch.testing.assert_close(got[0], wanted[0], atol=1e-3, rtol=1e-3)


def answered(model, processor, folder):
    asked = [{"type": "image", "image": str(folder / toys.save_pictures(folder)[0])}, "what?"]
    prompt = processor([[{"role": "user", "content": asked}]]).to(model.device)
    return model.eval().generate(**prompt, max_new_tokens=6, do_sample=False)[0].tolist()


def test_an_answer_is_that_of_the_cpu(saved):
    assert answered(*opened(saved), saved) == answered(*opened(saved, "cpu"), saved)


@pytest.mark.parametrize("bits", [8, 4])
def test_quantized_weights_answer(saved, bits):
    pytest.importorskip("bitsandbytes")
    config = opened(saved, "cpu")[0].config
    quantization = Quantization(bits=bits).config(config)
    how = {"quantization_config": quantization, "device_map": {"": "cuda"}, "dtype": torch.bfloat16}
    model, processor = load_pretrained(saved / "model", **how)
    assert len(answered(model, processor, saved)) > 6
