"""What goes wrong on the page: hostile words, a key, an error, a server that is gone."""

from __future__ import annotations

import pytest

from tests.serving.browser.page import expect, png, with_chromium
from tinyllava_kit.serving.engine import AnswerChunk

pytestmark = [pytest.mark.slow, with_chromium]


HOSTILE = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>&lt;b&gt;'


def test_what_a_model_or_a_user_writes_stays_text(opened, spoken, says, monkeypatch):
    says([HOSTILE])
    monkeypatch.setattr(spoken.service, "name", HOSTILE)
    here = opened().open()
    here.attach(f"{HOSTILE.replace('/', '')}.png", png(), "image/png")
    expect(here.page.locator(".tile")).to_be_visible()
    answer = here.ask(HOSTILE)
    assert here.page.locator(".question .text").inner_text() == HOSTILE
    assert answer.locator(".text").inner_text() == HOSTILE
    assert here.page.locator("#model").inner_text() == HOSTILE
    assert here.page.evaluate("window.pwned") is None
    assert here.page.locator("main script, main .text *").count() == 0


def test_a_server_with_a_key_asks_for_it_and_no_store_keeps_it(opened, spoken, says, monkeypatch):
    says(["yes"])
    key = "a key of 16 chars".replace(" ", "-")
    monkeypatch.setattr(spoken.server.config.app, "key", key.encode())
    here = opened()
    here.page.goto(here.address)
    field = here.page.get_by_label("API key").first
    expect(here.page.locator("#notice")).to_contain_text("This server asks for a key.")
    field.fill("wrong")
    here.page.keyboard.press("Enter")
    expect(here.page.locator("#notice")).to_contain_text("That key is not the right one.")
    here.page.locator(".key input").fill(key)
    here.page.keyboard.press("Enter")
    expect(here.page.locator("#composer")).to_be_visible()
    expect(here.ask("hello").locator(".text")).to_have_text("yes")
    stores = "JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])"
    assert key not in here.page.evaluate(stores)
    assert [each for each in here.said if "401" not in each] == []
    here.said.clear()
    here.page.reload()
    expect(here.page.locator("#notice")).to_contain_text("This server asks for a key.")
    here.said.clear()


def test_what_cannot_be_read_is_one_line_and_leaves_what_follows_alone(opened, says):
    here = opened().open()
    here.attach("broken.png", b"no picture", "image/png")
    expect(here.page.locator("#problem")).to_contain_text("cannot")
    answer = here.ask("what is it?")
    expect(answer.locator(".problem")).to_have_attribute("role", "alert")
    assert "\n" not in answer.locator(".problem").inner_text().strip()
    expect(answer.locator(".facts")).to_have_text("Left out of what follows")
    expect(answer.get_by_role("button", name="Try again")).to_be_visible()
    says(["yes"])
    here.ask("and now?", 2)
    assert here.bodies()[-1]["messages"] == [{"role": "user", "content": [{"type": "text", "text": "and now?"}]}]
    assert [each for each in here.said if "400" not in each] == []
    here.said.clear()


def test_an_error_in_a_stream_keeps_the_words_before_it(opened, spoken, monkeypatch):
    async def answer(prompt, how, count):
        yield AnswerChunk("half of ")
        raise RuntimeError("a secret of the server")

    monkeypatch.setattr(spoken.service, "answer", answer)
    here = opened().open()
    made = here.ask("hello")
    expect(made.locator(".text")).to_have_text("half of")
    expect(made.locator(".problem")).to_contain_text("the server has made a mistake")
    expect(made.locator(".facts")).to_have_text("Broken off, and left out of what follows")


def test_a_server_that_is_gone_is_said_and_looked_for_again(opened):
    here = opened()
    here.page.route("**/v1/models", lambda route: route.abort())
    here.page.goto(here.address)
    expect(here.page.locator("#notice")).to_contain_text("The server cannot be reached.")
    here.page.unroute("**/v1/models")
    here.button("Try again").click()
    expect(here.page.locator("#composer")).to_be_visible()
    here.said.clear()
