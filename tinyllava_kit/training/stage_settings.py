"""What the keys of a stage hold: parts, adapters, objectives, validation, packing."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from ..data.sources import Source, Strict, said_here
from ..evaluation.scorer import find_scorer


class Lora(Strict):
    """Low-rank adapters (Hu et al. 2021, through peft) on a part's linear layers; merged when the stage ends.

    `keep`: write them beside the merged model, too, in peft's form.
    """

    rank: int = Field(16, ge=1)
    alpha: float = Field(32.0, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    keep: bool = False


class PartTraining(Strict):
    """How one part is trained.

    `mode`: ``full``, ``lora``, ``partial`` (its layers from number `from_layer` on, counted from 0) or ``frozen``.
    `learning_rate` and `weight_decay`: the stage's, where not given.
    """

    mode: Literal["full", "lora", "partial", "frozen"]
    from_layer: int | None = Field(None, ge=0)
    learning_rate: float | None = Field(None, gt=0)
    weight_decay: float | None = Field(None, ge=0)
    lora: Lora = Lora()

    @model_validator(mode="after")
    def _layers_are_of_partial(self) -> PartTraining:
        if (self.mode == "partial") != (self.from_layer is not None):
            raise ValueError("mode partial and from_layer require each other: {mode: partial, from_layer: 12}")
        return self


def mode_alone(value: Any) -> Any:
    """Read a mode that is written alone, as in ``llm: lora``, as the mapping ``{mode: lora}``."""
    return {"mode": value} if isinstance(value, (str, bool)) else value


class Distill(Strict):
    """Learn from the same LLM reading each item's text in the item's place (Ultravox; DiVA, Held et al. 2024).

    The loss is ``weight`` times the Kullback-Leibler divergence from the LLM's distribution over the next token to the
    model's, at `temperature` (times its square, Hinton et al. 2015), plus the rest of the weight times the usual
    cross-entropy. Every item needs its text: rows of `pairs`, or message parts with ``text``.
    """

    temperature: float = Field(2.0, gt=0)
    weight: float = Field(1.0, gt=0, le=1)


class MatchWords(Strict):
    """Bring the rows of items near the LLM's embeddings of their texts, by CTC; the LLM is not run.

    `sharpness`: how sure, as a logit, a row that lies on a word's embedding is of that word on average.
    """

    sharpness: float = Field(12.0, gt=0)


class MatchFeatures(Strict):
    """Teach a tower the features that the tower of another model gives for the same items (DistilHuBERT, 2021).

    `teacher`: a model directory. Its tower must have the width and the rate of the one that learns.
    """

    teacher: str


class FeatureCaching(Strict):
    """Run each frozen tower once over all items, and keep the features on disk for the next pass, stage and run.

    `mode`: ``true``, ``false``, or ``auto``: measure a few items, and keep features where that takes less time. `dir`:
    the folder; the recipe's ``OUTPUT/features.cache`` where not given. `max_gb`: the most that it may hold, in 1e9
    bytes.
    """

    mode: bool | Literal["auto"] = True
    dir: str | None = None
    max_gb: float = Field(50.0, gt=0)


class Packing(Strict):
    """Several samples share each row of a batch, and none sees another, so that few positions are padding.

    `length`: the most positions of a row; the stage's `max_length` where not given. `limits`: modality -> the most of
    it in a row, in the modality's unit (``{audio: 60}``: seconds).
    """

    length: int | None = Field(None, ge=1)
    limits: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)


def many(value: Any) -> Any:
    """A path, a mapping or a list of these, as a list of mappings."""
    listed = value if isinstance(value, (list, tuple)) else [value]
    return [{"path": each} if isinstance(each, str) else each for each in listed]


class Validation(Strict):
    """Judge the model on held-out rows while it trains.

    `data`: as of a stage, and read whole. `every_steps`: how often; after the last step, too. `scorer`: of the
    answers, whose first figure decides; the loss, where none is given. `max_new_tokens`: of an answer. `keep`: the
    weights that the stage leaves, the ``best`` or the ``last``. `patience`: so many times without a new best end the
    stage.
    """

    data: Annotated[tuple[Source, ...], BeforeValidator(many), Field(min_length=1)]
    every_steps: int = Field(100, ge=1)
    scorer: str | None = None
    max_new_tokens: int = Field(64, ge=1)
    keep: Literal["best", "last"] = "best"
    patience: int | None = Field(None, ge=1)

    @field_validator("scorer")
    @classmethod
    def _writes_answers(cls, scorer: str | None) -> str | None:
        if scorer is not None:
            found = said_here(find_scorer, scorer)
            if found.ranks:
                raise ValueError(f"scorer {scorer} ranks all rows and takes too long; give one that judges answers")
        return scorer

    @property
    def lower_is_better(self) -> bool:
        """Of the figure that decides: a loss, or an error rate."""
        return self.scorer is None or find_scorer(self.scorer).lower_is_better

    @model_validator(mode="after")
    def _is_read_whole(self) -> Validation:
        if any(source.stream for source in self.data):
            raise ValueError("held-out rows are read whole; take stream out")
        return self


class Quantized(Strict):
    """The LLM is held in 8 or 4 bits while adapters on it are trained (QLoRA, Dettmers et al. 2023).

    The adapters are added to the weights of the model that the stage began with, in their own precision.
    See `checkpoints.quantization.Quantization` for the values.
    """

    bits: Literal[8, 4]
    type: Literal["nf4", "fp4"] = "nf4"
    double_quant: bool = True
    compute_dtype: Literal["float32", "bfloat16", "float16"] | None = None


def packing_of(value: Any) -> Any:
    """``true`` and ``false``, as a mapping and None."""
    return ({} if value else None) if isinstance(value, bool) else value
