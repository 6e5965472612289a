"""Towers that are wrong in one way each, and the check of the contract that says so."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from tests.testing.right import PATCHES, PatchContract, Patches, PatchTower, caught, changed, numbers, passes, table
from tinyllava_kit.interfaces import Features, Grid, Preprocessor
from tinyllava_kit.plugin.specs import Option, TowerSpec

# ---- preprocessors ---------------------------------------------------------------------------------------------------


def count_of(count: Any) -> type[Patches]:
    """The number of features is what `count` makes of the right one and the item."""

    def num_features(self: Patches, item: Tensor) -> list[int]:
        return count(Patches.num_features(self, item), item)

    def call(self: Patches, item: Tensor) -> list[dict[str, Tensor]]:
        return Patches(size=self.size, window=self.window)(item)

    return changed(Patches, num_features=num_features, __call__=call)


def one_more_if(wrong: Any) -> type[Patches]:
    return count_of(lambda counts, item: [*counts[:-1], counts[-1] + 1] if wrong(item) else counts)


def rows_by(change: Any) -> type[Patches]:
    def call(self: Patches, item: Tensor) -> list[dict[str, Tensor]]:
        return change(self, item, lambda: Patches.__call__(self, item))

    return changed(Patches, __call__=call)


def cached_by_length(self: Patches, item: Tensor, rows: Any) -> Any:
    cache = self.__dict__.setdefault("cache", {})
    return cache.setdefault(len(item), rows())


def seeding(self: Patches, item: Tensor, rows: Any) -> Any:
    np.random.seed(3)
    return rows()


def drawing_noise(self: Patches, item: Tensor, rows: Any) -> Any:
    torch.rand(3)
    return rows()


def in_place(self: Patches, item: Tensor, rows: Any) -> Any:
    item -= item.mean()
    return rows()


class RunningMean(Patches):
    """What it subtracts depends on what came before."""

    mean = 0.0

    def __call__(self, item: Tensor) -> list[dict[str, Tensor]]:
        self.mean = 0.9 * self.mean + 0.1 * float(item.mean())
        return super().__call__(item - self.mean)


class KeepsTheCount(Patches):
    """Cuts the item as the one that was counted before it."""

    counts: Any = None

    def num_features(self, item: Tensor) -> list[int]:
        self.counts = super().num_features(item)
        return self.counts

    def __call__(self, item: Tensor) -> list[dict[str, Tensor]]:
        known = self.counts or Patches.num_features(self, item)
        right = Patches(size=self.size, window=self.window)(item)
        return [{**row, "counts": torch.tensor(count)} for row, count in zip(right, known, strict=False)]


class Locked(Patches):
    def __init__(self, **sizes: int) -> None:
        super().__init__(**sizes)
        self.lock = threading.Lock()


class ForgetsTheGain(Patches):
    gain = 1.0

    def __call__(self, item: Tensor) -> list[dict[str, Tensor]]:
        return super().__call__(self.gain * item)


class TupleSettings(Patches):
    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "size": (self.size,)}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Patches:
        return cls(size=settings["size"][0], window=settings["window"])


class LosesTheWindow(Patches):
    def settings(self) -> dict[str, Any]:
        return {"size": self.size}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Patches:
        return cls(size=settings["size"], window=5)


FIXED = changed(Patches, fixed_features=property(lambda self: 3))
FROM_CONTENT = count_of(lambda counts, item: counts if item.abs().sum() > 0.01 else [1])

PREPROCESSORS: list[tuple[str, type[Patches], str, str]] = [
    ("a count wrong for one size in eight", one_more_if(lambda item: len(item) % 8 == 5), "sizes", "sizes are counted"),
    ("a count wrong above 100", one_more_if(lambda item: len(item) > 100), "sizes", "sizes are counted wrongly"),
    ("a count wrong for the smallest", one_more_if(lambda item: len(item) < 2), "sizes", "size number 1: counted"),
    ("a count wrong for every size", one_more_if(lambda item: True), "counts", "counted .* the network gives"),
    ("a window too few counted", count_of(lambda counts, item: counts[:1]), "sizes", "rows, 1 are counted"),
    ("counted by content", FROM_CONTENT, "probe", "with other content of its size"),
    ("a wrong fixed number", FIXED, "counts", "fixed_features is none of"),
    ("cached by length", rows_by(cached_by_length), "stateless", "other rows behind other items than alone"),
    ("seeds numpy's generator", rows_by(seeding), "stateless", "seeds a global generator"),
    ("uses torch's generator", rows_by(drawing_noise), "stateless", "uses or seeds a global generator"),
    ("changes the item", rows_by(in_place), "stateless", "is changed by the preprocessor"),
    ("statistics over items", RunningMean, "stateless", "other rows behind other items"),
    ("what was counted before is kept", KeepsTheCount, "stateless", "other rows behind other items"),
    ("cannot be pickled", Locked, "pickled", "cannot pickle"),
    ("settings that are not JSON", TupleSettings, "settings", "not plain JSON"),
    ("a setting that is lost", LosesTheWindow, "settings", "made again, it"),
]

# ---- networks --------------------------------------------------------------------------------------------------------


def features_by(change: Any) -> type[PatchTower]:
    """Its features are what `change` makes of the right ones."""

    def forward(self: PatchTower, numbers: Tensor, counts: Tensor) -> Features:
        right = PatchTower.forward(self, numbers, counts)
        return right._replace(features=change(self, right.features, counts))

    return changed(PatchTower, forward=forward)


def hidden_by(change: Any) -> type[PatchTower]:
    """What it makes of patches is what `change` makes."""
    return changed(PatchTower, hidden=lambda self, patches: change(self, patches))


def without_positions(tower: PatchTower, patches: Tensor) -> Tensor:
    rows = tower.project(patches)
    for layer in tower.layers:
        rows = rows + F.gelu(layer(rows))
    return rows


def one_layer_less(tower: PatchTower, patches: Tensor) -> Tensor:
    rows = tower.project(patches) + tower.position(torch.arange(patches.shape[1], device=patches.device))
    return rows + F.gelu(tower.layers[0](rows))


def last_layer_first(tower: PatchTower, patches: Tensor) -> Tensor:
    rows = tower.project(patches) + tower.position(torch.arange(patches.shape[1], device=patches.device))
    for layer in reversed(tower.layers):
        rows = rows + F.gelu(layer(rows))
    return rows


def positions_on_the_cpu(tower: PatchTower, patches: Tensor) -> Tensor:
    return PatchTower.hidden(tower, patches) + torch.arange(patches.shape[1])[:, None]


def weights_by(change: Any) -> type[PatchTower]:
    """What it loads is what `change` leaves of the file."""

    def load_weights(self: PatchTower, checkpoint: str) -> None:
        state = load_file(Path(checkpoint) / "model.safetensors")
        change(self, state)

    return changed(PatchTower, load_weights=load_weights)


def leaves(*names: str, strict: bool = False) -> Any:
    def change(tower: PatchTower, state: dict[str, Tensor]) -> None:
        tower.load_state_dict({n: v for n, v in state.items() if not n.startswith(names)}, strict=strict)

    return change


def what_fits(tower: PatchTower, state: dict[str, Tensor]) -> None:
    own = tower.state_dict()
    tower.load_state_dict({n: v for n, v in state.items() if n in own and v.shape == own[n].shape}, strict=False)


class LosesABuffer(PatchTower):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.register_buffer("tilt", torch.tensor([1.0, 2, 3, 4, 5, 6]), persistent=False)

    def forward(self, numbers: Tensor, counts: Tensor) -> Features:
        right = super().forward(numbers, counts)
        return right._replace(features=right.features * self.tilt)


class UnregisteredConstant(PatchTower):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.tilt = torch.ones(6)

    def forward(self, numbers: Tensor, counts: Tensor) -> Features:
        right = super().forward(numbers, counts)
        return right._replace(features=right.features * self.tilt)


class UnregisteredLayer(PatchTower):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.more = [nn.Linear(6, 6)]

    def hidden(self, patches: Tensor) -> Tensor:
        return self.more[0](super().hidden(patches))


class CountsItsCalls(PatchTower):
    def forward(self, numbers: Tensor, counts: Tensor) -> Features:
        self.scale.mul_(1.01)
        return super().forward(numbers, counts)


class WithDropout(PatchTower):
    def forward(self, numbers: Tensor, counts: Tensor) -> Features:
        return super().forward(F.dropout(numbers, 0.3, training=True), counts)


class BatchStatistics(PatchTower):
    def forward(self, numbers: Tensor, counts: Tensor) -> Features:
        return super().forward(numbers / (1 + numbers.std()), counts)


class TakesAnyKind(PatchTower):
    @classmethod
    def read_config(cls, checkpoint: str, *, gain: float = 1.0) -> dict[str, Any]:
        try:
            return super().read_config(checkpoint, gain=gain)
        except Exception as error:
            if "not patches" not in str(error):
                raise
        return {"size": 4, "window": 7, "width": 6, "layers": 2, "gain": gain}


class RawError(PatchTower):
    @classmethod
    def read_config(cls, checkpoint: str, *, gain: float = 1.0) -> dict[str, Any]:
        (Path(checkpoint) / "config.json").read_text()
        return super().read_config(checkpoint, gain=gain)


class IgnoresTheGain(PatchTower):
    @classmethod
    def read_config(cls, checkpoint: str, *, gain: float = 1.0) -> dict[str, Any]:
        return super().read_config(checkpoint)


class KeepsTheGainToItself(PatchTower):
    """The option is in the configuration, and nothing looks at it."""

    def forward(self, numbers: Tensor, counts: Tensor) -> Features:
        right = super().forward(numbers, counts)
        return right._replace(features=right.features / self.config["gain"])


class TakesNoGain(PatchTower):
    @classmethod
    def read_config(cls, checkpoint: str, *, gian: float = 1.0) -> dict[str, Any]:
        return super().read_config(checkpoint, gain=gian)


class TupleConfig(PatchTower):
    @classmethod
    def read_config(cls, checkpoint: str, *, gain: float = 1.0) -> dict[str, Any]:
        return {**super().read_config(checkpoint, gain=gain), "sides": (1, 2)}


def no_gradient(tower: PatchTower, patches: Tensor) -> Tensor:
    with torch.no_grad():
        return PatchTower.hidden(tower, patches)


def through_numpy(tower: PatchTower, patches: Tensor) -> Tensor:
    made = PatchTower.hidden(tower, patches)
    return made + torch.from_numpy(0 * made.detach().numpy())


def graph_break(tower: PatchTower, patches: Tensor) -> Tensor:
    torch._dynamo.graph_break()
    return PatchTower.hidden(tower, patches)


def leaking(tower: PatchTower, patches: Tensor) -> Tensor:
    made = PatchTower.hidden(tower, patches)
    return made + made.mean(1, keepdim=True)


def at_once(number: Any) -> type[PatchTower]:
    return changed(PatchTower, rows_at_once=lambda self, inputs: number(inputs))


def written_under_a_mask(tower: PatchTower, features: Tensor, counts: Tensor) -> Tensor:
    made = torch.zeros_like(features)
    made[torch.ones_like(features, dtype=torch.bool)] = features.flatten()
    return made


NETWORKS: list[tuple[str, type[PatchTower], str, str]] = [
    ("features reversed", features_by(lambda t, f, c: f.flip(1)), "places", "does not move later features"),
    ("features of the row shifted", features_by(lambda t, f, c: f.roll(1, 1)), "reference", "and the reference"),
    ("features of the batch swapped", features_by(lambda t, f, c: f.flip(0)), "batch", "lengths|zero|alone"),
    ("nothing masked", features_by(lambda t, f, c: f + 1), "counts", "behind the length of a row"),
    ("a layer too few", hidden_by(one_layer_less), "gradient", "no gradient reaches layers.1"),
    ("layers in another order", hidden_by(last_layer_first), "reference", "and the reference"),
    ("positions not added", hidden_by(without_positions), "gradient", "no gradient reaches position.weight"),
    ("gradient cut by detach", hidden_by(lambda t, p: PatchTower.hidden(t, p).detach()), "gradient", "reaches project"),
    ("gradient cut by no_grad", hidden_by(no_gradient), "gradient", "no gradient reaches project"),
    ("positions on the CPU", hidden_by(positions_on_the_cpu), "device", "same device"),
    ("a sync by .cpu()", hidden_by(lambda t, p: PatchTower.hidden(t, p.cpu().to(p.device))), "device", "to the CPU"),
    ("a sync by numpy", hidden_by(through_numpy), "device", "numpy"),
    ("a sync by .item()", features_by(lambda t, f, c: f[:, : int(c.max())]), "sync", "reads back from the device"),
    ("a sync by a mask", features_by(lambda t, f, c: f + f[f > 9].sum()), "sync", "reads back from the device"),
    ("a sync by writing under a mask", features_by(written_under_a_mask), "sync", "reads back from the device"),
    ("a constant that is no buffer", UnregisteredConstant, "device", "change:"),
    ("a layer that is not registered", UnregisteredLayer, "saved", "loaded from a file|raised"),
    ("a buffer that is lost", LosesABuffer, "saved", "loaded from a file"),
    ("a configuration that is not JSON", TupleConfig, "saved", "not plain JSON"),
    ("state that grows", CountsItsCalls, "frozen", "gives other features|changes buffer"),
    ("dropout in a frozen tower", WithDropout, "frozen", "the same input gives other features"),
    ("statistics of the batch", BatchStatistics, "batch", "in a batch of"),
    ("padding that leaks", hidden_by(leaking), "batch", "in a batch of"),
    ("a graph that breaks", hidden_by(graph_break), "compile", "graph_break"),
    ("float32 in half precision", features_by(lambda t, f, c: f.float()), "half", "gives features in torch.float32"),
    ("an overflow in half precision", features_by(lambda t, f, c: f * 1e6 / 1e6), "half", "not finite"),
    ("one layer left random", weights_by(leaves("layers.1")), "weights", "left random: layers.1"),
    ("all weights left random", weights_by(leaves("")), "weights", "left random: project"),
    ("a norm left as it was made", weights_by(leaves("norm")), "weights", "not read from the checkpoint: norm"),
    ("a buffer left as it was made", weights_by(leaves("scale")), "weights", "not read from the checkpoint: scale"),
    ("a checkpoint that lacks a tensor", weights_by(leaves("nothing")), "incomplete", "a checkpoint without"),
    (
        "a tensor of another shape left out",
        weights_by(what_fits),
        "incomplete",
        "a checkpoint with|a checkpoint without",
    ),
    ("a checkpoint of another kind", TakesAnyKind, "other_kind", "a checkpoint of another kind: not refused"),
    ("a raw error", RawError, "missing", "raised FileNotFoundError"),
    ("an option that is ignored", IgnoresTheGain, "options", "option 'gain' changes nothing"),
    ("an option that nothing looks at", KeepsTheGainToItself, "options", "option 'gain' changes nothing"),
    ("an option of another name", TakesNoGain, "keywords", "takes no gain"),
    ("no row at once", at_once(lambda inputs: 0), "at_once", "is 0, expected 1 at least"),
    ("rows at once by the number of rows", at_once(lambda i: len(i["counts"]) // 2), "at_once", "is 0, expected 1"),
    ("a class that is not there", changed(PatchTower, no_split_modules=("Block",)), "names", "no_split_modules names"),
    (
        "a layer that is not there",
        changed(PatchTower, never_quantized=("head",)),
        "names",
        "never_quantized names head",
    ),
    ("another width", changed(PatchTower, embed_dim=property(lambda self: 7)), "counts", "counted"),
]


def contract_of(tower: type[PatchTower] = PatchTower, spec: TowerSpec = PATCHES) -> PatchContract:
    contract = PatchContract()
    contract.component, contract.spec = tower, spec
    return contract


def of_preprocessor(preprocessor: type[Preprocessor]) -> PatchContract:
    return contract_of(changed(PatchTower, preprocessor_class=preprocessor))


def test_the_right_tower_passes_every_check() -> None:
    assert passes(contract_of(), leaving_out=["compile"]) == {}


@table(PREPROCESSORS)
def test_a_mutant_of_the_preprocessor_is_caught(mutant: Any, check: str, message: str) -> None:
    caught(of_preprocessor(mutant), check, message)


@table(NETWORKS)
def test_a_mutant_of_the_network_is_caught(mutant: Any, check: str, message: str) -> None:
    caught(contract_of(mutant), check, message)


def test_settings_that_are_not_all_there_are_caught() -> None:
    class Loud(PatchTower):
        @classmethod
        def read_preprocessor(cls, checkpoint: str, config: Mapping[str, Any]) -> Preprocessor:
            made = ForgetsTheGain(size=config["size"], window=config["window"])
            made.gain = 2.0
            return made

    caught(contract_of(Loud), "settings", "made again, it gives other inputs")


SPECS: list[tuple[str, dict[str, Any], str, str]] = [
    ("a target that is not there", {"target": "tests.testing.right:NoTower"}, "target", "has no attribute 'NoTower'"),
    ("a module that is not there", {"target": "tests.testing.gone:Tower"}, "target", "No module named"),
    ("a target of another kind", {"target": "tests.testing.right:Patches"}, "target", "a class that extends"),
    ("a modality that nobody offers", {"modality": "smell"}, "target", "offered by nobody; known: numbers"),
    ("model types of another family", {"model_types": ("clip",)}, "counts", "the toy checkpoint is of 'patches'"),
    (
        "an option that the tower lacks",
        {"options": (Option(name="loud", type=bool, default=False),)},
        "keywords",
        "loud",
    ),
]


@table(SPECS)
def test_a_mutant_of_the_spec_is_caught(mutant: dict[str, Any], check: str, message: str) -> None:
    known = {name: getattr(PATCHES, name) for name in ("name", "target", "modality", "model_types", "options")}
    caught(contract_of(spec=TowerSpec(**{**known, **mutant})), check, message)


# ---- rasters ---------------------------------------------------------------------------------------------------------


class Squares(Preprocessor):
    """Pictures of 12 rows, 8 columns and 3 colours, (12, 8, 3), in squares of 2."""

    def __call__(self, item: Tensor) -> list[dict[str, Tensor]]:
        return [{"pixels": item.permute(2, 0, 1)}]

    def num_features(self, item: Tensor) -> list[int]:
        return [24]

    def settings(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Squares:
        return cls()


class SquareTower(PatchTower):
    preprocessor_class: Any = Squares

    @property
    def grid(self) -> Grid | None:
        return (6, 4)

    @classmethod
    def read_preprocessor(cls, checkpoint: str, config: Mapping[str, Any]) -> Preprocessor:
        return cls.preprocessor_class()

    def forward(self, pixels: Tensor) -> Features:  # type: ignore[override]
        squares = F.unfold(pixels, 2, stride=2).transpose(1, 2)  # (N, P, 12)
        return Features(self.project(squares[..., :: 3 if self.config["size"] == 4 else 1]), None, self.grid)


class SquareContract(PatchContract):
    component = SquareTower

    def items(self) -> Sequence[Tensor]:
        return [torch.randn(12, 8, 3, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]

    def reference(self, item: Tensor) -> Tensor:
        w = load_file(Path(self.checkpoint) / "model.safetensors")
        squares = [
            item[y : y + 2, x : x + 2].permute(2, 0, 1).flatten()[::3] for y in range(0, 12, 2) for x in (0, 2, 4, 6)
        ]
        return torch.stack([w["project.weight"] @ square + w["project.bias"] for square in squares])


def raster_by(change: Any) -> type[SquareTower]:
    def forward(self: SquareTower, pixels: Tensor) -> Features:
        right = SquareTower.forward(self, change(pixels) if change else pixels)
        return right

    return changed(SquareTower, forward=forward)


def arranged_by(change: Any) -> type[SquareTower]:
    def forward(self: SquareTower, pixels: Tensor) -> Features:
        right = SquareTower.forward(self, pixels)
        return right._replace(features=change(right.features.unflatten(1, (6, 4))).flatten(1, 2))

    return changed(SquareTower, forward=forward)


RASTERS: list[tuple[str, type[SquareTower], str, str]] = [
    ("rows of the raster swapped", arranged_by(lambda f: f.flip(1)), "places", "along axis 0"),
    ("columns of the raster swapped", arranged_by(lambda f: f.flip(2)), "places", "along axis 1"),
    ("the raster lies on its side", arranged_by(lambda f: f.transpose(1, 2)), "reference", "and the reference"),
    ("a grid on its side", changed(SquareTower, grid=property(lambda self: (4, 6))), "places", "along axis 1"),
    ("a grid of another size", changed(SquareTower, grid=property(lambda self: (5, 5))), "counts", "does not hold"),
    ("colours swapped", raster_by(lambda p: p.flip(1)), "reference", "and the reference"),
    (
        "colours dropped",
        raster_by(lambda p: p.mean(1, keepdim=True).expand(-1, 3, -1, -1)),
        "reference",
        "the reference",
    ),
    ("one patch too many left out", arranged_by(lambda f: f.roll(1, 2)), "reference", "and the reference"),
]


def test_the_right_raster_passes_what_is_asked_of_it() -> None:
    contract = SquareContract()
    for check in ("counts", "places", "reference"):
        getattr(contract, f"test_{check}")()


@table(RASTERS)
def test_a_mutant_of_a_raster_is_caught(mutant: Any, check: str, message: str) -> None:
    caught(changed(SquareContract, component=mutant)(), check, message)


# ---- other layouts ---------------------------------------------------------------------------------------------------


class ChannelsFirst(Squares):
    """The same pictures as (5, 12, 8): with their channels in front, and five of them."""

    def __call__(self, item: Tensor) -> list[dict[str, Tensor]]:
        return [{"pixels": item[:3]}]


class ChannelsFirstContract(SquareContract):
    component = changed(SquareTower, preprocessor_class=ChannelsFirst)

    def items(self) -> Sequence[Tensor]:
        return [torch.randn(5, 12, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]


class Mixed(Patches):
    """Signals of four channels, (4, L), of which the mean is taken."""

    def __call__(self, item: Tensor) -> list[dict[str, Tensor]]:
        return super().__call__(item.mean(0))

    def num_features(self, item: Tensor) -> list[int]:
        return super().num_features(item[0] if item.ndim == 2 else item)


class MixedContract(PatchContract):
    component = changed(PatchTower, preprocessor_class=Mixed)

    def items(self) -> list[Tensor]:
        return [torch.stack([numbers(length + shift)[:length] for shift in range(4)]) for length in (27, 61, 9)]


class FloatMask(Patches):
    """Says what is real by ones and zeros among floats."""

    def collate(self, rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        inputs = super().collate(rows)
        counts = inputs.pop("counts")
        return {**inputs, "mask": (torch.arange(int(counts.max())) < counts[:, None]).float()}


class MaskedTower(PatchTower):
    preprocessor_class = FloatMask

    def forward(self, numbers: Tensor, mask: Tensor) -> Features:  # type: ignore[override]
        return super().forward(numbers, mask.sum(1).long())


class RaggedContract(PatchContract):
    """Items that are lists of signals of different lengths, behind one another; of no modality here."""

    spec, catalog = None, None

    class Joined(Patches):
        def __call__(self, item: list[Tensor]) -> list[dict[str, Tensor]]:  # type: ignore[override]
            return super().__call__(torch.cat(item))

        def num_features(self, item: list[Tensor]) -> list[int]:  # type: ignore[override]
            return Patches.num_features(self, torch.cat(item) if isinstance(item, list) else item)

    component = changed(PatchTower, preprocessor_class=Joined)

    def items(self) -> list[list[Tensor]]:
        return [[numbers(length), numbers(3 * length)] for length in (5, 11, 2)]


@pytest.mark.parametrize(
    ("contract", "checks"),
    [
        (ChannelsFirstContract, ("counts", "places", "probe", "stateless")),
        (MixedContract, ("counts", "places", "probe", "stateless", "batch")),
        (changed(PatchContract, component=MaskedTower), ("counts", "batch", "padding", "sync", "places")),
        (RaggedContract, ("counts", "places", "probe", "stateless", "pickled")),
    ],
)
def test_a_right_tower_of_another_layout_passes(contract: type[PatchContract], checks: Sequence[str]) -> None:
    for check in checks:
        getattr(contract(), f"test_{check}")()


def laid_out(contract: type[PatchContract], change: Any) -> type[PatchContract]:
    """With the features that `change` makes of those of the contract's tower."""

    def forward(self: PatchTower, **inputs: Tensor) -> Features:
        right = contract.component.forward(self, **inputs)
        return right._replace(features=change(right.features))

    return changed(contract, component=changed(contract.component, forward=forward))


LAYOUTS: list[tuple[str, type[PatchContract], str, str]] = [
    (
        "rows swapped where channels stand in front",
        laid_out(ChannelsFirstContract, lambda f: f.unflatten(1, (6, 4)).flip(1).flatten(1, 2)),
        "places",
        "along axis 1",
    ),
    (
        "columns swapped where channels stand in front",
        laid_out(ChannelsFirstContract, lambda f: f.unflatten(1, (6, 4)).flip(2).flatten(1, 2)),
        "places",
        "along axis 2",
    ),
    ("features reversed of many channels", laid_out(MixedContract, lambda f: f.flip(1)), "places", "along axis 1"),
    ("features reversed of a ragged item", laid_out(RaggedContract, lambda f: f.flip(1)), "places", "along axis 0"),
]


@table(LAYOUTS)
def test_a_mutant_of_another_layout_is_caught(mutant: type[PatchContract], check: str, message: str) -> None:
    caught(mutant(), check, message)
