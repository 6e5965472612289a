"""A model that sees as transformers' `LlavaForConditionalGeneration`, where its parts have a counterpart there.

What this class cannot say is refused: another modality, a tower that is neither CLIP nor SigLIP, another connector than
two linear layers with GELU, pictures that are cut into tiles. Serving engines that read Llava directories read the
result.

Legend: B samples, T positions, V vocabulary.
"""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    BaseImageProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaImageProcessorPil,
    LlavaProcessor,
)

from ...components.towers.vision_tower import TransformersImagePreprocessor
from ...errors import KitError
from ...files.atomic import atomic_directory
from ...files.failures import read_mapping
from ...files.origins import without_places
from ...files.writing import write_json
from ...model.modeling import TinyLlavaForConditionalGeneration
from ...processing.jinja import jinja_of
from ...processing.processor import TinyLlavaProcessor
from ..external.mapping import IMAGE_MODALITY
from .requirements import (
    aspect,
    decoder_notes,
    dummy_weights,
    is_clip_or_siglip,
    is_close,
    is_two_layers_with_gelu,
    largest,
    marker_fault,
    quantized_fault,
)
from .target import ExportTarget

PLACEHOLDER = "<image>"
QUESTION = "What is in this picture?"
NUM_TOKENS = 8  # greedy, compared


@dataclass(frozen=True)
class Parity:
    """How far the written model is from ours: the largest difference of logits, and whether what follows is the same.

    difference: over all positions; close: whether it is one of rounding. same_ids: the next tokens, greedy.
    same_prompt: whether the written processor makes the same token ids of a conversation with a picture, its chat
    template included. pixels: the largest difference of its pictures from ours, normalised.
    """

    difference: float
    close: bool
    same_ids: bool
    same_prompt: bool
    pixels: float
    dtype: torch.dtype

    def lines(self) -> list[str]:
        """For people."""
        prompt = "not the same; the tokenizer may begin each piece of a text anew"
        return [
            f"logits beside ours, one picture: largest difference {self.difference:.1e} ({self.dtype})",
            f"next tokens, greedy: {'the same' if self.same_ids else 'DIFFERENT'}",
            f"token ids that its processor makes of a conversation: {'the same' if self.same_prompt else prompt}",
            f"pixels that its processor makes of a picture: largest difference {self.pixels:.1e}",
        ]


def faults(model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor) -> list[str]:
    """Why a model has no counterpart among Llavas; empty where it has one."""
    config, found = model.config, []
    if list(config.towers) != [IMAGE_MODALITY]:
        return [f"it reads {', '.join(config.towers) or 'text only'}; Llava reads pictures and text"]
    tower: Any = model.towers[IMAGE_MODALITY]
    if not is_clip_or_siglip(tower):
        found.append(f"its tower is {config.component('tower', IMAGE_MODALITY).name!r}; Llava's is CLIP or SigLIP")
    elif tower.num_dropped > 1 or tower.side != tower.vision_config.image_size:
        found.append("its tower's features are selected in a way that Llava does not know")
    if not is_two_layers_with_gelu(model.connectors[IMAGE_MODALITY]):
        found.append(f"its connector is {config.component('connector', IMAGE_MODALITY).name!r}; Llava's is mlp2x_gelu")
    if aspect(model) not in ("square", "pad"):
        found.append(f"pictures are read with aspect {aspect(model)!r}; Llava takes them whole")
    head = model.get_output_embeddings()
    if getattr(head, "bias", None) is not None:
        found.append("its LLM's head has a bias; Llava's has none")
    if not any(name.startswith("model.") for name in model.language_model.state_dict()):
        found.append("its LLM's body is not called 'model', as Llava needs it")
    return found + marker_fault(processor) + quantized_fault(config)


def notes(model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor) -> list[str]:
    """What a user should know of a model that has a counterpart."""
    template = [] if processor.template.jinja() else ["its chat template has no form in jinja and is not written"]
    return template + decoder_notes(model)


