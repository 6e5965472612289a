"""The contract of the objective that the kit ships and that needs another model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from ..plugin.specs import Option
from .objectives import ObjectiveContract
from .toy_models import ToyModel, clip_model


class FeatureMatchingContract(ObjectiveContract):
    """Its teacher is a saved model with a tower of the same kind."""

    not_additive: ClassVar[str] = "it is a mean over the features of a batch, in which longer items count more"

    def toy(self) -> ToyModel:
        """With a CLIP, which a saved model may have."""
        return clip_model(self.catalog)

    @property
    def given_options(self) -> dict[str, Any]:
        """The teacher is another CLIP."""
        return {**super().given_options, "teacher": self._teacher(1)}

    def _others(self, option: Option) -> Iterator[Any]:
        """A third one."""
        yield self._teacher(2)

    def _teacher(self, seed: int) -> str:
        folder = str(self.folder)
        for part in clip_model(self.catalog, seed=seed):
            part.save_pretrained(folder)
        return folder
