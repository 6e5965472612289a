"""The contracts find what they are for: a small tower keeps them, and each way to break it fails its own test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from tinyllava_kit import KitError
from tinyllava_kit.components.modalities import audio
from tinyllava_kit.components.modalities.audio import Waveform
from tinyllava_kit.components.modalities.resampling import num_resampled, resample
from tinyllava_kit.core.interfaces import Features, Preprocessor, Tower
from tinyllava_kit.testing import AudioTowerContract, CheckFailure

pytestmark = pytest.mark.slow

RATE, FRAME, HOP, WINDOW = 8_000, 10, 5, 23  # samples, samples, features


class FramePreprocessor(Preprocessor):
    """Windows that overlap by what a frame needs."""

    def __init__(self, *, window: int = WINDOW) -> None:
        self.window = window

    def windows(self, item: Waveform) -> list[tuple[int, int]]:
        total = num_resampled(item, RATE)
        if total < FRAME:
            raise KitError(f"{item.name!r} has {total} samples, expected at least {FRAME}")
        hop = self.window * HOP
        return [(start, min(start + hop + FRAME - HOP, total)) for start in range(0, total - FRAME + 1, hop)]

    def __call__(self, item: Waveform) -> list[dict[str, Tensor]]:
        windows, samples = self.windows(item), torch.tensor(resample(item, RATE))
        return [{"samples": samples[start:stop]} for start, stop in windows]

    def num_features(self, item: Waveform) -> list[int]:
        return [(stop - start - FRAME) // HOP + 1 for start, stop in self.windows(item)]

    def collate(self, rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        samples = [row["samples"] for row in rows]
        lengths = torch.tensor([(len(row) - FRAME) // HOP + 1 for row in samples])
        return {"samples": pad_sequence(samples, batch_first=True), "lengths": lengths}

    def settings(self) -> dict[str, Any]:
        return {"window": self.window}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> FramePreprocessor:
        return cls(**settings)


class FrameTower(Tower):
    """Each frame through one layer."""

    preprocessor_class = FramePreprocessor

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        torch.manual_seed(0)
        self.project = nn.Linear(FRAME, 3)

    @property
    def embed_dim(self) -> int:
        return 3

    @classmethod
    def read_config(cls, checkpoint: str, **options: Any) -> dict[str, Any]:
        return {}

    @classmethod
    def read_preprocessor(cls, checkpoint: str, config: Mapping[str, Any]) -> Preprocessor:
        return cls.preprocessor_class()

    def load_weights(self, checkpoint: str) -> None:
        """It has none."""

    def forward(self, samples: Tensor, lengths: Tensor) -> Features:
        frames = samples.unfold(1, FRAME, HOP).to(self.project.weight.dtype)  # (N, P, FRAME)
        keep = torch.arange(frames.shape[1], device=samples.device) < lengths[:, None]  # (N, P)
        return Features(self.project(frames).masked_fill(~keep[..., None], 0.0), lengths)


class TestFrameTower(AudioTowerContract):
    component = FrameTower
    rate_hz = RATE
    min_samples, hop_samples, window_samples = FRAME, HOP, WINDOW * HOP
    window_tolerance = 1e-5

    def count(self, num_samples: int) -> int:
        return (num_samples - FRAME) // HOP + 1

    def without_windows(self, preprocessor: Preprocessor) -> Preprocessor:
        return type(preprocessor)(window=10**6)


# ---- towers that break it --------------------------------------------------------------------------------------------


class CountsOneMore(FramePreprocessor):
    def num_features(self, item: Waveform) -> list[int]:
        return [-(-(stop - start - FRAME) // HOP) + 1 for start, stop in self.windows(item)]


class CountsTwice(FramePreprocessor):
    def num_features(self, item: Waveform) -> list[int]:
        return [2 * count for count in super().num_features(item)]


class CutsBackToBack(FramePreprocessor):
    def windows(self, item: Waveform) -> list[tuple[int, int]]:
        return [(start, min(start + self.window * HOP, stop)) for start, stop in super().windows(item)]


class CutsASampleLate(FramePreprocessor):
    def __call__(self, item: Waveform) -> list[dict[str, Tensor]]:
        return [{"samples": row["samples"].roll(int(self.window == WINDOW))} for row in super().__call__(item)]


class TakesTheRateForGranted(FramePreprocessor):
    def windows(self, item: Waveform) -> list[tuple[int, int]]:
        return super().windows(Waveform(item.samples, RATE, item.name))

    def __call__(self, item: Waveform) -> list[dict[str, Tensor]]:
        return super().__call__(Waveform(item.samples, RATE, item.name))


class TakesWhatIsTooShort(FramePreprocessor):
    def windows(self, item: Waveform) -> list[tuple[int, int]]:
        return super().windows(item) if num_resampled(item, RATE) >= FRAME else [(0, FRAME)]


class RefusesNamelessly(FramePreprocessor):
    def windows(self, item: Waveform) -> list[tuple[int, int]]:
        return super().windows(Waveform(item.samples, item.rate_hz, ""))


class ForgetsASetting(FramePreprocessor):
    def __init__(self, *, window: int = WINDOW, loudness: float = 1.0) -> None:
        super().__init__(window=window)
        self.loudness = loudness

    def __call__(self, item: Waveform) -> list[dict[str, Tensor]]:
        return [{"samples": self.loudness * row["samples"]} for row in super().__call__(item)]


class Loud(FrameTower):
    @classmethod
    def read_preprocessor(cls, checkpoint: str, config: Mapping[str, Any]) -> Preprocessor:
        return ForgetsASetting(loudness=2.0)


class NormalizesOverThePadding(FrameTower):
    def forward(self, samples: Tensor, lengths: Tensor) -> Features:
        return super().forward(samples / samples.std(1, keepdim=True).clamp(min=1e-3), lengths)


class LeavesThePadding(FrameTower):
    def forward(self, samples: Tensor, lengths: Tensor) -> Features:
        return Features(self.project(samples.unfold(1, FRAME, HOP)), lengths)


class DropsInTraining(FrameTower):
    def forward(self, samples: Tensor, lengths: Tensor) -> Features:
        return super().forward(nn.functional.dropout(samples, 0.3, self.training), lengths)


class DropsWhenFrozen(DropsInTraining):
    def train(self, mode: bool = True) -> Any:
        return nn.Module.train(self, mode)


class WantsAGradient(FrameTower):
    """As transformers' convolutions do in train mode."""

    def forward(self, samples: Tensor, lengths: Tensor) -> Features:
        return super().forward(samples.clone().requires_grad_(), lengths)


