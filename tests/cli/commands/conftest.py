"""What a user has made so far."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from tests.cli.running import assembled_in
from tests.processes import tinyllava

HEARING = ["--llm", "llama:llm", "--tower", "audio=wav2vec2:encoder", "--connector", "audio=stack_mlp"]


@pytest.fixture(scope="session")
def assembled(tmp_path_factory):
    """A folder with checkpoints, rows, pictures and an assembled model."""
    return assembled_in(tmp_path_factory.mktemp("user"))


@pytest.fixture(scope="session")
def damaged(assembled):
    """The same folder with a model that hears, and ``bad/`` of files that cannot be read beside one that can."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 22, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 29}
    positions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 11}
    Wav2Vec2Model(Wav2Vec2Config(**sizes, **positions, conv_dim=[13] * 7)).save_pretrained(assembled / "encoder")
    Wav2Vec2FeatureExtractor().save_pretrained(assembled / "encoder")
    made = tinyllava("assemble", *HEARING, "-o", "hearing", cwd=assembled)
    assert made.returncode == 0, made.stderr
    bad = assembled / "bad"
    bad.mkdir()
    tone = np.sin(np.arange(8000) / 7)
    soundfile.write(bad / "whole.wav", tone, 16000)
    (bad / "cut.wav").write_bytes((bad / "whole.wav").read_bytes()[:5000])
    (bad / "cut.png").write_bytes((assembled / "images/0.png").read_bytes()[:700])
    (bad / "empty").touch()
    rows = [{"audio": "whole.wav", "text": "a tone"}, {"audio": "cut.wav", "text": "half of it"}]
    (bad / "cut.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for sound in (tone, np.where(np.arange(8000) == 5, np.nan, tone)):
        rows.append({"audio": {"array": sound.tolist(), "sampling_rate": 16000}, "text": "a tone"})
    (bad / "nan.jsonl").write_text("\n".join(map(json.dumps, rows[2:])))
    return assembled
