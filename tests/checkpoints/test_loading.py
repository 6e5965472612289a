"""Loading: a directory of this kit or of another project, opened without its weights and then with them."""

from __future__ import annotations

import pytest
import torch

from tests import toys
from tests.checkpoints.copies import CASE
from tinyllava_kit import KitError
from tinyllava_kit.checkpoints import loading
from tinyllava_kit.checkpoints.external.mapping import MappedCheckpoint
from tinyllava_kit.checkpoints.loading import SavedCheckpoint, load_config, load_model, load_pretrained, open_checkpoint
from tinyllava_kit.checkpoints.quantization import Quantization


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return toys.save_picture_model(tmp_path_factory.mktemp("loading"))


def test_a_directory_is_opened_as_what_it_is(saved):
    assert isinstance(open_checkpoint(saved), SavedCheckpoint)
    assert isinstance(open_checkpoint(CASE), MappedCheckpoint)
    for directory in (saved, CASE):
        assert load_config(directory).component("tower", "image").name == "clip"
        assert list(open_checkpoint(str(directory)).processor().reads) == ["image"]


@pytest.mark.parametrize("kind", ["saved", "external"])
def test_a_template_is_used_in_place_of_the_models_own(saved, kind):
    path = saved if kind == "saved" else CASE
    own, other = (open_checkpoint(path, template=name).processor().template for name in (None, "pretrain"))
    assert type(other).__name__ == "Pretrain" != type(own).__name__


def test_what_is_asked_of_the_model_reaches_it_and_what_is_none_does_not(saved):
    model, processor = load_pretrained(saved, dtype=torch.bfloat16, attn_implementation="eager")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert model.language_model.config._attn_implementation == "eager"
    assert processor.reads == open_checkpoint(saved).processor().reads
    given = {}
    opened = type("Opened", (), {"config": None, "model": lambda self, **how: given.update(how)})()
    load_model(opened, dtype=None, device_map=None)
    assert given == {}


def test_quantization_is_asked_for_as_the_configuration_wants_it(monkeypatch, saved):
    how = Quantization(bits=8)
    given = {}
    monkeypatch.setattr(loading, "read_pretrained", lambda kind, path, **how: given.update(how))
    load_model(open_checkpoint(saved), quantization=how)
    assert given["quantization_config"].load_in_8bit


def test_a_name_that_is_nearly_a_directorys_is_advised(saved):
    with pytest.raises(KitError, match=r"modle.*model"):
        load_pretrained(saved.with_name("modle"))
