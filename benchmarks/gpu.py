"""On one CUDA device, in ten minutes and without the network: what waits, and how fast each part is.

The models have the sizes of TinyLlama-1.1B and SigLIP-so400m-384 and random weights in bf16: ours, and transformers'
Llava of the same weights. Each figure is measured by itself: where one fails, its line says why, and the rest run.

On the CPU, at toy sizes, everything but the device runs the same; that is how it is tested.
"""

from __future__ import annotations

import dataclasses
import logging
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import cache, cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tinyllava_kit import TinyLlavaForConditionalGeneration
from tinyllava_kit.checkpoints.quantization import Quantization, stored_bytes

from . import fuse, llava_pair
from .clock import ratios
from .device import clock_of, without_sync
from .figure import Figure, guarded
from .llava_pair import Sizes

IN_LLAVA = 1.1  # of the time
COMPILED_LAYERS = 4  # of LLM and tower: compiling takes as long as there are layers
REPEATED = 20  # times that a short kernel is started between two looks at the clock
ATTENTIONS = ("sdpa", "flash_attention_2", "flex_attention")  # ways to compute it in packed rows


def figures(
    place: Path,
    sizes: Sizes | None = None,
    device: torch.device | None = None,
    *,
    rounds: int = 5,
    backend: str = "inductor",
    attentions: Sequence[str] = ATTENTIONS,
) -> Iterator[Figure]:
    """All of them, the quick ones first.

    Args:
        place: where the model directories are saved.
        sizes: of the models and batches; device: the first CUDA device when not given. rounds: see `clock.ratios`.
        backend: of ``torch.compile``. attentions: of packed rows, each in turn.
    """
    bench = Bench(place, sizes or Sizes(), device or torch.device("cuda", 0), rounds)
    for part in (bench.fusing, bench.waiting, bench.numbers, bench.answering, bench.quantized):
        yield from part()
        bench.forget()
    yield from bench.training(attentions)
    bench.forget()
    yield from bench.compiled(backend)


