"""A toy that speaks, served, and the page of it in Debian's chromium, driven by playwright."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import soundfile
import torch

from tests import toys
from tests.serving.conftest import Served, save_whisper
from tinyllava_kit import Assembly, assemble
from tinyllava_kit.serving.engine import AnswerChunk


@pytest.fixture(scope="session")
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
    """One browser, whose microphone hears a tone. It ends with the module: till then it runs an event loop."""
    from tests.serving.browser.page import CHROMIUM, RATE_HZ, TONE_HZ, sync_api

    tone = tmp_path_factory.mktemp("microphone") / "tone.wav"
    soundfile.write(tone, 0.5 * np.sin(2 * np.pi * TONE_HZ * np.arange(4 * RATE_HZ) / RATE_HZ), RATE_HZ)
    fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    command = ["--no-sandbox", *fake, f"--use-file-for-fake-audio-capture={tone}"]
    with sync_api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=command)
        yield made
        made.close()


@pytest.fixture
def opened(browser, spoken):
    """Opens pages; what their consoles said fails the test, unless it says that it may."""
    from tests.serving.browser.page import Opened

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
