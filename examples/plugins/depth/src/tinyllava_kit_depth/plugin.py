"""What this distribution offers: the modality `depth` and the tower `depth_grid`."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.specs import ModalitySpec, Option, TokenType, TowerSpec


@hookimpl
def tinyllava_modalities() -> tuple[ModalitySpec, ...]:
    depth = ModalitySpec(
        name="depth",
        target="tinyllava_kit_depth.maps:DepthModality",
        contract="tinyllava_kit_depth.contract:DepthContract",
        summary="depth maps: .npy files or arrays of two dimensions, in metres",
        token=TokenType(placeholder="<depth>"),
        suffixes=(".npy",),
    )
    return (depth,)


@hookimpl
def tinyllava_towers() -> tuple[TowerSpec, ...]:
    grid = TowerSpec(
        name="depth_grid",
        target="tinyllava_kit_depth.tower:DepthGridTower",
        contract="tinyllava_kit_depth.contract:DepthGridContract",
        summary="cells of a depth map, each projected; starts with new weights",
        modality="depth",
        options=(Option(name="cells", type=int, default=4, at_least=1, at_most=64, help="cells on a side"),),
    )
    return (grid,)