def export(
    model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor, target: str | os.PathLike[str]
) -> Parity:
    """Write the directory, load it again, and compare it with the model; nothing is written where they differ.

    Raises:
        KitError: there is no counterpart, the logits differ, or the directory cannot be written.
    """
    if why := faults(model, processor):
        raise KitError(f"cannot be a Llava: {'; '.join(why)}")
    with atomic_directory(target) as stage:
        written, made = _convert(model, processor)
        written.save_pretrained(stage)
        _name_as_published(stage)
        made.save_pretrained(stage)
        read: Any = LlavaForConditionalGeneration.from_pretrained(
            stage, trust_remote_code=False, dtype=model.dtype, output_loading_info=True
        )
        loaded, info = read
        if info["missing_keys"] or info["unexpected_keys"]:
            raise KitError(f"cannot be a Llava: weights do not fit: {sorted(info['missing_keys'])[:3]}")
        parity = compare(
            model, processor, loaded.eval(), LlavaProcessor.from_pretrained(stage, trust_remote_code=False)
        )
        if not parity.close:
            raise KitError(f"cannot be a Llava: its logits would differ by {parity.difference:.1e} from the model's")
    return parity


def _convert(
    model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor
) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    tokenizer = copy.deepcopy(processor.tokenizer)  # gets a token more
    table = model.get_input_embeddings().weight
    assert isinstance(table, Tensor)
    tower: Any = model.towers[IMAGE_MODALITY]
    strategy = "default" if tower.num_dropped else "full"
    chat_template = jinja_of(processor.template, {IMAGE_MODALITY: PLACEHOLDER}, in_strings=True)
    tokenizer.add_tokens([PLACEHOLDER], special_tokens=True)
    image_id = tokenizer.convert_tokens_to_ids(PLACEHOLDER)
    text = without_places(model.config.text_config.to_dict())
    text["vocab_size"] = max(len(table), image_id + 1)
    # One layer more than is read, and that one does nothing: the last hidden state of some classes is normed.
    vision = {**tower.vision_config.to_dict(), "num_hidden_layers": tower.vision_config.num_hidden_layers + 1}
    if vision["model_type"] == "siglip_vision_model":
        vision["vision_use_head"] = False
    settings: dict[str, Any] = {
        "text_config": text,
        "vision_config": vision,
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": strategy,
        "image_token_id": image_id,
        "image_seq_length": processor.preprocessors[IMAGE_MODALITY].fixed_features,
        "tie_word_embeddings": bool(model.config.tie_word_embeddings),
        "dtype": model.dtype,
    }
    written: Any = LlavaForConditionalGeneration(LlavaConfig(**settings))
    written.to(model.dtype).eval()
    written.load_state_dict(_state(model, written), strict=True)
    written.generation_config = copy.deepcopy(model.generation_config)
    written.generation_config.suppress_tokens = [image_id]  # a row of its own that nobody trained
    preprocessor = processor.preprocessors[IMAGE_MODALITY]
    assert isinstance(preprocessor, TransformersImagePreprocessor)
    made = LlavaProcessor(
        image_processor=_image_processor(preprocessor, pads=aspect(model) == "pad"),
        tokenizer=tokenizer,
        patch_size=tower.vision_config.patch_size,
        vision_feature_select_strategy=strategy,
        num_additional_image_tokens=tower.num_prefix,
        chat_template=chat_template,
    )
    if strategy == "default" and not tower.num_prefix:
        made.num_additional_image_tokens = 0
    return written, made


def _image_processor(preprocessor: TransformersImagePreprocessor, *, pads: bool) -> BaseImageProcessor:
    """The tower's, or Llava's own with the same settings, which pads to a square first."""
    if not pads:
        return preprocessor._processor
    # a class that does not crop has no such setting
    return LlavaImageProcessorPil(**{"do_center_crop": False, **preprocessor._processor.to_dict(), "do_pad": True})


def _state(model: TinyLlavaForConditionalGeneration, written: nn.Module) -> dict[str, Tensor]:
    """Our weights under Llava's names; what our model does not have stays as a layer that does nothing."""
    state = dummy_weights(written.state_dict())
    for name, value in model.state_dict().items():
        state[_llava_name(name)] = _grown(value, state[_llava_name(name)])
    return state


