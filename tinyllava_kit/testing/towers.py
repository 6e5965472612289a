"""The contract of a tower.

Legend: N rows, P features of a row, E tower width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from ..core.interfaces import Features, Grid, Preprocessor, Tower
from ..model.pretrained import TinyLlavaPreTrainedModel
from .changed_items import changed, num_axes
from .comparing import check_close, collated, encode, through_json
from .contract import DoesNotApply, check
from .fake_device import check_on_device
from .loaded import LoadedContract, check_model_types
from .no_sync import NoSync
from .preprocessing import PreprocessorContract

# Rows of a batch, by their index among the items: alone and beside others, in both orders.
_COMPANY = ((0, 1), (1, 0), (0, 1, 2), (2, 1, 0))
_IN_ORDER, _MORE, _BETTER = 0.3, 1.1, 2.0  # see `places`


class TowerContract(PreprocessorContract, LoadedContract):
    """What holds for a tower of any modality.

    An author gives `toy_checkpoint`, and `component` and `items` where no spec names the tower and its modality.
    """

    kind = "tower"
    # How far features may be from those of the same item alone: relative, L2, float32.
    tolerance: ClassVar[float] = 1e-5
    # The same for a tower in half precision, from the one in float32.
    half_tolerances: ClassVar[Mapping[torch.dtype, float]] = {torch.bfloat16: 0.03, torch.float16: 0.01}
    # Why features are in no order of the item, where they are not: learned queries, say.
    unordered: ClassVar[str] = ""
    # Names that the class gives for other checkpoints than the toy: name -> which.
    names_elsewhere: ClassVar[Mapping[str, str]] = {}
    # Ends of names of parameters that no feature depends on: name -> why.
    unused_parameters: ClassVar[Mapping[str, str]] = {}

    def load(self, checkpoint: str) -> nn.Module:
        """See `LoadedContract.load`."""
        return self.build(checkpoint)[0]

    def reference(self, item: Any) -> Tensor:
        """The features of an item, (P, E), by other code: the library that the tower wraps, or a slow, obvious loop.

        Without it, features that are wrong in the same way each time are not seen: another layer, colours swapped.
        """
        raise DoesNotApply("no reference() to compare with; a wrong layer, or swapped colours, would not be seen")

    @check("num_features, fixed_features or grid of the preprocessor and tower, or the shape of what forward gives")
    def test_counts(self) -> None:
        """Shapes, lengths and grid; zeros behind each row."""
        tower, preprocessor = self.build(self.checkpoint)
        check_model_types(self.spec, self.checkpoint)
        for item in self.items():
            counts = preprocessor.num_features(item)
            got = encode(tower, preprocessor, [item])
            expected = (len(counts), max(counts), tower.embed_dim)
            assert got.features.shape == expected, f"counted {expected}, the network gives {tuple(got.features.shape)}"
            assert preprocessor.fixed_features in (None, *counts), f"fixed_features is none of {counts}"
            _check_lengths(got, counts)
            assert tower.grid in (None, got.grid), f"the tower says grid {tower.grid}, its features have {got.grid}"
            if got.grid is not None:
                assert got.grid[0] * got.grid[1] == max(counts), f"grid {got.grid} does not hold {max(counts)} features"

    @check("forward or collate: a row's features may not depend on the rows beside it; mask the padding")
    def test_batch(self) -> None:
        """Alone, beside a longer one, beside two, in both orders."""
        tower, preprocessor = self.build(self.checkpoint)
        items = self.items()
        alone = [encode(tower, preprocessor, [item]).features for item in items]  # each (N, P, E)
        for company in _COMPANY:
            counts = [count for i in company for count in preprocessor.num_features(items[i])]
            together = encode(tower, preprocessor, [items[i] for i in company])
            _check_lengths(together, counts)
            rows = iter(together.features)
            for i in company:
                for expected, count in zip(alone[i], preprocessor.num_features(items[i]), strict=True):
                    got = next(rows)[:count]
                    check_close(got, expected[:count], self.tolerance, f"item {i} in a batch of {company}, and alone")

    @check("forward: mask the padding before anything is summed, normalised or attended to")
    def test_padding(self) -> None:
        """Noise a thousand times as loud, where `collate` padded, changes nothing."""
        tower, preprocessor = self.build(self.checkpoint)
        rows = [row for item in self.items() for row in preprocessor(item)]
        inputs = preprocessor.collate(rows)
        spoiled = _spoiled(inputs, [preprocessor.collate([row]) for row in rows])
        with torch.no_grad():
            expected, got = tower(**inputs).features, tower(**spoiled).features
        check_close(got, expected, self.tolerance, "with garbage in the padding, and without")

    @check("forward: no dropout, augmentation or statistics of a batch where the tower is frozen; see Tower.train")
    def test_frozen(self) -> None:
        """Frozen, also in train mode: the same twice, no graph, no buffer changed. Give a checkpoint with dropout."""
        tower, preprocessor = self.build(self.checkpoint)
        tower.requires_grad_(False)
        tower.train()
        inputs = collated(preprocessor, self.items())
        before = {name: value.clone() for name, value in tower.named_buffers()}
        first, second = tower(**inputs).features, tower(**inputs).features
        assert torch.equal(first, second), "frozen, in train mode: the same input gives other features"
        assert not first.requires_grad, "frozen, in train mode: the features require grad"
        changed_buffers = [n for n, value in tower.named_buffers() if not torch.equal(value, before[n])]
        assert not changed_buffers, f"frozen, a forward pass changes buffer {changed_buffers[0]}"

    @check("forward: no detach, no_grad or numpy between the inputs and the features")
    def test_gradient(self) -> None:
        """Trained, every parameter gets a gradient."""
        tower, preprocessor = self.build(self.checkpoint)
        tower.requires_grad_(True)
        inputs = collated(preprocessor, self.items())
        features = tower(**inputs).features
        assert features.requires_grad, "no parameter gets a gradient"
        torch.manual_seed(0)
        (features * torch.randn_like(features)).sum().backward()
        unused = tuple(self.unused_parameters)
        cut = [
            name
            for name, value in tower.named_parameters()
            if not (unused and name.endswith(unused))
            and (value.grad is None or (value.ndim > 1 and not value.grad.any()))
        ]
        assert not cut, (
            f"no gradient reaches {', '.join(cut[:5])}; where no feature depends on it, say so in unused_parameters"
        )

    @check("forward: cast the inputs to the dtype of the weights, and keep to it")
    def test_half(self) -> None:
        """In half precision features are finite and close. The inputs stay float32, as preprocessors make them."""
        for dtype, tolerance in self.half_tolerances.items():
            tower, preprocessor = self.build(self.checkpoint)
            expected = encode(tower, preprocessor, self.items()).features
            got = encode(tower.to(dtype), preprocessor, self.items()).features
            assert got.dtype == dtype, f"a tower in {dtype} gives features in {got.dtype}"
            assert got.isfinite().all(), f"{dtype}: features are not finite"
            check_close(got.float(), expected, tolerance, f"{dtype}, and float32")

    @check("forward: nothing of it may depend on a value of a tensor; use masks and shapes")
    def test_sync(self) -> None:
        """No host sync: no `.item()`, no indexing with a boolean mask."""
        tower, preprocessor = self.build(self.checkpoint)
        inputs = collated(preprocessor, self.items())
        with torch.no_grad(), NoSync():
            tower(**inputs)

    @check("forward: make tensors with device=INPUT.device, register constants as buffers, move nothing to the CPU")
    def test_device(self) -> None:
        """On a device that is not the CPU, imitated: nothing is made elsewhere, read back or turned into numpy."""
        tower, preprocessor = self.build(self.checkpoint)
        inputs = collated(preprocessor, self.items())
        check_on_device(tower, inputs)

    @check("forward: take out what torch.compile cannot follow")
    def test_compile(self) -> None:
        """``torch.compile(fullgraph=True)`` takes it whole, and gives the same."""
        tower, preprocessor = self.build(self.checkpoint)
        inputs = collated(preprocessor, self.items())
        torch.compiler.reset()
        with torch.no_grad():
            got = torch.compile(tower, fullgraph=True, backend="aot_eager")(**inputs)
            check_close(got.features, tower(**inputs).features, self.tolerance, "compiled, and not")

    @check("the tower's config, which must be plain JSON, and its buffers, which must be saved or made again")
    def test_saved(self) -> None:
        """Inside a model it is saved and loaded whole, without its checkpoint."""
        tower, preprocessor = self.build(self.checkpoint)
        model_class: Any = type("Model", (_Model,), {"tower_class": type(tower)})
        settings = {"tower": through_json(tower.config)}
        model = model_class(PreTrainedConfig(**settings))
        model.towers["it"].load_state_dict(tower.state_dict())
        folder = self.folder
        model.save_pretrained(folder)
        again = model_class.from_pretrained(folder, trust_remote_code=False).eval().towers["it"]
        expected, got = (encode(each, preprocessor, self.items()).features for each in (tower, again))
        assert torch.equal(got, expected), "loaded from a file, the tower gives other features"

    @check("forward: give features in the order of the item, row by row in a raster; or say why not in `unordered`")
    def test_places(self) -> None:
        """A change of an item's first part moves earlier features than one of its last; in a raster, of each side."""
        if self.unordered:
            raise DoesNotApply(self.unordered)
        tower, preprocessor = self.build(self.checkpoint)
        counted = [(preprocessor.num_features(item), item) for item in self.items()]
        longest = max(counted, key=lambda each: sum(each[0]))
        of_one_row = max((each for each in counted if len(each[0]) == 1), key=lambda each: each[0], default=longest)
        seen = [self._check_order(tower, preprocessor, item) for _, item in (longest, of_one_row)]
        if not any(seen):
            raise DoesNotApply("its items have no part that can be changed, or few features")

    @check("the features: they are not those of the reference")
    def test_reference(self) -> None:
        """They are those that the library that it wraps, or other obvious code, gives."""
        tower, preprocessor = self.build(self.checkpoint)
        for number, item in enumerate(self.items()):
            expected = self.reference(item)
            got = encode(tower, preprocessor, [item]).features
            whole = torch.cat([row[:n] for row, n in zip(got, preprocessor.num_features(item), strict=True)])
            check_close(whole, expected, self.tolerance, f"item {number}: features, and the reference")

    @check(
        "no_split_modules holds names of classes, never_quantized last names of linear layers, of this tower's modules"
    )
    def test_names(self) -> None:
        """What the class names is there."""
        tower, _ = self.build(self.checkpoint)
        classes = {type(module).__name__ for module in tower.modules()}
        linear = {name.rpartition(".")[2] for name, m in tower.named_modules() if isinstance(m, nn.Linear)}
        for what, names, known in (
            ("no_split_modules", tower.no_split_modules, classes),
            ("never_quantized", tower.never_quantized, linear),
        ):
            gone = sorted(set(names) - known - set(self.names_elsewhere))
            assert not gone, f"{what} names {', '.join(gone)}; there are {', '.join(sorted(known))}"

    @check("rows_at_once: a whole number from 1 on, from the shapes of the inputs alone")
    def test_at_once(self) -> None:
        """So many rows as it says make the features that all make at once."""
        tower, preprocessor = self.build(self.checkpoint)
        rows = [row for item in self.items() for row in preprocessor(item)]
        inputs = preprocessor.collate(rows)
        for taken in (inputs, preprocessor.collate(rows[:1])):
            at_once = tower.rows_at_once(taken)
            right = isinstance(at_once, int) and at_once >= 1
            assert right, f"rows_at_once of {len(next(iter(taken.values())))} rows is {at_once!r}, expected 1 at least"
        with torch.no_grad():
            whole = tower(**inputs).features
            for start in range(0, len(rows), tower.rows_at_once(inputs)):
                stop = start + tower.rows_at_once(inputs)
                part = tower(**{name: value[start:stop] for name, value in inputs.items()}).features
                width = min(part.shape[1], whole.shape[1])
                check_close(part[:, :width], whole[start:stop, :width], self.tolerance, "rows at once, and all")

    def _check_order(self, tower: Tower, preprocessor: Preprocessor, item: Any) -> bool:
        """Whether there was something to see in an item.

        Raises:
            AssertionError: a change of its last third moves no later features than one of its first; or, of a raster,
                others than those of that side.
        """
        grid, axes = encode(tower, preprocessor, [item]).grid, range(num_axes(item))
        found = {axis: [self._moved(tower, preprocessor, item, part, axis) for part in range(3)] for axis in axes}
        seen = {axis: moved for axis, moved in found.items() if moved[0] is not None and moved[2] is not None}
        for side in _sides(grid) if seen else ():
            moved = {axis: [_along(each, grid, side) for each in thirds] for axis, thirds in seen.items()}
            axis = _axis_of(side, {axis: _apart(thirds[0], thirds[2]) for axis, thirds in moved.items()})
            order = _in_order(moved[axis][0], moved[axis][2])
            assert order > _IN_ORDER, (
                f"a change of the last third along axis {axis} of an item does not move later features than one of the "
                f"first: a correlation of {order:.2f} with their order, expected {_IN_ORDER} at least"
            )
            for part, each in enumerate(moved[axis]) if grid else ():
                assert _in_its_third(each, part), (
                    f"a change of third {part} along axis {axis} of an item moves other features of the raster "
                    f"{grid} as much as those that lie there"
                )
        return bool(seen)

    def _moved(self, tower: Tower, preprocessor: Preprocessor, item: Any, part: int, axis: int) -> Tensor | None:
        """How far a change of a third of an item moves its features, in order, or as they lie in its raster.

        None where none is moved, or there are too few to tell.
        """
        other = changed(item, part, 3, axis)
        if other is None:
            return None
        before, after = (encode(tower, preprocessor, [each]) for each in (item, other))
        moved = (after.features - before.features).norm(dim=-1)  # (N, P)
        if before.grid is not None:
            moved = moved[0].reshape(before.grid)
        else:
            counts = preprocessor.num_features(item)
            moved = torch.cat([row[:count] for row, count in zip(moved, counts, strict=True)])
        return moved if max(moved.shape) >= 3 and moved.any() else None


