"""The decoder `codec2`: a frame of speech in four to seven ids.

Legend: n ids, K ids of a frame, F frames, b bits of a frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tinyllava_kit import KitError
from tinyllava_kit.components import Waveform, num_resampled, resample
from tinyllava_kit.interfaces import IdStream, TokenDecoder

from .layouts import LAYOUTS, RATE_HZ
from .library import Codec


class Codec2Decoder(TokenDecoder):
    """David Rowe's Codec 2, a speech codec for radio.

    A frame is coded from those before it, and decoded likewise; so each item has a codec of its own, and the same
    sound always has the same ids. A sound is padded with silence to whole frames.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.layout = LAYOUTS[config["mode"]]

    @classmethod
    def read_config(cls, checkpoint: str, *, mode: str = "1200") -> dict[str, Any]:
        """Return the settings of a new decoder; Codec2 needs no checkpoint.

        Raises:
            KitError: a checkpoint, which it does not take.
        """
        if checkpoint:
            raise KitError(f"codec2 has its tables in itself and takes no checkpoint, got {checkpoint!r}")
        return {"mode": mode}

    @property
    def ranges(self) -> Mapping[str, int]:
        return {name: 2**bits for name, bits in self.layout.fields.items()}

    @property
    def follows(self) -> Mapping[str, Sequence[str]]:
        return self.cycle(list(self.layout.fields))

    def num_ids(self, item: Waveform) -> int:
        return len(self.layout.fields) * -(-num_resampled(item, RATE_HZ) // self.layout.samples)

    def encode(self, item: Waveform) -> Tensor:
        samples = np.clip(resample(item, RATE_HZ), -1.0, 1.0) * 32767
        frames = -(-len(samples) // self.layout.samples)
        samples = np.pad(samples, (0, frames * self.layout.samples - len(samples)))
        codec = self.codec()
        coded = [codec.encode(frame) for frame in samples.astype(np.int16).reshape(frames, -1)]
        return torch.from_numpy(self._to_ids(np.stack(coded)))  # (n,)

    def decode(self, ids: Tensor) -> Waveform:
        return _Frames(self).push(ids)

    def stream(self) -> IdStream:
        return _Frames(self)

    def codec(self, *, fresh: bool = False) -> Codec:
        """A codec of this mode for one sound; see there for `fresh`."""
        return Codec(self.layout.number, self.layout.samples, self.layout.num_bytes, fresh=fresh)

    def _to_ids(self, coded: np.ndarray) -> np.ndarray:
        """Bytes of frames, (F, bytes) -> (F * K,) int64, each range's ids behind those of the ranges before it."""
        bits = np.unpackbits(coded, axis=1)  # (F, 8 * bytes)
        ids, at, first = [], 0, 0
        for count in self.layout.fields.values():
            weights = 1 << np.arange(count - 1, -1, -1)
            ids.append(first + bits[:, at : at + count].astype(np.int64) @ weights)  # (F,)
            at, first = at + count, first + 2**count
        return np.stack(ids, 1).reshape(-1)  # (F * K,)

    def to_bytes(self, ids: np.ndarray) -> np.ndarray:
        """The inverse: (F * K,) -> (F, bytes) uint8, spare bits 0."""
        columns, bits, first = ids.reshape(-1, len(self.layout.fields)), [], 0
        for column, count in zip(columns.T, self.layout.fields.values(), strict=True):
            bits.append((column - first)[:, None] >> np.arange(count - 1, -1, -1) & 1)  # (F, count)
            first += 2**count
        return np.packbits(np.concatenate(bits, 1).astype(np.uint8), axis=1)[:, : self.layout.num_bytes]  # (F, bytes)


class _Frames(IdStream):
    """Decodes every frame as it comes."""

    def __init__(self, decoder: Codec2Decoder) -> None:
        self.decoder, self.codec = decoder, decoder.codec(fresh=True)

    def push(self, ids: Tensor) -> Waveform:
        frames = [self.codec.decode(frame) for frame in self.decoder.to_bytes(ids.cpu().numpy())]
        return Waveform((np.concatenate(frames) / 32768).astype(np.float32), RATE_HZ, "answer")

    def finish(self) -> None:
        return None
