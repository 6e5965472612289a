"""The sensor modality: a signal, read and checked."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tinyllava_kit import KitError
from tinyllava_kit.interfaces import Modality


class SensorModality(Modality):
    """Signals of one dimension and any length."""

    def read(self, source: Any) -> Tensor:
        """An ``.npy`` file, an array, a tensor or a list of numbers -> (L,) float32, in the source's own unit.

        Raises:
            KitError: missing, no array, empty, not finite, or of more than one dimension; names the file.
        """
        is_file = isinstance(source, (str, os.PathLike))
        name = str(source) if is_file else "signal"
        try:
            values = np.load(source, allow_pickle=False) if is_file else source
            values = np.asarray(values, dtype=np.float32)
        except FileNotFoundError:
            raise KitError(f"{name}: no such file") from None
        except (OSError, ValueError, TypeError, EOFError) as error:
            raise KitError(f"{name}: not a signal ({error}); give an .npy file of numbers") from error
        if values.ndim != 1 or not values.size:
            raise KitError(f"{name}: needs one dimension and at least one sample, got shape {values.shape}")
        if not np.isfinite(values).all():
            raise KitError(f"{name}: sample {int(np.argmin(np.isfinite(values)))} is not a finite number")
        return torch.from_numpy(values.copy())  # (L,)
