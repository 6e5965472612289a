"""A model as the files that llama.cpp reads: ``model.gguf``, and ``mmproj.gguf`` where it sees.

Names and keys are those of the ``gguf`` package. llama.cpp is not run: the written files are read again and compared,
each tensor with the model's. What llama.cpp does with the files was taken from its source (2026) and compared with toy
models by ``examples/gguf/compare.py``. Its projector ``mlp`` runs as many blocks as ``clip.vision.feature_layer`` says,
and pads a picture to a square of CLIP's mean colour. With a class token its rows are the patches' and then the class
token's, and it reads all but the first. No file changes that: the class token alone decides which rows are read, and a
row holds the patch of its own place.

Legend: D width of the LLM, E tower width.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ...components.towers.vision_tower import TransformersImagePreprocessor
from ...core.conversation import Span
from ...errors import KitError
from ...files.atomic import atomic_directory
from ...model.modeling import TinyLlavaForConditionalGeneration
from ...plugin.extras import need
from ...processing.encoding import encode_spans
from ...processing.jinja import jinja_of
from ...processing.processor import TinyLlavaProcessor
from ..external.mapping import IMAGE_MODALITY
from .gguf_vocabulary import Vocabulary, read_vocabulary
from .gguf_writing import Entry, Written, open_writer, write_entries
from .requirements import (
    aspect,
    decoder_notes,
    is_clip_or_siglip,
    is_two_layers_with_gelu,
    marker_fault,
    quantized_fault,
    text_option,
)
from .target import ExportTarget

MODEL, MMPROJ = "model.gguf", "mmproj.gguf"
MARKER = "<__media__>"  # where llama.cpp puts a picture
CLIP_COLOUR = (122, 116, 104)  # with which it pads
# An activation of transformers -> whether llama.cpp's GELU is used, which is that of tanh, or its quick one.
_GELU = {"quick_gelu": False, "gelu": True, "gelu_pytorch_tanh": True, "gelu_new": True}
# Configurations that llama.cpp's architectures do not have.
_LLM_FAULTS = {
    "attention_bias": "its attention has biases",
    "mlp_bias": "its MLP has biases",
    "qk_layernorm": "it normalises queries and keys",
}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """How llama.cpp computes an LLM.

    name: of its architecture. act: the activation that it has. rms: its norms take no mean off. pairs: it rotates
    neighbours, and so wants the rows of queries and keys in pairs. rotates_part: of a head. norm_plus: what
    transformers adds to the weights of norms while it runs, and llama.cpp wants to have in the file. biased: its
    attention has biases.
    """

    name: str
    act: str = "silu"
    rms: bool = True
    pairs: bool = False
    rotates_part: bool = False
    norm_plus: float = 0.0
    biased: bool = False


# model_type -> what llama.cpp has for it
LLMS = {
    "llama": Architecture(name="llama", pairs=True),
    "qwen2": Architecture(name="qwen2", biased=True),
    "qwen3": Architecture(name="qwen3"),
    "phi": Architecture(name="phi2", act="gelu_new", rms=False, rotates_part=True),
    "stablelm": Architecture(name="stablelm", rms=False, rotates_part=True),
    "gemma": Architecture(name="gemma", act="gelu_pytorch_tanh", norm_plus=1.0),
}


@dataclass(frozen=True)
class GgufExport:
    """All files, and what to know of them."""

    files: tuple[Written, ...]
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """For people."""
        said = [
            f"{each.file}: {each.num_tensors} tensors, {each.num_bytes:,} bytes, {each.dtype}; read back, all equal to "
            "the model's"
            for each in self.files
        ]
        return [*said, *(f"note: {note}" for note in self.notes)]


def faults(
    model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor, *, llm_only: bool = False
) -> list[str]:
    """Why llama.cpp has no counterpart of a model; empty where it has one.

    Args:
        llm_only: of its LLM alone.
    """
    found = _llm_faults(model) + quantized_fault(model.config)
    try:
        need("gguf", "a gguf file")
        read_vocabulary(processor.tokenizer, _num_rows(model))
        if not found:
            list(_llm_entries(model))  # each has a name
    except KitError as error:
        found.append(str(error))
    if not llm_only and model.config.towers:
        found += _vision_faults(model, processor)
    return found


def notes(
    model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor, *, llm_only: bool = False
) -> list[str]:
    """What a user should know of a model that has a counterpart."""
    found = ["the files were not run by llama.cpp", *decoder_notes(model)]
    if processor.template.jinja() is None:
        found.append("the chat template has no form in jinja and is not written")
    if _parts_join(processor.tokenizer):
        found.append("llama.cpp puts one token more, a space, behind each end token within a conversation")
    if llm_only or not model.config.towers:
        return found
    if model.towers[IMAGE_MODALITY].num_prefix:
        found.append(
            "llama.cpp gives CLIP's rows one place early: that of the first patch is missing, the class token's is "
            "last (its models/llava.cpp puts the class token behind the patches and reads from the second row on; "
            "SigLIP's rows are right)"
        )
    preprocessor: Any = processor.preprocessors[IMAGE_MODALITY]
    colour = tuple(int(channel * 255) for channel in preprocessor.mean)
    if aspect(model) == "square":
        found.append("llama.cpp pads a picture to a square, this model does not: give it square pictures")
    elif colour != CLIP_COLOUR:
        found.append(f"llama.cpp pads a picture with {CLIP_COLOUR}, this model with {colour}: give it square pictures")
    return found


def _parts_join(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether SentencePiece's text behind a special token has no space in front, as llama.cpp writes it."""
    try:
        if not read_vocabulary(tokenizer, len(tokenizer)).space_prefix:
            return False
    except (ImportError, KitError):  # a fault of its own
        return False
    joined, alone = (tokenizer(t, add_special_tokens=False)["input_ids"] for t in (f"{tokenizer.eos_token}a", "a"))
    return joined != [tokenizer.eos_token_id, *alone]


