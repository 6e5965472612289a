"""The contract of a tower.

Legend: N rows, P features of a row, E tower width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedConfig

from ..core.interfaces import Features, Preprocessor, Tower
from ..model.pretrained import TinyLlavaPreTrainedModel
from .comparing import check_close, encode, through_json

# Rows of a batch, by their index among the items: alone and beside others, in both orders.
_COMPANY = ((0, 1), (1, 0), (0, 1, 2), (2, 1, 0))
_SYNCS = ("_local_scalar_dense", "nonzero", "masked_select")


class TowerContract:
    """What holds for a tower of any modality.

    An author gives `tower_class`, `items` and a fixture `checkpoint`.
    """

    tower_class: ClassVar[type[Tower]]
    # Keyword arguments of `Tower.read_config`.
    options: ClassVar[Mapping[str, Any]] = {}
    # How far features may be from those of the same item alone: relative, L2, float32.
    tolerance: ClassVar[float] = 1e-5
    # The same for a tower in half precision, from the one in float32.
    half_tolerances: ClassVar[Mapping[torch.dtype, float]] = {torch.bfloat16: 0.03, torch.float16: 0.01}

    def items(self) -> Sequence[Any]:
        """At least three items, as the modality reads them, of different lengths where those may differ."""
        raise NotImplementedError(f"{type(self).__name__} must give items()")

    def build(self, checkpoint: str) -> tuple[Tower, Preprocessor]:
        """The tower with its weights, in eval, and its preprocessor. Override it to make windows toy-size."""
        config = self.tower_class.read_config(checkpoint, **self.options)
        tower = self.tower_class(config)
        tower.load_weights(checkpoint)
        return tower.eval(), self.tower_class.read_preprocessor(checkpoint, config)

    def test_what_is_counted_is_what_the_network_gives(self, checkpoint: str) -> None:
        """Shapes, lengths and grid; zeros behind each row."""
        tower, preprocessor = self.build(checkpoint)
        for item in self.items():
            counts = preprocessor.num_features(item)
            got = encode(tower, preprocessor, [item])
            expected = (len(counts), max(counts), tower.embed_dim)
            assert got.features.shape == expected, f"counted {expected}, the network gives {tuple(got.features.shape)}"
            assert preprocessor.fixed_features in (None, *counts), f"fixed_features is none of {counts}"
            _check_lengths(got, counts)
            assert tower.grid in (None, got.grid), f"the tower says grid {tower.grid}, its features have {got.grid}"

    def test_a_row_does_not_depend_on_its_batch(self, checkpoint: str) -> None:
        """Alone, beside a longer one, beside two, in both orders."""
        tower, preprocessor = self.build(checkpoint)
        items = self.items()
        alone = [encode(tower, preprocessor, [item]).features for item in items]  # each (N, P, E)
        for company in _COMPANY:
            counts = [count for i in company for count in preprocessor.num_features(items[i])]
            together = encode(tower, preprocessor, [items[i] for i in company])
            _check_lengths(together, counts)
            rows = iter(together.features)
            for i in company:
                for expected in alone[i]:
                    got = next(rows)[: len(expected)]
                    check_close(got, expected, self.tolerance, f"item {i} in a batch of {company}, and alone")

    def test_what_stands_in_the_padding_does_not_matter(self, checkpoint: str) -> None:
        """Noise a thousand times as loud, where `collate` padded."""
        tower, preprocessor = self.build(checkpoint)
        rows = [row for item in self.items() for row in preprocessor(item)]
        inputs = preprocessor.collate(rows)
        spoiled = _spoiled(inputs, [preprocessor.collate([row]) for row in rows])
        with torch.no_grad():
            expected, got = tower(**inputs).features, tower(**spoiled).features
        check_close(got, expected, self.tolerance, "with garbage in the padding, and without")

    def test_a_frozen_tower_is_the_same_twice_and_builds_no_graph(self, checkpoint: str) -> None:
        """Also in train mode: no dropout, no layer left out, no augmentation. Give a checkpoint that has them."""
        tower, preprocessor = self.build(checkpoint)
        tower.requires_grad_(False)
        tower.train()
        inputs = preprocessor.collate([row for item in self.items() for row in preprocessor(item)])
        first, second = tower(**inputs).features, tower(**inputs).features
        assert torch.equal(first, second), "frozen, in train mode: the same input gives other features"
        assert not first.requires_grad, "frozen, in train mode: the features require grad"

    def test_half_precision_is_finite_and_close(self, checkpoint: str) -> None:
        """The inputs stay float32, as preprocessors make them: the tower casts."""
        for dtype, tolerance in self.half_tolerances.items():
            tower, preprocessor = self.build(checkpoint)
            expected = encode(tower, preprocessor, self.items()).features
            got = encode(tower.to(dtype), preprocessor, self.items()).features
            assert got.dtype == dtype, f"a tower in {dtype} gives features in {got.dtype}"
            assert got.isfinite().all(), f"{dtype}: features are not finite"
            check_close(got.float(), expected, tolerance, f"{dtype}, and float32")

    def test_forward_reads_nothing_back(self, checkpoint: str) -> None:
        """No host sync: no `.item()`, no indexing with a boolean mask."""
        tower, preprocessor = self.build(checkpoint)
        inputs = preprocessor.collate([row for item in self.items() for row in preprocessor(item)])
        with torch.no_grad(), _NoSync():
            tower(**inputs)

    def test_forward_is_one_graph(self, checkpoint: str) -> None:
        """``torch.compile(fullgraph=True)``, and what it gives."""
        tower, preprocessor = self.build(checkpoint)
        inputs = preprocessor.collate([row for item in self.items() for row in preprocessor(item)])
        torch.compiler.reset()
        with torch.no_grad():
            got = torch.compile(tower, fullgraph=True, backend="aot_eager")(**inputs)
            check_close(got.features, tower(**inputs).features, self.tolerance, "compiled, and not")

    def test_a_tower_inside_a_model_is_saved_and_loaded_whole(self, checkpoint: str, tmp_path: Path) -> None:
        """Without its checkpoint; ``from_pretrained`` would destroy buffers that are not saved."""
        tower, preprocessor = self.build(checkpoint)
        model_class: Any = type("Model", (_Model,), {"tower_class": type(tower)})
        settings = {"tower": through_json(tower.config)}
        model = model_class(PreTrainedConfig(**settings))
        model.towers["it"].load_state_dict(tower.state_dict())
        model.save_pretrained(tmp_path)
        again = model_class.from_pretrained(tmp_path, trust_remote_code=False).eval().towers["it"]
        expected, got = (encode(each, preprocessor, self.items()).features for each in (tower, again))
        assert torch.equal(got, expected), "loaded from a file, the tower gives other features"

    def test_settings_make_an_equal_preprocessor(self, checkpoint: str) -> None:
        """Plain JSON, and nothing but it."""
        _, preprocessor = self.build(checkpoint)
        again = type(preprocessor).from_settings(through_json(preprocessor.settings()))
        assert again.settings() == preprocessor.settings(), "the settings are others when made again"
        for item in self.items():
            assert again.num_features(item) == preprocessor.num_features(item), "made again, it counts otherwise"
            expected, got = (each.collate(each(item)) for each in (preprocessor, again))
            same = expected.keys() == got.keys() and all(torch.equal(got[name], expected[name]) for name in expected)
            assert same, "made again, it gives other inputs"


class _NoSync(TorchDispatchMode):
    """Fails where a value would be read back from the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert not any(name in func.name() for name in _SYNCS), f"forward reads back from the device: {func.name()}"
        return func(*args, **(kwargs or {}))


