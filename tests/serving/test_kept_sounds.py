"""Answers in sound that later messages name: the newest, until they expire."""

from __future__ import annotations

import pytest

from tinyllava_kit.serving.api_errors import ApiError
from tinyllava_kit.serving.kept_sounds import KeptSounds, new_id
from tinyllava_kit.serving.limits import Limits


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def kept(clock):
    return KeptSounds(Limits(kept_sounds=2, kept_seconds=60), clock)


def test_a_kept_sound_is_found_until_it_expires(kept, clock):
    assert kept.keep("a", "sound", "words") == 1060
    clock.now = 1060.0
    found = kept.find("a")
    assert (found.sound, found.transcript, found.expires_at) == ("sound", "words", 1060)
    clock.now = 1060.5
    for _ in range(2):
        with pytest.raises(
            ApiError, match="the server keeps no answer in sound 'a'; send its transcript as content"
        ) as raised:
            kept.find("a")
    assert (raised.value.status, raised.value.code) == (404, "audio_not_found")


def test_the_oldest_makes_room(kept):
    for name in "abc":
        kept.keep(name, name.upper(), "")
    assert [kept.find(name).sound for name in "bc"] == ["B", "C"]
    with pytest.raises(ApiError, match="'a'"):
        kept.find("a")


def test_ids_differ():
    assert len({new_id() for _ in range(100)}) == 100