def _llava_name(name: str) -> str:
    part, _, rest = name.partition(".")
    if part == "towers":
        return f"model.vision_tower.{rest.removeprefix(f'{IMAGE_MODALITY}.')}"
    if part == "connectors":
        layer, _, kind = rest.removeprefix(f"{IMAGE_MODALITY}.layers.").partition(".")
        return f"model.multi_modal_projector.{'linear_1' if layer == '0' else 'linear_2'}.{kind}"
    return f"model.language_model.{rest.removeprefix('model.')}" if rest.startswith("model.") else rest


def _name_as_published(folder: Path) -> None:
    """Give the tower's weights the names that published Llavas have, which other programs read.

    transformers 5 reads these, and writes its own: without ``vision_model.`` where the tower is CLIP.
    """
    ours, published = "vision_tower.", "vision_tower.vision_model."

    def named(name: str) -> str:
        return name if published in name else name.replace(ours, published, 1)

    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata()
        save_file({named(name): tensor for name, tensor in load_file(file).items()}, file, metadata)
    for file in folder.glob("*.safetensors.index.json"):
        index = read_mapping(file)
        index["weight_map"] = {named(name): shard for name, shard in index["weight_map"].items()}
        write_json(file, index, indent=2)


def _grown(value: Tensor, place: Tensor) -> Tensor:
    """An embedding with the row of the placeholder behind its own; everything else unchanged."""
    if value.shape == place.shape:
        return value
    place[: len(value)] = value
    return place


@torch.no_grad()
def compare(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    written: LlavaForConditionalGeneration,
    made: LlavaProcessor,
) -> Parity:
    """Both models on one picture of noise and one question."""
    side = 64
    noise = torch.randint(0, 256, (side, side + 9, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    picture = Image.fromarray(noise.numpy())
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": QUESTION}]}
    ]
    batch = processor(messages)
    ids = batch["input_ids"].clone()  # (1, T)
    ids.view(-1)[batch["plan"].item_positions[IMAGE_MODALITY]] = written.config.image_token_id
    pixels = batch["items"][IMAGE_MODALITY]["pixel_values"].to(model.dtype)
    ours = model(**batch).logits  # (1, T, V)
    theirs = written(input_ids=ids, pixel_values=pixels, attention_mask=batch["attention_mask"]).logits
    difference = largest(ours, theirs[..., : ours.shape[-1]])
    how: dict[str, Any] = {"do_sample": False, "max_new_tokens": NUM_TOKENS}
    mine = model.generate(**batch, **how)[:, ids.shape[1] :]
    other = written.generate(  # type: ignore[misc]
        input_ids=ids, pixel_values=pixels, attention_mask=batch["attention_mask"], **how
    )
    return Parity(
        difference=difference,
        close=is_close(difference, ours),
        same_ids=torch.equal(mine, other[:, ids.shape[1] :]),
        same_prompt=_same_prompt(made, messages, ids),
        pixels=largest(made.image_processor(picture, return_tensors="pt")["pixel_values"], pixels.float()),
        dtype=model.dtype,
    )


def _same_prompt(made: LlavaProcessor, messages: list[dict[str, Any]], ids: Tensor) -> bool:
    if made.chat_template is None:
        return False
    try:
        text = made.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    except (TemplateError, TypeError):
        return False
    picture = messages[0]["content"][0]["image"]
    found = made(text=text, images=picture, return_tensors="pt", add_special_tokens=False)["input_ids"]
    begun = made(text=text, images=picture, return_tensors="pt")["input_ids"]
    return torch.equal(found, ids) or torch.equal(begun, ids)


class LlavaTarget(ExportTarget):
    """transformers' Llava; the target `hf-llava`."""

    def faults(self, model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor) -> list[str]:
        return faults(model, processor)

    def notes(self, model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor) -> list[str]:
        return notes(model, processor)

    def export(
        self,
        model: TinyLlavaForConditionalGeneration,
        processor: TinyLlavaProcessor,
        output: str | os.PathLike[str],
    ) -> list[str]:
        return export(model, processor, output).lines()