class _Model(TinyLlavaPreTrainedModel):
    """A model around a tower, as the kit's own is."""

    config_class: Any = PreTrainedConfig
    tower_class: ClassVar[type[Tower]]

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        self.towers = nn.ModuleDict({"it": self.tower_class(config.tower)})
        self.post_init()


def _check_lengths(got: Features, counts: Sequence[int]) -> None:
    """The lengths of the rows are what is counted, and behind them stand zeros."""
    lengths = [got.features.shape[1]] * len(counts) if got.lengths is None else got.lengths.tolist()
    assert lengths == list(counts), f"counted {list(counts)}, the lengths of the features are {lengths}"
    for row, count in zip(got.features, counts, strict=True):
        assert not row[count:].any(), "features behind the length of a row are not zero"


def _spoiled(inputs: Mapping[str, Tensor], alone: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The inputs of a batch with noise where a row, collated alone, has nothing."""
    noise = torch.Generator().manual_seed(0)
    spoiled = {name: value.clone() for name, value in inputs.items()}
    for name, value in spoiled.items():
        if value.is_floating_point():
            for row, single in zip(value, alone, strict=True):
                garbage = 1e3 * torch.randn(row.shape, generator=noise)
                real = tuple(slice(size) for size in single[name].shape[1:])
                garbage[real] = row[real]
                row.copy_(garbage)
    return spoiled
