"""How answers are generated: by which model, where, and with the options that commands share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import click

from tinyllava_kit.errors import KitError

Decorator = Callable[[Any], Any]
AUTOMATIC = "auto"
FLOAT_DTYPES = ("float32", "bfloat16", "float16")


class Device(click.ParamType):  # type: ignore[type-arg]  # older versions of click take none
    """``auto``, ``cpu``, ``mps``, ``cuda`` or one of several, ``cuda:1``; whether it is there is `placed`'s to say."""

    name = "device"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The word, unchanged."""
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value):
            self.fail(f"{value!r} is not one of 'auto', 'cpu', 'cuda', 'cuda:N', 'mps'.", param, ctx)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        """The words that need no number."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(word) for word in (AUTOMATIC, "cpu", "cuda", "mps") if word.startswith(incomplete)]


def placement(command: Any) -> Any:
    """``--device`` and ``--dtype``, for `placed`."""
    command = click.option(
        "--dtype",
        type=click.Choice([AUTOMATIC, *FLOAT_DTYPES]),
        default=AUTOMATIC,
        show_default=True,
        help="The dtype of the weights in memory; auto: that of the checkpoint.",
    )(command)
    return click.option(
        "--device",
        type=Device(),
        metavar="DEVICE",
        default=AUTOMATIC,
        show_default=True,
        help="cpu, cuda, cuda:N or mps; auto: the first CUDA GPU where there is one, else cpu.",
    )(command)


def placed(device: str = AUTOMATIC, dtype: str = AUTOMATIC) -> dict[str, Any]:
    """The options of `load_model` for a model on this device, in this dtype.

    Raises:
        KitError: the device is not there.
    """
    import torch

    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    there = ["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])]
    if device not in (AUTOMATIC, *there, *(["cuda"] if gpus else [])):
        raise KitError(f"--device {device} is not there; torch {torch.__version__} finds {', '.join(there)}")
    if device == AUTOMATIC:
        device = "cuda" if gpus else "cpu"
        if gpus and "LOCAL_RANK" in os.environ:  # of a launcher, which has started a process for each
            device = gpus[int(os.environ["LOCAL_RANK"]) % len(gpus)]
    how: dict[str, Any] = {"device_map": None if device == "cpu" else device}
    return how if dtype == AUTOMATIC else {**how, "dtype": getattr(torch, dtype)}


def load_to_run(opened: Any, where: Mapping[str, Any] | None = None) -> Any:
    """The model of a checkpoint that `open_checkpoint` has opened, `where` as `placed` says."""
    from tinyllava_kit.checkpoints.loading import load_model

    return load_model(opened, **(placed() if where is None else where))


def answer_length(whose: str = "the answer") -> Decorator:
    """``--max-new-tokens`` of a command that says how much room there is."""
    return click.option(
        "--max-new-tokens",
        type=click.IntRange(min=1),
        show_default="256, or what the LLM has room for",
        help=f"The length of {whose} in tokens; refused if the LLM has no room for it.",
    )


def _finite(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    if value is not None and value != value:  # no number is in no range, and in all of them for click
        raise click.BadParameter("nan is no number", ctx, param)
    return value


def sampling(command: Any) -> Any:
    """``--temperature`` and ``--seed``, for `sampled`."""
    command = click.option("--seed", default=0, show_default=True, help="The seed of the sampling.")(command)
    return click.option(
        "--temperature",
        type=click.FloatRange(min=0, min_open=True, max=1e6),
        callback=_finite,
        help="Sample at this temperature; default: greedy.",
    )(command)


def sampled(temperature: float | None, seed: int) -> dict[str, Any]:
    """What `generate` is given for them; sets torch's seed."""
    import torch

    torch.manual_seed(seed)
    return {"do_sample": True, "temperature": temperature} if temperature else {}