class Overflows(FrameTower):
    def forward(self, samples: Tensor, lengths: Tensor) -> Features:
        features, lengths, _ = super().forward(samples, lengths)
        return Features(features * 1e6 / 1e6, lengths)


class KeepsFloat32(FrameTower):
    def forward(self, samples: Tensor, lengths: Tensor) -> Features:
        features, lengths, _ = super().forward(samples, lengths)
        return Features(features.float(), lengths)


class AsksTheDevice(FrameTower):
    def forward(self, samples: Tensor, lengths: Tensor) -> Features:
        return super().forward(samples[:, : int(lengths.max()) * HOP + FRAME - HOP], lengths)


class BreaksTheGraph(FrameTower):
    def forward(self, samples: Tensor, lengths: Tensor) -> Features:
        torch._dynamo.graph_break()
        return super().forward(samples, lengths)


class LosesABuffer(FrameTower):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.register_buffer("scale", torch.tensor([1.5, 2.5, 3.5]), persistent=False)

    def forward(self, samples: Tensor, lengths: Tensor) -> Features:
        features, lengths, _ = super().forward(samples, lengths)
        return Features(features * self.scale, lengths)


class HasNoPlainConfiguration(FrameTower):
    @classmethod
    def read_config(cls, checkpoint: str, **options: Any) -> dict[str, Any]:
        return {"shape": (1, 2)}


