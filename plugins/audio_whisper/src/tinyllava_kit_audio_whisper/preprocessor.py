"""From a waveform to log-mel windows of one size, and how many features of each lie in the sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F
from transformers.audio_utils import mel_filter_bank

from tinyllava_kit import KitError
from tinyllava_kit.components import Rate, Waveform, num_resampled, resample
from tinyllava_kit.files import arguments, reading
from tinyllava_kit.interfaces import Preprocessor

_Length = Annotated[int, Field(ge=1, le=2**16)]
MAX_HZ = 8000.0  # where Whisper's mel filters end, at any rate


def num_in_sound(num_samples: int, hop: int = 160) -> int:
    """How many features lie in a sound of n samples: of ``M = ceil(n / hop)`` mel frames, ``(M - 1) // 2 + 1``.

    Mel frame i is centred on sample ``i * hop``, feature j on mel frame 2j: those whose centre lies before the end.

    Example:
        >>> [num_in_sound(n) for n in (1, 160, 161, 320, 321, 16000, 480_000)]
        [1, 1, 1, 1, 2, 50, 1500]
    """
    mel_frames = -(-num_samples // hop)
    return (mel_frames - 1) // 2 + 1


class WhisperPreprocessor(Preprocessor):
    """Resamples a whole waveform, cuts it into windows, fills the last with silence and makes log-mels of each.

    Windows do not overlap and are a whole number of features long, so what they count sums to ``ceil(n / (2 * hop))``
    for n samples: a tail of a single sample is a window of its own, with one feature. A window's log-mel is clipped 8
    (80 dB) under the loudest point of that window, and its spectrum is mirrored at its ends: parts of a sound do not
    have the mels of the whole. The silence behind a sound is part of its window, and the tower cannot tell it from the
    sound.

    Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022, section 2.2.

    Args:
        rate_hz: what the tower was trained on.
        num_mels: mel bands.
        n_fft, hop: of the spectrum, in samples; a feature is two hops.
        window_features: features of a window; 1500 are 30 s at 50 a second.
    """

    def __init__(
        self,
        *,
        rate_hz: Rate = 16_000,
        num_mels: _Length = 80,
        n_fft: _Length = 400,
        hop: _Length = 160,
        window_features: _Length = 1500,
    ) -> None:
        self.rate_hz, self.num_mels, self.n_fft, self.hop = rate_hz, num_mels, n_fft, hop
        self.window_features = window_features
        if n_fft // 2 >= self.window_samples:  # it is mirrored at its ends
            raise KitError(f"preprocessor: a spectrum of {n_fft} samples in a window of {self.window_samples}")

    @property
    def window_samples(self) -> int:
        """How long a window is, in samples at `rate_hz`."""
        return 2 * self.hop * self.window_features

    def __call__(self, item: Waveform) -> list[dict[str, Tensor]]:
        """The windows of a waveform.

        Each is ``{"input_features": (num_mels, 2 * window_features) float32, "lengths": () int64}``; `lengths` says
        how many features lie in the sound.

        Raises:
            KitError: at a rate without a practical ratio to the tower's.
        """
        windows = torch.tensor(resample(item, self.rate_hz)).split(self.window_samples)
        return [
            {"input_features": self._log_mel(samples), "lengths": torch.tensor(num_in_sound(len(samples), self.hop))}
            for samples in windows
        ]

    def num_features(self, item: Waveform) -> list[int]:
        """How many features of each window lie in the sound, at least one.

        Raises:
            KitError: as in a call.
        """
        whole, rest = divmod(num_resampled(item, self.rate_hz), self.window_samples)
        return [self.window_features] * whole + ([num_in_sound(rest, self.hop)] if rest else [])

    def collate(self, rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """``input_features`` (N, num_mels, 2 * window_features) float32 and ``keep`` (N, P) bool.

        P is the largest number of features among the rows: the shape tells the tower where to stop, and nothing has
        to be read back from the device.
        """
        lengths = torch.stack([row["lengths"] for row in rows])  # (N,)
        return {
            "input_features": torch.stack([row["input_features"] for row in rows]),  # (N, num_mels, frames)
            "keep": torch.arange(int(lengths.max())) < lengths[:, None],  # (N, P)
        }

    def settings(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return dict(vars(self))

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> WhisperPreprocessor:
        """The inverse of `settings`."""
        return cls(**arguments(cls, settings, "preprocessor"))

    def _log_mel(self, samples: Tensor) -> Tensor:
        """At most a window of samples (n,) -> (num_mels, 2 * window_features), about -1 to 1."""
        window = F.pad(samples, (0, self.window_samples - len(samples)))
        hann = torch.hann_window(self.n_fft)
        spectrum = torch.stft(window, self.n_fft, self.hop, window=hann, return_complex=True)[:, :-1]  # (F, frames)
        mel = _mel_filters(self.rate_hz, self.n_fft, self.num_mels) @ spectrum.abs().square()  # (num_mels, frames)
        log_mel = mel.clamp(min=1e-10).log10()
        return (log_mel.clamp(min=log_mel.max() - 8) + 4) / 4  # (num_mels, frames)


@cache
def _mel_filters(rate_hz: int, n_fft: int, num_mels: int) -> Tensor:
    """Slaney's mel filters, (num_mels, n_fft // 2 + 1) float32."""
    with reading(f"preprocessor: {num_mels} mel filters of {n_fft} samples at {rate_hz} Hz"):
        filters = mel_filter_bank(
            num_frequency_bins=n_fft // 2 + 1,
            num_mel_filters=num_mels,
            min_frequency=0.0,
            max_frequency=MAX_HZ,
            sampling_rate=rate_hz,
            norm="slaney",
            mel_scale="slaney",
        )
    return torch.from_numpy(filters.T).float()  # (num_mels, F)
