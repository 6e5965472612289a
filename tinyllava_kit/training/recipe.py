"""The recipe: one YAML file that says what is trained, on which data, at which rates."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ..core.assembly import read_yaml
from ..core.errors import KitError, near


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Lora(_Strict):
    """Low-rank adapters (Hu et al. 2021, through peft) on a part's linear layers; merged when the stage ends."""

    rank: int = Field(16, ge=1)
    alpha: float = Field(32.0, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)


class PartTraining(_Strict):
    """How one part is trained. `learning_rate` and `weight_decay`: the stage's, where not given."""

    mode: Literal["full", "lora"]
    learning_rate: float | None = Field(None, gt=0)
    weight_decay: float | None = Field(None, ge=0)
    lora: Lora = Lora()


def _mode_alone(value: Any) -> Any:
    return {"mode": value} if isinstance(value, str) else value


class Data(_Strict):
    """A file of rows; relative names in it are taken from `root`, or from the file's own folder.

    `limit`: use the first so many rows only.
    """

    path: str
    root: str | None = None
    limit: int | None = Field(None, ge=1)


class Stage(_Strict):
    """One run of the Trainer. Parts that `train` does not name are frozen.

    `train` maps ``llm``, ``tower.MODALITY`` or ``connector.MODALITY`` to ``full``, ``lora`` or a mapping.
    `cache_features` runs each frozen tower once over all items before training. `bf16`: compute in bfloat16 under
    autocast, the weights stay as they are; ``auto``: where the processor has instructions for it.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    data: Annotated[Data, BeforeValidator(lambda v: {"path": v} if isinstance(v, str) else v)]
    train: dict[str, Annotated[PartTraining, BeforeValidator(_mode_alone)]] = Field(min_length=1)
    epochs: float = Field(1.0, gt=0)
    max_steps: int = Field(-1, ge=-1)
    max_minutes: float | None = Field(None, gt=0)
    batch_size: int = Field(8, ge=1)
    gradient_accumulation: int = Field(1, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    warmup_ratio: float = Field(0.03, ge=0, lt=1)
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    max_grad_norm: float = Field(1.0, ge=0)
    max_length: int | None = Field(2048, ge=1)
    bf16: bool | Literal["auto"] = False
    gradient_checkpointing: bool = False
    cache_features: bool = False
    logging_steps: int = Field(10, ge=1)
    save_steps: int = Field(500, ge=1)
    workers: int = Field(0, ge=0)


class Recipe(_Strict):
    """A model directory, an output directory, and stages in order; each starts from the last one's output."""

    model: str
    output: str
    seed: int = 0
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _stage_names_differ(self) -> Recipe:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError(f"two stages have one name: {', '.join(names)}")
        return self

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> Recipe:
        """Read and check a recipe; relative paths in it are taken from the folder one stands in.

        Raises:
            KitError: unreadable, or the first thing in it that is wrong, with where it stands.
        """
        data = read_yaml(path)
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise KitError(f"{Path(path)}: {_first_problem(error)}") from error


def _first_problem(error: ValidationError) -> str:
    """One line: where in the file, what was found, what was expected."""
    problem = error.errors()[0]
    where = ".".join(str(step) for step in problem["loc"])
    if problem["type"] == "extra_forbidden":
        *_, key = problem["loc"]
        return f"{where}: unknown key; {near(str(key), _known_keys())}"
    if problem["type"] == "missing":
        return f"{where}: is missing"
    found = "" if problem["type"] == "value_error" else f", got {problem['input']!r}"
    return f"{where + ': ' if where else ''}{problem['msg'].removeprefix('Value error, ')}{found}"


def _known_keys() -> set[str]:
    models: tuple[type[BaseModel], ...] | Any = (Recipe, Stage, Data, PartTraining, Lora)
    return {name for model in models for name in model.model_fields}
