"""The recipe: one YAML file that says what is trained, on which data, at which rates."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, field_validator, model_validator

from ..data.sources import Source, Strict, said_here
from ..errors import KitError, near, shown
from ..files.yaml_files import read_yaml
from ..plugin.discovery import installed_catalog
from ..plugin.specs import ObjectiveSpec
from .changes import with_changes
from .stage_settings import (
    Distill,
    FeatureCaching,
    MatchFeatures,
    MatchWords,
    Packing,
    PartTraining,
    Quantized,
    Validation,
    many,
    mode_alone,
    packing_of,
)
from .trainer_settings import check_optimizer, checked_arguments

# A stage has one objective, or the model's own loss. The settings of these are written out here; those of a plugin's
# are the options of its spec.
OBJECTIVES = ("distill", "match_words", "match_features")


class Stage(Strict):
    """One run of the Trainer. Parts that `train` does not name are frozen.

    `train` maps ``llm``, ``tower.MODALITY`` or ``connector.MODALITY`` to a mode or a mapping, see `PartTraining`.
    `optimizer`: by its name in transformers; None: transformers' own choice. `warmup_steps`: in place of
    `warmup_ratio`. `neftune_alpha`: noise on the text's embeddings (Jain et al. 2023). `torch_compile`: compile the
    model. `trainer`: any other argument of transformers' TrainingArguments.
    `quantization`: hold the LLM in 8 or 4 bits, for adapters on it.
    `data` is a file of rows or a list of them, all used in every epoch: for replay, list older data with the new.
    `items`: ``text`` puts each item's text in its place and reads no file, so that an LLM learns in words what it will
    be asked of pictures or sounds; every item needs its text.
    `batch_size` is the most samples of a batch; with `packing`, its rows. `batch_budget` maps a modality to the most of
    it that a batch may hold, padding included, in the modality's unit (``{audio: 60}``: seconds); `group_by_size` alone
    puts samples of like size together. `distill`: learn from the LLM reading the items' texts. `match_words`: learn
    rows like the texts' words, without the LLM. Both want items with texts, and the LLM frozen. `match_features`: learn
    the features of another model's tower; trains towers alone. `objectives`: those of plugins, by their names; each may
    be written as a key of the stage, too.
    `validation`: judge the model on held-out rows while it trains.
    `cache_features` runs each frozen tower once over all items before training; ``auto`` where that wins. `bf16`:
    compute in bfloat16 under autocast, the weights keep their dtype; ``auto``: where that is faster.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    items: Literal["files", "text"] = "files"
    data: Annotated[tuple[Source, ...], BeforeValidator(many), Field(min_length=1)]
    train: dict[str, Annotated[PartTraining, BeforeValidator(mode_alone)]] = Field(min_length=1)
    quantization: Quantized | None = None
    epochs: float = Field(1.0, gt=0, le=10_000)
    max_steps: int = Field(-1, ge=-1, le=10_000_000)
    max_minutes: float | None = Field(None, gt=0)
    batch_size: int = Field(8, ge=1)
    batch_budget: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    group_by_size: bool = False
    packing: Annotated[Packing | None, BeforeValidator(packing_of)] = None
    distill: Distill | None = None
    match_words: MatchWords | None = None
    match_features: MatchFeatures | None = None
    objectives: dict[str, dict[str, Any]] = Field(default_factory=dict)
    validation: Validation | None = None
    gradient_accumulation: int = Field(1, ge=1)
    optimizer: str | None = None
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    warmup_ratio: float = Field(0.03, ge=0, lt=1)
    warmup_steps: int | None = Field(None, ge=0)
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    max_grad_norm: float = Field(1.0, ge=0)
    max_length: int | None = Field(2048, ge=1)
    bf16: bool | Literal["auto"] = False
    gradient_checkpointing: bool = False
    torch_compile: bool = False
    neftune_alpha: float | None = Field(None, gt=0)
    trainer: dict[str, Any] | None = None
    cache_features: Annotated[FeatureCaching, BeforeValidator(mode_alone)] = Field(False, validate_default=True)
    logging_steps: int = Field(10, ge=1)
    save_steps: int = Field(500, ge=1)
    workers: int = Field(0, ge=0, le=256)

    @field_validator("optimizer")
    @classmethod
    def _is_an_optimizer(cls, name: str | None) -> str | None:
        if name is not None:
            said_here(check_optimizer, name)
        return name

    @field_validator("trainer")
    @classmethod
    def _are_arguments(cls, given: dict[str, Any] | None) -> dict[str, Any] | None:
        said_here(checked_arguments, given or {})
        return given

    @model_validator(mode="after")
    def _warms_up_in_one_way(self) -> Stage:
        if self.warmup_steps is not None and "warmup_ratio" in self.model_fields_set:
            raise ValueError("has warmup_steps and warmup_ratio; take one of them out")
        return self

    @model_validator(mode="before")
    @classmethod
    def _takes_objectives_of_plugins(cls, data: Any) -> Any:
        """A key that is the name of an installed objective, with its options for a value, goes to `objectives`."""
        if not isinstance(data, Mapping):
            return data
        catalog = installed_catalog()
        unknown = [key for key in data if key not in cls.model_fields and key in catalog.names(ObjectiveSpec.kind)]
        taken = {key: data[key] for key in unknown if data[key] is not None}
        rest = {key: value for key, value in data.items() if key not in unknown}
        return {**rest, "objectives": {**(rest.get("objectives") or {}), **taken}} if unknown else data

    @field_validator("objectives")
    @classmethod
    def _have_their_options(cls, objectives: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        catalog = installed_catalog()

        def checked(name: str) -> dict[str, Any]:
            return dict(catalog.find(ObjectiveSpec.kind, name).spec.check_options(objectives[name], name))

        return {name: said_here(checked, name) for name in objectives}

    @property
    def chosen(self) -> dict[str, dict[str, Any]]:
        """The objectives that it names, one at most, each with its options."""
        own = {name: getattr(self, name) for name in OBJECTIVES}
        return {**{name: how.model_dump() for name, how in own.items() if how}, **self.objectives}

    @property
    def objective(self) -> ObjectiveSpec | None:
        """The objective in place of the model's own loss.

        Raises:
            KitError: nobody offers it.
        """
        for name in self.chosen:
            spec = installed_catalog().find(ObjectiveSpec.kind, name).spec
            assert isinstance(spec, ObjectiveSpec)
            return spec
        return None

    @property
    def trained(self) -> dict[str, PartTraining]:
        """The parts that are not frozen."""
        return {name: how for name, how in self.train.items() if how.mode != "frozen"}

    @property
    def sources(self) -> tuple[Source, ...]:
        """All that it reads: its data, and the held-out rows of its validation."""
        return (*self.data, *(self.validation.data if self.validation else ()))

    @property
    def is_streamed(self) -> bool:
        """Whether a source is, and so the stage."""
        return any(source.stream for source in self.data)

    @property
    def pack_length(self) -> int | None:
        """The most positions of a row that samples share."""
        return None if self.packing is None else self.packing.length or self.max_length


class Recipe(Strict):
    """A model directory, an output directory, and stages in order; each starts from the last one's output.

    `report_to`: where the Trainer sends losses and rates, too.
    """

    model: str
    output: str
    seed: int = 0
    report_to: tuple[Literal["tensorboard", "wandb"], ...] = ()
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _stage_names_differ(self) -> Recipe:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError(f"two stages have one name: {', '.join(names)}")
        return self

    @model_validator(mode="after")
    def _teachers_are_frozen(self) -> Recipe:
        for stage in self.stages:
            wanted, objective = list(stage.chosen), stage.objective
            if len(wanted) > 1:
                raise ValueError(f"stage {stage.name}: has {wanted[0]} and {wanted[1]}; make two stages of them")
            trains = () if objective is None else objective.trains
            others = [part for part in stage.trained if part.partition(".")[0] not in trains]
            if wanted and others:
                kinds = " and ".join(f"{kind}s" for kind in trains)
                raise ValueError(f"stage {stage.name}: {wanted[0]} trains {kinds}; take {others[0]} out of train")
        return self

    @model_validator(mode="after")
    def _streams_can_be_read(self) -> Recipe:
        for stage in self.stages:
            if not stage.is_streamed:
                continue
            if stage.max_steps < 0:
                raise ValueError(f"stage {stage.name}: a streamed source has no end; give the stage max_steps")
            wanted: dict[str, Any] = {n: getattr(stage, n) for n in ("batch_budget", "group_by_size", "packing")}
            wanted |= dict.fromkeys(stage.chosen, True)
            wanted["cache_features"] = stage.cache_features.mode
            for name, value in wanted.items():
                if value:
                    raise ValueError(f"stage {stage.name}: {name} needs to see all rows before; take out it or stream")
        return self

    @model_validator(mode="after")
    def _words_are_for_the_llm(self) -> Recipe:
        for stage in self.stages:
            if stage.items == "files":
                continue
            others = [part for part in stage.trained if part != "llm"]
            if others:
                raise ValueError(f"stage {stage.name}: items: text trains the LLM alone; take {others[0]} out of train")
            wanted: dict[str, Any] = dict.fromkeys(stage.chosen, True)
            wanted["cache_features"] = stage.cache_features.mode
            for name, value in wanted.items():
                if value:
                    raise ValueError(f"stage {stage.name}: {name} needs the items' files; take it or items: text out")
        return self

    @model_validator(mode="after")
    def _something_is_trained(self) -> Recipe:
        for stage in self.stages:
            if not stage.trained:
                raise ValueError(f"stage {stage.name}: every part is frozen; train one, or take the stage out")
            llm = stage.trained.get("llm")
            if stage.quantization and (llm is None or llm.mode != "lora"):
                raise ValueError(
                    f"stage {stage.name}: quantization is for adapters on the LLM; write llm: lora under train"
                )
        return self

    @model_validator(mode="after")
    def _packs_fit(self) -> Recipe:
        for stage in self.stages:
            if stage.packing is None:
                continue
            for other in ("batch_budget", "group_by_size", *stage.chosen):
                if other in stage.chosen or getattr(stage, other):
                    raise ValueError(
                        f"stage {stage.name}: packing and {other} do not go together; take one of them out"
                    )
            if stage.max_length is None or stage.pack_length is None or stage.max_length > stage.pack_length:
                raise ValueError(
                    f"stage {stage.name}: max_length {stage.max_length} does not fit rows of {stage.pack_length} "
                    "positions; samples are packed whole"
                )
        return self

    def stage(self, name: str) -> Stage:
        """Find a stage by its name.

        Raises:
            KitError: the recipe has no stage of that name.
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KitError(f"the recipe has no stage {name!r}; it has {', '.join(s.name for s in self.stages)}")

    def directory(self, stage: Stage) -> Path:
        """Where a stage writes its model."""
        return Path(self.output) / stage.name

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str], changes: Sequence[str] = ()) -> Recipe:
        """Read and check a recipe; relative paths in it are taken from the current folder.

        Args:
            changes: keys that are set anew, see `with_changes`.

        Raises:
            KitError: unreadable, or the first fault in it, with its place.
        """
        data = with_changes(read_yaml(path), changes)
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise KitError(f"{Path(path)}: {_first_problem(error)}") from error


def _first_problem(error: ValidationError) -> str:
    """One line: where in the file, what was found, what was expected."""
    problem = error.errors()[0]
    where = ".".join(str(step) for step in problem["loc"])
    if problem["type"] == "extra_forbidden":
        *place, key = problem["loc"]
        model = _model_at(place)
        objectives = installed_catalog().names(ObjectiveSpec.kind) if model is Stage else []
        return f"{where}: unknown key; {near(str(key), [*model.model_fields, *objectives])}"
    if problem["type"] == "missing":
        return f"{where}: is missing"
    found = "" if problem["type"] == "value_error" else f", got {shown(problem['input'])}"
    return f"{where + ': ' if where else ''}{problem['msg'].removeprefix('Value error, ')}{found}"


def _model_at(place: Iterable[int | str]) -> type[BaseModel]:
    """The part of the schema for a place of the file: at ``stages.0.train.llm`` a `PartTraining`."""
    found: Any = Recipe
    for step in place:
        inner = get_args(found)  # of tuple[X, ...] and of dict[str, X]
        if inner:
            found = _without_wrapping(inner[0] if isinstance(step, int) else inner[1])
        else:
            found = _without_wrapping(found.model_fields[step].annotation)
    return found


def _without_wrapping(annotation: Any) -> Any:
    """X of ``Annotated[X, ...]`` and of ``X | None``."""
    if get_origin(annotation) is Annotated:
        return _without_wrapping(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return next(_without_wrapping(inner) for inner in get_args(annotation) if inner is not type(None))
    return annotation
