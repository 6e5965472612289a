"""The page in a real browser, and what is put into it and taken out of it."""

from __future__ import annotations

import base64
import io
import json
import shutil

import av
import numpy as np
import pytest
import soundfile

from tests.serving.conftest import picture
from tinyllava_kit.components.modalities.audio import Waveform
from tinyllava_kit.serving.engine import AnswerChunk

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed; make test-browser runs these tests with it"
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
with_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed; apt-get install chromium")
expect = sync_api.expect
expect.set_options(timeout=60_000)

TONE_HZ, RATE_HZ = 440, 48_000  # of the microphone
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1180, "height": 800}
WORDS = [f"word{number} " for number in range(2000)]
HELD_FILE = """
    ({ name, type, content }) => {
        const held = new DataTransfer();
        const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
        held.items.add(new File([bytes], name, { type }));
        return held;
    }
"""


class Opened:
    """The page, what it asked of the API, and what its console said."""

    def __init__(self, browser, served, **how):
        self.context = browser.new_context(**{"viewport": DESK, **how})
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.said, self.asked = [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", self._note)
        self.address = f"http://127.0.0.1:{served.port}/"

    def _note(self, request):
        if request.method == "POST":
            self.asked.append((request.url.removeprefix(self.address), json.loads(request.post_data)))

    def open(self):
        self.page.goto(self.address)
        expect(self.page.locator("#composer")).to_be_visible()
        return self

    def bodies(self, path="v1/chat/completions"):
        """What was asked of a path."""
        return [body for url, body in self.asked if url == path]

    def ask(self, text, number=1):
        """Send a text, and wait for the answer of that number."""
        self.page.fill("#text", text)
        self.page.keyboard.press("Enter")
        return self.answered(number)

    def answered(self, number=1):
        answer = self.page.locator(".answer").nth(number - 1)
        expect(answer.locator("footer")).to_be_visible(timeout=60_000)
        return answer

    def set(self, **values):
        """Change settings as a user does."""
        self.page.get_by_role("button", name="Settings").click()
        for name, value in values.items():
            self.page.fill(f"#{name}", value)
        self.page.keyboard.press("Escape")

    def attach(self, name, content, kind):
        file = {"name": name, "mimeType": kind, "buffer": content}
        self.page.locator("input[type=file]").nth(0 if kind.startswith("image") else 1).set_input_files(file)

    def drop(self, name, kind, content):
        """Drag a file over the page, and let it go."""
        given = {"name": name, "type": kind, "content": base64.b64encode(content).decode()}
        held = {"dataTransfer": self.page.evaluate_handle(HELD_FILE, given)}
        self.page.dispatch_event("body", "dragenter", held)
        expect(self.page.locator("#drop")).to_be_visible()
        self.page.dispatch_event("body", "drop", held)
        expect(self.page.locator("#drop")).to_be_hidden()

    def button(self, name):
        return self.page.get_by_role("button", name=name)


def png(number=0):
    file = io.BytesIO()
    picture(number).save(file, "PNG")
    return file.getvalue()


def tone(seconds=0.5, kind="WAV"):
    file = io.BytesIO()
    soundfile.write(file, np.sin(np.arange(int(seconds * 16_000)) / 7), 16_000, format=kind)
    return file.getvalue()


def webm(seconds=0.5):
    """A sound as browsers record it, which soundfile does not read."""
    file, rate_hz = io.BytesIO(), 48_000
    with av.open(file, "w", format="webm") as written:
        stream = written.add_stream("libopus", rate=rate_hz, layout="mono")
        samples = (9_000 * np.sin(np.arange(int(rate_hz * seconds)) / 20)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = rate_hz
        written.mux([*stream.encode(frame), *stream.encode(None)])
    return file.getvalue()


def spoken_piece(text, seconds=0.25):
    samples = (0.3 * np.sin(np.arange(int(8_000 * seconds)) / 5)).astype(np.float32)
    return AnswerChunk(text, item=type("Said", (), {"item": Waveform(samples, 8_000, "said")})())


def content_of(part):
    return base64.b64decode(part[part["type"]].partition(",")[2])
