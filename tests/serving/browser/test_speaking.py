"""Answers in sound on the page."""

from __future__ import annotations

import pytest

from tests.serving.browser.page import expect, spoken_piece, tone, with_chromium
from tinyllava_kit.serving.kept_sounds import KeptSounds

pytestmark = [pytest.mark.slow, with_chromium]


SOUNDED = """
    window.sounded = [];
    const start = AudioBufferSourceNode.prototype.start;
    AudioBufferSourceNode.prototype.start = function (when) {
        const isComing = document.querySelector(".answer[aria-busy]") !== null;
        window.sounded.push({ when, seconds: this.buffer.duration, isComing });
        return start.call(this, when);
    };
"""


def test_a_spoken_answer_sounds_while_it_comes_and_can_be_played_again(opened, says):
    chunks = [spoken_piece("one "), "two ", spoken_piece("three"), spoken_piece("")]
    says(chunks, wait=0.1)
    here = opened()
    here.page.add_init_script(SOUNDED)
    here.open()
    here.button("Answer in sound").click()
    answer = here.ask("speak")
    body = here.bodies()[0]
    assert (body["modalities"], body["audio"]) == (["text", "audio"], {"format": "pcm16"})
    expect(answer.locator(".text")).to_have_text("one two three")
    sounded = here.page.evaluate("window.sounded")
    assert [each["isComing"] for each in sounded] == [True] * 3
    assert all(each["seconds"] == pytest.approx(0.25, abs=0.01) for each in sounded)
    ends = [each["when"] + each["seconds"] for each in sounded]
    assert all(later["when"] >= end - 1e-6 for end, later in zip(ends, sounded[1:], strict=False))
    expect(answer.locator(".clock")).to_have_text("0:00")
    answer.get_by_role("button", name="Play the answer").click()
    expect(answer.get_by_role("button", name="Play the answer")).to_be_visible()  # when it has been played
    assert float(answer.locator("input").get_attribute("max")) == pytest.approx(0.75, abs=0.02)
    says(["and"])
    here.button("Answer in sound").click()
    here.ask("again", 2)
    message = here.bodies()[1]["messages"][1]
    assert message["audio"]["id"].startswith("audio_")
    assert "modalities" not in here.bodies()[1]


def test_a_sound_that_the_server_has_forgotten_goes_on_as_its_words(opened, spoken, says):
    says([spoken_piece("said")])
    here = opened().open()
    here.button("Answer in sound").click()
    here.ask("speak")
    spoken.service.sounds = KeptSounds(spoken.service.limits)
    says(["and"])
    here.button("Answer in sound").click()
    expect(here.ask("again", 2).locator(".text")).to_have_text("and")
    assert here.bodies()[-1]["messages"][1] == {"role": "assistant", "content": "said"}
    assert [each for each in here.said if "404" not in each] == []
    here.said.clear()


def test_why_goes_on_with_the_words_of_a_sound_that_the_server_has_forgotten(opened, spoken, says):
    says([spoken_piece("said")])
    here = opened().open()
    here.button("Answer in sound").click()
    here.ask("speak")
    says(["and"])
    here.button("Answer in sound").click()
    answer = here.ask("again", 2)
    spoken.service.sounds = KeptSounds(spoken.service.limits)
    answer.get_by_role("button", name="Why?").click()
    expect(here.page.frame_locator("#why iframe").locator("h1")).to_be_visible()
    first, second = here.bodies("v1/why")
    assert first["messages"][1]["audio"]["id"].startswith("audio_")
    assert second["messages"][1] == {"role": "assistant", "content": "said"}
    assert "max_tokens" not in second
    assert [each for each in here.said if "404" not in each] == []
    here.said.clear()


KEPT = """
    window.kept = new Set();
    const { createObjectURL, revokeObjectURL } = URL;
    URL.createObjectURL = (file) => {
        const address = createObjectURL.call(URL, file);
        kept.add(address);
        return address;
    };
    URL.revokeObjectURL = (address) => {
        kept.delete(address);
        revokeObjectURL.call(URL, address);
    };
"""


def test_a_sound_that_is_shown_no_longer_is_not_kept(opened, says):
    says([spoken_piece("said")])
    here = opened()
    here.page.add_init_script(KEPT)
    here.open()
    here.attach("tone.wav", tone(), "audio/wav")
    here.button("Answer in sound").click()
    answer = here.ask("speak")
    assert here.page.evaluate("kept.size") == 1
    answer.get_by_role("button", name="Regenerate").click()
    here.answered()
    assert here.page.evaluate("kept.size") == 1
    here.button("New conversation").click()
    assert here.page.evaluate("kept.size") == 0
