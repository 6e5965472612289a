"""Answers on the page: as they come, stopped, asked again, and why."""

from __future__ import annotations

import pytest

from tests.serving.browser.page import WORDS, expect, png, with_chromium

pytestmark = [pytest.mark.slow, with_chromium]


def test_an_answer_is_the_api_s_with_what_it_took(opened, spoken):
    here = opened().open()
    here.set(max_tokens="7")
    answer = here.ask("hello there")
    (body,) = here.bodies()
    status, whole = spoken.post("/v1/chat/completions", {**body, "stream": False, "stream_options": None})
    assert status == 200
    expect(answer.locator(".text")).to_have_text(whole["choices"][0]["message"]["content"].strip())
    usage = whole["usage"]
    expect(answer.locator(".facts")).to_contain_text(f"read {usage['prompt_tokens']} tokens · wrote 7 · ")
    expect(answer.locator(".facts")).to_contain_text("cut at its longest")
    expect(here.page.locator("#text")).to_be_focused()
    assert here.page.title() == "toy"


def test_what_the_model_reads_and_writes_is_shown(opened, spoken):
    here = opened().open()
    expect(here.page.locator("#abilities")).to_have_text("text, pictures, sounds → text, sounds")
    length = spoken.service.engine.longest
    expect(here.page.locator("#welcome")).to_contain_text(f"{length:,} tokens")
    here.button("Settings").click()
    expect(here.page.locator("#about")).to_contain_text("text, pictures, sounds")


def test_words_are_shown_as_they_come_and_escape_stops_them(opened, says):
    left = says(WORDS)
    here = opened().open()
    here.page.fill("#text", "tell me")
    here.page.keyboard.press("Enter")
    answer = here.page.locator(".answer")
    expect(answer).to_have_attribute("aria-busy", "true")
    expect(answer.locator(".text")).to_contain_text("word2")
    expect(answer.locator(".text")).not_to_contain_text("word1999")
    expect(here.button("Stop")).to_be_visible()
    here.page.keyboard.press("Escape")
    expect(answer.locator(".facts")).to_have_text("Stopped")
    expect(answer).not_to_have_attribute("aria-busy", "true")
    shown = answer.locator(".text").text_content()
    expect(here.button("Send")).to_be_visible()
    assert len(left) == 1
    assert left[0] < len(WORDS)
    says(["again"])
    here.ask("go on", 2)
    assert here.bodies()[-1]["messages"][1] == {"role": "assistant", "content": shown}


def test_the_button_stops_too_and_what_has_no_word_is_left_out(opened, says):
    says(["", *WORDS], wait=0.3)
    here = opened().open()
    here.page.fill("#text", "tell me")
    here.page.keyboard.press("Enter")
    here.button("Stop").click()
    answer = here.answered()
    if answer.locator(".text").is_hidden():
        expect(answer.locator(".facts")).to_have_text("Stopped before the first word")
        says(["yes"])
        here.ask("and now?", 2)
        assert [each["role"] for each in here.bodies()[-1]["messages"]] == ["user"]


def test_regenerate_asks_again_without_the_last_answer(opened, says):
    says(["one"])
    here = opened().open()
    here.ask("count")
    here.ask("go on", 2)
    expect(here.page.locator(".answer").nth(0).get_by_role("button", name="Regenerate")).to_be_hidden()
    says(["two"])
    here.button("Regenerate").click()
    expect(here.page.locator(".answer").nth(1).locator(".text")).to_have_text("two")
    second, third = here.bodies()[1:]
    assert third == second
    assert [each["role"] for each in third["messages"]] == ["user", "assistant", "user"]
    expect(here.page.locator(".answer")).to_have_count(2)


def test_settings_are_sent_and_what_is_wrong_is_said(opened, says):
    says(["yes"])
    here = opened().open()
    here.ask("hello")
    assert here.bodies()[0].keys() == {"model", "messages", "temperature", "stream", "stream_options"}
    assert here.bodies()[0]["temperature"] == 0
    here.set(system="Be brief.", temperature="0.7", top_p="0.9", max_tokens="12", seed="5")
    here.ask("hello", 2)
    body = here.bodies()[1]
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert {name: body[name] for name in ("temperature", "top_p", "max_tokens", "seed")} == {
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 12,
        "seed": 5,
    }
    here.set(max_tokens="0", seed="1.5")
    here.button("Settings").click()
    for wrong in here.page.locator(".wrong").all():
        expect(wrong).to_contain_text("It is left out.")
    here.page.keyboard.press("Escape")
    here.ask("hello", 3)
    assert here.bodies()[2].keys().isdisjoint({"max_tokens", "seed"})
    here.button("Settings").click()
    here.button("Back to the defaults").click()
    here.page.keyboard.press("Escape")
    here.ask("hello", 4)
    assert here.bodies()[3].keys() == here.bodies()[0].keys()
    assert here.bodies()[3]["messages"][0]["role"] == "user"


def test_why_shows_the_page_of_show_in_a_frame_without_scripts(opened, spoken):
    here = opened(color_scheme="light").open()
    here.button("Dark colors").click()
    here.set(max_tokens="4")
    here.attach("a.png", png(), "image/png")
    answer = here.ask("what is it?")
    answer.get_by_role("button", name="Why?").click()
    frame = here.page.frame_locator("#why iframe")
    expect(frame.locator("h1")).to_have_text(answer.locator(".text").inner_text())
    expect(frame.locator("body")).to_contain_text("What it might have said")
    expect(frame.locator("img").first).to_be_visible()
    assert here.page.locator("#why iframe").get_attribute("sandbox") == ""
    background = frame.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
    assert background == "rgb(21, 24, 27)"  # the style is let in, and it is dark
    (body,) = here.bodies("v1/why")
    assert body["messages"] == here.bodies()[0]["messages"]
    assert body["max_tokens"] == 4
    here.page.keyboard.press("Escape")
    expect(here.page.locator("#why")).to_be_hidden()
    expect(answer.get_by_role("button", name="Why?")).to_be_focused()


def test_a_new_conversation_forgets_the_old_one(opened, says):
    says(WORDS)
    here = opened().open()
    here.page.fill("#text", "hello")
    here.page.keyboard.press("Enter")
    expect(here.page.locator(".answer .text")).to_contain_text("word1")
    here.button("New conversation").click()
    expect(here.page.locator("article")).to_have_count(0)
    expect(here.page.locator("#welcome")).to_be_visible()
    expect(here.button("Send")).to_be_visible()
    says(["yes"])
    here.ask("another")
    assert len(here.bodies()[-1]["messages"]) == 1
