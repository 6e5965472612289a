"""What of a published configuration describes its network is taken, whatever else stands beside it."""

from __future__ import annotations

from typing import Any

import pytest

from tinyllava_kit.errors import KitError
from tinyllava_kit.pretrained.saved_config import described, kind_of, network

# As their authors published them, but for the sizes.
PUBLISHED: dict[str, dict[str, Any]] = {
    "qwen2": {
        "architectures": ["Qwen2ForCausalLM"],
        "attention_dropout": 0.0,
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "hidden_act": "silu",
        "hidden_size": 24,
        "initializer_range": 0.02,
        "intermediate_size": 44,
        "max_position_embeddings": 32768,
        "max_window_layers": 21,
        "model_type": "qwen2",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.40.1",
        "use_cache": True,
        "use_mrope": False,
        "use_sliding_window": False,
        "vocab_size": 151936,
    },
    "llama": {
        "_name_or_path": "/somewhere/llama",
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "bos_token_id": 128000,
        "eos_token_id": [128001, 128008, 128009],
        "head_dim": 6,
        "hidden_act": "silu",
        "hidden_size": 24,
        "intermediate_size": 44,
        "max_position_embeddings": 131072,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "output_attentions": False,
        "output_hidden_states": False,
        "pad_token_id": None,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "factor": 32.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "rope_theta": 500000.0,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": 128256,
    },
    "phi": {
        "_name_or_path": "microsoft/phi-2",
        "architectures": ["PhiForCausalLM"],
        "auto_map": {"AutoConfig": "configuration_phi.PhiConfig"},
        "attention_dropout": 0.0,
        "bos_token_id": 50256,
        "embd_pdrop": 0.0,
        "eos_token_id": 50256,
        "hidden_act": "gelu_new",
        "hidden_size": 24,
        "intermediate_size": 44,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 2048,
        "model_type": "phi",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": None,
        "partial_rotary_factor": 0.5,
        "qk_layernorm": False,
        "resid_pdrop": 0.1,
        "rope_scaling": None,
        "rope_theta": 10000,
        "torch_dtype": "float16",
        "vocab_size": 51200,
    },
    "stablelm": {
        "architectures": ["StableLmForCausalLM"],
        "bos_token_id": 100257,
        "eos_token_id": 100257,
        "hidden_act": "silu",
        "hidden_size": 24,
        "intermediate_size": 44,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 4096,
        "model_type": "stablelm",
        "norm_eps": 1e-05,
        "num_attention_heads": 4,
        "num_heads": 32,
        "num_hidden_layers": 2,
        "num_key_value_heads": 4,
        "partial_rotary_factor": 0.25,
        "rope_pct": 0.25,
        "rope_theta": 10000,
        "rotary_scaling_factor": 1.0,
        "use_qkv_bias": True,
        "vocab_size": 100352,
    },
    "gemma": {
        "architectures": ["GemmaForCausalLM"],
        "hidden_act": "gelu",
        "hidden_activation": None,
        "hidden_size": 24,
        "head_dim": 6,
        "intermediate_size": 44,
        "model_type": "gemma",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 1,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "vocab_size": 256000,
    },
    "clip": {
        "architectures": ["CLIPModel"],
        "initializer_factor": 1.0,
        "logit_scale_init_value": 2.6592,
        "model_type": "clip",
        "projection_dim": 12,
        "text_config": {
            "_name_or_path": "",
            "architectures": None,
            "bad_words_ids": None,
            "eos_token_id": 2,
            "finetuning_task": None,
            "hidden_size": 24,
            "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
            "label2id": {"LABEL_0": 0, "LABEL_1": 1},
            "model_type": "clip_text_model",
            "num_attention_heads": 4,
            "problem_type": None,
            "return_dict": True,
            "torch_dtype": None,
            "torchscript": False,
        },
        "text_config_dict": {"hidden_size": 24},
        "torch_dtype": "float32",
        "transformers_version": None,
        "vision_config": {
            "chunk_size_feed_forward": 0,
            "hidden_act": "quick_gelu",
            "hidden_size": 24,
            "image_size": 28,
            "model_type": "clip_vision_model",
            "num_attention_heads": 4,
            "patch_size": 14,
            "prefix": None,
            "return_dict": True,
            "use_bfloat16": False,
        },
        "vision_config_dict": {"hidden_size": 24},
    },
    "siglip": {
        "architectures": ["SiglipModel"],
        "initializer_factor": 1.0,
        "model_type": "siglip",
        "text_config": {"model_type": "siglip_text_model", "vocab_size": 32000},
        "torch_dtype": "float32",
        "vision_config": {"image_size": 384, "model_type": "siglip_vision_model", "patch_size": 14},
    },
    "whisper": {
        "_name_or_path": "openai/whisper-tiny",
        "activation_dropout": 0.0,
        "architectures": ["WhisperForConditionalGeneration"],
        "begin_suppress_tokens": [220, 50257],
        "bos_token_id": 50257,
        "d_model": 24,
        "decoder_attention_heads": 4,
        "decoder_start_token_id": 50258,
        "encoder_attention_heads": 4,
        "encoder_layers": 2,
        "eos_token_id": 50257,
        "forced_decoder_ids": [[1, 50259], [2, 50359], [3, 50363]],
        "is_encoder_decoder": True,
        "max_length": 448,
        "model_type": "whisper",
        "num_hidden_layers": 2,
        "pad_token_id": 50257,
        "scale_embedding": False,
        "suppress_tokens": [1, 2, 7],
        "use_cache": True,
        "vocab_size": 51865,
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configurations_describe_their_networks(name: str) -> None:
    content = PUBLISHED[name]
    kind = kind_of(content, "here")
    assert kind.model_type == name
    taken = network(kind, content, "here")
    for key in ("hidden_size", "num_hidden_layers", "vocab_size", "eos_token_id", "d_model"):
        if key in content:
            assert getattr(taken, key) == content[key]
    if "vision_config" in content:
        assert taken.vision_config.patch_size == 14
    assert network(kind, taken.to_dict(), "here").to_dict() == taken.to_dict()


@pytest.mark.parametrize("key", ["return_dict", "output_hidden_states", "output_attentions", "chunk_size_feed_forward"])
def test_how_a_network_is_called_is_no_part_of_it(key: str) -> None:
    content = {**PUBLISHED["siglip"], key: 3}
    content["vision_config"] = {**content["vision_config"], key: 3}
    kept = described(kind_of(content, "here"), content, "here")
    assert key not in kept
    assert kept["vision_config"] == PUBLISHED["siglip"]["vision_config"]


@pytest.mark.parametrize("value", [1001, 10**9, -(10**9)])
def test_more_layers_than_there_can_be_are_named(value: int) -> None:
    content = {**PUBLISHED["qwen2"], "num_hidden_layers": value}
    with pytest.raises(KitError, match=r"here\.num_hidden_layers: expected at most 1000, got -?100"):
        network(kind_of(content, "here"), content, "here")
