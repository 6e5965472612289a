"""A waveform at another rate, and how long it is there; for the preprocessors of audio towers."""

from __future__ import annotations

import math

import numpy as np
import torch

from tinyllava_kit.errors import KitError
from tinyllava_kit.plugin.extras import imported

from .audio import Waveform

# The resampler's filter has a tap for each pair of samples in a common period (160 * 441 for 44100 -> 16000 Hz).
_MAX_TAPS = 12_000_000


def num_resampled(item: Waveform, rate_hz: int) -> int:
    """How many samples `resample` makes: ``ceil(n * new / old)``.

    Raises:
        KitError: the two rates have no practical ratio.
    """
    common = math.gcd(item.rate_hz, rate_hz)
    old, new = item.rate_hz // common, rate_hz // common
    if old * new > _MAX_TAPS:
        raise KitError(
            f"{item.name!r} has rate {item.rate_hz} Hz, which has no practical ratio to {rate_hz} Hz; "
            f"convert it to {rate_hz} Hz first"
        )
    return -(-len(item.samples) * new // old)


def resample(item: Waveform, rate_hz: int) -> np.ndarray:
    """The samples at another rate, (n',) float32: windowed sinc, the whole waveform at once (torchaudio).

    torchaudio computes the length in float32, which is inexact beyond 2**24 samples: a little silence behind
    the end, which changes no other sample, makes sure that all are there to be cut exactly.

    Raises:
        KitError: the two rates have no practical ratio; or torchaudio, which a sound at `rate_hz` does without, is not
            installed.
    """
    if item.rate_hz == rate_hz:
        return item.samples
    length = num_resampled(item, rate_hz)
    samples = torch.tensor(item.samples)
    torchaudio = imported("torchaudio", f"{item.name!r}, a sound at {item.rate_hz} Hz where {rate_hz} Hz are wanted,")
    spare = 1 + len(samples) // 2**20
    padded = torch.nn.functional.pad(samples, (0, spare))
    resampled: np.ndarray = torchaudio.functional.resample(padded, item.rate_hz, rate_hz)[:length].numpy()  # (n',)
    return resampled
