"""Chat as OpenAI's own client sees it: pictures and sounds, whole and streamed, its errors."""

from __future__ import annotations

import base64
import json

import numpy as np
import openai
import pytest

from tests.serving.asking import ask, picture_part, samples_of, sound_part, spoken_chat, text
from tests.serving.conftest import asked, picture, sound
from tinyllava_kit.inference.answering import answer, question
from tinyllava_kit.inference.replies import replies

pytestmark = pytest.mark.slow


def test_the_client_reads_an_answer_about_a_picture_and_a_sound(client, pair):
    model, processor = pair
    made = ask(client, picture_part(), text("what"), sound_part(), text("is this?"))
    conversation = asked(processor, "<image>what<audio>is this?", picture(1), sound(1))
    (expected,) = answer(model, processor, [conversation], max_new_tokens=12)
    assert made.choices[0].message.content.strip() == expected
    assert (made.object, made.model, made.choices[0].finish_reason) == ("chat.completion", "toy", "length")
    details = made.usage.prompt_tokens_details
    prompt = processor.encode(conversation, answer=True)
    assert made.usage.prompt_tokens == prompt.num_tokens
    assert details.image_tokens + details.audio_tokens + details.text_tokens == prompt.num_tokens
    assert (details.image_tokens, details.audio_tokens) == tuple(
        span.num_tokens for span in prompt.spans if hasattr(span, "modality")
    )
    assert made.usage.completion_tokens == made.usage.completion_tokens_details.text_tokens == 12


def test_a_stream_says_what_the_whole_answer_says(client):
    parts = (picture_part(2), text("what is this?"))
    whole = ask(client, *parts)
    chunks = list(ask(client, *parts, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_ends_with_done(served):
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, "stream": True}
    status, headers, content = served.send("POST", "/v1/chat/completions", body)
    lines = content.decode().split("\n\n")
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert lines[-2:] == ["data: [DONE]", ""]
    assert all(json.loads(line.removeprefix("data: "))["choices"] for line in lines[:-2])


def test_several_answers_are_chance_and_a_seed_repeats_them(client):
    how = {"n": 3, "seed": 4, "temperature": 1.5}
    first, again = (ask(client, text("hello"), **how) for _ in range(2))
    said = [choice.message.content for choice in first.choices]
    assert said == [choice.message.content for choice in again.choices]
    assert [choice.index for choice in first.choices] == [0, 1, 2]
    assert len(set(said)) > 1
    assert first.usage.completion_tokens == 36
    chunks = list(ask(client, text("hello"), stream=True, **how))
    streamed = ["", "", ""]
    for chunk in chunks:
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert streamed == said


def test_log_probabilities_are_those_of_the_tokens_that_were_said(client):
    made = ask(client, text("hello"), logprobs=True, top_logprobs=3)
    content = made.choices[0].logprobs.content
    assert len(content) == 12
    for each in content:
        assert each.logprob == max(top.logprob for top in each.top_logprobs) <= 0
        assert (each.token, each.bytes) == (each.top_logprobs[0].token, each.top_logprobs[0].bytes)
        assert len(each.top_logprobs) == 3
    assert ask(client, text("hello")).choices[0].logprobs is None
    streamed = [chunk.choices[0].logprobs for chunk in ask(client, text("hello"), stream=True, logprobs=True)]
    assert [token.token for each in streamed if each for token in each.content] == [each.token for each in content]


def test_an_instruction_and_an_earlier_answer_are_part_of_the_conversation(client, pair):
    messages = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": [{"type": "text", "text": "hi"}]},
        {"role": "user", "content": "and?"},
    ]
    made = client.chat.completions.create(model="toy", messages=messages, max_completion_tokens=4)
    model, processor = pair
    said = [{**message, "role": message["role"].replace("developer", "system")} for message in messages]
    expected = answer(model, processor, [processor.conversation(said)], max_new_tokens=4)
    assert [made.choices[0].message.content.strip()] == expected


def test_more_at_once_than_there_are_places_is_told_to_come_later(client, served):
    with served.service.engine.places(15), pytest.raises(openai.RateLimitError, match="15 of at most 16 answers are"):
        ask(client, text("hello"), n=2)
    assert served.service.engine.in_flight == 0


def test_a_stop_text_and_a_bias_are_obeyed(client):
    plain = ask(client, text("hello")).choices[0].message.content
    stopped = ask(client, text("hello"), stop=[plain[3:6]]).choices[0]
    assert (stopped.message.content, stopped.finish_reason) == (plain[: plain.index(plain[3:6])], "stop")
    assert ask(client, text("hello"), logit_bias={"70": 100}).choices[0].message.content != plain


def test_a_spoken_answer_is_what_the_model_says_with_its_words_as_transcript(talker):
    served, (model, processor) = talker
    made = spoken_chat(served, audio={"format": "wav", "voice": "any"})
    message = made.choices[0].message
    (said,) = replies(model, processor, [question("hello", [], processor)], force=["audio"], max_new_tokens=5)
    samples, rate_hz = samples_of(base64.b64decode(message.audio.data))
    expected = said.items("audio")[0].item
    assert message.content is None
    assert message.audio.transcript == said.text
    assert rate_hz == expected.rate_hz
    assert np.abs(samples - np.clip(expected.samples, -1, 1)).max() < 1e-3
    assert made.usage.completion_tokens_details.text_tokens == 5


def test_a_spoken_answer_is_streamed_as_the_client_types_it(talker):
    served, _ = talker
    whole = spoken_chat(served, audio={"format": "pcm16", "voice": "any"}).choices[0].message.audio
    chunks = list(spoken_chat(served, audio={"format": "pcm16", "voice": "any"}, stream=True))
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
    first = spoken_chat(served, audio={"format": "wav", "voice": "any"}, max_tokens=60).choices[0].message.audio
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
    usage = spoken_chat(served, audio={"format": "wav", "voice": "any"}, max_tokens=60).usage
    details = usage.completion_tokens_details
    assert details.audio_tokens > 10
    assert details.audio_tokens + details.text_tokens == usage.completion_tokens
