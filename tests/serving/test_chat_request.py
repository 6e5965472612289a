"""What a request for chat may say: refused with its parameter, as OpenAI's client reads it."""

from __future__ import annotations

import openai
import pytest

from tests.serving.asking import spoken_chat

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("how", "kind", "param", "message"),
    [
        ({"model": "gpt-4"}, openai.NotFoundError, "model", "the model 'gpt-4' is not served here; known: toy"),
        ({"messages": []}, openai.BadRequestError, "messages", "messages: List should have at least 1 item"),
        ({"temperature": 3}, openai.BadRequestError, "temperature", "less than or equal to 2, got 3"),
        ({"n": 1000}, openai.BadRequestError, "n", "n: 1000 is more than 16"),
        ({"stop": ["a"] * 5}, openai.BadRequestError, "stop", "stop: 5 is more than 4"),
        ({"max_tokens": 10_000}, openai.BadRequestError, "max_tokens", "512 are there for both"),
        ({"seed": 2**80}, openai.BadRequestError, "seed", "seed"),
        ({"logit_bias": {"x": 1}}, openai.BadRequestError, "logit_bias", "'x' is not a token; tokens are 0 to"),
        ({"top_logprobs": 2}, openai.BadRequestError, "top_logprobs", "without logprobs: true"),
        ({"response_format": {"type": "yaml"}}, openai.BadRequestError, "response_format.type", "'json_schema', got"),
        ({"tools": [{"type": "function"}]}, openai.BadRequestError, "tools", "tools are not supported; leave it out"),
        ({"extra_body": {"temprature": 1}}, openai.BadRequestError, "temprature", "did you mean 'temperature'?"),
        (
            {"modalities": ["text", "audio"], "audio": {"format": "wav", "voice": "a"}},
            *(openai.BadRequestError, None, "the model answers in words alone; for 'audio' assemble it with"),
        ),
        ({"modalities": ["audio"]}, openai.BadRequestError, "audio", 'audio: {"format": ...}'),
    ],
)
def test_what_cannot_be_done_is_an_error_that_the_client_reads(client, how, kind, param, message):
    given = {"model": "toy", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, **how}
    with pytest.raises(kind) as caught:
        client.chat.completions.create(**given)
    assert message in caught.value.message
    assert caught.value.param == param
    assert caught.value.request_id.startswith("req_")


@pytest.mark.parametrize("how", [{"max_tokens": 10_000}, {"logit_bias": {"x": 1}}], ids=["no room", "no token"])
def test_a_stream_has_the_status_of_what_is_wrong_before_it(client, how):
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="toy", messages=[{"role": "user", "content": "hi"}], stream=True, **how)


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
        spoken_chat(talker[0], **how)
