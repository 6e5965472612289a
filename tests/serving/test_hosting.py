"""The application for a server of one's own: here the one that Starlette brings for tests."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from tinyllava_kit import KitError
from tinyllava_kit.serving import asgi_app

pytestmark = pytest.mark.slow

KEY = "k" * 16


def test_a_model_as_an_application_answers_within_its_lifespan(another):
    app = asgi_app(*another(), name="mine", key=KEY, limits={"answers": 2}, max_requests=4, cache_tokens=512)
    asked = {"model": "mine", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
    with TestClient(app) as client:
        assert client.post("/v1/chat/completions", json=asked).status_code == 401
        client.headers["authorization"] = f"Bearer {KEY}"
        made = client.post("/v1/chat/completions", json=asked).json()
        assert (made["model"], made["usage"]["completion_tokens"]) == ("mine", 3)
        many = client.post("/v1/chat/completions", json={**asked, "n": 3})
        assert (many.status_code, many.json()["error"]["message"]) == (400, "n: 3 is more than 2")
        assert client.get("/health").json() == {"status": "ok"}


def test_a_wrong_limit_is_told_before_anything_runs(pair):
    with pytest.raises(KitError, match="no limit is called 'answer'; did you mean 'answers'"):
        asgi_app(*pair, name="mine", limits={"answer": 2})
