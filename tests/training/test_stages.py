"""Stages by their names: every message has one, once."""

from __future__ import annotations

import pytest

from tinyllava_kit import KitError
from tinyllava_kit.errors import PluginError
from tinyllava_kit.training.stages import in_stage, is_complete


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("no such file", r"^stage 'first': no such file$"),
        ("stage 'second' was not run yet", r"^stage 'second' was not run yet$"),
        ("stage second: is there", r"^stage second: is there$"),
        ("stages.0: is no stage", r"^stage 'first': stages\.0: is no stage$"),
    ],
)
def test_a_message_names_its_stage_once(message, told):
    with pytest.raises(KitError, match=told), in_stage("first"):
        raise KitError(message)


def test_other_errors_and_kinds_of_error_stay():
    with pytest.raises(PluginError, match=r"^stage 'first': a$") as error, in_stage("first"):
        raise PluginError("a", "b")
    assert error.value.fix == "b"
    with pytest.raises(ValueError, match=r"^a$"), in_stage("first"):
        raise ValueError("a")


def test_a_stage_is_complete_when_its_model_is_there(tmp_path):
    assert not is_complete(tmp_path / "s")
    (tmp_path / "s").mkdir()
    assert not is_complete(tmp_path / "s")
    (tmp_path / "s" / "config.json").write_text("{}")
    assert is_complete(tmp_path / "s")
