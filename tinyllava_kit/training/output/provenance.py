"""What a stage learns from, in digests: a run that resumes must find its model and its data unchanged."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...core.conversation import Conversation
from ...data.dataset import ConversationDataset
from ...data.stream import RowStream
from ...errors import KitError
from ...features.digests import source_digest
from ...files.writing import file_digest
from ...model.storage.fingerprint import fingerprint

CONTENTS = 1024  # of a stage's different files of items, how many are read for their digest; of a stream, its rows

_KINDS = {
    "model": "the model that the stage begins with",
    "samples": "the number of its samples",
    "texts": "a text of its data",
    "items": "an item of its data",
    "files": "a file of its data",
    "held_out": "the held-out data of its validation",
}


def provenance_of(
    source: Path, dataset: ConversationDataset | RowStream, held_out: ConversationDataset | None = None
) -> dict[str, Any]:
    """Of the model directory that a stage begins with, and its data, as JSON.

    Samples that are held in memory: their texts, items that lie in their rows, the name and size of each file that is
    an item, and the content of some 1000 of these, evenly spread. So it does not matter which file format they came
    from, and a large folder of pictures is not read once more. Rows that are streamed: their files, of a large one
    its size and pieces, and the files of items that some 1000 of the rows name (`rows_looked_at`), the first of each
    file: what the others name is not known before they are read.
    """
    found: dict[str, Any] = {"model": fingerprint(source)}
    if held_out is not None:
        found["held_out"] = _samples(held_out.conversations)
    if isinstance(dataset, RowStream):
        return {**found, "files": dict(_files(dataset)), "rows_looked_at": CONTENTS}
    return {**found, **_samples(dataset.conversations)}


def check_provenance(was: Mapping[str, Any], now: Mapping[str, Any], checkpoint: Path) -> None:
    """Check that a checkpoint is of the same model and data as this run.

    Raises:
        KitError: the checkpoint is of another model or other data; says which has changed.
    """
    for key, kind in _KINDS.items():
        if was.get(key) != now.get(key):
            raise KitError(
                f"{kind} has changed since {checkpoint.name} was written{_how(was.get(key), now.get(key))}; "
                f"restore it, or remove {str(checkpoint.parent)!r} to start again"
            )


def _how(was: Any, now: Any) -> str:
    """Two numbers, or the first file that differs."""
    if isinstance(was, int) and isinstance(now, int):
        return f", from {was} to {now}"
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        return f": {next(name for name in sorted(was.keys() | now.keys()) if was.get(name) != now.get(name))}"
    return ""


def _samples(conversations: Sequence[Conversation]) -> dict[str, Any]:
    texts, items = hashlib.sha256(), hashlib.sha256()
    for conversation in conversations:
        turns = [(turn.role, turn.text) for turn in conversation.turns]
        own = [(item.modality, item.text) for item in conversation.items]
        texts.update(repr((turns, own)).encode("utf-8", "surrogatepass"))
        for item in conversation.items:
            content = item.source if isinstance(item.source, str) else source_digest(item.source)
            items.update(repr(content).encode("utf-8", "surrogatepass"))
    for entry in _item_files(conversations):
        items.update(repr(entry).encode("utf-8", "surrogatepass"))
    return {"samples": len(conversations), "texts": texts.hexdigest(), "items": items.hexdigest()}


def _item_files(conversations: Sequence[Conversation]) -> Iterator[tuple[str, int, str]]:
    """Each file once: its name, its size and, of some, its digest."""
    names = _names(conversations)
    step = -(-len(names) // CONTENTS)
    for number, name in enumerate(names):
        file = Path(name)
        if file.is_file():
            yield name, file.stat().st_size, file_digest(file, whole=False) if number % step == 0 else ""


def _names(conversations: Iterable[Conversation]) -> list[str]:
    """Of the files that are items, each once."""
    items = (item.source for conversation in conversations for item in conversation.items)
    named = (item.get("path") if isinstance(item, Mapping) and item.get("bytes") is None else item for item in items)
    return list(dict.fromkeys(name for name in named if isinstance(name, str)))


def _files(stream: RowStream) -> Iterator[tuple[str, str]]:
    """The files of a stream's rows, what lies in a folder that is one of them, and files of items."""
    for source in stream.sources:
        for shard in source.shards():
            path = Path(shard.file)
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file():
                    yield str(file), file_digest(file, whole=False)
    for name in _names(stream.first_conversations(CONTENTS)):
        if Path(name).is_file():
            yield name, file_digest(Path(name), whole=False)
