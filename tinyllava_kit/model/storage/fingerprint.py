"""Tells the models of directories apart. Light."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

_PIECE = 1 << 20
_WEIGHTS = (".safetensors", ".bin")
_SETTINGS = (
    *("config.json", "processor_config.json", "generation_config.json", "chat_template.jinja"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "tokenizer.model"),
)


def fingerprint(directory: str | os.PathLike[str]) -> str:
    """SHA-256 of what a model directory's answers depend on: weights, settings, tokenizer, chat template.

    A hub name, which is no directory, is its own.
    """
    directory = Path(directory)
    if not directory.is_dir():
        return str(directory)
    digest = hashlib.sha256()
    for file in sorted(directory.rglob("*")):
        place = file.relative_to(directory)
        if place.parts[0] == "checkpoints" or not (file.suffix in _WEIGHTS or file.name in _SETTINGS):
            continue
        digest.update(f"{place.as_posix()} {file.stat().st_size}\n".encode())
        with file.open("rb") as opened:
            while piece := opened.read(_PIECE):
                digest.update(piece)
    return digest.hexdigest()
