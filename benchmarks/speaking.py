"""An answer in sound, streamed: what its layouts of ids cost an LLM, and what the kit costs beside bare generation.

The LLM has the sizes of SmolLM2-135M and random weights, and so has Mimi; codec2 is the published one. What is spoken
is prescribed, the ids of a few seconds of noise, so that every layout says as much; what stands beside them is the
model's. The bare side is the same LLM in transformers, its embedding and head enlarged by the same ids, `generate` for
the same number of steps, and then the sound decoded at once. A talker says as much, of a few words that the LLM writes;
beside it stands the LLM that writes the same ids itself. One thread, CPU time.
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
from tinyllava_kit.assembly.assembly import Assembly
from tinyllava_kit.components.modalities.audio import Waveform
from tinyllava_kit.inference.answering import question
from tinyllava_kit.inference.replies import reply
from tinyllava_kit.inference.segments import GeneratedItem

from . import smollm2
from .clock import one_thread, ratios
from .figure import Figure
from .words import PAD, save_llm

IN_BARE, FIRST_IN_WHOLE, IN_LLM = 1.25, 0.25, 0.5
RATE_HZ = 16_000
LAYOUTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "codec2": ("codec2", {"mode": "1200"}),
    "mimi_flat": ("mimi", {"codebooks": 8}),
    "mimi_delay": ("mimi", {"codebooks": 8, "pattern": "delay"}),
}

# Each beside the layout of the same ids that the LLM writes.
TALKERS: Mapping[str, tuple[str, str]] = {
    "codec2_talker": ("codec2_talker", "codec2"),
    "mimi_delay_talker": ("mimi_talker", "mimi_delay"),
}
WORDS = 8  # that a talker says


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of the LLM, as transformers names them; of Mimi, in place of its own; the seconds to speak."""

    words: int = smollm2.WORDS
    llm: Mapping[str, int] = field(default_factory=lambda: smollm2.SIZES)
    mimi: Mapping[str, Any] = field(default_factory=dict)
    talker: Mapping[str, int] = field(default_factory=dict)
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
            for talker, (_, same_ids) in TALKERS.items():
                if same_ids == layout:
                    yield from _of_talker(talker, said, Talked.of(talker, Path(scratch), sizes), sizes, rounds)


def _of_talker(name: str, said: Said, talked: Talked, sizes: Sizes, rounds: int) -> Iterator[Figure]:
    found = ratios(said.streamed, {"ours": talked.streamed}, rounds=rounds)
    first, whole = talked.streamed()
    yield Figure(name=f"speak_{name}_time_in_llms", value=found["ours"], goal=IN_LLM)
    yield Figure(name=f"speak_{name}_first_sound_seconds", value=first)
    yield Figure(name=f"speak_{name}_real_time_factor", value=whole / sizes.seconds)


def save_parts(place: Path, sizes: Sizes) -> None:
    """An LLM and a Mimi with random weights, in the hub's layout."""
    from transformers import EncodecFeatureExtractor, MimiConfig, MimiModel

    torch.manual_seed(0)
    save_llm(place / "llm", sizes.words, sizes.llm)
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
        model, processor = _assembled(place, name, name, options)
        sound = _noise(sizes)
        bare = LlamaForCausalLM.from_pretrained(place / "llm", trust_remote_code=False)
        bare.resize_token_embeddings(model.extension.grammar.size, mean_resizing=False)
        return cls(
            model=model,
            processor=processor,
            enlarged=bare.eval(),
            ids=list(model.ids_of("audio", sound).ids),
            sound=model.decoders["audio"].encode(sound),
        )

    def streamed(self) -> tuple[float, float]:
        """See `_streamed`."""
        return _streamed(self.model, self.processor, self.ids)

    def bare(self) -> None:
        """As many steps of the LLM alone, and the sound decoded at once."""
        prompt = self.processor(question("w1 w2 w3", [], self.processor), answer=True)["input_ids"]
        steps = len(self.ids) + 1
        self.enlarged.generate(prompt, do_sample=False, min_new_tokens=steps, max_new_tokens=steps, pad_token_id=PAD)
        self.model.decoders["audio"].decode(self.sound)


@dataclass(frozen=True, kw_only=True)
class Talked:
    """A model with a talker, and the ids that this is made to write, marks included."""

    model: TinyLlavaForConditionalGeneration
    processor: TinyLlavaProcessor
    ids: Tensor

    @classmethod
    def of(cls, talker: str, place: Path, sizes: Sizes) -> Talked:
        name, layout = TALKERS[talker]
        codec, options = LAYOUTS[layout]
        model, processor = _assembled(place, name, codec, {**options, **sizes.talker})
        return cls(model=model, processor=processor, ids=torch.tensor(model.ids_of("audio", _noise(sizes)).ids))

    def streamed(self) -> tuple[float, float]:
        """As `Said.streamed`."""
        waiting = iter(self.ids[1:].clamp(min=0).flatten().tolist())
        self.model.sample_as = lambda options: lambda logits: torch.tensor([next(waiting)])  # type: ignore[method-assign]
        tokenizer = self.processor.tokenizer
        words = tokenizer(" ".join(f"w{number}" for number in range(WORDS)), add_special_tokens=False)["input_ids"]
        return _streamed(self.model, self.processor, words)


def _streamed(
    model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor, ids: list[int]
) -> tuple[float, float]:
    """Seconds until the first sound, and until the whole answer; the LLM writes these ids."""
    start, heard = time.process_time(), []

    def show(part: str | GeneratedItem) -> None:
        if isinstance(part, GeneratedItem):
            heard.append(time.process_time() - start)

    reply(
        model,
        processor,
        question("w1 w2 w3", [], processor),
        show,
        force=["audio"],
        max_new_tokens=len(ids) + 1,
        logits_processor=[Prescribed([*ids, processor.tokenizer.eos_token_id])],
    )
    return heard[0], time.process_time() - start


def _assembled(
    place: Path, decoder: str, codec: str, options: Mapping[str, Any]
) -> tuple[TinyLlavaForConditionalGeneration, TinyLlavaProcessor]:
    checkpoint = f":{place / codec}" if (place / codec).exists() else ""
    model, processor = assemble(
        Assembly.from_flags(
            llm=f"llama:{place / 'llm'}",
            decoders=[f"audio={decoder}{checkpoint}"],
            settings=[f"decoder.audio.{key}={value}" for key, value in options.items()],
        )
    )
    return model.eval(), processor


def _noise(sizes: Sizes) -> Waveform:
    noise = np.random.default_rng(0).normal(0, 0.1, int(sizes.seconds * RATE_HZ)).astype(np.float32)
    return Waveform(noise, RATE_HZ, "noise")
