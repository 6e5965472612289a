"""The modality: a swatch, read and written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tinyllava_kit import KitError
from tinyllava_kit.interfaces import Modality

SIDE, COLOURS = 4, 8


class SwatchModality(Modality):
    """Swatches, (SIDE, SIDE) int64 numbers of colours."""

    def read(self, source: Any) -> Tensor:
        """Read a swatch from a file of four lines of four digits, or from numbers: (4, 4) int64, one number a colour.

        Raises:
            KitError: missing, or not four rows of four colours; names the file.
        """
        name = str(source) if isinstance(source, (str, os.PathLike)) else "swatch"
        try:
            if isinstance(source, (str, os.PathLike)):
                source = [[int(digit) for digit in line] for line in Path(source).read_text().split()]
            swatch = torch.as_tensor(source, dtype=torch.int64)
        except FileNotFoundError:
            raise KitError(f"{name}: no such file") from None
        except (OSError, ValueError, TypeError) as error:
            raise KitError(f"{name}: not a swatch ({error}); give four lines of four digits") from error
        if swatch.shape != (SIDE, SIDE) or swatch.min() < 0 or swatch.max() >= COLOURS:
            raise KitError(f"{name}: needs {SIDE} rows of {SIDE} colours, numbered from 0 to {COLOURS - 1}")
        return swatch

    def write(self, item: Tensor, path: str) -> None:
        """Four lines of four digits; the file appears whole or not at all.

        Raises:
            KitError: the file cannot be written; names it.
        """
        text = "".join("".join(map(str, row)) + "\n" for row in item.tolist())
        partial = f"{path}.partial"
        try:
            Path(partial).write_text(text)
            os.replace(partial, path)
        except OSError as error:
            raise KitError(f"{path}: cannot write a swatch: {error.strerror}") from error
