"""From a blueprint to a model: the parts are built, and their weights are read."""

from __future__ import annotations

import torch

from ..model.builders import build_connector, build_decoder, build_tower
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..plugin.catalog import Catalog
from ..pretrained.generation_settings import GENERATION_FILE, taken
from ..processing.processor import TinyLlavaProcessor
from .assembly import Assembly
from .blueprint import Blueprint, read_blueprint


def assemble(
    assembly: Assembly | Blueprint, *, dtype: torch.dtype = torch.float32, catalog: Catalog | None = None
) -> tuple[TinyLlavaForConditionalGeneration, TinyLlavaProcessor]:
    """The model, its towers and LLM with their weights, its connectors new; and its processor.

    A part whose checkpoint is a model directory of this kit is taken from that model, connectors too.

    Raises:
        KitError: see `read_blueprint`; or weights that do not fit.
    """
    blueprint = assembly if isinstance(assembly, Blueprint) else read_blueprint(assembly, catalog)
    config, resolved, sources = blueprint.config, blueprint.resolved, blueprint.sources
    llm = sources.of(resolved.llm)
    language_model = llm.load_language_model(resolved.llm, config, dtype)
    towers, connectors, decoders = {}, {}, {}
    for modality, part in resolved.towers.items():
        towers[modality] = build_tower(config, modality, blueprint.catalog).to(dtype)
        sources.of(part).fill_tower(towers[modality], modality)
        connectors[modality] = build_connector(config, modality, blueprint.catalog).to(dtype)
        sources.of(resolved.connectors[modality]).fill_connector(connectors[modality], modality)
    for modality, part in resolved.decoders.items():
        decoders[modality] = build_decoder(config, modality, blueprint.catalog)
        sources.of(part).fill_decoder(decoders[modality], modality, language_model)
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
    tokenizer = llm.read_tokenizer(resolved.llm)
    processor = TinyLlavaProcessor(tokenizer, config, blueprint.preprocessors, blueprint.catalog)
    model.eval()
    return model, processor
