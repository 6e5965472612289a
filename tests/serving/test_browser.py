"""The page in a real browser: Debian's chromium, driven by playwright, with a microphone that plays a file."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import shutil

import av
import numpy as np
import pytest
import soundfile
import torch

from tests import toys
from tests.serving.conftest import Served, picture, save_whisper
from tinyllava_kit import Assembly, assemble
from tinyllava_kit.components.modalities.audio import Waveform
from tinyllava_kit.serving.engine import AnswerChunk
from tinyllava_kit.serving.kept_sounds import KeptSounds

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed; make test-browser runs these tests with it"
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed; apt-get install chromium"),
]
expect = sync_api.expect
expect.set_options(timeout=60_000)

TONE_HZ, RATE_HZ = 440, 48_000
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1180, "height": 800}
WORDS = [f"word{number} " for number in range(2000)]
HOSTILE = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>&lt;b&gt;'


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """A toy that reads pictures and sounds and speaks, served."""
    folder = tmp_path_factory.mktemp("spoken")
    sizes = {"layers": 1, "width": 32, "heads": 2, "dropout": 0, "max_ids": 80}
    assembly = Assembly.from_flags(
        llm=f"llama:{toys.save_llama(folder / 'llm')}",
        towers=[f"image=clip:{toys.CLIP}", f"audio=whisper:{save_whisper(folder / 'whisper')}"],
        connectors=["image=mlp2x_gelu", "audio=linear"],
        decoders=["audio=codec2_talker"],
        settings=[f"decoder.audio.{name}={value}" for name, value in sizes.items()],
    )
    torch.manual_seed(3)
    model, processor = assemble(assembly)
    model.generation_config.eos_token_id = None  # a toy's words end where nobody expects it
    made = Served((model.eval(), processor))
    yield made
    made.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """One browser, whose microphone hears a tone."""
    tone = tmp_path_factory.mktemp("microphone") / "tone.wav"
    soundfile.write(tone, 0.5 * np.sin(2 * np.pi * TONE_HZ * np.arange(4 * RATE_HZ) / RATE_HZ), RATE_HZ)
    fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    command = ["--no-sandbox", *fake, f"--use-file-for-fake-audio-capture={tone}"]
    with sync_api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=command)
        yield made
        made.close()


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


@pytest.fixture
def opened(browser, spoken):
    """Opens pages; what their consoles said fails the test, unless it says that it may."""
    made = []

    def open_page(served=spoken, **how):
        made.append(Opened(browser, served, **how))
        return made[-1]

    yield open_page
    for each in made:
        each.context.close()
        assert each.said == []


@pytest.fixture
def says(spoken, monkeypatch):
    """``says(pieces)``: the server answers with these, a few hundredths of a second apart."""

    def replaced(chunks, wait=0.03):
        left = []

        async def answer(prompt, how, count):
            try:
                for piece in chunks:
                    count.tokens += 1
                    yield AnswerChunk(piece) if isinstance(piece, str) else piece
                    await asyncio.sleep(wait)
            finally:
                left.append(count.tokens)

        monkeypatch.setattr(spoken.service, "answer", answer)
        return left

    return replaced


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


def parts_of(request):
    """Of the last message that a request counts."""
    return json.loads(request.post_data)["messages"][-1]["content"] if request.url.endswith("/tokens") else ()


def content_of(part):
    return base64.b64decode(part[part["type"]].partition(",")[2])


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
