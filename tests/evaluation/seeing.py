"""A toy that reads pictures, and conversations that ask it about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests import toys
from tinyllava_kit import assemble
from tinyllava_kit.assembly.assembly import Assembly
from tinyllava_kit.core.conversation import ITEM, Conversation, Item, Turn


def seeing_model(place: Path, template: str) -> tuple[Any, Any]:
    """Of the ``llm`` in a folder, with this chat template: the model and its processor."""
    torch.manual_seed(3)
    assembly = Assembly.from_flags(
        llm=f"llama:{place / 'llm'}",
        towers=[f"image=clip:{toys.CLIP}"],
        connectors=["image=mlp2x_gelu"],
        template=template,
    )
    model, processor = assemble(assembly)
    return model.eval(), processor


def row(answer: str, *items: Item, before: tuple[Turn, ...] = ()) -> Conversation:
    """A question about items, and its answer."""
    places = f"{ITEM}\n" * (len(items) - sum(turn.text.count(ITEM) for turn in before))
    return Conversation((*before, Turn("user", f"{places}what is it?"), Turn("assistant", answer)), items, "row")
