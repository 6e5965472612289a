"""TinyLLaVA_Factory's splice on the batches of `fuse`, from a checkout of it.

Its method ``prepare_inputs_labels_for_multimodal`` is read out of its source and run by itself: the package around it
does not import with the transformers that the kit uses. It lays out labels, mask and positions in the same pass, which
is the work of `plan` here.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from tinyllava_kit import KitError
from tinyllava_kit.core.spans import IGNORE_INDEX, TextSpan
from tinyllava_kit.model.memory import trim_memory

from . import fuse
from .clock import Work, one_thread, ratios
from .figure import Figure

SOURCE = "tinyllava/model/modeling_tinyllava.py"
METHOD = "prepare_inputs_labels_for_multimodal"
IMAGE_TOKEN_INDEX = -200


def figures(checkout: Path, sizes: fuse.Sizes | None = None, *, rounds: int = 3) -> Iterator[Figure]:
    """Its time, forward and with backward, and what it allocates, in copies of its output as for `fuse`."""
    sizes = sizes or fuse.Sizes()
    splice = read_splice(checkout)
    with one_thread():
        for number in sizes.batches:
            samples = fuse.make_samples(sizes, number)
            for dtype in fuse.FORWARD:
                trim_memory()
                batch = fuse.Batch.of(samples, sizes, dtype)
                case = fuse.case_name(batch)
                spliced = make_way(splice, samples)
                works: dict[str, Work] = {"forward": batch.forward(spliced), "backward": batch.backward(spliced)}
                for name, copies in ratios(batch.grad.clone, works, rounds=rounds).items():
                    yield Figure(name=f"factory_{case}_{name}", value=copies)
                copies = fuse.allocated(works["forward"]) / batch.grad.nbytes
                yield Figure(name=f"factory_{case}_allocated", value=copies)


def read_splice(checkout: Path) -> Callable[..., Any]:
    """Its method as a function.

    Raises:
        KitError: the directory is not a checkout that has it.
    """
    file = checkout / SOURCE
    if not file.is_file():
        raise KitError(f"{str(checkout)!r} is no checkout of TinyLLaVA_Factory: it has no {SOURCE}")
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == METHOD]
    if not found:
        raise KitError(f"{str(file)!r} has no method {METHOD}; commit 53f12c7 has it")
    names = {"torch": torch, "IGNORE_INDEX": IGNORE_INDEX, "IMAGE_TOKEN_INDEX": IMAGE_TOKEN_INDEX}
    exec(compile(ast.Module(body=found[:1], type_ignores=[]), str(file), "exec"), names)
    return names[METHOD]


def make_way(splice: Callable[..., Any], samples: fuse.Samples) -> fuse.Way:
    """The splice as a way to fuse: its inputs are made of the samples, and its tower hands on the features."""
    rows = [[token for span in sample for token in _tokens(span)] for sample in samples]
    learned = [[label for span in sample for label in _labels(span)] for sample in samples]
    ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True)  # (B, S)
    labels = pad_sequence([torch.tensor(row) for row in learned], batch_first=True, padding_value=IGNORE_INDEX)
    mask = pad_sequence([torch.ones(len(row), dtype=torch.bool) for row in rows], batch_first=True)  # (B, S)

    def way(table: Tensor, features: Tensor) -> Tensor:
        llm = SimpleNamespace(get_input_embeddings=lambda: lambda tokens: F.embedding(tokens, table))
        model = SimpleNamespace(
            vision_tower=True, config=None, device=table.device, language_model=llm, encode_images=lambda images: images
        )
        images = features.unflatten(0, (len(samples), -1))  # (B, P, D)
        return splice(model, ids, None, mask, None, labels, images)[4]  # (B, T, D)

    return way


def _tokens(span: Any) -> list[int]:
    return list(span.ids) if isinstance(span, TextSpan) else [IMAGE_TOKEN_INDEX]


def _labels(span: Any) -> list[int]:
    if isinstance(span, TextSpan) and span.labels is not None:
        return list(span.labels)
    return [IGNORE_INDEX] * len(_tokens(span))
