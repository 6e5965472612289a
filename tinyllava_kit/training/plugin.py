"""The objectives that the kit ships."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.plugin.specs import ObjectiveSpec, Option


@hookimpl
def tinyllava_objectives() -> list[ObjectiveSpec]:
    """Of items with texts, and of another model's features."""
    here = "tinyllava_kit.training.objectives.shipped"
    temperature = Option(
        name="temperature", type=float, default=2.0, above=0, help="of both distributions over the next token"
    )
    weight = Option(
        name="weight", type=float, default=1.0, above=0, at_most=1, help="of the divergence; the rest: cross-entropy"
    )
    sharpness = Option(
        name="sharpness",
        type=float,
        default=12.0,
        above=0,
        help="how sure, as a logit, a row is of its word",
    )
    return [
        ObjectiveSpec(
            name="distill",
            target=f"{here}:Distillation",
            summary="learn from the same LLM reading each item's text in the item's place",
            options=(temperature, weight),
        ),
        ObjectiveSpec(
            name="match_words",
            target=f"{here}:WordMatching",
            summary="bring the rows of items near the LLM's embeddings of their texts; the LLM is not run",
            runs_llm=False,
            options=(sharpness,),
        ),
        ObjectiveSpec(
            name="match_features",
            target=f"{here}:FeatureMatching",
            summary="teach a tower the features that another model's tower gives",
            trains=("tower",),
            runs_llm=False,
            options=(Option(name="teacher", required=True, help="a model directory"),),
            contract="tinyllava_kit.testing.own_objectives:FeatureMatchingContract",
        ),
    ]
