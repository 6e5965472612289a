"""The routes that tell of the server."""

from __future__ import annotations

import openai
import pytest

pytestmark = pytest.mark.slow


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


def test_a_request_id_is_kept_where_it_is_harmless(served):
    assert served.send("GET", "/health", x_request_id="mine-1")[1]["x-request-id"] == "mine-1"
    assert served.send("GET", "/health", x_request_id="a b")[1]["x-request-id"].startswith("req_")
