"""One stage of a recipe with the directories that it reads and writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .output.recorded_settings import settings_of
from .recipe import Stage

CHECKPOINTS_FOLDER = "checkpoints"
CACHE_FOLDER = "features.cache"  # in the recipe's output; no stage can have this name
SKIPPED_FILE = "skipped.jsonl"


@dataclass(frozen=True)
class StageRun:
    """A stage that is trained from the model directory `source` into `target`."""

    stage: Stage
    source: Path
    target: Path
    seed: int = 0
    report_to: Sequence[str] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """What the outcome depends on, as JSON."""
        return settings_of(self.stage, self.source, self.seed)

    @property
    def checkpoints(self) -> Path:
        """The folder of the stage's checkpoints."""
        return self.target / CHECKPOINTS_FOLDER

    @property
    def cache_folder(self) -> Path:
        """The folder of features and ids that the recipe's stages share."""
        return self.target.parent / CACHE_FOLDER

    @property
    def skipped_file(self) -> Path:
        """The list of rows that were left out."""
        return self.target / SKIPPED_FILE
