"""Specs: what they refuse, how options are read, how a target is imported."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes import FakeSite
from tinyllava_kit.errors import KitError
from tinyllava_kit.plugin import hookspecs, specs
from tinyllava_kit.plugin.specs import (
    KINDS,
    ConnectorSpec,
    DecoderSpec,
    ExportSpec,
    LanguageModelSpec,
    ModalitySpec,
    Option,
    ReaderSpec,
    ScorerSpec,
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
        ({"type": list}, "option 'size': type must be str, int, float or bool, got list"),
        ({"type": "int"}, "type must be str, int, float or bool, got 'int'"),
        ({"type": int, "default": "x"}, "option 'size': default must be an int or None, got 'x'"),
        ({"type": int, "default": True}, "default must be an int or None, got True"),
        ({"type": int, "default": 2.5}, "default must be an int or None, got 2.5"),
        ({"type": bool, "default": 1}, "default must be a bool or None, got 1"),
        ({"default": 7}, "default must be a str or None, got 7"),
        ({"choices": "ab"}, r"option 'size': choices must be a tuple, got 'ab' alone; write choices=\('ab',\)"),
        ({"choices": 7}, "choices must be a tuple, got 7"),
        ({"type": int, "choices": ("1", "2")}, "choices must hold int values, got '1'"),
        ({"default": "c", "choices": ("a", "b")}, "default 'c' is not among its choices"),
        ({"required": True, "default": "a"}, "is required and has the default 'a'; take one of them out"),
        ({"at_least": 1}, "option 'size': is a str and cannot be at least 1"),
        ({"type": int, "at_most": 3, "default": 4}, "default 4 is not at most 3"),
        ({"name": "two words"}, "an option's name must be that of a keyword argument, got 'two words'"),
        ({"name": 7}, "an option's name must be"),
    ],
)
def test_an_option_that_cannot_work_is_refused_where_it_is_made(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Option(**({"name": "size"} | fields))


def test_an_option_takes_whole_numbers_as_floats_and_choices_of_its_type() -> None:
    assert Option(name="o", type=float, default=1).parse("2", "here") == 2.0
    numbers = Option(name="o", type=int, default=2, choices=(1, 2))
    assert numbers.parse("1", "here") == 1
    with pytest.raises(KitError, match="option 'o' got 7; known: 1, 2"):
        numbers.parse(7, "here")


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


@pytest.mark.parametrize(
    ("option", "given", "read"),
    [
        (Option(name="o", type=int), "17", 17),
        (Option(name="o", type=int), 3.0, 3),
        (Option(name="o", type=float), "1e-3", 1e-3),
        (Option(name="o", type=float), 2, 2.0),
        (Option(name="o", type=bool), "False", False),
        (Option(name="o", type=bool), True, True),
        (Option(name="o"), 5, "5"),
        (Option(name="o", type=int, default=None), "None", None),
        (Option(name="o", type=int, default=None), None, None),
        (Option(name="o", default="a", choices=("a", "b")), "b", "b"),
    ],
)
def test_an_option_is_read_as_its_type(option: Option, given: object, read: object) -> None:
    parsed = option.parse(given, "here")
    assert parsed == read
    assert type(parsed) is type(read)


@pytest.mark.parametrize(
    ("option", "given", "message"),
    [
        (Option(name="o", type=int), "3.5", "here: option 'o' needs int, got '3.5'"),
        (Option(name="o", type=int), 3.5, "needs int, got 3.5"),
        (Option(name="o", type=int), float("inf"), "needs int, got inf"),
        (Option(name="o", type=int), True, "needs int, got True"),
        (Option(name="o", type=int, default=2), None, "needs int, got None"),
        (Option(name="o", type=bool, default=False), "yes", "needs bool, got 'yes'"),
        (Option(name="o", default="a"), ["a"], r"needs str, got \['a'\]"),
        (Option(name="o", default="square", choices=("square", "pad")), "squar", "did you mean 'square'"),
    ],
)
def test_an_option_refuses_what_is_not_its_type(option: Option, given: object, message: str) -> None:
    with pytest.raises(KitError, match=message):
        option.parse(given, "here")


def test_a_number_keeps_its_bounds_and_a_required_option_is_given() -> None:
    share = Option(name="share", type=float, default=1.0, above=0, at_most=1)
    assert share.bounds == "more than 0 and at most 1"
    assert share.parse("1", "here") == 1.0
    for wrong in (0, 1.5, -1):
        with pytest.raises(KitError, match="here: option 'share' must be more than 0 and at most 1, got"):
            share.parse(wrong, "here")
    spec = ScorerSpec(name="x", target="a:b", options=(share, Option(name="of", required=True)))
    with pytest.raises(KitError, match="here: scorer 'x' needs its option 'of'"):
        spec.check_options({}, "here")
    assert spec.check_options({"of": "a"}, "here") == {"share": 1.0, "of": "a"}


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


def test_every_kind_has_a_hook_and_every_hook_a_kind() -> None:
    assert sorted(hookspecs.HOOKS.values()) == sorted(KINDS)
    assert all(callable(getattr(hookspecs, hook)) for hook in hookspecs.HOOKS)
    assert set(KINDS.values()) == {each for each in vars(specs).values() if getattr(each, "kind", None)}
