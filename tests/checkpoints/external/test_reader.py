"""How a layout is read: which one, and what a broken configuration leads to."""

from __future__ import annotations

import pytest

from tests.checkpoints.copies import CASE, LEGACY, PARTS
from tinyllava_kit import KitError
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
