"""Sound in and out: transcriptions, speech, and answers that are spoken, whole and as they come."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import openai
import pytest
import soundfile
import torch

from tests import toys
from tests.serving.conftest import Served, asked, sound, wav
from tinyllava_kit import Assembly, KitError, assemble
from tinyllava_kit.components.modalities.audio import Waveform
from tinyllava_kit.inference.answering import answer, question
from tinyllava_kit.inference.replies import replies
from tinyllava_kit.plugin import extras
from tinyllava_kit.serving.sound_files import at_rate

pytestmark = pytest.mark.slow

SPOKEN = {"modalities": ["text", "audio"]}


def speaking(folder, decoder, **settings):
    assembly = Assembly.from_flags(
        llm=f"llama:{toys.save_llama(folder / 'llm')}",
        decoders=[f"audio={decoder}"],
        settings=[f"decoder.audio.{name}={value}" for name, value in settings.items()],
    )
    torch.manual_seed(2)
    return assemble(assembly)


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """An LLM that writes the ids of a codec at once, and its server."""
    pair = speaking(tmp_path_factory.mktemp("writer"), "codec2")
    pair[0].generation_config.eos_token_id = list(range(320))  # every word would end the answer
    made = Served(pair)
    yield made, pair
    made.close()


@pytest.fixture(scope="module")
def talker(tmp_path_factory):
    """An LLM that writes words, of which a talker makes sound, and its server."""
    sizes = {"layers": 1, "width": 32, "heads": 2, "dropout": 0, "max_ids": 80}
    pair = speaking(tmp_path_factory.mktemp("talker"), "codec2_talker", **sizes)
    pair[0].generation_config.eos_token_id = None
    made = Served(pair)
    yield made, pair
    made.close()


def read(content):
    return soundfile.read(io.BytesIO(content), dtype="float32")


def chat(served, **how):
    messages = [{"role": "user", "content": "hello"}]
    given = {"model": "toy", "messages": messages, "max_tokens": 5, **SPOKEN, **how}
    return served.client().chat.completions.create(**given)


def test_a_spoken_answer_is_what_the_model_says_with_its_words_as_transcript(talker):
    served, (model, processor) = talker
    made = chat(served, audio={"format": "wav", "voice": "any"})
    message = made.choices[0].message
    (said,) = replies(model, processor, [question("hello", [], processor)], force=["audio"], max_new_tokens=5)
    samples, rate_hz = read(base64.b64decode(message.audio.data))
    expected = said.items("audio")[0].item
    assert message.content is None
    assert message.audio.transcript == said.text
    assert rate_hz == expected.rate_hz
    assert np.abs(samples - np.clip(expected.samples, -1, 1)).max() < 1e-3
    assert made.usage.completion_tokens_details.text_tokens == 5


def test_a_spoken_answer_is_streamed_as_the_client_types_it(talker):
    served, _ = talker
    whole = chat(served, audio={"format": "pcm16", "voice": "any"}).choices[0].message.audio
    chunks = list(chat(served, audio={"format": "pcm16", "voice": "any"}, stream=True))
    deltas = [chunk.choices[0].delta.audio for chunk in chunks if chunk.choices[0].delta.audio]
    assert "".join(delta.transcript or "" for delta in deltas).strip() == whole.transcript
    data = b"".join(base64.b64decode(delta.data) for delta in deltas if delta.data)
    assert abs(len(data) - len(base64.b64decode(whole.data))) < 2000  # each piece is resampled alone
    assert [delta.expires_at is not None for delta in deltas] == [False] * (len(deltas) - 1) + [True]
    assert deltas[-1].data is deltas[-1].transcript is None
    assert len({delta.id for delta in deltas if delta.id}) == 1
    assert [chunk.choices[0].finish_reason for chunk in chunks][-2:] == ["length", None]


def test_a_later_message_may_name_an_answer_in_sound(writer):
    served, _ = writer
    first = chat(served, audio={"format": "wav", "voice": "any"}, max_tokens=60).choices[0].message.audio
    later = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "audio": {"id": first.id}},
        {"role": "user", "content": "again"},
    ]
    status, said = served.post("/v1/chat/completions", {"messages": later, "max_tokens": 3})
    assert status == 200
    short = [later[0], {"role": "assistant", "content": first.transcript or "."}, later[2]]
    _, without = served.post("/v1/chat/completions", {"messages": short, "max_tokens": 3})
    assert said["usage"]["prompt_tokens"] > without["usage"]["prompt_tokens"]
    later[1]["audio"]["id"] = "audio_0"
    status, said = served.post("/v1/chat/completions", {"messages": later})
    assert (status, said["error"]["code"]) == (404, "audio_not_found")


def test_ids_of_sound_are_counted_as_sound(writer):
    served, _ = writer
    usage = chat(served, audio={"format": "wav", "voice": "any"}, max_tokens=60).usage
    details = usage.completion_tokens_details
    assert details.audio_tokens > 10
    assert details.audio_tokens + details.text_tokens == usage.completion_tokens


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"audio": {"format": "aac", "voice": "a"}}, "aac is not written; take wav, flac, mp3, opus or pcm16"),
        ({"audio": {"format": "wav", "voice": "a"}, "stream": True}, "a stream of sound is pcm16"),
        ({"audio": {"format": "wav", "voice": "a"}, "stop": "x"}, "stop does not work with an answer in sound"),
        (
            {"audio": {"format": "wav", "voice": "a"}, "response_format": {"type": "json_object"}},
            "response_format does not work with an answer in sound",
        ),
        ({"audio": {"format": "wav", "voice": "a"}, "modalities": ["text"]}, "for sound give modalities"),
    ],
)
def test_what_is_not_there_of_sound_is_one_line(talker, how, message):
    with pytest.raises(openai.BadRequestError, match=message):
        chat(talker[0], **how)


@pytest.mark.parametrize(("kind", "media"), [("wav", "audio/wav"), ("flac", "audio/flac"), ("mp3", "audio/mpeg")])
def test_speech_is_a_file_that_is_read(talker, kind, media):
    served, _ = talker
    made = served.client().audio.speech.create(model="toy", voice="any", input="hello", response_format=kind)
    samples, rate_hz = read(made.content)
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


def test_a_sound_at_its_own_rate_needs_no_resampler(monkeypatch):
    found = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "torchaudio" else found(name))
    given = Waveform(np.zeros(8, np.float32), 24_000, "toy")
    assert at_rate(given, 24_000) is given
    with pytest.raises(KitError, match="a sound at another rate needs torchaudio"):
        at_rate(given, 16_000)
