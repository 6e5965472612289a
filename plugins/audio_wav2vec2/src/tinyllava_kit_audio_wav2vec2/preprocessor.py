"""From a waveform to the rows that the tower takes, and the arithmetic of their lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from tinyllava_kit import KitError
from tinyllava_kit.components import Rate, Waveform, num_resampled, resample
from tinyllava_kit.files import Count, arguments
from tinyllava_kit.interfaces import Preprocessor


def num_frames(num_samples: int, receptive_field: int, stride: int) -> int:
    """How many frames a stack of unpadded convolutions makes of `num_samples`; exact, as floors compose.

    Example:
        >>> [num_frames(n, 400, 320) for n in (399, 400, 719, 720, 16000, 480_080)]
        [0, 1, 1, 2, 49, 1500]
    """
    return (num_samples - receptive_field) // stride + 1 if num_samples >= receptive_field else 0


def front_end(kernels: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """(receptive field, stride) in samples of convolutions behind one another.

    Example:
        >>> front_end((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))
        (400, 320)
    """
    field, step = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        field += (kernel - 1) * step
        step *= stride
    return field, step


class Wav2Vec2Preprocessor(Preprocessor):
    """Resamples and normalises a whole waveform, then cuts it into windows.

    Windows are ``hop + receptive_field - stride`` samples long and start every ``hop = window_frames * stride``: the
    convolutions see each frame whole in exactly one of them, so the counts of the windows sum to that of the file.

    Args:
        rate_hz: what the tower was trained on.
        normalize: each waveform to mean 0 and variance 1, alone, before any padding.
        receptive_field, stride: of the tower's convolutions, in samples.
        window_frames: features of a full window; 1500 are 30 s at 50 a second.
    """

    def __init__(
        self,
        *,
        rate_hz: Rate = 16_000,
        normalize: bool = True,
        receptive_field: Count = 400,
        stride: Count = 320,
        window_frames: Count = 1500,
    ) -> None:
        self.rate_hz, self.normalize = rate_hz, normalize
        self.receptive_field, self.stride, self.window_frames = receptive_field, stride, window_frames

    def __call__(self, item: Waveform) -> list[dict[str, Tensor]]:
        """The windows of a waveform, each ``{"input_values": (n,) float32}``.

        Raises:
            KitError: shorter than one frame, or at a rate without a practical ratio to the tower's.
        """
        windows = self._windows(item)
        samples = self._normalized(resample(item, self.rate_hz))
        return [{"input_values": samples[start:stop]} for start, stop in windows]

    def num_features(self, item: Waveform) -> list[int]:
        """The number of frames of each window.

        Raises:
            KitError: as in a call.
        """
        return [num_frames(stop - start, self.receptive_field, self.stride) for start, stop in self._windows(item)]

    def collate(self, rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Padded with zeros on the right: ``input_values`` (N, S) float32, ``lengths`` (N,) int64 samples."""
        values = [row["input_values"] for row in rows]
        lengths = torch.tensor([len(value) for value in values], dtype=torch.int64)  # (N,)
        return {"input_values": pad_sequence(values, batch_first=True), "lengths": lengths}  # (N, S)

    def settings(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        names = ("rate_hz", "normalize", "receptive_field", "stride", "window_frames")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Wav2Vec2Preprocessor:
        """The inverse of `settings`."""
        return cls(**arguments(cls, settings, "preprocessor"))

    def _windows(self, item: Waveform) -> list[tuple[int, int]]:
        """First and last sample of each window; a tail too short for a frame makes none."""
        total = num_resampled(item, self.rate_hz)
        if total < self.receptive_field:
            raise KitError(
                f"{item.name!r} has {total} samples at {self.rate_hz} Hz; the tower needs at least "
                f"{self.receptive_field} ({1000 * self.receptive_field / self.rate_hz:g} ms)"
            )
        hop = self.window_frames * self.stride
        window = hop + self.receptive_field - self.stride
        starts = range(0, total - self.receptive_field + 1, hop)
        return [(start, min(start + window, total)) for start in starts]

    def _normalized(self, samples: np.ndarray) -> Tensor:
        if not self.normalize:
            return torch.tensor(samples)  # (n,)
        mean, variance = samples.mean(dtype=np.float64), samples.var(dtype=np.float64)
        return torch.tensor((samples - np.float32(mean)) / np.float32(np.sqrt(variance + 1e-7)))  # (n,)
