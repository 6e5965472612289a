"""A toy that sees and hears, and the engine that answers with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

from tests import toys
from tinyllava_kit import Assembly, assemble
from tinyllava_kit.core.conversation import Item
from tinyllava_kit.inference.answering import question
from tinyllava_kit.serving.engine import Engine

SIZES = {"encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 29, "decoder_layers": 1}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}


def save_whisper(folder: Path) -> Path:
    """An encoder of two thin layers."""
    torch.manual_seed(7)
    sizes = {**SIZES, "decoder_attention_heads": 2, "decoder_ffn_dim": 7, "max_target_positions": 11}
    WhisperModel(WhisperConfig(d_model=22, num_mel_bins=17, vocab_size=7, **sizes, **IDS)).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=17).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A model that reads pictures and sounds, and its processor."""
    folder = tmp_path_factory.mktemp("served")
    assembly = Assembly.from_flags(
        llm=f"llama:{toys.save_llama(folder / 'llm')}",
        towers=[f"image=clip:{toys.CLIP}", f"audio=whisper:{save_whisper(folder / 'whisper')}"],
        connectors=["image=mlp2x_gelu", "audio=linear"],
    )
    torch.manual_seed(3)
    model, processor = assemble(assembly)
    model.generation_config.eos_token_id = None  # a toy's words end where nobody expects it
    return model.eval(), processor


def picture(number: int = 0) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (31 + number, 37, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def sound(number: int = 0) -> tuple[np.ndarray, int]:
    samples = np.random.default_rng(number).standard_normal(3_217 + 800 * number) * 0.1
    return samples.astype(np.float32), 16_000


def asked(processor: Any, text: str, *items: Any) -> Any:
    """A question about pictures and sounds."""
    given = [Item("audio" if isinstance(item, tuple) else "image", item) for item in items]
    return question(text, given, processor)


@pytest.fixture
def engine(pair: tuple[Any, Any]) -> Iterator[Callable[..., Any]]:
    """``engine(use, **options)`` runs ``await use(engine)`` with an engine of the toy that is open."""

    def run(use: Callable[[Engine], Coroutine[Any, Any, Any]], **options: Any) -> Any:
        async def within() -> Any:
            engine = Engine(*pair, **{"cache_tokens": 4096, **options})
            await engine.open()
            try:
                return await asyncio.wait_for(use(engine), 60)
            finally:
                await engine.close()

        return asyncio.run(within())

    yield run
    assert pair[0].get_input_embeddings() is not None
