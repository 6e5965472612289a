"""What this distribution offers."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.specs import ModalitySpec, Option, TokenType, TowerSpec

SENSOR = ModalitySpec(
    name="sensor",
    target="tinyllava_kit_sensor.signal:SensorModality",
    summary="one-dimensional signals: .npy files, arrays, lists of numbers",
    token=TokenType(placeholder="<sensor>", begin="[", end="]"),
    suffixes=(".npy",),
)

PATCHIFY1D = TowerSpec(
    name="patchify1d",
    target="tinyllava_kit_sensor.tower:PatchifyTower",
    summary="windows of a signal, cut into patches, each projected",
    modality="sensor",
    model_types=("patchify1d",),
    options=(
        Option(
            name="patch_size",
            type=int,
            default=None,
            help="samples that make one feature; none: as the checkpoint says, or 4",
        ),
    ),
)


@hookimpl
def tinyllava_modalities() -> tuple[ModalitySpec, ...]:
    return (SENSOR,)


@hookimpl
def tinyllava_towers() -> tuple[TowerSpec, ...]:
    return (PATCHIFY1D,)
