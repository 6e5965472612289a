"""The plugins to copy, installed: models are assembled with them, saved, loaded and asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests import toys
from tests.fakes import install
from tinyllava_kit import Assembly, TinyLlavaForConditionalGeneration, TinyLlavaProcessor, assemble, discover

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples" / "plugins"
NAMES = ("depth", "swatch", "colours")


def reinstalled(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, EXAMPLES / name)
    monkeypatch.syspath_prepend(str(EXAMPLES / name / "src"))


def saved(assembly: Assembly, folder: Path) -> tuple[TinyLlavaForConditionalGeneration, TinyLlavaProcessor]:
    torch.manual_seed(0)
    for part in assemble(assembly):
        part.save_pretrained(folder)
    return TinyLlavaForConditionalGeneration.from_pretrained(folder), TinyLlavaProcessor.from_pretrained(folder)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_a_distribution_that_offers_something(name, tmp_path, monkeypatch):
    reinstalled(name, tmp_path, monkeypatch)
    offers = [offer for offer in discover().offers if offer.distribution == f"tinyllava-kit-{name}"]
    assert {"depth": 2, "swatch": 2, "colours": 2}[name] == len(offers)


def test_a_model_reads_depth_maps(tmp_path, monkeypatch):
    reinstalled("depth", tmp_path, monkeypatch)
    llm = f"llama:{toys.save_llama(tmp_path / 'llm')}"
    assembly = Assembly.from_flags(llm=llm, towers=["depth=depth_grid"], connectors=["depth=linear"])
    model, processor = saved(assembly, tmp_path / "model")
    np.save(tmp_path / "a.npy", np.linspace(1, 5, 77).reshape(7, 11))
    batch = processor([[{"role": "user", "content": [{"type": "depth", "depth": str(tmp_path / "a.npy")}, "far?"]}]])
    assert [item.num_tokens for item in batch["plan"].items] == [16]
    assert model.generate(**batch, max_new_tokens=2, do_sample=False).shape[1] > batch["input_ids"].shape[1]


def test_a_model_answers_with_swatches_of_the_right_shape(tmp_path, monkeypatch):
    reinstalled("swatch", tmp_path, monkeypatch)
    llm = f"llama:{toys.save_llama(tmp_path / 'llm')}"
    model, _ = saved(Assembly.from_flags(llm=llm, decoders=["swatch=swatch_rows"]), tmp_path / "model")
    assert [size for _, _, size in model.config.token_ranges["swatch"]][-4:] == [8] * 4


def test_a_model_sees_colours(tmp_path, monkeypatch):
    reinstalled("colours", tmp_path, monkeypatch)
    llm = f"llama:{toys.save_llama(tmp_path / 'llm')}"
    assembly = Assembly.from_flags(llm=llm, towers=["image=colour_grid"], connectors=["image=pixel_shuffle_mlp"])
    model, processor = saved(assembly, tmp_path / "model")
    (name,) = toys.save_pictures(tmp_path, 1)
    batch = processor([[{"role": "user", "content": [{"type": "image", "image": str(tmp_path / name)}, "what?"]}]])
    with torch.no_grad():
        assert model(**batch).logits.isfinite().all()
