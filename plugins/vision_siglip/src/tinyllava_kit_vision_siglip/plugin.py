"""What this distribution offers: the tower `siglip`."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.specs import Option, TowerSpec

SIGLIP = TowerSpec(
    name="siglip",
    modality="image",
    target="tinyllava_kit_vision_siglip.tower:SiglipTower",
    contract="tinyllava_kit_vision_siglip.contract:SiglipContract",
    summary="SigLIP and SigLIP 2 (fixed resolution) vision transformer (SiglipVisionModel)",
    model_types=("siglip", "siglip_vision_model"),
    checkpoint="google/siglip-so400m-patch14-384",
    options=(
        Option(name="layer", type=int, default=-2, help="whose hidden states are read; -1 is the last layer"),
        Option(
            name="select",
            default="all",
            choices=("all", "drop_first"),
            help="all: every patch; drop_first: without the first, for models trained by TinyLLaVA_Factory",
        ),
    ),
)


@hookimpl
def tinyllava_towers() -> tuple[TowerSpec, ...]:
    """SigLIP's vision encoder."""
    return (SIGLIP,)
