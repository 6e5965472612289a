"""The layouts that the kit reads and the forms that it writes: each is there under the name of its spec."""

from __future__ import annotations

import importlib.util

import pytest

from tinyllava_kit.checkpoints.exporting.export_targets import load_target
from tinyllava_kit.checkpoints.exporting.target import ExportTarget
from tinyllava_kit.checkpoints.external.reader import CheckpointReader
from tinyllava_kit.checkpoints.plugin import tinyllava_checkpoints, tinyllava_exports
from tinyllava_kit.plugin.specs import load_class


@pytest.mark.parametrize("spec", tinyllava_checkpoints(), ids=lambda spec: spec.name)
def test_a_layout_has_a_reader_that_is_built_without_arguments(spec):
    assert isinstance(load_class(spec, CheckpointReader, "checkpoints.CheckpointReader")(), CheckpointReader)
    assert spec.keys


def test_no_two_layouts_claim_a_model_type():
    types = [each for spec in tinyllava_checkpoints() for each in spec.model_types]
    assert len(set(types)) == len(types)


@pytest.mark.parametrize("spec", tinyllava_exports(), ids=lambda spec: spec.name)
def test_a_form_is_written_by_a_target_that_takes_the_options_of_its_spec(spec):
    assert all(importlib.util.find_spec(package) for package in spec.packages)
    options = {option.name: str(option.choices[0]) for option in spec.options if option.choices}
    assert isinstance(load_target(spec.name, **options), ExportTarget)
