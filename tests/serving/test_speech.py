"""A text, spoken: whole, in pieces, and what is not there."""

from __future__ import annotations

import base64
import json

import pytest

from tests.serving.asking import samples_of

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("kind", "media"), [("wav", "audio/wav"), ("flac", "audio/flac"), ("mp3", "audio/mpeg")])
def test_speech_is_a_file_that_is_read(talker, kind, media):
    served, _ = talker
    made = served.client().audio.speech.create(model="toy", voice="any", input="hello", response_format=kind)
    samples, rate_hz = samples_of(made.content)
    assert made.response.headers["content-type"] == media
    assert rate_hz == 8000
    assert len(samples) > 100


def test_speech_comes_in_pieces(talker):
    served, _ = talker
    how = {"model": "toy", "voice": "any", "input": "hello", "response_format": "pcm"}
    whole = served.client().audio.speech.create(**how).content
    status, headers, content = served.send("POST", "/v1/audio/speech", {**how, "stream_format": "sse"})
    lines = [json.loads(line.removeprefix("data: ")) for line in content.decode().split("\n\n") if line]
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert b"".join(base64.b64decode(line["audio"]) for line in lines[:-1]) == whole
    assert lines[-1]["type"] == "speech.audio.done"


def test_what_is_not_there_of_speech_is_one_line(served, talker):
    cases = [
        (served, {"input": "hi", "voice": "a"}, "the model answers in words alone"),
        (talker[0], {"input": "hi", "voice": "a", "speed": 2.0}, "speed 2.0 is not supported"),
        (talker[0], {"input": "hi", "voice": "a", "instructions": "shout"}, "instructions are not supported"),
        (talker[0], {"input": "x" * 5000, "voice": "a"}, "input has 5000 characters, at most 4096 are spoken"),
        (talker[0], {"input": "", "voice": "a"}, "input: String should have at least 1 character"),
        (talker[0], {"input": "hi", "response_format": "aac"}, "aac is not written"),
    ]
    for each, body, message in cases:
        status, said = each.post("/v1/audio/speech", body)
        assert (status, message in said["error"]["message"]) == (400, True), said
