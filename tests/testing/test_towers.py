"""Towers that are wrong in one way each, and the check of the contract that says so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from tests.testing.right import (
    PatchTower,
    caught,
    changed,
    passes,
    patch_contract,
    table,
)
from tinyllava_kit.interfaces import Features


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
    ("a constant that is no buffer", UnregisteredConstant, "device", "neither parameter, buffer nor input"),
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


def test_the_right_tower_passes_every_check() -> None:
    assert passes(patch_contract(), leaving_out=["compile"]) == {}


@table(NETWORKS)
def test_a_mutant_of_the_network_is_caught(mutant: Any, check: str, message: str) -> None:
    caught(patch_contract(mutant), check, message)
