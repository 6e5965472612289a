"""What voices that read text aloud have in common: their options, and sentences joined to one sound. Light."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...errors import KitError
from ...plugin.specs import Option

if TYPE_CHECKING:
    import numpy as np

    from ..modalities.audio import Waveform

VOICE_OPTIONS = (
    Option(name="speed", type=float, default=1.0, help="speed, relative to the voice's own"),
    Option(
        name="varied",
        type=bool,
        default=False,
        help="with the voice's own noise: livelier, and a text sounds different each time",
    ),
    Option(name="speaker", type=int, default=0, help="which speaker of a voice that has several"),
)
SPEEDS = (0.25, 4.0)
PAUSE_SECONDS = 0.2  # between sentences


def check_voice_options(checkpoint: str, *, speed: float, speaker: int, num_speakers: int) -> None:
    """Check the speed and the speaker's number against the voice of a checkpoint.

    Raises:
        KitError: a speed out of `SPEEDS`, or a speaker that the voice does not have.
    """
    low, high = SPEEDS
    if not low <= speed <= high:
        raise KitError(f"speed must be {low} to {high}, got {speed:g}")
    if not 0 <= speaker < num_speakers:
        raise KitError(f"{checkpoint!r} has {num_speakers} speaker(s), counted from 0; got {speaker}")


def join_sentences(sentences: Sequence[np.ndarray], rate_hz: int) -> Waveform:
    """The samples (n,) of one sentence after another, with pauses between them."""
    import numpy as np

    from ..modalities.audio import Waveform

    pause = np.zeros(round(PAUSE_SECONDS * rate_hz), np.float32)
    said = [part for sentence in sentences for part in (sentence, pause)]
    return Waveform(np.concatenate(said[:-1]), rate_hz, "speech")
