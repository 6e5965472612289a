"""A model that makes items: every target says that it leaves its decoders out."""

from __future__ import annotations

import pytest

from tests.strokes import drawing, drawing_model  # noqa: F401 (a fixture)
from tinyllava_kit.checkpoints.exporting import components
from tinyllava_kit.checkpoints.exporting.export_targets import load_target, target_names

pytestmark = pytest.mark.usefixtures("drawing")


def test_every_target_says_what_it_leaves_out(tmp_path):
    model, processor = drawing_model(tmp_path)
    for name in target_names():
        assert "without decoder drawing: the LLM's text alone" in load_target(name).notes(model, processor), name


def test_the_parts_name_the_decoder_and_speak_of_no_tower(tmp_path):
    model, processor = drawing_model(tmp_path)
    report = components.export(model, processor, tmp_path / "out")
    assert "decoder drawing: not written: transformers has no form of it" in report.lines()
    page = (tmp_path / "out" / "README.md").read_text()
    assert "## decoder drawing" in page
    assert "tower" not in page
