"""What this distribution offers: the towers `dinov2` and `dinov2_with_registers`."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.core.specs import Option, TowerSpec

_OPTIONS = (
    Option(name="layer", type=int, default=-2, help="whose hidden states are read; -1 is the last layer"),
    Option(
        name="select",
        default="patch",
        choices=("patch", "cls_patch"),
        help="patch: the patches; cls_patch: the class token, then the patches",
    ),
    Option(
        name="image_size",
        type=int,
        default=0,
        help="side of a picture in pixels; 0: what the checkpoint's image processor makes",
    ),
)

DINOV2 = TowerSpec(
    name="dinov2",
    modality="image",
    target="tinyllava_kit_vision_dinov2.tower:Dinov2Tower",
    summary="DINOv2 vision transformer (Dinov2Model)",
    model_types=("dinov2",),
    checkpoint="facebook/dinov2-large",
    options=_OPTIONS,
)
DINOV2_WITH_REGISTERS = TowerSpec(
    name="dinov2_with_registers",
    modality="image",
    target="tinyllava_kit_vision_dinov2.tower:Dinov2WithRegistersTower",
    summary="DINOv2 with register tokens, which are not among the features (Dinov2WithRegistersModel)",
    model_types=("dinov2_with_registers",),
    checkpoint="facebook/dinov2-with-registers-large",
    options=_OPTIONS,
)


@hookimpl
def tinyllava_towers() -> tuple[TowerSpec, ...]:
    return (DINOV2, DINOV2_WITH_REGISTERS)
