"""Sounds as files."""

from __future__ import annotations

import numpy as np
import pytest

from tinyllava_kit import KitError
from tinyllava_kit.components.modalities.audio import Waveform
from tinyllava_kit.plugin import extras
from tinyllava_kit.serving.sound_files import at_rate

pytestmark = pytest.mark.slow


def test_a_sound_at_its_own_rate_needs_no_resampler(monkeypatch):
    found = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "torchaudio" else found(name))
    given = Waveform(np.zeros(8, np.float32), 24_000, "toy")
    assert at_rate(given, 24_000) is given
    with pytest.raises(KitError, match="a sound at another rate needs torchaudio"):
        at_rate(given, 16_000)