BROKEN: list[tuple[type, str, str]] = [
    (CountsOneMore, "counts", r"counted \(1, \d+, 3\), the network gives \(1, \d+, 3\)"),
    (CountsOneMore, "lengths", r"11 samples: counts \[2\], not 1"),
    (CountsTwice, "hops", "from 10 samples, a hop more gives 2 features more"),
    (CutsBackToBack, "windows", r"samples: \[22\], not 23"),
    (
        CutsASampleLate,
        "middles",
        "middle of window 0, and whole: features dif",
    ),
    (TakesTheRateForGranted, "strange", "half the rate: not"),
    (TakesWhatIsTooShort, "shortest", "a sound of 8 samples is not refused"),
    (RefusesNamelessly, "shortest", "does not name the sound: '' has 8 samples"),
    (Loud, "settings", "made again, it gives other inputs"),
    (
        NormalizesOverThePadding,
        "batch",
        r"item 0 in a batch of \(0, 1\), and alone: ",
    ),
    (NormalizesOverThePadding, "padding", "with garbage in the padding, and w"),
    (LeavesThePadding, "batch", "features behind the length of a row are not zero"),
    (DropsWhenFrozen, "frozen", "the same input gives other features"),
    (WantsAGradient, "frozen", "the features require grad"),
    (Overflows, "half", "float16: features are not finite"),
    (KeepsFloat32, "half", "bfloat16 gives features in torch.float32"),
    (AsksTheDevice, "sync", "reads back from the device: aten::_local_scalar_dense"),
    (LosesABuffer, "saved", "loaded from a file, the tower gives other features"),
    (HasNoPlainConfiguration, "saved", r"not plain JSON: .* comes back as"),
]


def test_a_tower_with_dropout_rests_while_it_is_frozen_and_drops_while_it_learns() -> None:
    contract = TestFrameTower()
    contract.component = DropsInTraining
    contract.test_frozen()
    tower = DropsInTraining({}).train()
    samples, lengths = torch.ones(1, 4 * HOP), torch.tensor([1])
    assert not torch.equal(tower(samples, lengths).features, tower(samples, lengths).features)


@pytest.mark.parametrize(("broken", "test", "message"), BROKEN, ids=lambda value: getattr(value, "__name__", None))
def test_a_broken_tower_fails(broken: type, test: str, message: str) -> None:
    tower_class = broken if issubclass(broken, Tower) else type("T", (FrameTower,), {"preprocessor_class": broken})
    contract = TestFrameTower()
    contract.component = tower_class
    with pytest.raises(CheckFailure, match=message):
        getattr(contract, f"test_{test}")()


def test_a_tower_that_breaks_the_graph_fails() -> None:
    contract = TestFrameTower()
    contract.component = BreaksTheGraph
    with pytest.raises(CheckFailure, match="graph_break"):
        contract.test_compile()


def test_a_reader_that_takes_what_is_cut_off_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "whole", lambda file, name: file)
    with pytest.raises(CheckFailure, match=r"cut off after \d+ bytes: not refused"):
        TestFrameTower().test_refused()


def test_there_are_about_two_hundred_lengths_with_every_edge() -> None:
    contract = TestFrameTower()
    for contract.hop_samples, contract.min_samples, contract.window_samples in ((320, 400, 9280), (320, 1, 480_000)):
        lengths = contract.lengths()
        edges = {contract.min_samples, 319, 320, 321, contract.window_samples - 1, contract.window_samples + 1}
        assert 160 < len(lengths) < 250
        assert {edge for edge in edges if edge >= contract.min_samples} <= set(lengths)
        assert min(lengths) == contract.min_samples
