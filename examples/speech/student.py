"""wav2vec 2.0 heard to work: a small, new encoder learns from Whisper's, and takes its place in the hearing demo.

    python examples/speech/student.py --assets .demo

The hearing demo has been run in ``--assets``. No trained wav2vec 2.0 is in the packages that the demos use, so one is
made here: random weights of the architecture, taught by distillation. Existing files are not made again.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a script: let Python find the repository's `examples`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from examples.running import assemble_once, demo_parser, tinyllava
from examples.speech.demo import DATA, judge
from tinyllava_kit.files import atomic_directory

HERE = Path(__file__).resolve().parent
# As wide as Whisper tiny; narrow where the rate is high, which is where wav2vec2-base spends most of its time.
CONVOLUTIONS = (64, 96, 128, 192, 256, 384, 384)


def main() -> None:
    assets = demo_parser(__doc__, assets="the folder with the hearing demo's trained model").parse_args().assets
    if not (assets / "wav2vec2-small").exists():
        make_encoder(assets / "wav2vec2-small")
    assemble_once(assets, HERE / "student_assembly.yaml", "student")
    tinyllava(assets, "train", str(HERE / "student.yaml"))
    judge(assets, "student-runs/features", DATA)


def make_encoder(folder: Path) -> None:
    """A checkpoint in the hub's layout: a small wav2vec 2.0 with layer norms, its weights freshly initialised."""
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=384,
        num_hidden_layers=4,
        num_attention_heads=6,
        intermediate_size=1536,
        conv_dim=CONVOLUTIONS,
        conv_bias=True,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=64,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
    )
    with atomic_directory(folder) as stage:
        Wav2Vec2Model(config).save_pretrained(stage)
        Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(stage)


if __name__ == "__main__":
    main()
