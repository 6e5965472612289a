"""What voices share: their options' bounds, and sentences joined with pauses."""

from __future__ import annotations

import numpy as np
import pytest

from tinyllava_kit.components.decoders.voice import PAUSE_SECONDS, VOICE_OPTIONS, check_voice_options, join_sentences
from tinyllava_kit.errors import KitError


@pytest.mark.parametrize(("speed", "speaker"), [(0.25, 0), (4.0, 2), (1, 1)])
def test_what_a_voice_has_is_taken(speed, speaker):
    check_voice_options("v", speed=speed, speaker=speaker, num_speakers=3)


@pytest.mark.parametrize(
    ("speed", "speaker", "message"),
    [
        (0.2, 0, r"speed must be 0\.25 to 4\.0, got 0\.2"),
        (4.1, 0, r"speed must be 0\.25 to 4\.0, got 4\.1"),
        (float("nan"), 0, "speed must be .*, got nan"),
        (1.0, 3, r"'v' has 3 speaker\(s\), counted from 0; got 3"),
        (1.0, -1, "got -1"),
    ],
)
def test_what_it_has_not_is_refused(speed, speaker, message):
    with pytest.raises(KitError, match=message):
        check_voice_options("v", speed=speed, speaker=speaker, num_speakers=3)


def test_the_defaults_are_taken():
    known = {option.name: option.default for option in VOICE_OPTIONS}
    check_voice_options("v", speed=known["speed"], speaker=known["speaker"], num_speakers=1)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_pause_stands_between_sentences_and_nowhere_else(count):
    said = [np.full(10 * number, number, np.float32) for number in range(1, count + 1)]
    expected = []
    for number, sentence in enumerate(said):
        expected += ([0.0] * round(PAUSE_SECONDS * 50) if number else []) + sentence.tolist()
    joined = join_sentences(said, 50)
    assert joined.samples.tolist() == expected
    assert (joined.rate_hz, joined.samples.dtype) == (50, np.float32)
