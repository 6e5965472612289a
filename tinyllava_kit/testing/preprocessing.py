"""What holds for the preprocessor of a tower: its arithmetic, and what a process of data loading asks of it."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..core.interfaces import Modality, Preprocessor, Tower
from ..errors import KitError
from ..plugin.specs import TowerSpec
from .changed_items import other_content
from .comparing import collated, encode, random_state, same, through_json
from .contract import DoesNotApply, check
from .offered import contract_of, modality_of
from .specified import SpecifiedContract


class PreprocessorContract(SpecifiedContract):
    """An author gives `items`, or the tower's modality is installed and gives them."""

    # Items of different sizes that are counted: at most so many.
    most_sizes: ClassVar[int] = 130

    def items(self) -> Sequence[Any]:
        """At least three items, as the modality reads them, of different sizes where those may differ.

        Default: those that the contract of the tower's modality gives.
        """
        return self.of_modality().items()

    def sized_items(self) -> Iterator[Any]:
        """Items of every size from the smallest up, where sizes differ. Default: the modality's."""
        return iter(()) if self.spec is None else self.of_modality().sized_items()

    def of_modality(self) -> Any:
        """The contract of the tower's modality.

        Raises:
            NotImplementedError: the contract has no spec that names it.
        """
        if not isinstance(self.spec, TowerSpec) or self.catalog is None:
            raise NotImplementedError(f"{type(self).__name__} must give items()")
        return contract_of(self.catalog.find("modality", self.spec.modality), self.catalog)()

    def modality(self) -> Modality | None:
        """The tower's modality; None where the contract has no spec that names it."""
        if not isinstance(self.spec, TowerSpec) or self.catalog is None:
            return None
        return modality_of(self.spec, self.catalog)

    def build(self, checkpoint: str) -> tuple[Tower, Preprocessor]:
        """The tower with its weights, in eval, and its preprocessor. Override it to make windows toy-size."""
        return self.build_with(checkpoint, self.given_options)

    def build_with(self, checkpoint: str, options: Mapping[str, Any]) -> tuple[Tower, Preprocessor]:
        """As `build`, with other options."""
        config = self.component.read_config(checkpoint, **options)
        tower = self.component(config)
        tower.load_weights(checkpoint)
        return tower.eval(), self.component.read_preprocessor(checkpoint, config)

    @check("num_features: it must follow from an item's size by the arithmetic of the network, for every size")
    def test_sizes(self) -> None:
        """The count of every size up to some hundred is the number of features that the network gives."""
        tower, preprocessor = self.build(self.checkpoint)
        wrong, number = [], 0
        for number, item in zip(range(1, self.most_sizes), self.sized_items(), strict=False):
            counts, rows = preprocessor.num_features(item), preprocessor(item)
            assert len(rows) == len(counts), f"size number {number}: {len(rows)} rows, {len(counts)} are counted"
            with torch.no_grad():
                got = [tower(**preprocessor.collate([row])).features.shape[1] for row in rows]
            if got != counts:
                wrong.append(f"size number {number}: counted {counts}, the network gives {got}")
        if not number:
            raise DoesNotApply("the contract of the modality gives no items of every size (sized)")
        assert not wrong, f"{len(wrong)} of {number} sizes are counted wrongly; {wrong[0]}"

    @check("num_features: ask nothing of an item but its size, and what Modality.probe gives has that")
    def test_probe(self) -> None:
        """What `Modality.probe` gives, and items of the same size and other content, count as the item does."""
        _, preprocessor = self.build(self.checkpoint)
        modality = self.modality()
        for number, item in enumerate(self.items()):
            count = preprocessor.num_features(item)
            if modality is not None:
                probed = preprocessor.num_features(modality.probe(item))
                assert probed == count, f"item {number}: counts {count}, what probe gives counts {probed}"
            for other in (each for each in (other_content(item), _emptied(item, modality)) if each is not None):
                again = preprocessor.num_features(other)
                assert again == count, f"item {number}: counts {count}, with other content of its size {again}"

    @check("settings and from_settings: all that the constructor takes, as plain JSON")
    def test_settings(self) -> None:
        """Plain JSON, and nothing but it, makes an equal preprocessor."""
        _, preprocessor = self.build(self.checkpoint)
        again = type(preprocessor).from_settings(through_json(preprocessor.settings()))
        assert again.settings() == preprocessor.settings(), "the settings are others when made again"
        self._check_equal(again, preprocessor, "made again")

    @check("the attributes of the preprocessor: no open file, lambda or lock; data is loaded by other processes")
    def test_pickled(self) -> None:
        """Other processes load data with it."""
        _, preprocessor = self.build(self.checkpoint)
        self._check_equal(pickle.loads(pickle.dumps(preprocessor)), preprocessor, "pickled")

    @check("the preprocessor: an item's rows may depend on the item and the settings alone; keep nothing between items")
    def test_stateless(self) -> None:
        """Items before it, of the same size too, change nothing; nor is the item, or a global generator, changed."""
        items = list(self.items())
        items += [other for item in items if (other := other_content(item)) is not None]
        alone = [self._rows_alone(self.build(self.checkpoint)[1], number, item) for number, item in enumerate(items)]
        _, preprocessor = self.build(self.checkpoint)
        for number in (*range(len(items)), *reversed(range(len(items)))):
            preprocessor.num_features(items[number - 1])  # batches are planned before items are read
            rows = self._rows_alone(preprocessor, number, items[number])
            assert same(rows, alone[number]), f"item {number} gives other rows behind other items than alone"

    def _rows_alone(self, preprocessor: Preprocessor, number: int, item: Any) -> dict[str, Tensor]:
        """Preprocess an item alone, and check that it changes neither the item nor a global generator.

        Raises:
            AssertionError: the item, or the state of a global generator, is another afterwards.
        """
        torch.manual_seed(number)
        random.seed(number)
        np.random.seed(number)
        before, state = pickle.dumps(item), random_state()
        rows = collated(preprocessor, [item])
        assert pickle.dumps(item) == before, f"item {number} is changed by the preprocessor"
        assert random_state() == state, "the preprocessor uses or seeds a global generator of random numbers"
        return rows

    def _check_equal(self, again: Preprocessor, preprocessor: Preprocessor, how: str) -> None:
        for item in self.items():
            assert again.num_features(item) == preprocessor.num_features(item), f"{how}, it counts otherwise"
            assert same(collated(again, [item]), collated(preprocessor, [item])), f"{how}, it gives other inputs"

    def effect(self, options: Mapping[str, Any]) -> Any:
        """Counts, features, how the raster lies, and how many rows are run at once."""
        tower, preprocessor = self.build_with(self.checkpoint, options)
        torch.manual_seed(0)
        found = []
        for item in self.items():
            inputs = collated(preprocessor, [item])
            features = encode(tower, preprocessor, [item])
            found.append(
                [preprocessor.num_features(item), features.features, features.grid, tower.rows_at_once(inputs)]
            )
        return found


def _emptied(item: Any, modality: Modality | None) -> Any | None:
    """The modality's blank item, where it has one."""
    try:
        return None if modality is None else modality.blank(item)
    except KitError:
        return None
