"""wav2vec 2.0 heard to work: a small, new encoder learns from Whisper's, and takes its place in the hearing demo.

    python examples/speech/student.py --assets .demo

The hearing demo has been run in ``--assets``. No trained wav2vec 2.0 is in the packages that the demos use, so one is
made here, as DistilHuBERT is: its transformer begins as the teacher's, which has the same layers, its convolutions and
positions are random, and all of it learns the teacher's features. What is there already is not made again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a script: let Python find the repository's `examples`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import nn
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model, WhisperModel

from examples.running import tinyllava
from examples.speech.demo import judge
from tinyllava_kit.core.saving import whole_directory

HERE = Path(__file__).resolve().parent
# Where a layer's weights stand in Whisper's encoder and in wav2vec 2.0's.
LAYER = {
    "self_attn.q_proj": "attention.q_proj",
    "self_attn.k_proj": "attention.k_proj",
    "self_attn.v_proj": "attention.v_proj",
    "self_attn.out_proj": "attention.out_proj",
    "self_attn_layer_norm": "layer_norm",
    "fc1": "feed_forward.intermediate_dense",
    "fc2": "feed_forward.output_dense",
    "final_layer_norm": "final_layer_norm",
}
# As wide as Whisper tiny; narrow where the rate is high, which is where wav2vec2-base spends most of its time.
CONVOLUTIONS = (64, 96, 128, 192, 256, 384, 384)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=Path, required=True, help="the folder with the hearing demo's trained model")
    assets = parser.parse_args().assets.resolve()
    if not (assets / "wav2vec2-small").exists():
        make_encoder(assets / "wav2vec2-small", assets / "whisper-tiny.en")
    if not (assets / "student" / "config.json").exists():
        tinyllava(assets, "assemble", str(HERE / "student_assembly.yaml"), "-o", "student", "--force")
    tinyllava(assets, "train", str(HERE / "student.yaml"))
    judge(assets, "student-runs/features", "wav2vec2 in its place")


def make_encoder(folder: Path, teacher: Path) -> None:
    """A checkpoint in the hub's layout: a small wav2vec 2.0 with layer norms, its transformer that of the teacher."""
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
    model = Wav2Vec2Model(config)
    take_layers(model, WhisperModel.from_pretrained(teacher).encoder)
    with whole_directory(folder) as stage:
        model.save_pretrained(stage)
        Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(stage)


@torch.no_grad()
def take_layers(model: nn.Module, teacher: nn.Module) -> None:
    """Copy the teacher's transformer; its keys have no bias, which is one of zero."""
    for own, theirs in zip(model.encoder.layers, teacher.layers, strict=True):
        for name, here in LAYER.items():
            given, place = theirs.get_submodule(name), own.get_submodule(here)
            place.weight.copy_(given.weight)
            place.bias.zero_() if given.bias is None else place.bias.copy_(given.bias)
    model.encoder.layer_norm.load_state_dict(teacher.layer_norm.state_dict())


if __name__ == "__main__":
    main()
