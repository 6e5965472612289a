"""How the bits of a frame are cut into ids, for each mode of Codec 2. Light.

The order of the bits is that of David Rowe's Codec 2 (its `codec2_encode_*` functions): voicing, pitch and energy, then
the spectral envelope (line spectral pairs, or for 700C its two vector quantizers). Bits that are quantized together,
or that are few, share an id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

RATE_HZ = 8000


@dataclass(frozen=True)
class Layout:
    """A mode: samples of a frame, and the fields of its bits in order, name -> bits; the remaining bits are spare.

    number: by which the library knows the mode. num_bytes: of a frame.
    """

    number: int
    samples: int
    num_bytes: int
    fields: Mapping[str, int]

    @property
    def ids_per_second(self) -> float:
        """How many ids a second of sound takes."""
        return len(self.fields) * RATE_HZ / self.samples


_LINES = {"lines12": 8, "lines34": 8, "lines56": 8, "lines78": 7, "lines90": 5}

LAYOUTS = {
    "3200": Layout(
        0,
        160,
        8,
        {"pitch": 9, "energy": 5, **dict.fromkeys(("lines12", "lines34", "lines56", "lines78", "lines90"), 10)},
    ),
    "2400": Layout(1, 160, 6, {"pitch": 10, **_LINES}),
    "1300": Layout(4, 320, 7, {"pitch": 11, "energy": 5, **_LINES}),
    "1200": Layout(5, 320, 6, {"first": 10, "second": 10, "coarse": 9, "finer": 9, "finest": 9}),
    "700C": Layout(8, 320, 4, {"envelope": 9, "finer": 9, "energy": 4, "pitch": 6}),
}
