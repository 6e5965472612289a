"""The drawing plugin of the tests, installed, and models that draw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests import toys
from tests.fakes import install
from tinyllava_kit import assemble
from tinyllava_kit.assembly.assembly import Assembly

DRAWING = Path(__file__).parent / "plugins" / "drawing"
GRID = 7

# Of decoders that have a transformer of their own.
SMALL = {"layers": 2, "width": 32, "heads": 2, "dropout": 0, "max_ids": 90}

LINE = [[(0.0, 0.0), (1.0, 0.5)], [(0.5, 0.5)]]
CORNER = [[(1.0, 1.0), (1.0, 0.0), (0.0, 0.0)]]
DRAWINGS = [LINE, CORNER, [[(0.5, 0.0)], [(0.5, 1.0), (0.0, 0.5)]], [[(0.0, 1.0)]], [[(1.0, 0.5), (0.5, 0.5)]]]


@pytest.fixture
def drawing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The drawing plugin's distribution, installed."""
    install(tmp_path, monkeypatch, DRAWING)


def drawing_model(
    folder: Path,
    *,
    tied: bool = False,
    pictures: bool = False,
    hidden: int = 24,
    seed: int = 1,
    decoder: str = "strokes",
    **sizes: float,
) -> tuple[Any, Any]:
    """A toy model that draws, and its processor; with `pictures` it sees, too. `sizes` are of its decoder."""
    sizes = {**(SMALL if decoder.endswith("_talker") else {}), **sizes, "grid": GRID}
    assembly = Assembly.from_flags(
        llm=f"llama:{toys.save_llama(folder / 'llm', tied=tied, hidden=hidden)}",
        towers=[f"image=clip:{toys.CLIP}"] if pictures else [],
        connectors=["image=linear"] if pictures else [],
        decoders=[f"drawing={decoder}"],
        settings=[f"decoder.drawing.{name}={size}" for name, size in sizes.items()],
    )
    torch.manual_seed(seed)
    return assemble(assembly)


def drawn(said: str, drawing: Any, question: str = "draw") -> list[dict[str, Any]]:
    """A question, and an answer of words and a drawing."""
    answer = [said, {"type": "drawing", "drawing": drawing}]
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
