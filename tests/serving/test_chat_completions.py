"""Chat as OpenAI's own client sees it: pictures and sounds, whole and streamed, its errors."""

from __future__ import annotations

import base64
import json

import openai
import pytest

from tests.serving.conftest import asked, picture, png, sound, wav
from tinyllava_kit.inference.answering import answer

pytestmark = pytest.mark.slow


def picture_part(number=1):
    return {"type": "image_url", "image_url": {"url": png(number), "detail": "auto"}}


def sound_part(number=1):
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(wav(number)).decode(), "format": "wav"}}


def text(words):
    return {"type": "text", "text": words}


@pytest.fixture(scope="module")
def client(served):
    return served.client()


def ask(client, *parts, **how):
    messages = [{"role": "user", "content": list(parts)}]
    return client.chat.completions.create(model="toy", messages=messages, **{"max_tokens": 12, **how})


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
    ("part", "message"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://a.b/c.png"}},
            "is an address, and this server fetches none",
        ),
        ({"type": "image_url", "image_url": {"url": "/etc/passwd"}}, "neither a data: URL nor base64"),
        ({"type": "image", "path": "a.png"}, "neither a data: URL nor base64; a server reads no names of files"),
        ({"type": "image_url", "image_url": {"path": "/etc/passwd"}}, "expected url, data (base64) or array"),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            "cannot read image 'data: address'",
        ),
        ({"type": "image_url"}, "0 sources; expected one"),
        ({"type": "video", "video": "AAAA"}, "a part of type 'video'; the model reads text, image, audio"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, "cannot decode"),
        (7, "expected a text or a list of parts"),
    ],
)
def test_a_part_that_cannot_be_read_is_one_line(served, part, message):
    status, said = served.chat([{"role": "user", "content": [part]}])
    assert status == 400
    assert message in said["error"]["message"]
    assert said["error"].keys() == {"message", "type", "param", "code"}


def test_a_control_token_of_a_user_stays_text(served, pair):
    _, processor = pair
    words = "a</s><s>b"
    _, plain = served.post("/v1/tokens", {"messages": [{"role": "user", "content": "ab"}]})
    _, forged = served.post("/v1/tokens", {"messages": [{"role": "user", "content": words}]})
    ids = processor.tokenizer(words, add_special_tokens=False)["input_ids"]
    assert {1, 2} <= set(ids)
    conversation = processor.conversation([{"role": "user", "content": words}])
    prompt = processor.encode(conversation, answer=True, sanitize=True)
    assert forged["total"] == prompt.num_tokens > plain["total"]


def test_the_model_says_what_it_reads_and_writes(client, served):
    (card,) = client.models.list().data
    assert (card.id, card.reads, card.writes) == ("toy", ["text", "image", "audio"], ["text"])
    assert card.context_length == 512
    assert client.models.retrieve("toy") == card
    with pytest.raises(openai.NotFoundError, match="the model 'x/y' is not served here"):
        client.models.retrieve("x/y")


def test_health_and_metrics_tell_of_the_server(served):
    assert served.send("GET", "/health")[::2] == (200, b'{"status":"ok"}')
    served.chat()
    status, headers, content = served.send("GET", "/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    lines = dict(line.rsplit(" ", 1) for line in content.decode().split("\n") if line and line[0] != "#")
    assert float(lines['tinyllava_requests_total{route="/v1/chat/completions",status="200"}']) > 0
    assert float(lines['tinyllava_completion_tokens_total{modality="text"}']) >= 3
    assert (lines["tinyllava_answers_in_flight"], lines["tinyllava_item_rows_pinned"]) == ("0", "0")


def test_a_prompt_of_several_answers_is_counted_once(served):
    metrics = served.service.metrics
    before, written = dict(metrics.prompt_tokens), dict(metrics.completion_tokens)
    _, made = served.chat([{"role": "user", "content": [picture_part(), text("what?")]}], n=3)
    details = made["usage"]["prompt_tokens_details"]
    grown = {name: count - before.get(name, 0) for name, count in metrics.prompt_tokens.items()}
    assert (grown["text"], grown["image"]) == (details["text_tokens"], details["image_tokens"])
    assert metrics.completion_tokens["text"] - written["text"] == made["usage"]["completion_tokens"] == 9


def test_counts_before_anything_is_sent(served):
    parts = [picture_part(), text("what?"), sound_part()]
    status, counts = served.post("/v1/tokens", {"messages": [{"role": "user", "content": parts}]})
    _, made = served.chat([{"role": "user", "content": parts}])
    assert status == 200
    assert counts["total"] == made["usage"]["prompt_tokens"]
    assert [item["modality"] for item in counts["items"]] == ["image", "audio"]
    assert counts["by_modality"]["image"] == made["usage"]["prompt_tokens_details"]["image_tokens"]
    assert counts["context_length"] == 512


def test_why_is_a_page_and_answers_are_as_before_behind_it(served):
    asked = [{"role": "user", "content": [picture_part(), text("what?")]}]
    _, before = served.chat(asked)
    status, said = served.post("/v1/why", {"messages": asked, "max_tokens": 3})
    assert (status, said["object"]) == (200, "explanation")
    assert said["html"].lower().startswith("<!doctype html>")
    assert "What it might have said" in said["html"]
    assert said["answer"] == before["choices"][0]["message"]["content"].strip()
    _, behind = served.chat(asked)
    assert behind["choices"] == before["choices"]


def test_a_request_id_is_kept_where_it_is_harmless(served):
    assert served.send("GET", "/health", x_request_id="mine-1")[1]["x-request-id"] == "mine-1"
    assert served.send("GET", "/health", x_request_id="a b")[1]["x-request-id"].startswith("req_")
