"""What this distribution offers."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.specs import Option, TowerSpec


@hookimpl
def tinyllava_towers() -> tuple[TowerSpec, ...]:
    """Whisper's encoder."""
    return (
        TowerSpec(
            name="whisper",
            target="tinyllava_kit_audio_whisper.tower:WhisperTower",
            contract="tinyllava_kit_audio_whisper.contract:WhisperContract",
            summary="Whisper's speech encoder: 50 features a second; a window of 30 s is computed whole, for any sound",
            modality="audio",
            model_types=("whisper",),
            checkpoint="openai/whisper-tiny.en",
            options=(
                Option(
                    name="layer",
                    default="last",
                    help="last: the output; N: after N layers, without the final norm (negative: from the end)",
                ),
                Option(
                    name="window_seconds",
                    type=float,
                    default=30.0,
                    help="the length encoded at a time; less than 30 is faster, but not what Whisper was trained on",
                ),
            ),
        ),
    )