def export(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    target: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    llm_only: bool = False,
) -> GgufExport:
    """Write the files, read them again, and compare every tensor with the model's.

    Args:
        dtype: ``float32`` or ``float16``, of matrices; default: float32 for a model in float32, float16 for others.
        llm_only: leave what the model sees with out.

    Raises:
        KitError: llama.cpp has no counterpart, a weight is too large for float16, or the files cannot be written.
    """
    if why := faults(model, processor, llm_only=llm_only):
        raise KitError(f"cannot be a gguf: {'; '.join(why)}")
    dtype = dtype or ("float32" if model.dtype == torch.float32 else "float16")
    with atomic_directory(target) as stage:
        files = [_write_llm(model, processor, stage, dtype, Path(target).name)]
        if model.config.towers and not llm_only:
            files.append(_write_vision(model, processor, stage, dtype, Path(target).name))
    return GgufExport(tuple(files), tuple(notes(model, processor, llm_only=llm_only)))


def _num_rows(model: TinyLlavaForConditionalGeneration) -> int:
    table = model.get_input_embeddings().weight
    assert isinstance(table, Tensor)
    return len(table)


def _llm_faults(model: TinyLlavaForConditionalGeneration) -> list[str]:
    config = model.config
    kind = config.text_config.model_type
    if kind not in LLMS:
        return [f"its LLM is {kind!r}; {', '.join(LLMS)} are written"]
    arch = LLMS[kind]
    found = [said for key, said in _LLM_FAULTS.items() if not arch.biased and text_option(config, key)]
    if (act := text_option(config, "hidden_act", "silu")) != arch.act:
        found.append(f"its LLM's activation is {act!r}; llama.cpp's is {arch.act!r}")
    rope = text_option(config, "rope_parameters", {})
    if rope.get("rope_type", "default") != "default":
        found.append(f"its LLM's positions are scaled ({rope.get('rope_type')!r}), which is not written")
    if _rotated(config) != 1.0 and not arch.rotates_part:
        found.append("its LLM rotates a part of each head, llama.cpp all of it")
    if text_option(config, "use_sliding_window"):
        found.append("its LLM's attention has a sliding window")
    return found


