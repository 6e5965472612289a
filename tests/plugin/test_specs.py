"""Specs: what they refuse, how options are read, how a target is imported."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes import FakeSite
from tinyllava_kit.errors import KitError
from tinyllava_kit.plugin.specs import (
    ConnectorSpec,
    DecoderSpec,
    ExportSpec,
    LanguageModelSpec,
    ModalitySpec,
    Option,
    ReaderSpec,
    TokenType,
    TowerSpec,
    load,
)

FAMILY = ConnectorSpec(
    name="mlp2x", target="a:b", pattern=r"mlp(?P<depth>\d+)x(?P<width>\d+)?", options=(Option(name="depth", type=int),)
)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "Upper"}, "name must be lower_snake, like 'mlp2x_gelu', got 'Upper'"),
        ({"name": "with-dash"}, "name must be lower_snake"),
        ({"name": "2x"}, "name must be lower_snake"),
        ({"target": "package.module"}, "target must be 'package.module:attribute', got 'package.module'"),
        ({"target": "package.module:a b"}, "target must be"),
        ({"pattern": r"mlp\d+"}, r"must match the component's own name 'x'"),
        ({"pattern": "x("}, r"pattern 'x\(' is no regular expression: missing \)"),
        ({"options": (Option(name="a"), Option(name="b"), Option(name="a"))}, "llm 'x': option 'a' is defined twice"),
    ],
)
def test_a_spec_that_cannot_work_is_refused_where_it_is_made(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LanguageModelSpec(**({"name": "x", "target": "a:b"} | fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_types": ("a")}, r"tower 'x': model_types must be a tuple, got 'a' alone; write model_types=\('a',\)"),
        ({"model_types": (7,)}, "tower 'x': model_types must hold str values, got 7"),
        ({"model_types": {"a": 1}}, "model_types must be a tuple, got {'a': 1}"),
        ({"options": Option(name="o")}, r"options must be a tuple, got Option\(...\) alone; write options=\(Option"),
        ({"options": ("layer",)}, "options must hold Option values, got 'layer'"),
        ({"name": None}, "name must be a str, got None"),
        ({"checkpoint": None}, "tower 'x': checkpoint must be a str, got None"),
        ({"modality": ("smell",)}, r"modality must be a str, got \('smell',\)"),
    ],
)
def test_a_field_of_another_type_is_refused_with_what_to_write(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TowerSpec(**({"name": "x", "target": "a:b", "modality": "smell"} | fields))


def test_every_tuple_of_every_kind_is_checked() -> None:
    with pytest.raises(ValueError, match=r"write suffixes=\('.npy',\)"):
        ModalitySpec(name="x", target="a:b", token=TokenType(placeholder="<x>"), suffixes=(".npy"))
    with pytest.raises(ValueError, match="connector 'x': needs_grid must be a bool, got 'yes'"):
        ConnectorSpec(name="x", target="a:b", needs_grid="yes")
    with pytest.raises(ValueError, match="modality 'x': token must be a TokenType, got '<x>'"):
        ModalitySpec(name="x", target="a:b", token="<x>")


@pytest.mark.parametrize("name", ["text", "system", "id", "message", "messages", "conversation"])
def test_a_modality_is_not_called_as_what_a_row_holds_beside_items(name: str) -> None:
    with pytest.raises(ValueError, match=f"modality '{name}': rows and messages say something else under '{name}"):
        ModalitySpec(name=name, target="a:b", token=TokenType(placeholder="<x>"))


def test_a_list_becomes_the_tuple_that_it_is_meant_as() -> None:
    spec = LanguageModelSpec(name="x", target="a:b", model_types=["a", "b"], options=[Option(name="o")])
    assert spec.model_types == ("a", "b")
    assert hash(spec) == hash(LanguageModelSpec(name="x", target="a:b", model_types=("a", "b"), options=spec.options))


def test_a_decoder_reads_one_of_three_things() -> None:
    with pytest.raises(ValueError, match="reads must be 'tokens', 'hidden' or 'text', got 'logits'"):
        DecoderSpec(name="x", target="a:b", modality="smell", reads="logits")


@pytest.mark.parametrize("placeholder", ["image", "<two words>", "<>", "<a><b>"])
def test_a_placeholder_is_one_word_in_angle_brackets(placeholder: str) -> None:
    with pytest.raises(ValueError, match="placeholder must look like '<name>'"):
        TokenType(placeholder=placeholder)


def test_a_family_matches_whole_names_and_reads_them() -> None:
    assert FAMILY.matches("mlp31x")
    assert not FAMILY.matches("my_mlp3x")
    assert FAMILY.name_options("mlp31x") == {"depth": 31}
    assert FAMILY.name_options("mlp3x7") == {"depth": 3, "width": 7}
    assert FAMILY.name_options("linear") == {}


def test_an_export_may_have_hyphens_and_a_suffix_is_of_one_form() -> None:
    assert ExportSpec(name="hf-llava", target="a:b").name == "hf-llava"
    with pytest.raises(ValueError, match=r"a suffix is like '\.jsonl', in lower case, got 'csv'"):
        ReaderSpec(name="x", target="a:b", suffixes=("csv",))


def test_options_are_completed_with_defaults_and_unknown_ones_refused() -> None:
    spec = ConnectorSpec(
        name="x", target="a:b", options=(Option(name="depth", type=int, default=2), Option(name="act", default="gelu"))
    )
    assert spec.check_options({"depth": "5"}, "here") == {"depth": 5, "act": "gelu"}
    with pytest.raises(KitError, match="here: connector 'x' has no option 'dept'; did you mean 'depth'"):
        spec.check_options({"dept": 5}, "here")
    with pytest.raises(KitError, match="connector 'y' has no option 'depth'; it has none"):
        ConnectorSpec(name="y", target="a:b").check_options({"depth": 5}, "here")


def test_load_imports_the_target(site: FakeSite) -> None:
    site.module("fake_target", "class Thing: pass\n")
    assert load(LanguageModelSpec(name="x", target="fake_target:Thing")).__name__ == "Thing"


@pytest.mark.parametrize(
    ("target", "why"), [("not_there:A", "No module named"), ("json:Absent", "no attribute 'Absent'")]
)
def test_a_target_that_is_not_there_is_one_clear_line(target: str, why: str) -> None:
    with pytest.raises(KitError, match=f"llm 'x': cannot import {target}: .*{why}.*tinyllava doctor --probe"):
        load(LanguageModelSpec(name="x", target=target))
