"""What this distribution offers: the tower `colour_grid` and the scorer `colour_names`."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.specs import Option, ScorerSpec, TowerSpec


@hookimpl
def tinyllava_towers() -> tuple[TowerSpec, ...]:
    grid = TowerSpec(
        name="colour_grid",
        target="tinyllava_kit_colours.tower:ColourGridTower",
        summary="the mean colour of each cell of a picture",
        modality="image",
        options=(Option(name="cells", type=int, default=4, at_least=1, at_most=32, help="cells on a side"),),
    )
    return (grid,)


@hookimpl
def tinyllava_scorers() -> tuple[ScorerSpec, ...]:
    names = ScorerSpec(
        name="colour_names",
        target="tinyllava_kit_colours.scorer:ColourNames",
        contract="tinyllava_kit_colours.contract:ColourNamesContract",
        summary="the share of answers that name the colours of the truth, and no others",
    )
    return (names,)
