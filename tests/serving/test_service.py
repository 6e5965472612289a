"""What all routes share."""

from __future__ import annotations

import pytest

from tests.serving.asking import picture_part, text

pytestmark = pytest.mark.slow


def test_a_prompt_of_several_answers_is_counted_once(served):
    metrics = served.service.metrics
    before, written = dict(metrics.prompt_tokens), dict(metrics.completion_tokens)
    _, made = served.chat([{"role": "user", "content": [picture_part(), text("what?")]}], n=3)
    details = made["usage"]["prompt_tokens_details"]
    grown = {name: count - before.get(name, 0) for name, count in metrics.prompt_tokens.items()}
    assert (grown["text"], grown["image"]) == (details["text_tokens"], details["image_tokens"])
    assert metrics.completion_tokens["text"] - written["text"] == made["usage"]["completion_tokens"] == 9
