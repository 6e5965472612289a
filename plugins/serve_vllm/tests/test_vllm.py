"""Toys in vLLM, against the kit's own answers. Skipped without vLLM; ``make test-vllm`` has it."""

from __future__ import annotations

import base64
import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from tests import toys
from tests.serving.conftest import asked, picture, png, save_whisper, sound, wav
from tinyllava_kit import Assembly, assemble, load_pretrained
from tinyllava_kit.interfaces import TextSpan

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None,
        reason="vllm is not installed; make test-vllm runs these tests with it",
    ),
    pytest.mark.filterwarnings("default"),  # vLLM's own
]

NEW = 12  # tokens of an answer
WIDTH = 128  # 32 for each head: vLLM's attention on a CPU takes no less
SETTINGS = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "HF_HUB_OFFLINE": "1"}


def save(folder: Path, *modalities: str, **options: str) -> Path:
    """A toy that reads these, with weights that make different answers."""
    towers = {
        "image": f"image=clip:{toys.CLIP}",
        "audio": f"audio=whisper:{save_whisper(folder / 'whisper')}",
    }
    connectors = {"image": "image=mlp2x_gelu", "audio": "audio=linear"}
    assembly = Assembly.from_flags(
        llm=f"llama:{toys.save_llama(folder / 'llm', hidden=WIDTH)}",
        towers=[towers[modality] for modality in modalities],
        connectors=[connectors[modality] for modality in modalities],
        settings=[f"{key}={value}" for key, value in options.items()],
    )
    torch.manual_seed(3)
    for part in assemble(assembly):
        part.save_pretrained(folder / "model")
    return folder / "model"


def ours(model, processor, conversation) -> list[int]:
    """The kit's ids, without an end."""
    batch = processor.collate([processor.encode(conversation, answer=True)], padding_side="left")
    with torch.no_grad():
        ids = model.generate(**batch, max_new_tokens=NEW, do_sample=False)
    return ids[0, batch["input_ids"].shape[1] :].tolist()


def request(processor, conversation) -> dict:
    """What vLLM takes for it."""
    given: dict = {"prompt": processor.prompt(conversation, answer=True)}
    for item in conversation.items:
        given.setdefault("multi_modal_data", {}).setdefault(item.modality, []).append(item.source)
    return given


@pytest.fixture
def open_llm(monkeypatch):
    """``open_llm(directory)`` -> vLLM's `LLM`, ended with the test."""
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    from vllm import LLM
    from vllm.distributed import cleanup_dist_env_and_memory

    opened = []

    def make(directory: Path, **how) -> LLM:
        opened.append(
            LLM(str(directory), enforce_eager=True, dtype="float32", max_model_len=320, max_num_seqs=4, **how)
        )
        return opened[-1]

    yield make
    opened.clear()
    cleanup_dist_env_and_memory()


@pytest.mark.parametrize(
    ("modalities", "options"),
    [
        (("image",), {"modality.image.aspect": "tiles"}),
        (("audio",), {"modality.audio.marker_seconds": "1"}),
        (("image", "audio"), {}),
    ],
    ids=["pictures in tiles", "sounds with times", "both"],
)
def test_greedy_answers_are_the_kits(tmp_path, open_llm, modalities, options):
    saved = save(tmp_path, *modalities, **options)
    model, processor = load_pretrained(saved, dtype="float32")
    model.generation_config.eos_token_id = None
    pictures, sounds = [picture(n) for n in range(3)], [sound(n) for n in (0, 1, 40)]
    asks = {
        "image": [("what is this?", pictures[0]), ("is <image> as <image>?", pictures[1], pictures[2])],
        "audio": [("hear\nthis", sounds[0]), ("<audio> or <audio>", sounds[1], sounds[2])],
    }
    wanted = [("no item",), *(each for modality in modalities for each in asks[modality])]
    if len(modalities) > 1:
        wanted.append(("<audio> looks like<image>, not <image>", sounds[0], pictures[0], pictures[1]))
    conversations = [asked(processor, *each) for each in wanted]
    expected = [ours(model, processor, each) for each in conversations]
    assert len({tuple(each) for each in expected}) == len(expected)

    from vllm import SamplingParams

    llm = open_llm(saved)
    given = [request(processor, each) for each in conversations]
    how = SamplingParams(temperature=0, max_tokens=NEW, ignore_eos=True)
    for _ in range(2):  # again, from vLLM's caches
        got = llm.generate(given, how, use_tqdm=False)
        for conversation, output in zip(conversations, got, strict=True):
            batch = processor.collate([processor.encode(conversation, answer=True)])
            assert output.prompt_token_ids == batch["input_ids"][0].tolist()
        assert [list(output.outputs[0].token_ids) for output in got] == expected

    wrong = {"prompt": "<user>no placeholder</s><assistant>", "multi_modal_data": given[1]["multi_modal_data"]}
    message = rf"the prompt has 0 <{modalities[0]}>, 1 item\(s\) of {modalities[0]} are given"
    with pytest.raises(ValueError, match=message):
        llm.generate(wrong, how, use_tqdm=False)


