"""Hugging Face datasets, saved and by name: their rows with sounds and pictures undecoded."""

from __future__ import annotations

import io

import datasets
import numpy as np
import pytest
import soundfile
from PIL import Image

from tinyllava_kit import KitError
from tinyllava_kit.components.modalities.audio import AudioModality
from tinyllava_kit.data.rows import read_rows
from tinyllava_kit.data.sources import Source


def test_a_saved_dataset_is_read_without_decoding_its_sounds(tmp_path):
    tone = np.sin(np.arange(900) / 7).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", tone, 9000, subtype="FLOAT")
    table = datasets.Dataset.from_dict({"audio": [str(tmp_path / "a.wav")], "text": ["a tone"]})
    table.cast_column("audio", datasets.Audio()).save_to_disk(tmp_path / "saved")
    (row,) = read_rows(tmp_path / "saved")
    assert row["text"] == "a tone"
    waveform = AudioModality().read(row["audio"])
    np.testing.assert_array_equal(waveform.samples, tone)
    assert AudioModality().measure(row["audio"]) == pytest.approx(0.1)


def test_a_directory_that_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(KitError, match="not a saved dataset"):
        read_rows(tmp_path)
    datasets.DatasetDict({"train": datasets.Dataset.from_dict({"a": [1]})}).save_to_disk(tmp_path / "splits")
    with pytest.raises(KitError, match="holds several splits; give the folder of one: train"):
        read_rows(tmp_path / "splits")


def picture(number):
    file = io.BytesIO()
    Image.new("RGB", (20 + number, 30), (number, 0, 0)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def named_dataset(tmp_path, monkeypatch):
    """A directory laid out like a dataset of the hub."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = datasets.Features(
        {"images": datasets.List(datasets.Image()), "image": datasets.Image(), "text": datasets.Value("string")}
    )
    stored = [{"bytes": picture(n), "path": None} for n in range(3)]
    columns = {"images": [stored, stored[:1]], "image": stored[:2], "text": ["red", "green"]}
    (tmp_path / "ds").mkdir()
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "ds" / "train-00000-of-00001.parquet")
    return tmp_path / "ds"


@pytest.mark.parametrize("stream", [False, True])
def test_a_dataset_by_name_is_read_undecoded(named_dataset, stream):
    rows = list(Source(dataset=str(named_dataset), stream=stream).rows())
    assert [row.name for row in rows] == [f"{named_dataset}[0]", f"{named_dataset}[1]"]
    assert [row.values["text"] for row in rows] == ["red", "green"]
    assert rows[0].values["image"] == {"bytes": picture(0), "path": None}
    assert [each["bytes"] for each in rows[0].values["images"]] == [picture(n) for n in range(3)]


def test_a_split_that_is_not_there_is_named(named_dataset):
    with pytest.raises(KitError, match=r"cannot read dataset '.*ds', split 'tset': Unknown split"):
        Source(dataset=str(named_dataset), split="tset").rows()
