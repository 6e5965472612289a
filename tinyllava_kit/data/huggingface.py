"""Hugging Face datasets as rows: directories that were saved, and datasets by name. Needs datasets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import KitError
from ..files.failures import first_line
from ..files.opening import check_directory
from ..plugin.extras import imported
from .shards import check_parquet


def saved_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a directory that ``Dataset.save_to_disk`` wrote, sounds and pictures undecoded.

    Raises:
        KitError: not such a directory, or one of several splits.
    """
    datasets = _datasets(f"cannot read data {str(path)!r}: a directory")
    try:
        check_directory(path)
        table = datasets.load_from_disk(str(path))
    except (FileNotFoundError, ValueError, OSError) as error:
        raise KitError(
            f"{path}: not a saved dataset ({first_line(error)}); give a .json, .jsonl, .csv, .parquet or .tar file, "
            "or what Dataset.save_to_disk wrote"
        ) from error
    if isinstance(table, datasets.DatasetDict):
        raise KitError(f"{path}: holds several splits; give the folder of one: {', '.join(sorted(table))}")
    yield from _undecoded(table)


def named_rows(name: str, subset: str | None, split: str, *, stream: bool) -> Iterator[dict[str, Any]]:
    """The rows of a dataset of the hub, or of a directory laid out like one, sounds and pictures undecoded.

    Args:
        stream: fetch rows when they are needed, and keep none on disk.

    Raises:
        KitError: not found, no such split, or a row that cannot be read; names the dataset.
    """
    datasets = _datasets(f"cannot read dataset {name!r}: it")
    try:
        check_directory(name)
        for file in Path(name).rglob("*.parquet") if Path(name).is_dir() else ():
            check_parquet(file)  # whose row groups it reads whole
        yield from _undecoded(datasets.load_dataset(name, subset, split=split, streaming=stream))
    except KitError:
        raise
    except Exception as error:  # of many kinds, from the network, the hub, and readers of a dozen formats
        raise KitError(f"cannot read dataset {name!r}, split {split!r}: {first_line(error)}") from error


def _undecoded(table: Any) -> Iterator[dict[str, Any]]:
    # A stream does not always know its columns before its first row.
    features = table.features if table.features is not None else table._resolve_features().features
    for name, feature in features.items():
        if _raw(feature) != feature:
            table = table.cast_column(name, _raw(feature))
    return iter(table)


def _raw(feature: Any) -> Any:
    """The type of a column with its sounds and pictures, alone or in lists, as bytes."""
    import datasets

    if isinstance(feature, (datasets.Audio, datasets.Image)):
        return type(feature)(decode=False)
    if isinstance(feature, datasets.List):
        return datasets.List(_raw(feature.feature), length=feature.length)
    return feature


def _datasets(what: str) -> Any:
    return imported("datasets", what)