class Bench:
    """What the figures share: a device and its clock, and models that are opened when they are needed."""

    def __init__(self, place: Path, sizes: Sizes, device: torch.device, rounds: int) -> None:
        self.place, self.sizes, self.device, self.rounds = place, sizes, device, rounds
        self.clock = clock_of(device)
        self.dtype = torch.bfloat16

    @cached_property
    def directories(self) -> tuple[Path, Path]:
        """Of ours and Llava's."""
        return llava_pair.save_pair(self.place, self.sizes)

    @cached_property
    def ours(self) -> Any:
        return llava_pair.opened(TinyLlavaForConditionalGeneration, self.directories[0], self.device)

    @cached_property
    def llava(self) -> Any:
        from transformers import LlavaForConditionalGeneration

        return llava_pair.opened(LlavaForConditionalGeneration, self.directories[1], self.device)

    @cached_property
    def batches(self) -> dict[str, list[dict[str, Any]]]:
        """The same samples, padded and packed."""
        samples = llava_pair.samples_of_mixture(self.sizes)
        ways = {"padded": llava_pair.padded, "packed": llava_pair.packed}
        return {name: way(samples, self.sizes, self.device, self.dtype) for name, way in ways.items()}

    def forget(self) -> None:
        """Give the device back what models and batches hold."""
        for name in ("ours", "llava", "batches"):
            self.__dict__.pop(name, None)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def ratio(self, work: Callable[[], object], base: Callable[[], object]) -> float:
        """The time of `work` in that of `base`."""
        return ratios(base, {"work": work}, rounds=self.rounds, clock=self.clock)["work"]

    def seconds(self, work: Callable[[], object]) -> float:
        """The median of some runs, after one that warms up."""
        taken = []
        for _ in range(self.rounds + 1):
            start = self.clock()
            work()
            taken.append(self.clock() - start)
        return statistics.median(taken[1:])

    def fusing(self) -> Iterator[Figure]:
        """The fusion kernel beside `masked_scatter`, with the lookup of the text in both."""
        sizes = dataclasses.replace(
            fuse.Sizes(), width=self.sizes.llm["hidden_size"], vocab=self.sizes.llm["vocab_size"]
        )
        sizes = dataclasses.replace(sizes, rows=self.sizes.patches)
        for number in sizes.batches:
            for way in ("forward", "backward"):
                name = f"gpu_fuse_bf16_batch{number}_{way}"
                yield guarded(f"{name}_in_masked_scatter", partial(self._fused, sizes, number, way), goal=1.0)

    def _fused(self, sizes: fuse.Sizes, number: int, way: str) -> float:
        batch = fuse.Batch.of(fuse.make_samples(sizes, number), sizes, self.dtype).to(self.device)
        run = batch.forward if way == "forward" else batch.backward
        return self.ratio(_repeated(run(batch.fused)), _repeated(run(batch.scattered)))

    def waiting(self) -> Iterator[Figure]:
        """Whether the host waits for the device in a step; not in the LLM's body, whose masks transformers makes."""
        for name in ("padded", "packed"):
            yield guarded(f"gpu_step_{name}_waits", partial(self._waits, name), goal=0.0)

    def _waits(self, name: str) -> float:
        model, batch = self.ours.train(), self.batches[name][0]
        with without_sync(self.device, but=model.get_decoder()):
            model(**batch).loss.backward()
        model.zero_grad()
        return 0.0

    def numbers(self) -> Iterator[Figure]:
        """bf16 beside fp32: how far the logits lie, in their size, and the time of a forward."""
        yield guarded("gpu_bf16_logits_off_fp32", self._off)
        yield guarded("gpu_bf16_forward_time_in_fp32", self._bf16_time, goal=1.0)

    @torch.no_grad()
    def _off(self) -> float:
        logits = []
        for dtype in (torch.float32, torch.bfloat16):
            mine, _ = llava_pair.question(self.sizes, self.device, dtype)
            logits.append(self.ours.to(dtype)(**mine).logits.float())
        exact, near = logits
        return ((near - exact).norm() / exact.norm()).item()

    @torch.no_grad()
    def _bf16_time(self) -> float:
        taken = []
        for dtype in (torch.float32, torch.bfloat16):
            mine, _ = llava_pair.question(self.sizes, self.device, dtype)
            taken.append(self.seconds(partial(self.ours.to(dtype), **mine)))
        return taken[1] / taken[0]

    def answering(self) -> Iterator[Figure]:
        """A picture and a question: the first token, and the tokens behind it, beside transformers' Llava."""

        @cache
        def speed(name: str) -> tuple[float, float]:
            inputs = llava_pair.question(self.sizes, self.device, self.dtype)[name == "llava"]
            return self._speed(getattr(self, name), inputs)

        yield guarded("gpu_token_time_in_llava", lambda: speed("ours")[1] / speed("llava")[1], goal=IN_LLAVA)
        yield guarded("gpu_first_token_time_in_llava", lambda: speed("ours")[0] / speed("llava")[0], goal=IN_LLAVA)
        for name in ("ours", "llava"):
            yield guarded(f"gpu_tokens_per_second_{name}", partial(lambda name: 1 / speed(name)[1], name))
            yield guarded(f"gpu_first_token_seconds_{name}", partial(lambda name: speed(name)[0], name))

    def _speed(self, model: Any, inputs: Mapping[str, Any]) -> tuple[float, float]:
        """Seconds to the first token, and for each behind it."""
        count = self.sizes.new_tokens
        first, whole = (self.seconds(partial(answer, model, inputs, length)) for length in (1, count))
        return first, max(whole - first, 1e-9) / (count - 1)

    def quantized(self) -> Iterator[Figure]:
        """The LLM's weights in 8 and 4 bit: the memory of all weights, and the time of a token, in those of bf16."""
        for bits in (8, 4):
            names = [f"gpu_{bits}bit_memory_in_bf16", f"gpu_{bits}bit_token_time_in_bf16"]
            if find_spec("bitsandbytes") is None:
                yield from (Figure(name=n, value=None, why="no bitsandbytes", is_absent=True) for n in names)
                continue
            opened = cache(partial(self._opened_in, bits))
            yield guarded(names[0], lambda opened=opened: stored_bytes(opened()) / stored_bytes(self.ours))
            yield guarded(names[1], lambda opened=opened: self._token_time(opened()) / self._token_time(self.ours))

    def _opened_in(self, bits: int) -> Any:
        quantization = Quantization(bits=bits).config(self.ours.config)
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it has a line for each product
        how = {"quantization_config": quantization, "device_map": {"": self.device}}
        return llava_pair.opened(TinyLlavaForConditionalGeneration, self.directories[0], self.device, **how)

    def _token_time(self, model: Any) -> float:
        return self._speed(model, llava_pair.question(self.sizes, self.device, self.dtype)[0])[1]

    def training(self, attentions: Sequence[str]) -> Iterator[Figure]:
        """Forward and backward over the same samples, packed beside padded: the LLM and the connector learn."""

        @cache
        def spent(name: str, attention: str) -> float:
            """Seconds for a target token."""
            self.ours.set_attn_implementation(attention)
            return self.seconds(partial(self._learn, self.batches[name])) / llava_pair.num_targets(self.batches[name])

        yield guarded("gpu_train_padded_sdpa_tokens_per_second", lambda: 1 / spent("padded", "sdpa"))
        for way in attentions:
            names = [f"gpu_train_packed_{way}_{what}" for what in ("time_in_padded", "tokens_per_second")]
            if way == "flash_attention_2" and find_spec("flash_attn") is None:
                yield from (Figure(name=name, value=None, why="no flash_attn", is_absent=True) for name in names)
                continue
            in_padded = partial(lambda way: spent("packed", way) / spent("padded", "sdpa"), way)
            yield guarded(names[0], in_padded, goal=1.0)
            yield guarded(names[1], partial(lambda way: 1 / spent("packed", way), way))

    def _learn(self, batches: list[dict[str, Any]]) -> None:
        model = self.ours.train()
        model.towers.requires_grad_(False)
        for batch in batches:
            model(**batch).loss.backward()
        model.zero_grad()

    def compiled(self, backend: str) -> Iterator[Figure]:
        """A model of fewer layers in one graph: the loss of the other, no wait at all, and the time."""
        fewer = {"num_hidden_layers": COMPILED_LAYERS}
        sizes = dataclasses.replace(self.sizes, llm={**self.sizes.llm, **fewer}, vision={**self.sizes.vision, **fewer})
        small = Bench(self.place / "small", sizes, self.device, self.rounds)

        @cache
        def one_graph() -> Any:
            return torch.compile(small.ours.train(), fullgraph=True, backend=backend)

        def step(model: Any) -> Tensor:
            loss = model(**small.batches["padded"][0]).loss
            loss.backward()
            small.ours.zero_grad()
            return loss

        def off() -> float:
            mine, other = step(one_graph()).item(), step(small.ours).item()
            return abs(mine - other) / abs(other)

        def waits() -> float:
            on_gpu = small.device.type == "cuda"  # elsewhere nothing that is compiled can be watched
            with without_sync(small.device) if on_gpu else nullcontext():
                step(one_graph())
            return 0.0

        yield guarded("gpu_compiled_loss_off", off, goal=0.02)
        yield guarded("gpu_compiled_step_waits", waits, goal=0.0)
        in_eager = lambda: small.ratio(partial(step, one_graph()), partial(step, small.ours))  # noqa: E731
        yield guarded("gpu_compiled_step_time_in_eager", in_eager, goal=1.0)


def answer(model: Any, inputs: Mapping[str, Any], length: int) -> Any:
    """So many ids, greedily."""
    with torch.no_grad():
        return model.generate(**inputs, max_new_tokens=length, min_new_tokens=length, do_sample=False)


def _repeated(work: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        for _ in range(REPEATED):
            work()

    return run
