"""The page by keyboard, in light and dark, and on a phone."""

from __future__ import annotations

import pytest

from tests.serving.browser.page import PHONE, expect, png, tone, with_chromium

pytestmark = [pytest.mark.slow, with_chromium]


def test_everything_is_reached_by_keyboard_and_seen_where_it_is(opened, says):
    says(["yes"])
    here = opened().open()
    here.page.keyboard.type("first")
    here.page.keyboard.press("Shift+Enter")
    here.page.keyboard.type("second")
    assert here.page.locator("#text").input_value() == "first\nsecond"
    here.page.keyboard.press("Enter")
    here.answered()
    wanted = {
        "new",
        "theme",
        "open-settings",
        "text",
        "Add pictures",
        "Add sounds",
        "Record a sound",
        "Answer in sound",
    }
    wanted |= {"Regenerate", "Why?"}
    found = set()
    here.page.evaluate("document.activeElement.blur()")
    for _ in range(20):
        here.page.keyboard.press("Tab")
        name, outline, is_text = here.page.evaluate(
            """() => {
                const { activeElement: each } = document;
                return [each.id || each.title, getComputedStyle(each).outlineStyle, each.id === "text"];
            }"""
        )
        found.add(name)
        assert is_text or name == "" or outline != "none", name
    assert wanted <= found
    expect(here.page.locator("#transcript")).to_have_attribute("aria-live", "polite")


LUMINANCE = """
    ([foreground, background]) => {
        const paint = (color) => {
            const canvas = document.createElement("canvas").getContext("2d");
            canvas.fillStyle = color;
            canvas.fillRect(0, 0, 1, 1);
            return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((value) => value / 255);
        };
        const probe = document.body.appendChild(document.createElement("i"));
        const light = (name) => {
            probe.style.color = `var(--${name})`;
            const linear = paint(getComputedStyle(probe).color);
            const [r, g, b] = linear.map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const [high, low] = [light(foreground), light(background)].sort((a, b) => b - a);
        probe.remove();
        return (high + 0.05) / (low + 0.05);
    }
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_in_light_and_dark(opened, scheme):
    here = opened(color_scheme=scheme).open()
    pairs = [("ink", "paper"), ("ink", "tint"), ("soft", "paper"), ("soft", "surface"), ("soft", "tint")]
    pairs += [("on-accent", "accent"), ("accent", "accent-tint"), ("wrong", "wrong-tint"), ("wrong", "surface")]
    for foreground, background in pairs:
        ratio = here.page.evaluate(LUMINANCE, [foreground, background])
        assert ratio >= 4.5, (foreground, background, ratio)
    assert here.page.evaluate(LUMINANCE, ["edge", "surface"]) >= 3  # of borders of fields


def test_light_and_dark_follow_the_system_until_the_user_says_otherwise(opened):
    here = opened(color_scheme="dark").open()
    background = "getComputedStyle(document.body).backgroundColor"
    dark = here.page.evaluate(background)
    here.button("Light colors").click()
    light = here.page.evaluate(background)
    assert light != dark
    here.page.reload()
    assert here.page.evaluate(background) == light
    here.button("Dark colors").click()
    assert here.page.evaluate(background) == dark
    here.page.emulate_media(color_scheme="light")
    assert here.page.evaluate(background) == light


def test_a_phone_shows_everything_without_scrolling_aside(opened, says):
    says(["a-very-long-word" * 30])
    here = opened(viewport=PHONE, has_touch=True, is_mobile=True).open()
    here.attach("a.png", png(), "image/png")
    here.attach("a.wav", tone(), "audio/wav")
    expect(here.page.locator(".tile")).to_have_count(2)
    width = "[document.documentElement.scrollWidth, document.querySelector('main').scrollWidth]"
    assert max(here.page.evaluate(width)) <= PHONE["width"]
    here.ask("b" * 200)
    assert max(here.page.evaluate(width)) <= PHONE["width"]
    for each in here.page.locator("button:visible").all():
        box = each.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE["width"]
    here.button("Settings").click()
    assert here.page.locator("#settings").bounding_box()["width"] <= PHONE["width"]
    size = here.page.locator("#text").evaluate("text => parseFloat(getComputedStyle(text).fontSize)")
    assert size >= 16  # smaller fields are zoomed into
