"""A part's own class reads its checkpoint; what is new needs none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from tests.core.test_decoders import Counting
from tinyllava_kit import KitError
from tinyllava_kit.assembly import own_checkpoint
from tinyllava_kit.assembly.own_checkpoint import OwnCheckpoint


class Component:
    """Says how it was called."""

    calls: list[Any]

    def __init__(self) -> None:
        self.calls = []

    def __getattr__(self, name: str) -> Any:
        return lambda *given, **options: self.calls.append((name, given, options)) or f"{name} of {given[0]}"


@pytest.fixture
def component(monkeypatch):
    made = Component()
    monkeypatch.setattr(own_checkpoint, "load", lambda spec: made)
    return made


PART: Any = SimpleNamespace(offer=SimpleNamespace(spec=None), options={"layer": -2})


def test_configurations_are_read_with_the_options_of_the_part(component):
    source = OwnCheckpoint("dir")
    assert source.read_text_config(PART) == source.read_decoder(PART, "smell") == "read_config of dir"
    assert source.read_tower(PART, "smell") == ("read_config of dir", "read_preprocessor of dir")
    assert component.calls[:3] == [("read_config", ("dir",), {"layer": -2})] * 3
    assert component.calls[3] == ("read_preprocessor", ("dir", "read_config of dir"), {})


def test_a_tokenizer_is_read_once(component):
    source = OwnCheckpoint("dir")
    assert source.read_tokenizer(PART) is source.read_tokenizer(PART)
    assert component.calls == [("read_tokenizer", ("dir",), {})]


def test_an_llm_is_loaded_in_the_dtype(component):
    config: Any = SimpleNamespace(text_config="text")
    assert OwnCheckpoint("dir").load_language_model(PART, config, torch.float16) == "load of dir"
    assert component.calls == [("load", ("dir", "text", torch.float16), {})]


def test_a_connector_is_new_and_takes_no_checkpoint():
    assert OwnCheckpoint("").connector_options(PART, "image", {}) == {"layer": -2}
    with pytest.raises(KitError, match=r"connectors\.image: 'dir' is not a model directory of this kit; a connector"):
        OwnCheckpoint("dir").connector_options(PART, "image", {})
    connector = nn.Linear(2, 2)
    before = connector.weight.clone()
    OwnCheckpoint("").fill_connector(connector, "image")
    assert torch.equal(connector.weight, before)


def test_towers_and_decoders_fill_themselves_and_rows_are_spread_as_the_llms():
    tower: Any = Component()
    OwnCheckpoint("dir").fill_tower(tower, "image")
    assert tower.calls == [("load_weights", ("dir",), {})]
    decoder = Counting()
    table, head = nn.Embedding(400, 4), nn.Linear(4, 400)
    nn.init.normal_(table.weight, std=3)
    nn.init.normal_(head.weight, std=0.5)
    llm: Any = SimpleNamespace(get_input_embeddings=lambda: table, get_output_embeddings=lambda: head)
    decoder.rows.embedding.data, decoder.rows.head.data = torch.empty(500, 4), torch.empty(500, 4)
    OwnCheckpoint("").fill_decoder(decoder, "smell", llm)
    assert decoder.rows.embedding.std().item() == pytest.approx(3, rel=0.1)
    assert decoder.rows.head.std().item() == pytest.approx(0.5, rel=0.1)


def test_the_licence_is_that_of_the_card(tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    assert OwnCheckpoint(str(tmp_path)).licence("llm", "") == "mit"
    assert OwnCheckpoint("").licence("llm", "") == ""
