"""Under `torch.compile` every part learns what it learns without: in one graph, and through transformers' Trainer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from transformers import Trainer, TrainingArguments

from tests import strokes, toys
from tests.end_to_end.test_sensor import sensor, signal  # noqa: F401 (a fixture)
from tests.fakes import install
from tinyllava_kit import assemble
from tinyllava_kit.assembly.assembly import Assembly
from tinyllava_kit.core.fusion import fuse, gather_features
from tinyllava_kit.core.plan import plan
from tinyllava_kit.core.spans import ItemSpan, TextSpan
from tinyllava_kit.data.dataset import Collator, ConversationDataset
from tinyllava_kit.features.item_codes import ItemCodes

pytestmark = pytest.mark.slow

WIDTH = 8  # rows that are copied as wider numbers where nothing is compiled


@pytest.fixture(autouse=True)
def _compile_anew():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("packs", [None, [2, 1]], ids=["padded", "packed"])
def test_a_compiled_kernel_has_the_values_and_gradients_of_the_other(backend, packs):
    samples = [
        [TextSpan([1, 2]), ItemSpan("alpha", 3), ItemSpan("beta", 1), TextSpan([4])],
        [TextSpan([5])],
        [ItemSpan("beta", 4), TextSpan([6, 1])],
    ]
    inputs, layout = plan(samples, packs=packs)
    sources = [torch.randn(*shape, WIDTH, requires_grad=True) for shape in ((6,), (1, 3), (2, 4))]
    weight = torch.randn(*inputs["input_ids"].shape, WIDTH)

    def place(text, alpha, beta):
        rows = {"alpha": gather_features(layout, "alpha", alpha), "beta": gather_features(layout, "beta", beta)}
        return fuse(layout, text * 2, {name: each * 3 for name, each in rows.items()})

    compiled = torch.compile(place, backend=backend, fullgraph=True)
    expected, got = place(*sources), compiled(*sources)
    assert torch.equal(got, expected)
    wanted = torch.autograd.grad((expected * weight).sum(), sources)
    for mine, theirs in zip(torch.autograd.grad((got * weight).sum(), sources), wanted, strict=True):
        assert torch.equal(mine, theirs)


@pytest.fixture
def of_everything(sensor, tmp_path, monkeypatch):  # noqa: F811 (the fixture)
    """A model that sees, measures and draws with ids side by side, adapters on its LLM; and conversations of all."""
    (tmp_path / "drawing").mkdir()
    install(tmp_path / "drawing", monkeypatch, strokes.DRAWING)
    picture = toys.save_pictures(tmp_path)[0]
    assembly = Assembly.from_flags(
        llm=f"llama:{toys.save_llama(tmp_path / 'llm')}",
        towers=[f"image=clip:{toys.CLIP}", f"sensor=patchify1d:{sensor}"],
        connectors=["image=linear", "sensor=mlp2x_gelu"],
        decoders=["drawing=points"],
        settings=[f"decoder.drawing.grid={strokes.GRID}"],
    )
    torch.manual_seed(1)
    model, processor = assemble(assembly)
    adapters = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    inject_adapter_in_model(adapters, model.language_model)
    model.requires_grad_(True)
    seen, measured = {"type": "image", "image": str(tmp_path / picture)}, {"type": "sensor", "sensor": signal(13, 1)}
    conversations = [
        [{"role": "user", "content": [seen, "and", measured, "?"]}, {"role": "assistant", "content": "answer"}],
        [{"role": "user", "content": "no item at all"}, {"role": "assistant", "content": "answer two"}],
        strokes.drawn("a line", strokes.LINE),
    ]
    processor.writer = ItemCodes(model, processor)
    encoded = [processor.encode(processor.conversation(each)) for each in conversations]
    return model.train(), processor, encoded


def gradients(model, run, batch):
    """The loss, and the gradient of every parameter that has one."""
    model.zero_grad()
    loss = run(**batch).loss
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


PARTS = ("towers.image", "towers.sensor", "connectors.image", "connectors.sensor", "decoders.drawing.rows.embedding")
PARTS += ("decoders.drawing.rows.head", "language_model.model.embed_tokens", "language_model.model.layers.0", "lora_")


@pytest.mark.parametrize("packs", [None, [2, 1]], ids=["padded", "packed"])
def test_every_part_of_a_compiled_model_has_the_gradient_of_the_other(of_everything, packs):
    model, processor, encoded = of_everything
    batch = processor.collate(encoded, labels=True, packs=packs)
    loss, wanted = gradients(model, model, batch)
    compiled_loss, got = gradients(model, torch.compile(model, backend="aot_eager"), batch)
    assert torch.allclose(compiled_loss, loss, atol=1e-5)
    for part in PARTS:
        assert any(part in name and grad.abs().sum() > 0 for name, grad in wanted.items()), part
    assert got.keys() == wanted.keys()
    for name, grad in wanted.items():
        torch.testing.assert_close(got[name], grad, atol=1e-5, rtol=1e-4, msg=name)


def test_a_model_that_sees_is_one_graph_with_the_same_gradients(tmp_path):
    model, processor = toys.picture_model(tmp_path / "llm")
    pictures = [{"type": "image", "image": str(tmp_path / name)} for name in toys.save_pictures(tmp_path)]
    asked = [[pictures[0], "what?"], ["no picture at all"], ["first", pictures[1], "then", pictures[2]]]
    conversations = [[{"role": "user", "content": c}, {"role": "assistant", "content": "a dog"}] for c in asked]
    batch = processor(conversations, labels=True)
    model.train()
    loss, wanted = gradients(model, model, batch)
    one_graph = torch.compile(model, backend="aot_eager", fullgraph=True)
    compiled_loss, got = gradients(model, one_graph, batch)
    assert torch.allclose(compiled_loss, loss, atol=1e-5)
    assert got.keys() == wanted.keys()
    for name, grad in wanted.items():
        torch.testing.assert_close(got[name], grad, atol=1e-5, rtol=1e-4, msg=name)


def trained(folder: Path, compiled: bool) -> dict[str, torch.Tensor]:
    """The connector's weights behind two steps of transformers' own Trainer, which trains nothing else."""
    model, processor = toys.picture_model(folder / "llm")
    model.requires_grad_(False)
    model.connectors.requires_grad_(True)
    dataset = ConversationDataset.from_file(folder / "rows.json", processor)
    how = {"torch_compile": True, "torch_compile_backend": "eager"} if compiled else {}
    arguments = TrainingArguments(
        output_dir=str(folder / "run"), max_steps=2, per_device_train_batch_size=3, remove_unused_columns=False,
        report_to="none", save_strategy="no", use_cpu=True, learning_rate=1e-2, disable_tqdm=True, **how,
    )  # fmt: skip
    Trainer(model=model, args=arguments, train_dataset=dataset, data_collator=Collator(processor)).train()
    return {name: value.detach().clone() for name, value in model.connectors.named_parameters()}


def test_the_trainer_with_torch_compile_learns_the_same(tmp_path):
    toys.picture_rows(tmp_path)
    before = dict(toys.picture_model(tmp_path / "llm")[0].connectors.named_parameters())
    wanted, got = (trained(tmp_path, compiled) for compiled in (False, True))
    for name, value in wanted.items():
        assert not torch.equal(value, before[name])
        torch.testing.assert_close(got[name], value, atol=1e-5, rtol=1e-4, msg=name)
