"""What is said in a sound, as the client asks for it."""

from __future__ import annotations

import openai
import pytest

from tests.serving.conftest import asked, sound, wav
from tinyllava_kit.inference.answering import answer

pytestmark = pytest.mark.slow


def test_a_recording_is_written_down(served, pair):
    model, processor = pair
    client = served.client()
    file = ("a.wav", wav(1), "audio/wav")
    (expected,) = answer(model, processor, [asked(processor, "Repeat this exactly: <audio>", sound(1))])
    made = client.audio.transcriptions.create(model="toy", file=file)
    assert made.text == expected
    assert made.usage.input_token_details.audio_tokens > 0
    assert client.audio.transcriptions.create(model="toy", file=file, response_format="text").strip() == expected
    events = list(client.audio.transcriptions.create(model="toy", file=file, stream=True))
    assert "".join(event.delta for event in events[:-1]).strip() == events[-1].text == expected
    (other,) = answer(model, processor, [asked(processor, "what?", sound(1))])
    assert client.audio.transcriptions.create(model="toy", file=file, prompt="what?").text == other


def test_what_cannot_be_written_down_is_one_line(served, writer):
    client = served.client()
    file = ("a.wav", wav(), "audio/wav")
    for kind in ("srt", "vtt", "verbose_json"):
        with pytest.raises(openai.BadRequestError, match=f"response_format {kind} needs times"):
            client.audio.transcriptions.create(model="toy", file=file, response_format=kind)
    with pytest.raises(openai.BadRequestError, match="cannot decode"):
        client.audio.transcriptions.create(model="toy", file=("a.wav", b"RIFF", "audio/wav"))
    with pytest.raises(openai.BadRequestError, match="unknown parameter 'colour'"):
        client.audio.transcriptions.create(model="toy", file=file, extra_body={"colour": "red"})
    with pytest.raises(openai.BadRequestError, match="the model does not read 'audio'; it reads text only"):
        writer[0].client().audio.transcriptions.create(model="toy", file=file)
    empty = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\ntoy\r\n--x--\r\n'
    for body, message in ((empty, "file is missing"), (b"--y", "the form cannot be read"), (b"", "file is missing")):
        head = {"content_type": "multipart/form-data; boundary=x"}
        status, said = served.post("/v1/audio/transcriptions", body, **head)
        assert (status, message in said["error"]["message"]) == (400, True), said
