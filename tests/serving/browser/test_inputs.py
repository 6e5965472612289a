"""Pictures and sounds that are given to the page, dropped or recorded."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
import soundfile

from tests.serving.browser.page import TONE_HZ, content_of, expect, png, tone, webm, with_chromium

pytestmark = [pytest.mark.slow, with_chromium]


def parts_of(request):
    """Of the last message that a request counts."""
    return json.loads(request.post_data)["messages"][-1]["content"] if request.url.endswith("/tokens") else ()


def test_inputs_that_the_model_does_not_read_are_not_offered(opened, spoken, monkeypatch):
    card = {**spoken.service.card(), "reads": ["text"], "writes": ["text"]}
    monkeypatch.setattr(spoken.service, "card", lambda: card)
    here = opened().open()
    assert here.page.locator("input[type=file]").count() == 0
    for name in ("Add pictures", "Add sounds", "Record a sound", "Answer in sound"):
        expect(here.button(name)).to_have_count(0)
    monkeypatch.setattr(spoken.service, "card", lambda: {**card, "reads": ["text", "image", "touch"]})
    here.open()
    expect(here.button("Add touch")).to_be_visible()
    expect(here.button("Add pictures")).to_be_visible()
    expect(here.button("Record a sound")).to_have_count(0)


def test_a_picture_is_dropped_counted_and_sent(opened, spoken):
    here = opened().open()
    here.set(max_tokens="3")
    here.drop("shape.png", "image/png", png(1))
    here.page.fill("#text", "what is it?")
    expect(here.page.locator(".tile small")).to_have_text(re.compile(r"^\d+ tokens$"))
    status, counts = spoken.post("/v1/tokens", here.bodies("v1/tokens")[-1])
    assert status == 200
    expect(here.page.locator(".tile small")).to_have_text(f"{counts['items'][0]['tokens']} tokens")
    expect(here.page.locator("#count")).to_contain_text(f"{counts['total']} of ")
    here.page.keyboard.press("Enter")
    answer = here.answered()
    (body,) = here.bodies()
    first, second = body["messages"][0]["content"]
    assert content_of(first) == png(1)
    assert second == {"type": "text", "text": "what is it?"}
    expect(answer.locator(".facts")).to_contain_text(f"({counts['items'][0]['tokens']} of pictures)")
    expect(here.page.locator(".question img")).to_be_visible()
    expect(here.page.locator(".tile")).to_have_count(0)


def test_an_item_can_be_taken_away_again(opened):
    here = opened().open()
    here.attach("a.png", png(), "image/png")
    here.attach("b.png", png(1), "image/png")
    expect(here.page.locator(".tile")).to_have_count(2)
    with here.page.expect_request(lambda request: len(parts_of(request)) == 1):
        here.button("Remove a.png").click()
    expect(here.page.locator(".tile")).to_have_count(1)
    (part,) = here.bodies("v1/tokens")[-1]["messages"][0]["content"]
    assert content_of(part) == png(1)


def test_the_microphone_is_recorded_as_wav(opened):
    here = opened(permissions=["microphone"]).open()
    here.set(max_tokens="3")
    here.button("Record a sound").click()
    expect(here.page.locator("#clock")).to_have_text("0:01")
    here.button("Done").click()
    expect(here.page.locator(".tile.audio small")).to_have_text(re.compile(r"\d+ tokens"))
    here.page.keyboard.press("Enter")
    here.answered()
    (part,) = here.bodies()[0]["messages"][0]["content"]
    assert part["type"] == "audio"
    samples, rate_hz = soundfile.read(io.BytesIO(content_of(part)))
    assert (samples.ndim, rate_hz) == (1, 24_000)
    assert 1 <= len(samples) / rate_hz < 20
    middle = samples[rate_hz // 2 : rate_hz]
    strongest = np.argmax(np.abs(np.fft.rfft(middle * np.hanning(len(middle))))) * rate_hz / len(middle)
    assert abs(strongest - TONE_HZ) < 5


def test_a_recording_can_be_discarded(opened):
    here = opened(permissions=["microphone"]).open()
    here.button("Record a sound").click()
    expect(here.page.locator("#recording")).to_be_visible()
    here.button("Discard").click()
    expect(here.page.locator("#recording")).to_be_hidden()
    expect(here.page.locator(".tile")).to_have_count(0)


def test_a_sound_is_sent_as_it_is_where_the_server_reads_it_and_else_as_wav(opened):
    here = opened().open()
    given = (("a.flac", "audio/flac", tone(kind="FLAC")), ("b.webm", "video/webm", webm()))
    for number, (name, kind, content) in enumerate(given, 1):
        here.attach(name, content, kind)
        expect(here.page.locator(".tile")).to_have_count(number)
        expect(here.page.locator(".tile small").last).to_have_text(re.compile(r"\d+ tokens"))
    first, second = here.bodies("v1/tokens")[-1]["messages"][0]["content"]
    assert content_of(first) == tone(kind="FLAC")
    samples, rate_hz = soundfile.read(io.BytesIO(content_of(second)))
    assert len(samples) / rate_hz == pytest.approx(0.5, abs=0.05)
    assert np.abs(samples).max() > 0.1


def test_files_that_are_nothing_for_the_model_are_said(opened):
    here = opened().open()
    for name, kind, content, message in (
        (
            "notes.pdf",
            "application/pdf",
            "x",
            "notes.pdf is nothing that the model reads; it reads text, pictures, sounds.",
        ),
        ("film.mp4", "video/mp4", "x", "film.mp4 has no sound that this browser can read."),
        ("empty.png", "image/png", "", "empty.png is empty."),
    ):
        here.drop(name, kind, content.encode())
        expect(here.page.locator("#problem")).to_have_text(message)
    expect(here.page.locator(".tile")).to_have_count(0)
    here.page.locator("input[type=file]").first.set_input_files(
        [
            {"name": "empty.png", "mimeType": "image/png", "buffer": b""},
            {"name": "a.png", "mimeType": "image/png", "buffer": png()},
        ]
    )
    expect(here.page.locator(".tile")).to_have_count(1)
    expect(here.page.locator("#problem")).to_have_text("empty.png is empty.")  # the other does not hide it
