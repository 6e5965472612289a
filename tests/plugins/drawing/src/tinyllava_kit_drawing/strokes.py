"""The drawing modality: strokes, read, checked and written."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinyllava_kit import KitError
from tinyllava_kit.interfaces import Modality

Point = tuple[float, float]  # right and down, from 0 to 1
Drawing = list[list[Point]]  # strokes


class DrawingModality(Modality):
    """Drawings of any number of strokes. A piece whose first stroke is empty goes on with the stroke before."""

    unit = "points"

    def read(self, source: Any) -> Drawing:
        """A ``.json`` file or a list of strokes -> strokes of at least one point.

        Raises:
            KitError: missing, not JSON, or not strokes; names the file.
        """
        is_file = isinstance(source, (str, os.PathLike))
        name = str(source) if is_file else "drawing"
        try:
            strokes = json.loads(Path(source).read_text(encoding="utf-8")) if is_file else source
            drawing = [[(float(x), float(y)) for x, y in stroke] for stroke in strokes]
        except (OSError, ValueError, TypeError) as error:
            raise KitError(f"{name}: not a drawing ({error}); expected a list of strokes, each of points") from error
        if not drawing or not all(drawing):
            raise KitError(f"{name}: has a stroke without a point, or none; expected at least one point in each")
        if not all(0 <= number <= 1 for stroke in drawing for point in stroke for number in point):
            raise KitError(f"{name}: has a point outside of the sheet; expected numbers from 0 to 1")
        return drawing

    def measure(self, source: Any) -> float:
        return sum(map(len, self.read(source)))

    def join(self, pieces: Sequence[Drawing]) -> Drawing:
        whole: Drawing = []
        for piece in pieces:
            for number, stroke in enumerate(piece):
                if number == 0 and not stroke:
                    continue
                goes_on = number == 1 and not piece[0]
                whole = [*whole[:-1], whole[-1] + stroke] if goes_on else [*whole, list(stroke)]
        return whole

    def write(self, item: Drawing, path: str) -> None:
        partial = Path(f"{path}.part")
        try:
            partial.write_text(json.dumps(item), encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            raise KitError(f"cannot write {path!r}: {error.strerror}") from error