def _vision_faults(model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor) -> list[str]:
    config = model.config
    if list(config.towers) != [IMAGE_MODALITY]:
        return [f"it reads {', '.join(config.towers)}; pictures and text are written"]
    tower: Any = model.towers[IMAGE_MODALITY]
    found = marker_fault(processor)
    if not is_clip_or_siglip(tower):
        name = config.component("tower", IMAGE_MODALITY).name
        found.append(f"its tower is {name!r}; CLIP and SigLIP are written (its LLM alone: --llm-only)")
    else:
        if tower.num_dropped != tower.num_prefix or not tower.vision_config.num_hidden_layers:
            found.append("its tower's features are not the patches of a layer, which llama.cpp reads")
        if tower.vision_config.hidden_act not in _GELU:
            found.append(f"its tower's activation is {tower.vision_config.hidden_act!r}, not one of {', '.join(_GELU)}")
    if not is_two_layers_with_gelu(model.connectors[IMAGE_MODALITY]):
        found.append(f"its connector is {config.component('connector', IMAGE_MODALITY).name!r}; mlp2x_gelu is written")
    if aspect(model) not in ("square", "pad"):
        found.append(f"pictures are read with aspect {aspect(model)!r}; llama.cpp takes them whole")
    return found


def _write_llm(
    model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor, stage: Path, dtype: str, name: str
) -> Written:
    import gguf

    config = model.config
    arch = LLMS[config.text_config.model_type]
    writer = open_writer(stage / MODEL, arch.name, gguf.GGUFType.MODEL, name, dtype)
    heads = config.text_config.num_attention_heads
    head_dim = text_option(config, "head_dim", config.text_config.hidden_size // heads)
    writer.add_vocab_size(_num_rows(model))
    writer.add_context_length(config.text_config.max_position_embeddings)
    writer.add_embedding_length(config.text_config.hidden_size)
    writer.add_block_count(config.text_config.num_hidden_layers)
    writer.add_feed_forward_length(config.text_config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(text_option(config, "num_key_value_heads", heads))
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    if arch.rms:
        writer.add_layer_norm_rms_eps(config.text_config.rms_norm_eps)
    else:
        writer.add_layer_norm_eps(config.text_config.layer_norm_eps)
    if (parallel := text_option(config, "use_parallel_residual")) is not None:
        writer.add_parallel_residual(parallel)
    writer.add_rope_freq_base(text_option(config, "rope_parameters", {}).get("rope_theta", 10000.0))
    writer.add_rope_dimension_count(int(_rotated(config) * head_dim))
    vocabulary = read_vocabulary(processor.tokenizer, _num_rows(model))
    _add_vocabulary(writer, vocabulary, adds_bos=_adds_bos(processor))
    if (template := jinja_of(processor.template, {IMAGE_MODALITY: MARKER}, parts=False, in_strings=True)) is not None:
        writer.add_chat_template(template)
    return write_entries(writer, stage / MODEL, list(_llm_entries(model)), dtype)


def _llm_entries(model: TinyLlavaForConditionalGeneration) -> Iterator[Entry]:
    import gguf

    config = model.config.text_config
    arch = LLMS[config.model_type]
    number = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == arch.name)
    names = gguf.get_tensor_name_map(number, config.num_hidden_layers)
    queries = config.num_attention_heads
    keys = text_option(model.config, "num_key_value_heads", queries)
    tied = set(model.language_model.all_tied_weights_keys)
    for name, tensor in model.language_model.state_dict().items():
        if name in tied:  # llama.cpp takes the embeddings where there is no head
            continue
        heads = 0
        if arch.pairs:
            heads = queries if ".q_proj." in name else keys if ".k_proj." in name else 0
        plus = arch.norm_plus if "norm" in name else 0.0
        yield Entry(_renamed(names, name, name), tensor, heads, plus)


def _rotated(config: Any) -> float:
    """The share of a head that its positions turn."""
    return float(text_option(config, "rope_parameters", {}).get("partial_rotary_factor", 1.0))


def _write_vision(
    model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor, stage: Path, dtype: str, name: str
) -> Written:
    import gguf

    tower: Any = model.towers[IMAGE_MODALITY]
    vision = tower.vision_config
    preprocessor = processor.preprocessors[IMAGE_MODALITY]
    assert isinstance(preprocessor, TransformersImagePreprocessor)
    image_processor = preprocessor._processor
    arch = gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.MMPROJ]
    writer = open_writer(stage / MMPROJ, arch, gguf.GGUFType.MMPROJ, name, dtype)
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type("mlp")
    writer.add_vision_image_size(vision.image_size)
    writer.add_vision_patch_size(vision.patch_size)
    writer.add_vision_embedding_length(vision.hidden_size)
    writer.add_vision_feed_forward_length(vision.intermediate_size)
    writer.add_vision_projection_dim(model.connectors[IMAGE_MODALITY].out_dim)
    writer.add_vision_block_count(vision.num_hidden_layers)
    writer.add_vision_head_count(vision.num_attention_heads)
    writer.add_vision_attention_layernorm_eps(vision.layer_norm_eps)
    writer.add_vision_image_mean([float(value) for value in image_processor.image_mean])
    writer.add_vision_image_std([float(value) for value in image_processor.image_std])
    writer.add_vision_use_gelu(_GELU[vision.hidden_act])
    # without it the last of the blocks would not be run
    writer.add_array("clip.vision.feature_layer", [vision.num_hidden_layers])
    return write_entries(writer, stage / MMPROJ, list(_vision_entries(model)), dtype)


