"""What a prompt costs before it is answered, and why the model answers so."""

from __future__ import annotations

import pytest

from tests.serving.asking import picture_part, sound_part, text

pytestmark = pytest.mark.slow


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
