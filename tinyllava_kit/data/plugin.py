"""The readers of rows that the kit ships."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.plugin.specs import ReaderSpec


@hookimpl
def tinyllava_readers() -> list[ReaderSpec]:
    """JSON and JSONL, which a file of another ending is taken for; tables, Parquet, tar files; saved datasets."""
    here, checked = "tinyllava_kit.data", "tinyllava_kit.testing.own_readers"
    return [
        ReaderSpec(
            name="json",
            target=f"{here}.rows:json_rows",
            summary="a list of rows, or a row on each line",
            suffixes=(".json", ".jsonl"),
            contract=f"{checked}:JsonContract",
        ),
        ReaderSpec(
            name="table",
            target=f"{here}.rows:table_rows",
            summary="a head line and a row on each line behind it",
            suffixes=(".csv", ".tsv"),
            contract=f"{checked}:TableContract",
        ),
        ReaderSpec(
            name="parquet",
            target=f"{here}.shards:parquet_rows",
            summary="Parquet files, whose rows may hold their items",
            suffixes=(".parquet",),
            packages=("pyarrow",),
            contract=f"{checked}:ParquetContract",
        ),
        ReaderSpec(
            name="tar",
            target=f"{here}.shards:tar_rows",
            summary="WebDataset's shards: files of one name are a row",
            suffixes=(".tar",),
            contract=f"{checked}:TarContract",
        ),
        ReaderSpec(
            name="saved_dataset",
            target=f"{here}.huggingface:saved_rows",
            summary="a directory that Dataset.save_to_disk wrote",
            packages=("datasets",),
            contract=f"{checked}:SavedDatasetContract",
        ),
    ]