def _vision_entries(model: TinyLlavaForConditionalGeneration) -> Iterator[Entry]:
    import gguf

    tower: Any = model.towers[IMAGE_MODALITY]
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, tower.vision_config.num_hidden_layers)
    for name, tensor in tower.state_dict().items():
        if tower.num_prefix and name.endswith("position_embedding.weight"):
            tensor = tensor.roll(-1, 0)  # for llama.cpp, which has the class token behind the patches
        yield Entry(_renamed(names, f"vision_tower.vision_model.{name}", name), tensor)
    for name, tensor in model.connectors[IMAGE_MODALITY].state_dict().items():  # layers.0 and layers.2
        yield Entry(name.replace("layers.", "mm."), tensor)


def _renamed(names: Any, theirs: str, ours: str) -> str:
    """llama.cpp's name of a weight.

    Raises:
        KitError: llama.cpp has no such weight.
    """
    found = names.get_name(theirs, try_suffixes=(".weight", ".bias"))
    if found is None:
        raise KitError(f"llama.cpp has no name for the weight {ours!r}")
    return str(found)


def _adds_bos(processor: TinyLlavaProcessor) -> bool:
    """Whether the model is asked with a begin token that no template writes."""
    begun = encode_spans([Span("a")], processor.tokenizer, add_bos=processor.template.add_bos)
    plain = encode_spans([Span("a")], processor.tokenizer, add_bos=False)
    return begun != plain


def _add_vocabulary(writer: Any, vocabulary: Vocabulary, *, adds_bos: bool) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(list(vocabulary.tokens))
    writer.add_token_types(list(vocabulary.types))
    if vocabulary.merges:
        writer.add_token_merges(list(vocabulary.merges))
    if vocabulary.scores:
        writer.add_token_scores(list(vocabulary.scores))
    writer.add_add_space_prefix(vocabulary.space_prefix)
    writer.add_add_bos_token(adds_bos)
    writer.add_add_eos_token(False)
    for role, number in vocabulary.special.items():
        getattr(writer, f"add_{role}_token_id")(number)


class GgufTarget(ExportTarget):
    """Files of llama.cpp; the target `gguf`.

    Args:
        dtype, llm_only: see `export`.
    """

    def __init__(self, *, dtype: str | None = None, llm_only: bool = False) -> None:
        self.dtype, self.llm_only = dtype, llm_only

    def faults(self, model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor) -> list[str]:
        return faults(model, processor, llm_only=self.llm_only)

    def notes(self, model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor) -> list[str]:
        return notes(model, processor, llm_only=self.llm_only)

    def export(
        self,
        model: TinyLlavaForConditionalGeneration,
        processor: TinyLlavaProcessor,
        output: str | os.PathLike[str],
    ) -> list[str]:
        return export(model, processor, output, dtype=self.dtype, llm_only=self.llm_only).lines()
