"""What this distribution offers."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.specs import Option, TowerSpec


@hookimpl
def tinyllava_towers() -> tuple[TowerSpec, ...]:
    """One tower for Wav2Vec2, HuBERT and WavLM."""
    return (
        TowerSpec(
            name="wav2vec2",
            target="tinyllava_kit_audio_wav2vec2.tower:Wav2Vec2Tower",
            contract="tinyllava_kit_audio_wav2vec2.contract:Wav2Vec2Contract",
            summary="speech encoders: wav2vec 2.0, HuBERT and WavLM; 50 features a second",
            modality="audio",
            model_types=("wav2vec2", "hubert", "wavlm"),
            checkpoint="facebook/wav2vec2-base",
            options=(
                Option(
                    name="layer",
                    default="last",
                    help="last: the encoder's output; N: after N layers (negative: from the end); "
                    "mix: a learned mean of all",
                ),
            ),
        ),
    )
