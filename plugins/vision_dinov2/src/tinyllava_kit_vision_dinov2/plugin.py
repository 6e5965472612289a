"""What this distribution offers: the towers `dinov2` and `dinov2_with_registers`."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.specs import Option, TowerSpec

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


def _spec(name: str, target: str, summary: str, checkpoint: str) -> TowerSpec:
    return TowerSpec(
        name=name,
        modality="image",
        target=f"tinyllava_kit_vision_dinov2.tower:{target}",
        contract=f"tinyllava_kit_vision_dinov2.contract:{target.removesuffix('Tower')}Contract",
        summary=summary,
        model_types=(name,),
        checkpoint=checkpoint,
        options=_OPTIONS,
    )


DINOV2 = _spec("dinov2", "Dinov2Tower", "DINOv2 vision transformer (Dinov2Model)", "facebook/dinov2-large")
DINOV2_WITH_REGISTERS = _spec(
    "dinov2_with_registers",
    "Dinov2WithRegistersTower",
    "DINOv2 with register tokens, which are not among the features (Dinov2WithRegistersModel)",
    "facebook/dinov2-with-registers-large",
)


@hookimpl
def tinyllava_towers() -> tuple[TowerSpec, ...]:
    """DINOv2, without and with registers."""
    return (DINOV2, DINOV2_WITH_REGISTERS)
