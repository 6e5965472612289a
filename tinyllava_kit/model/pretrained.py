"""Loading, saving and initialisation of models, as transformers does it."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel

from ..errors import KitError
from ..files.atomic import HUB_ARGUMENTS
from ..pretrained.checkpoint import check_index, check_loaded, find_file, open_tensors
from ..pretrained.generation_settings import GENERATION_FILE, check_ids, read_generation
from .configuration import TinyLlavaConfig
from .memory import trim_memory
from .quantized_weights import has_repacked_weights, missing_scales
from .storage.replaced import atomic_weights


class TinyLlavaPreTrainedModel(PreTrainedModel):
    """Loading, saving and initialisation, as transformers does it."""

    config_class = TinyLlavaConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _skip_keys_device_placement = ["past_key_values", "cache"]  # noqa: RUF012

    def _init_weights(self, module: Any) -> None:
        super()._init_weights(module)
        # from_pretrained replaces non-persistent buffers by uninitialised memory; some
        # towers know how to make theirs again
        if hasattr(module, "init_non_persistent_buffers"):
            module.init_non_persistent_buffers()

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str] | None, *args: Any, **kwargs: Any
    ) -> Any:
        """As in transformers; a key that is missing in the file or unknown to the model is an error.

        Raises:
            KitError: lists the keys.
        """
        wants_info = kwargs.pop("output_loading_info", False)
        kwargs["trust_remote_code"] = False  # code that comes with a checkpoint is never run, whoever asks
        settings = _generation_settings(pretrained_model_name_or_path, kwargs)
        check_index(pretrained_model_name_or_path)
        read: Any = super().from_pretrained(pretrained_model_name_or_path, *args, output_loading_info=True, **kwargs)
        model, info = read
        check_loaded(
            str(pretrained_model_name_or_path),
            missing={*info["missing_keys"], *missing_scales(model)},
            unexpected=info["unexpected_keys"],
        )
        if settings is not None:
            vocabulary = model.config.get_text_config().vocab_size
            check_ids(model.generation_config, vocabulary, f"{str(pretrained_model_name_or_path)!r}: {GENERATION_FILE}")
        # transformers has replaced non-persistent buffers by uninitialised memory; it makes those of its own
        # models again, other towers do so when asked
        for module in model.modules():
            if hasattr(module, "init_non_persistent_buffers"):
                module.init_non_persistent_buffers()
        return (model, info) if wants_info else model

    @staticmethod
    def _load_pretrained_model(
        model: PreTrainedModel, state_dict: Any, checkpoint_files: Any, load_config: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """As in transformers, but the original of a quantized weight does not stay in memory."""
        load = partial(PreTrainedModel._load_pretrained_model, model)
        quantizer = load_config.hf_quantizer
        if quantizer is None or quantizer.pre_quantized:
            return load(state_dict, checkpoint_files, load_config, *args, **kwargs)
        if state_dict is None:
            names = (name for name, _ in model.named_parameters())
            passing = {name for name in names if quantizer.param_needs_quantization(model, name)}
            state_dict = open_tensors(checkpoint_files, passing)
        loaded = load(state_dict, checkpoint_files, load_config, *args, **kwargs)
        trim_memory()
        return loaded

    def _get_dtype_plan(self, dtype: torch.dtype) -> dict[str, torch.dtype]:
        """As in transformers, but what stays in float32 is what has fractions: whole numbers keep their own type."""
        whole = {f"^{name}$": each.dtype for name, each in self.named_buffers() if not each.is_floating_point()}
        plan = super()._get_dtype_plan(dtype)
        return {**whole, **plan} if plan else plan

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *args: Any, push_to_hub: bool = False, **kwargs: Any
    ) -> None:
        """As in transformers, but the directory changes as a whole or not at all.

        What it says of other weights that were in it, their history, figures and card, goes with them.

        Raises:
            KitError: it cannot be written, or its weights are of 4 bits and have changed; the old content is as it was.
        """
        if has_repacked_weights(self):
            raise KitError(
                "a 4-bit model that has run on the CPU cannot be saved: running has repacked its weights and rounded "
                "their scales; load it again and save it before it runs"
            )
        hub = {name: kwargs.pop(name) for name in HUB_ARGUMENTS if name in kwargs}
        with atomic_weights(save_directory) as stage:
            super().save_pretrained(stage, *args, **kwargs)
        if push_to_hub:
            self.push_to_hub(hub.pop("repo_id", Path(save_directory).name), **hub)


def _generation_settings(path: Any, how: dict[str, Any]) -> GenerationConfig | None:
    """Those of a directory or repository, put among the arguments of ``from_pretrained`` where none are given."""
    if how.get("generation_config") is not None or not path:
        return None
    hub = {key: how[key] for key in ("cache_dir", "revision", "token", "subfolder", "local_files_only") if key in how}
    file = find_file(str(path), GENERATION_FILE, **hub)
    how["generation_config"] = None if file is None else read_generation(file)
    return how["generation_config"]
