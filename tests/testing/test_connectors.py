"""Connectors that are wrong in one way each, and the check of the contract that says so."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.testing.right import caught, changed, offered, passes, table
from tinyllava_kit import KitError
from tinyllava_kit.interfaces import Connector, Features, Grid
from tinyllava_kit.plugin.specs import ConnectorSpec, Option
from tinyllava_kit.testing import ConnectorContract


class Pairs(Connector):
    """The mean of `factor` neighbours through two layers."""

    def __init__(self, *, in_dim: int, out_dim: int, grid: Grid | None = None, factor: int = 2) -> None:
        super().__init__(in_dim=in_dim, out_dim=out_dim, grid=grid)
        self.factor = factor
        self.first, self.second = nn.Linear(in_dim, out_dim), nn.Linear(out_dim, out_dim)

    def num_tokens(self, num_features: int) -> int:
        return -(-num_features // self.factor)

    def sources(self, num_features: int) -> list[list[int]] | None:
        starts = range(0, num_features, self.factor)
        return [list(range(start, min(start + self.factor, num_features))) for start in starts]

    def pooled(self, features: Features) -> Tensor:
        rows = features.features  # (N, P, E)
        size = rows.shape[1]
        lengths = features.lengths
        if lengths is None:
            lengths = torch.full((len(rows),), size, device=rows.device)
        real = torch.arange(size, device=rows.device) < lengths[:, None]  # (N, P)
        rest = -size % self.factor
        groups = F.pad(rows.masked_fill(~real[..., None], 0), (0, 0, 0, rest)).unflatten(1, (-1, self.factor))
        counts = F.pad(real, (0, rest)).unflatten(1, (-1, self.factor)).sum(2).clamp(min=1)
        return groups.sum(2) / counts[..., None].to(rows.dtype)  # (N, G, E)

    def forward(self, features: Features) -> Tensor:
        return self.second(F.gelu(self.first(self.pooled(features))))


PAIRS = ConnectorSpec(name="pairs", target=f"{__name__}:Pairs", options=(Option(name="factor", type=int, default=2),))


class PairsContract(ConnectorContract):
    component = Pairs
    spec = PAIRS
    catalog = offered(PAIRS)
    lengths = (*range(1, 20), 40, 41)


def contract_of(connector: type[Connector] = Pairs) -> PairsContract:
    contract = PairsContract()
    contract.component = connector
    return contract


def rows_by(change: Any) -> type[Connector]:
    """Its rows are what `change` makes of the right ones."""
    return changed(Pairs, forward=lambda self, features: change(self, Pairs.forward(self, features), features))


def features_by(change: Any) -> type[Connector]:
    return changed(Pairs, forward=lambda self, f: Pairs.forward(self, f._replace(features=change(f.features))))


def with_noise(connector: Any, rows: Tensor, features: Features) -> Tensor:
    return rows + torch.rand(rows.shape[-1])


def no_gradient(connector: Any, rows: Tensor, features: Features) -> Tensor:
    with torch.no_grad():
        return Pairs.forward(connector, features)


class OneLayerOnly(Pairs):
    def forward(self, features: Features) -> Tensor:
        return self.first(self.pooled(features))


class ListOfLayers(Pairs):
    """Weights that nobody saves, moves or trains."""

    def __init__(self, **known: Any) -> None:
        super().__init__(**known)
        self.more = [nn.Linear(self.out_dim, self.out_dim)]

    def forward(self, features: Features) -> Tensor:
        return self.more[0](super().forward(features))


class RandomConstant(Pairs):
    def __init__(self, **known: Any) -> None:
        super().__init__(**known)
        self.register_buffer("tilt", torch.rand(self.out_dim), persistent=False)

    def forward(self, features: Features) -> Tensor:
        return super().forward(features) * self.tilt


class RunningMean(Pairs):
    def __init__(self, **known: Any) -> None:
        super().__init__(**known)
        self.register_buffer("mean", torch.zeros(self.in_dim))

    def forward(self, features: Features) -> Tensor:
        self.mean.lerp_(features.features.mean((0, 1)).detach(), 0.1)
        return super().forward(features._replace(features=features.features - self.mean))


class BatchNorm(Pairs):
    def forward(self, features: Features) -> Tensor:
        rows = super().forward(features)
        return (rows - rows.mean((0, 1))) / (1e-3 + rows.std((0, 1)))


class Blind(Pairs):
    """The option is kept and not used."""

    def __init__(self, **known: Any) -> None:
        super().__init__(**{**known, "factor": 2})


class DropsTheRest(Pairs):
    """A last feature that has no neighbour is lost, and counted so."""

    def num_tokens(self, num_features: int) -> int:
        return max(1, num_features // self.factor)

    def sources(self, num_features: int) -> None:
        return None

    def forward(self, features: Features) -> Tensor:
        return super().forward(features)[:, : self.num_tokens(features.features.shape[1])]


def without_lengths(connector: Any, features: Features) -> Tensor:
    return Pairs.pooled(connector, features._replace(lengths=None))


def one_each(connector: Any, num_features: int) -> list[list[int]]:
    return [[number] for number in range(connector.num_tokens(num_features))]


def mixing(features: Tensor) -> Tensor:
    return features + features.mean(1, keepdim=True)


MUTANTS: list[tuple[str, type[Connector], str, str]] = [
    ("one too many where a feature is left", changed(Pairs, num_tokens=lambda s, n: n // 2 + 1), "counts", "counted"),
    ("one too few for odd numbers", changed(Pairs, num_tokens=lambda s, n: n // 2), "counts", "counted"),
    ("wrong above 30", changed(Pairs, num_tokens=lambda s, n: -(-n // 2) + (n > 30)), "counts", "40 features"),
    ("another width", rows_by(lambda c, rows, f: rows[..., :-1]), "counts", "counted"),
    ("padding that leaks", changed(Pairs, pooled=without_lengths), "batch", "and alone"),
    ("mixes an item with its padding", features_by(mixing), "batch", "and alone"),
    ("statistics of the batch", BatchNorm, "batch", "and alone"),
    ("items of the batch swapped", rows_by(lambda c, rows, f: rows.flip(0)), "batch", "and alone"),
    ("noise in eval", rows_by(with_noise), "same_twice", "other rows the second time"),
    ("running statistics in eval", RunningMean, "same_twice", "second time|changes mean"),
    ("gradient cut by detach", features_by(lambda f: f.detach()), "gradient", "no gradient reaches the features"),
    ("gradient cut by no_grad", rows_by(no_gradient), "gradient", "no parameter gets a gradient"),
    ("a layer that is not used", OneLayerOnly, "gradient", "no gradient reaches second"),
    ("a feature that is left out", DropsTheRest, "gradient", "features have no part in the rows"),
    ("an upcast", rows_by(lambda c, rows, f: rows.float()), "half", "give rows in torch.float32"),
    ("an overflow", rows_by(lambda c, rows, f: rows * 1e6 / 1e6), "half", "not finite"),
    ("a constant on the CPU", rows_by(lambda c, r, f: r + torch.arange(r.shape[1])[:, None]), "device", "same device"),
    ("a sync", rows_by(lambda c, rows, f: rows * float(rows.abs().max() > 0)), "device", "_local_scalar_dense"),
    ("a way over the CPU", features_by(lambda f: f.cpu().to(f.device)), "device", "to the CPU"),
    ("layers in a list", ListOfLayers, "saved", "not all in its state"),
    ("a constant that is not saved", RandomConstant, "saved", "state|raised"),
    ("an option that is ignored", Blind, "options", "option 'factor' changes nothing"),
    ("sources shifted by one", changed(Pairs, sources=one_each), "sources", "is made of"),
    ("too few sources", changed(Pairs, sources=lambda s, n: Pairs.sources(s, n)[1:]), "sources", "sources of"),
    ("rows reversed", rows_by(lambda c, rows, f: rows.flip(1)), "places", "not in the order of the features"),
]


def test_the_right_connector_passes_every_check() -> None:
    assert passes(contract_of()) == {"grid": "its spec does not say needs_grid"}


@table(MUTANTS)
def test_a_mutant_of_the_connector_is_caught(mutant: Any, check: str, message: str) -> None:
    caught(contract_of(mutant), check.partition("|")[0], message)


def test_one_that_needs_a_raster_and_takes_none_is_caught() -> None:
    contract = contract_of()
    contract.spec = ConnectorSpec(name="pairs", target=PAIRS.target, options=PAIRS.options, needs_grid=True)
    caught(contract, "grid", "a tower without a grid: not refused")


def test_a_connector_whose_options_are_all_refused_is_told_so() -> None:
    class Refuses(Pairs):
        def __init__(self, *, factor: int = 2, **known: Any) -> None:
            if factor != 2:
                raise KitError(f"factor must be 2, got {factor}")
            super().__init__(factor=factor, **known)

    caught(contract_of(Refuses), "options", "option 'factor': every value that was tried is refused: 3 .factor must")


def test_a_connector_that_leaves_features_out_says_why() -> None:
    class EveryOther(Pairs):
        def sources(self, num_features: int) -> list[list[int]]:
            return [[start] for start in range(0, num_features, self.factor)]

        def pooled(self, features: Features) -> Tensor:
            return features.features[:, :: self.factor]

    contract = contract_of(EveryOther)
    caught(contract, "gradient", "have no part in the rows; say in unused_features why")
    contract.unused_features = "it keeps every other one"
    assert passes(contract) == {"grid": "its spec does not say needs_grid"}