def _sides(grid: Grid | None) -> list[int]:
    """The sides of a raster that are long enough to tell; one, where there is no raster."""
    return [0] if grid is None else [side for side in (0, 1) if grid[side] >= 3]


def _along(moved: Tensor | None, grid: Grid | None, side: int) -> Tensor:
    """What is moved of the features, or of the rows (side 0) or columns (side 1) of their raster; nothing: none."""
    moved = torch.zeros(grid or (1,)) if moved is None else moved
    return moved if grid is None else moved.sum(1 - side)


def _axis_of(side: int, apart: Mapping[int, float]) -> int:
    """The axis of an item along which features lie: the side's own, unless another tells them apart much better.

    The channels of a raster may stand in front, those of a signal, too.
    """
    best = max(apart, key=lambda axis: apart[axis])
    return side if side in apart and _BETTER * apart[side] > apart[best] else best


def _apart(first: Tensor, last: Tensor) -> float:
    """How far what the last third moves lies from what the first does, from 0 to 2."""
    return float((last / last.sum() - first / first.sum()).abs().sum())


def _in_order(first: Tensor, last: Tensor) -> float:
    """How what the last third moves more than the first does goes with the order of features, from -1 to 1."""
    more = last / last.sum() - first / first.sum()
    both = torch.stack([more, torch.arange(len(more)).to(more)])
    return float(torch.corrcoef(both)[0, 1])


