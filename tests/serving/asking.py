"""Ways to ask: the engine itself, `generate`, and OpenAI's client."""

from __future__ import annotations

import base64
import io
from contextlib import aclosing

import soundfile
import torch

from tests.serving.conftest import KEY, png, wav
from tinyllava_kit.serving.answer_options import AnswerOptions
from tinyllava_kit.serving.engine import AnswerCount

LENGTH = 20
CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hi"}]


async def said(engine, conversation, **how):
    """An answer's text, ids' scores and count."""
    count, text, scores = AnswerCount(), "", []
    prompt = await engine.encode(conversation)
    options = AnswerOptions(**{"max_new_tokens": LENGTH, **how})
    async with aclosing(engine.answer(prompt, options, count)) as chunks:
        async for piece in chunks:
            text += piece.text
            scores += piece.scores
    return text, scores, count


def generated(pair, conversation, **how):
    """The same by `generate`."""
    model, processor = pair
    batch = processor.collate([processor.encode(conversation, answer=True)], padding_side="left")
    with torch.no_grad():
        ids = model.generate(**batch, **{"max_new_tokens": LENGTH, "do_sample": False, **how})
    new = ids[0, batch["input_ids"].shape[1] :].tolist()
    return processor.decode(new, skip_special_tokens=True).lstrip(), new


def picture_part(number=1):
    return {"type": "image_url", "image_url": {"url": png(number), "detail": "auto"}}


def sound_part(number=1):
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(wav(number)).decode(), "format": "wav"}}


def text(words):
    return {"type": "text", "text": words}


def ask(client, *parts, **how):
    """One question by the client, twelve tokens of an answer."""
    messages = [{"role": "user", "content": list(parts)}]
    return client.chat.completions.create(model="toy", messages=messages, **{"max_tokens": 12, **how})


def ask_guarded(guarded, body, **headers):
    """A request with the key: its status and its JSON."""
    return guarded.post(CHAT, body, **{"authorization": f"Bearer {KEY}", **headers})


def is_error(said):
    """The message of an error in the API's shape."""
    assert said.keys() == {"error"}
    assert said["error"].keys() == {"message", "type", "param", "code"}
    return said["error"]["message"]


def of(part):
    """A request with one part of a message."""
    return {"messages": [{"role": "user", "content": [part]}], "max_tokens": 1}


def url(content):
    """Bytes as a data: URL."""
    return f"data:;base64,{base64.b64encode(content).decode()}"


def spoken_chat(served, **how):
    """The same answered in sound, five tokens of words."""
    given = {"model": "toy", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5, **how}
    return served.client().chat.completions.create(**{"modalities": ["text", "audio"], **given})


def samples_of(content):
    """The samples of a sound file, and their rate."""
    return soundfile.read(io.BytesIO(content), dtype="float32")
