"""The contract of a connector.

Legend: N items, P features of the longest, E tower width, D width of the LLM.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..core.interfaces import Connector, Features, Grid
from .comparing import check_close, check_refused
from .contract import DoesNotApply, check
from .fake_device import check_on_device
from .specified import SpecifiedContract


class ConnectorContract(SpecifiedContract):
    """What holds for a connector. An author gives nothing; sizes that do not suit it may be set."""

    kind = "connector"
    takes_options: ClassVar[tuple[str, int] | None] = ("__init__", 0)

    # E and D; widths that options must divide are the author's to set.
    in_dim: ClassVar[int] = 24
    out_dim: ClassVar[int] = 40
    # Raster of the features: given to a connector that folds one, and to no other.
    grid: ClassVar[Grid | None] = None
    # How many features an item may have, where the connector takes any number.
    lengths: ClassVar[tuple[int, ...]] = (*range(1, 41), 97, 128, 257)
    # Why some features have no part in the rows, where that is so: it keeps every other one, say.
    unused_features: ClassVar[str] = ""
    tolerance: ClassVar[float] = 1e-5
    # In half precision, from the one in float32; how much features are scaled for it.
    half_tolerance: ClassVar[float] = 0.05

    def build(self, **others: Any) -> Connector:
        """A new connector in eval, the same each time. `others` are arguments in place of the contract's."""
        torch.manual_seed(0)
        given = {"in_dim": self.in_dim, "out_dim": self.out_dim, "grid": self._grid, **self.given_options, **others}
        connector: Connector = self.component(**given)
        with torch.no_grad():
            for parameter in connector.parameters():  # one that begins as zero, or as one, hides what it does
                parameter.add_(0.1 * torch.randn_like(parameter))
        return connector.eval()

    @property
    def _grid(self) -> Grid | None:
        needs_grid = getattr(self.spec, "needs_grid", False)
        return self.grid or ((4, 4) if needs_grid else None)

    def sizes(self) -> tuple[int, ...]:
        """How many features items have here: those of the raster, where there is one."""
        return self.lengths if self._grid is None else (self._grid[0] * self._grid[1],)

    def features(self, *lengths: int, seed: int = 0) -> Features:
        """Noise, with zeros behind each item."""
        noise = torch.Generator().manual_seed(seed)
        made = torch.randn(len(lengths), max(lengths), self.in_dim, generator=noise)  # (N, P, E)
        real = torch.tensor(lengths)
        made *= (torch.arange(max(lengths)) < real[:, None])[..., None]
        ragged = len(set(lengths)) > 1
        return Features(made, real if ragged else None, self._grid)

    @check("num_tokens: the arithmetic of forward, for every number of features")
    def test_counts(self) -> None:
        """So many rows, of the LLM's width, as `num_tokens` says, for every number of features."""
        connector = self.build()
        for length in self.sizes():
            with torch.no_grad():
                got = connector(self.features(length, length))
            expected = (2, connector.num_tokens(length), self.out_dim)
            assert got.shape == expected, f"{length} features: counted {expected}, it gives {tuple(got.shape)}"
            assert expected[1] >= 1, f"{length} features become no row"

    @check("forward: mask what lies behind an item's length before anything is mixed")
    def test_batch(self) -> None:
        """An item's rows are the same alone, beside a longer one, and with garbage behind its length."""
        connector = self.build()
        if len(self.sizes()) == 1:
            pairs = [(self.sizes()[0], self.sizes()[0])]
        else:
            pairs = [(5, 17), (17, 5), (6, 7), (1, 40), (40, 13)]
        for lengths in pairs:
            together = self.features(*lengths)
            spoiled = together.features.clone()
            for row, length in zip(spoiled, lengths, strict=True):
                row[length:] = 1e3
            with torch.no_grad():
                got = [connector(together), connector(together._replace(features=spoiled))]
            for number, length in enumerate(lengths):
                alone = together.features[number : number + 1, :length]
                with torch.no_grad():
                    expected = connector(Features(alone, None, self._grid))[0]
                for how, rows in zip(("beside another", "with garbage in the padding"), got, strict=True):
                    what = f"an item of {length} features {how} of {lengths}, and alone"
                    check_close(rows[number, : connector.num_tokens(length)], expected, self.tolerance, what)

    @check("forward: in eval nothing random, and nothing kept from one call to the next")
    def test_same_twice(self) -> None:
        """In eval the same features give the same rows, whatever came between."""
        connector, size = self.build(), self.sizes()[-1]
        before = {name: value.clone() for name, value in connector.state_dict().items()}
        with torch.no_grad():
            first = connector(self.features(size))
            connector(self.features(size, seed=1))
            again = connector(self.features(size))
        assert torch.equal(first, again), "the same features give other rows the second time"
        changed = [name for name, value in connector.state_dict().items() if not torch.equal(value, before[name])]
        assert not changed, f"a forward pass changes {changed[0]}"

    @check("forward: no detach or no_grad; and use every parameter")
    def test_gradient(self) -> None:
        """Every parameter, and every real feature, gets a gradient."""
        connector = self.build().train()
        size = self.sizes()[-1]
        features = self.features(size, size).features.requires_grad_()
        rows = connector(Features(features, None, self._grid))
        assert rows.requires_grad, "no parameter gets a gradient"
        (rows * torch.randn(rows.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
        cut = [n for n, p in connector.named_parameters() if p.grad is None or (p.ndim > 1 and not p.grad.any())]
        assert not cut, f"no gradient reaches {', '.join(cut[:5])}"
        assert features.grad is not None, "no gradient reaches the features; a tower behind it cannot be trained"
        dropped = 0 if self.unused_features else int((features.grad.abs().sum(-1) == 0).sum())
        assert not dropped, (
            f"{dropped} of {2 * size} features have no part in the rows; say in unused_features why, if so it shall be"
        )

    @check("forward: keep to the dtype of the weights; no float() that is not taken back")
    def test_half(self) -> None:
        """In half precision rows are of that precision, finite and close."""
        size = self.sizes()[-1]
        with torch.no_grad():
            expected = self.build()(self.features(size))
        for dtype in (torch.bfloat16, torch.float16):
            features = self.features(size)
            with torch.no_grad():
                got = self.build().to(dtype)(features._replace(features=features.features.to(dtype)))
            assert got.dtype == dtype, f"features and weights in {dtype} give rows in {got.dtype}"
            assert got.isfinite().all(), f"{dtype}: rows are not finite"
            check_close(got.float(), expected, self.half_tolerance, f"{dtype}, and float32")

    @check("forward: make tensors with device=features.device, register weights and constants, read nothing back")
    def test_device(self) -> None:
        """On a device that is not the CPU, imitated; lengths differ where they may."""
        connector, sizes = self.build(), self.sizes()
        features = self.features(*((5, 17) if len(sizes) > 1 else (sizes[0], sizes[0])))
        given = {"features": features.features}
        if features.lengths is not None:
            given["lengths"] = features.lengths
        check_on_device(_Unpacked(connector, self._grid), given)

    @check("__init__: weights are parameters, modules in a ModuleList; constants are buffers that are saved")
    def test_saved(self) -> None:
        """The state of one, loaded into another, makes it the same; so does one that is first built on no device."""
        connector, features = self.build(), self.features(self.sizes()[-1])
        torch.manual_seed(7)
        other = self.component(in_dim=self.in_dim, out_dim=self.out_dim, grid=self._grid, **self.given_options).eval()
        with torch.device("meta"):
            bare = self.component(in_dim=self.in_dim, out_dim=self.out_dim, grid=self._grid, **self.given_options)
        state = {name: value.clone() for name, value in connector.state_dict().items()}
        other.load_state_dict(state)
        bare = bare.eval()
        bare.load_state_dict(state, assign=True)
        with torch.no_grad():
            expected = connector(features)
            for how, each in (("loaded", other), ("built without weights, then loaded", bare)):
                got = each(features)
                assert got.device.type == "cpu", f"{how}: weights or constants are not in its state"
                assert torch.equal(got, expected), f"{how}, it gives other rows: weights are not all in its state"

    @check("sources: for each row the features that it is made of, or None")
    def test_sources(self) -> None:
        """Each row depends on the features that `sources` names, and on no other."""
        connector = self.build()
        found = False
        for size in self.sizes()[:17]:
            sources = connector.sources(size)
            if sources is None:
                continue
            found = True
            count = connector.num_tokens(size)
            assert len(sources) == count, f"{size} features: sources of {len(sources)} rows, there are {count}"
            for row, expected in zip(self._depends(connector, size), sources, strict=True):
                assert set(row) == set(expected), f"{size} features: a row of {expected} is made of {row}"
        if not found:
            raise DoesNotApply("it names no sources of its rows")

    @check("forward: rows in the order of the features; or give sources(), where that is not what it does")
    def test_places(self) -> None:
        """Where a row is made of some features, the first rows are made of the first features."""
        connector, size = self.build(), self.sizes()[-1]
        if self._grid is not None:
            raise DoesNotApply("it folds a raster; see sources")
        rows = self._depends(connector, size)
        if len(rows) < 2 or all(len(row) == size for row in rows):
            raise DoesNotApply("each of its rows is made of all features")
        starts = [min(row) for row in rows if row]
        assert starts == sorted(starts), "rows are not in the order of the features that they are made of"

    @check("__init__: raise a KitError that names the option and what may be given")
    def test_grid(self) -> None:
        """One that needs a raster refuses features that have none."""
        if not getattr(self.spec, "needs_grid", False):
            raise DoesNotApply("its spec does not say needs_grid")
        check_refused(lambda: self.build(grid=None), "a tower without a grid")

    def effect(self, options: Mapping[str, Any]) -> Any:
        """Rows and their number, of features of several numbers."""
        connector = self.build(**options)
        with torch.no_grad():
            found = [(connector.num_tokens(size), connector(self.features(size))) for size in self.sizes()[-5:]]
        return [found, [tuple(value.shape) for value in connector.state_dict().values()]]

    def _depends(self, connector: Connector, size: int) -> list[list[int]]:
        """The features that each row depends on, by the gradient of the row."""
        features = self.features(size).features.requires_grad_()
        rows = connector(Features(features, None, self._grid))[0]  # (P', D)
        return [list(each) for each in _touched(rows, features)]


def _touched(rows: Tensor, features: Tensor) -> Iterator[list[int]]:
    for row in rows:
        noise = torch.randn(row.shape, generator=torch.Generator().manual_seed(2))
        (gradient,) = torch.autograd.grad((row * noise).sum(), features, retain_graph=True)
        yield gradient[0].abs().sum(-1).nonzero()[:, 0].tolist()


class _Unpacked(nn.Module):
    """A connector whose inputs are tensors by name."""

    def __init__(self, connector: Connector, grid: Grid | None) -> None:
        super().__init__()
        self.connector, self.raster = connector, grid

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        rows: Tensor = self.connector(Features(features, lengths, self.raster))
        return rows