def _in_its_third(moved: Tensor, part: int) -> bool:
    """Whether more was moved in a third than in each of the others; also where nothing was."""
    if not moved.any():
        return True
    shares = [float(each.mean()) for each in moved.tensor_split([len(moved) // 3, 2 * len(moved) // 3])]
    mine = shares.pop(part)
    return mine > _MORE * max(shares)


class _Model(TinyLlavaPreTrainedModel):
    """A model around a tower, as the kit's own is."""

    config_class: Any = PreTrainedConfig
    tower_class: ClassVar[type[Tower]]

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        self.towers = nn.ModuleDict({"it": self.tower_class(config.tower)})
        self.post_init()


def _check_lengths(got: Features, counts: Sequence[int]) -> None:
    """The lengths of the rows are those that are counted, and zeros follow them."""
    lengths = [got.features.shape[1]] * len(counts) if got.lengths is None else got.lengths.tolist()
    assert lengths == list(counts), f"counted {list(counts)}, the lengths of the features are {lengths}"
    for row, count in zip(got.features, counts, strict=True):
        assert not row[count:].any(), "features behind the length of a row are not zero"


def _spoiled(inputs: Mapping[str, Tensor], alone: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The inputs of a batch with noise where a row, collated alone, has nothing."""
    noise = torch.Generator().manual_seed(0)
    spoiled = {name: value.clone() for name, value in inputs.items()}
    for name, value in spoiled.items():
        if value.is_floating_point() and not ((value == 0) | (value == 1)).all():  # a mask marks the padding
            for row, single in zip(value, alone, strict=True):
                garbage = 1e3 * torch.randn(row.shape, generator=noise)
                real = tuple(slice(size) for size in single[name].shape[1:])
                garbage[real] = row[real]
                row.copy_(garbage)
    return spoiled
