"""From a blueprint to a model: the parts are built, and their weights are read."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from ..core.decoders import Decoder, TokenDecoder
from ..core.interfaces import LanguageModel
from ..model.building import build_connector, build_decoder, build_tower
from ..model.configuration import TinyLlavaConfig
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..plugin.catalog import Catalog
from ..plugin.specs import load
from ..pretrained.generation_settings import GENERATION_FILE, taken
from ..pretrained.sizes import bounded
from ..processing.processor import TinyLlavaProcessor
from .assembly import Assembly, ResolvedPart
from .blueprint import Blueprint, read_blueprint
from .saved_model import SavedModel, is_saved_model


def assemble(
    assembly: Assembly | Blueprint, *, dtype: torch.dtype = torch.float32, catalog: Catalog | None = None
) -> tuple[TinyLlavaForConditionalGeneration, TinyLlavaProcessor]:
    """The model, its towers and LLM with their weights, its connectors new; and its processor.

    A part whose checkpoint is a model directory of this kit is taken from that model, connectors too.

    Raises:
        KitError: see `read_blueprint`; or weights that do not fit.
    """
    blueprint = assembly if isinstance(assembly, Blueprint) else read_blueprint(assembly, catalog)
    config, resolved = blueprint.config, blueprint.resolved
    llm: type[LanguageModel] = load(resolved.llm.offer.spec)
    language_model = _load_language_model(resolved.llm, config, dtype)
    towers, connectors = {}, {}
    for modality, part in resolved.towers.items():
        towers[modality] = build_tower(config, modality, blueprint.catalog).to(dtype)
        if is_saved_model(part.checkpoint):
            SavedModel(part.checkpoint).fill(towers[modality], f"towers.{modality}.")
        else:
            towers[modality].load_weights(part.checkpoint)
        connectors[modality] = build_connector(config, modality, blueprint.catalog).to(dtype)
        if source := resolved.connectors[modality].checkpoint:
            SavedModel(source).fill(connectors[modality], f"connectors.{modality}.")
    decoders = {m: _load_decoder(part, m, blueprint, language_model) for m, part in resolved.decoders.items()}
    config.dtype = dtype
    model = TinyLlavaForConditionalGeneration(
        config,
        language_model=language_model,
        towers=towers,
        connectors=connectors,
        decoders=decoders,
        catalog=blueprint.catalog,
    )
    if language_model.can_generate():
        own = language_model.generation_config.to_dict()
        model.generation_config = taken(own, f"{resolved.llm.checkpoint!r}: {GENERATION_FILE}")
    tokenizer = llm.read_tokenizer(resolved.llm.checkpoint)
    if is_saved_model(resolved.llm.checkpoint):
        SavedModel(resolved.llm.checkpoint).restore_template(tokenizer)
    processor = TinyLlavaProcessor(tokenizer, config, blueprint.preprocessors, blueprint.catalog)
    return model.eval(), processor


def _load_language_model(part: ResolvedPart, config: TinyLlavaConfig, dtype: torch.dtype) -> PreTrainedModel:
    llm: type[LanguageModel] = load(part.offer.spec)
    if not is_saved_model(part.checkpoint):
        return llm.load(part.checkpoint, config.text_config, dtype)
    with bounded(f"{part.checkpoint}: text_config"):
        language_model = llm.build(config.text_config).to(dtype)
    SavedModel(part.checkpoint).fill(language_model, "language_model.")
    return language_model


def _load_decoder(part: ResolvedPart, modality: str, blueprint: Blueprint, language_model: PreTrainedModel) -> Decoder:
    """A decoder with its weights; its rows are new, unless a saved model gives them."""
    decoder = build_decoder(blueprint.config, modality, blueprint.catalog)
    if is_saved_model(part.checkpoint):
        SavedModel(part.checkpoint).fill(decoder, f"decoders.{modality}.")
        return decoder
    decoder.load_weights(part.checkpoint)
    if isinstance(decoder, TokenDecoder):
        tables = (language_model.get_input_embeddings(), language_model.get_output_embeddings())
        decoder.rows.spread_like(*(table.weight for table in tables))
    return decoder