@pytest.fixture
def serve(tmp_path):
    """``serve(directory)`` -> the port of ``vllm serve``, which ends with the test."""
    started = []

    def start(directory: Path) -> int:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = {**os.environ, **SETTINGS, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
        how = ["--dtype=float32", "--enforce-eager", "--max-model-len=320", "--host=127.0.0.1", f"--port={port}"]
        # what `vllm serve` runs; the command itself does not start where the distribution is vllm-cpu 0.32
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", f"--model={directory}", *how]
        log = (tmp_path / "vllm.log").open("w")
        server = subprocess.Popen(command, env=settings, stdout=log, stderr=log, start_new_session=True)
        started.append((server, log))
        while server.poll() is None:
            with suppress(OSError):
                return_code, _ = send(port, "GET", "/health")
                if return_code == 200:
                    return port
            time.sleep(1)
        raise AssertionError((tmp_path / "vllm.log").read_text()[-4000:])

    yield start
    for server, log in started:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)
        log.close()


def send(port: int, method: str, path: str, body: object = None) -> tuple[int, bytes]:
    """One request: its status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, path, json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_the_api_takes_parts_in_their_order(tmp_path, serve):
    saved = save(tmp_path, "image", "audio")
    model, processor = load_pretrained(saved, dtype="float32")
    model.generation_config.eos_token_id = None
    port = serve(saved)
    seen = {"type": "image_url", "image_url": {"url": png(1)}}
    heard = {"type": "input_audio", "input_audio": {"data": base64.b64encode(wav(1)).decode(), "format": "wav"}}
    parts = [text("does "), heard, text(" sound as "), seen, text("?")]
    for content in (parts, "no item"):
        body = {"model": str(saved), "messages": [{"role": "user", "content": content}], "max_tokens": NEW}
        status, answer = send(
            port,
            "POST",
            "/v1/chat/completions",
            {**body, "temperature": 0, "ignore_eos": True, "return_token_ids": True},
        )
        assert status == 200, answer
        said = json.loads(answer)
        conversation = processor.conversation([{"role": "user", "content": kits(content)}])
        batch = processor.collate([processor.encode(conversation, answer=True)])
        assert said["prompt_token_ids"] == batch["input_ids"][0].tolist()
        assert said["choices"][0]["token_ids"] == ours(model, processor, conversation)
    typed = [text("an <image> that was typed, and one that was given"), seen]
    body["messages"] = [{"role": "user", "content": typed}]
    status, answer = send(port, "POST", "/v1/chat/completions", body)
    assert (status, b"the prompt has 2 <image>, 1 item(s) of image are given" in answer) == (400, True)


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def kits(content):
    """The parts of an OpenAI message as the kit's messages have them."""
    if isinstance(content, str):
        return content
    items = {"input_audio": {"type": "audio", "audio": wav(1)}, "image_url": {"type": "image", "image": png(1)}}
    return [items.get(part["type"], part) for part in content]


def test_an_exported_llava_is_served_without_the_plugin(tmp_path, open_llm):
    """By vLLM's own class, which imports torchvision."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"no torchvision that fits this torch: {error}")
    saved = save(tmp_path, "image")
    command = ["export", str(saved), "--to", "hf-llava", "-o", str(tmp_path / "llava")]
    subprocess.run([sys.executable, "-m", "tinyllava_kit_cli", *command], check=True)
    model, processor = load_pretrained(saved, dtype="float32")
    model.generation_config.eos_token_id = None
    llm = open_llm(tmp_path / "llava")
    image_id = llm.get_tokenizer().convert_tokens_to_ids("<image>")
    conversations = [asked(processor, "no item"), asked(processor, "is <image> as <image>?", picture(0), picture(1))]
    given = []
    for conversation in conversations:
        spans = processor.encode(conversation, answer=True).spans
        ids = [each for span in spans for each in (span.ids if isinstance(span, TextSpan) else [image_id])]
        given.append({"prompt_token_ids": ids})
    given[1]["multi_modal_data"] = {"image": [picture(0), picture(1)]}

    from vllm import SamplingParams

    got = llm.generate(given, SamplingParams(temperature=0, max_tokens=NEW, ignore_eos=True), use_tqdm=False)
    assert [list(each.outputs[0].token_ids) for each in got] == [ours(model, processor, c) for c in conversations]
