"""What an export target is: a form in which other programs read a model."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...model.modeling import TinyLlavaForConditionalGeneration
    from ...processing.processor import TinyLlavaProcessor


class ExportTarget(ABC):
    """The target of an `ExportSpec`; the options of the spec arrive as keyword arguments."""

    def faults(self, model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor) -> list[str]:
        """Why this model cannot be written in this form, a line each. Default: it can."""
        return []

    def notes(self, model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor) -> list[str]:
        """What a user should know of the written files, a line each. Default: nothing."""
        return []

    @abstractmethod
    def export(
        self,
        model: TinyLlavaForConditionalGeneration,
        processor: TinyLlavaProcessor,
        output: str | os.PathLike[str],
    ) -> list[str]:
        """Write the directory `output`, which does not exist, whole or not at all; read it again and compare.

        Returns:
            What was written, and how far it is from the model, in lines.

        Raises:
            KitError: it has `faults`, what was written differs, or it cannot be written.
        """
