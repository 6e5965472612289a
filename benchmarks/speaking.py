"""An answer in sound, streamed: what its layouts of ids cost an LLM, and what the kit costs beside bare generation.

The LLM has the sizes of SmolLM2-135M and random weights, and so has Mimi; codec2 is as it is. What is said is
prescribed, the ids of a few seconds of noise, so that every layout says as much; what stands beside them is the
model's. The bare side is the same LLM in transformers, its embedding and head enlarged by the same ids, `generate` for
the same number of steps, and then the sound decoded at once. One thread, CPU time.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tinyllava_kit import TinyLlavaForConditionalGeneration, TinyLlavaProcessor, assemble
from tinyllava_kit.core.assembly import Assembly
from tinyllava_kit.inference.answering import question
from tinyllava_kit.inference.replies import Given, reply
from tinyllava_kit.modalities.audio import Waveform

from .clock import one_thread, ratios
from .figure import Figure
from .words import PAD, SPECIAL, word_tokenizer

IN_BARE, FIRST_IN_WHOLE = 1.25, 0.25
RATE_HZ = 16_000
LAYOUTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "codec2": ("codec2", {"mode": "1200"}),
    "mimi_flat": ("mimi", {"books": 8}),
    "mimi_delay": ("mimi", {"books": 8, "layout": "delay"}),
}


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of the LLM, as transformers names them; of Mimi, in place of its own; how much is said."""

    words: int = 49_152 - len(SPECIAL)
    llm: Mapping[str, int] = field(
        default_factory=lambda: {
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
        }
    )
    mimi: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 3.0


def figures(sizes: Sizes | None = None, *, rounds: int = 2) -> Iterator[Figure]:
    """Of each layout: time in that of bare generation, when the first sound comes, and what a second of sound costs."""
    sizes = sizes or Sizes()
    with one_thread(), tempfile.TemporaryDirectory() as scratch:
        save_parts(Path(scratch), sizes)
        for layout in LAYOUTS:
            said = Said.of(layout, Path(scratch), sizes)
            found = ratios(said.bare, {"ours": said.streamed}, rounds=rounds)
            first, whole = said.streamed()
            yield Figure(name=f"speak_{layout}_time_in_bare", value=found["ours"], goal=IN_BARE)
            yield Figure(name=f"speak_{layout}_first_sound_in_whole", value=first / whole, goal=FIRST_IN_WHOLE)
            yield Figure(name=f"speak_{layout}_first_sound_seconds", value=first)
            yield Figure(name=f"speak_{layout}_real_time_factor", value=whole / sizes.seconds)
            yield Figure(name=f"speak_{layout}_steps_per_second", value=len(said.ids) / sizes.seconds)


def save_parts(place: Path, sizes: Sizes) -> None:
    """An LLM and a Mimi with random weights, in the hub's layout."""
    from transformers import EncodecFeatureExtractor, LlamaConfig, LlamaForCausalLM, MimiConfig, MimiModel

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=sizes.words + len(SPECIAL), max_position_embeddings=2048, pad_token_id=PAD, **sizes.llm
    )
    LlamaForCausalLM(config).save_pretrained(place / "llm")
    word_tokenizer(sizes.words).save_pretrained(place / "llm")
    MimiModel(MimiConfig(**sizes.mimi)).save_pretrained(place / "mimi")
    EncodecFeatureExtractor(sampling_rate=24_000).save_pretrained(place / "mimi")


class Prescribed:
    """A logits processor: one id after another, whatever the LLM thinks."""

    def __init__(self, ids: list[int]) -> None:
        self.waiting = iter(ids)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(1, t), (1, V) -> (1, V)."""
        return torch.full_like(scores, -torch.inf).index_fill(1, torch.tensor([next(self.waiting)]), 0.0)


@dataclass(frozen=True, kw_only=True)
class Said:
    """A model, and the ids that it is made to say: the marks of an item around them.

    enlarged: the bare side's LLM. sound: what `ids` are decoded from, without marks.
    """

    model: TinyLlavaForConditionalGeneration
    processor: TinyLlavaProcessor
    enlarged: Any
    ids: list[int]
    sound: Tensor

    @classmethod
    def of(cls, layout: str, place: Path, sizes: Sizes) -> Said:
        from transformers import LlamaForCausalLM

        name, options = LAYOUTS[layout]
        checkpoint = f":{place / name}" if (place / name).exists() else ""
        model, processor = assemble(
            Assembly.from_flags(
                llm=f"llama:{place / 'llm'}",
                decoders=[f"audio={name}{checkpoint}"],
                settings=[f"decoder.audio.{key}={value}" for key, value in options.items()],
            )
        )
        noise = np.random.default_rng(0).normal(0, 0.1, int(sizes.seconds * RATE_HZ)).astype(np.float32)
        sound = Waveform(noise, RATE_HZ, "noise")
        bare = LlamaForCausalLM.from_pretrained(place / "llm")
        bare.resize_token_embeddings(model.extension.grammar.size, mean_resizing=False)
        return cls(
            model=model.eval(),
            processor=processor,
            enlarged=bare.eval(),
            ids=list(model.ids_of("audio", sound).ids),
            sound=model.decoders["audio"].encode(sound),
        )

    def streamed(self) -> tuple[float, float]:
        """Seconds until the first sound is there, and until the answer is."""
        start, heard = time.process_time(), []

        def show(part: str | Given) -> None:
            heard.append(time.process_time() - start)

        end = self.processor.tokenizer.eos_token_id
        reply(
            self.model,
            self.processor,
            question("w1 w2 w3", [], self.processor),
            show,
            force=["audio"],
            max_new_tokens=len(self.ids) + 1,
            logits_processor=[Prescribed([*self.ids, end])],
        )
        return heard[0], time.process_time() - start

    def bare(self) -> None:
        """As many steps of the LLM alone, and the sound decoded at once."""
        prompt = self.processor(question("w1 w2 w3", [], self.processor), answer=True)["input_ids"]
        steps = len(self.ids) + 1
        self.enlarged.generate(prompt, do_sample=False, min_new_tokens=steps, max_new_tokens=steps, pad_token_id=PAD)
        self.model.decoders["audio"].decode(self.sound)
