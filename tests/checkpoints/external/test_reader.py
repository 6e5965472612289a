"""How a layout is read: which one, and what a broken configuration leads to."""

from __future__ import annotations

import pytest

from tests.checkpoints.copies import CASE, LEGACY, PARTS
from tinyllava_kit import KitError
from tinyllava_kit.checkpoints.external.reader import CheckpointReader
from tinyllava_kit.model.storage.recognition import open_external


@pytest.mark.parametrize(
    ("folder", "layout"),
    [
        (CASE, "factory"),
        (PARTS / "tiny-finetune-lora", "factory"),
        (LEGACY / "legacy_llama_clip_mlp2x_gelu", "llava_legacy"),
    ],
)
def test_a_layout_can_be_asked_for(folder, layout):
    assert open_external(folder, layout=layout).rows
    with pytest.raises(
        KitError, match=rf"is not of 'llava_hf' .*: its config.json is of '{layout}' .* --from {layout}"
    ):
        open_external(folder, layout="llava_hf")


class Broken(CheckpointReader):
    def __init__(self, error):
        self.error = error

    def read(self, directory, config, names):
        raise self.error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyError("vision_config"), "cannot be read as a model: 'vision_config' is missing"),
        (TypeError("a list has no size"), "cannot be read as a model: a list has no size"),
        (AttributeError("'int' object has no attribute 'get'\nmore"), "'int' object has no attribute 'get'$"),
        (ValueError("invalid literal"), "invalid literal"),
        (KitError("an option is not read"), "^an option is not read$"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_a_broken_configuration_leads_to_is_one_line(tmp_path, error, told):
    with pytest.raises(KitError, match=told) as found:
        Broken(error).open(tmp_path, {}, names_from=None, template=None, catalog=None)
    assert isinstance(error, KitError) or str(found.value).startswith(f"{tmp_path}/config.json: ")


def test_a_fault_of_the_reader_itself_keeps_its_traceback(tmp_path):
    with pytest.raises(RuntimeError, match="mine"):
        Broken(RuntimeError("mine")).open(tmp_path, {}, names_from=None, template=None, catalog=None)
