"""How answers are generated: by which model, and with the options that commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

Decorator = Callable[[Any], Any]


def load_to_run(directory: str, **options: Any) -> tuple[Any, Any]:
    """The model and its processor, as `load_pretrained` with `options` gives them, on the GPU where there is one."""
    import torch

    from tinyllava_kit import load_pretrained

    return load_pretrained(directory, device_map="cuda" if torch.cuda.is_available() else None, **options)


def answer_length(whose: str = "Of the answer") -> Decorator:
    """``--max-new-tokens`` of a command that says how much room there is."""
    return click.option(
        "--max-new-tokens",
        type=click.IntRange(min=1),
        show_default="256, or what the LLM has room for",
        help=f"{whose}; refused where the LLM has no room for them.",
    )


def sampling(command: Any) -> Any:
    """``--temperature`` and ``--seed``, for `sampled`."""
    command = click.option("--seed", default=0, show_default=True, help="Of the sampling.")(command)
    return click.option(
        "--temperature",
        type=click.FloatRange(min=0, min_open=True),
        help="Sample at this temperature; greedy when not given.",
    )(command)


def sampled(temperature: float | None, seed: int) -> dict[str, Any]:
    """What `generate` is given for them; sets torch's seed."""
    import torch

    torch.manual_seed(seed)
    return {"do_sample": True, "temperature": temperature} if temperature else {}
