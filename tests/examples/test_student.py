"""The small wav2vec 2.0: its transformer computes what its teacher's does."""

from __future__ import annotations

import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model, WhisperConfig, WhisperModel

from examples.speech.student import take_layers


def test_the_copied_transformer_is_the_teachers():
    torch.manual_seed(0)
    whisper = WhisperConfig(
        d_model=12,
        encoder_layers=2,
        encoder_attention_heads=3,
        encoder_ffn_dim=20,
        decoder_layers=1,
        decoder_attention_heads=3,
        vocab_size=30,
        pad_token_id=0,
        decoder_start_token_id=1,
        init_std=0.3,
    )
    own = Wav2Vec2Config(
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=20,
        conv_dim=(4,) * 7,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        do_stable_layer_norm=True,
        feat_extract_norm="layer",
    )
    teacher, model = WhisperModel(whisper).encoder.eval(), Wav2Vec2Model(own).eval()
    take_layers(model, teacher)
    hidden = torch.randn(2, 7, 12)
    ours, theirs = hidden, hidden
    with torch.no_grad():
        for mine, its in zip(model.encoder.layers, teacher.layers, strict=True):
            ours = first(mine(ours))
            theirs = first(its(theirs, attention_mask=None))
        ours, theirs = model.encoder.layer_norm(ours), teacher.layer_norm(theirs)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def first(output):
    return output[0] if isinstance(output, tuple) else output
