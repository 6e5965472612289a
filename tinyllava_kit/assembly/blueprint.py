"""From an assembly to a blueprint: configurations are read and parts checked to fit, before any weight is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedConfig

from ..core.decoders import Decoder, TokenDecoder, check_kind
from ..core.ids import allot, sizes_of
from ..core.interfaces import LanguageModel, Preprocessor, Tower
from ..errors import KitError
from ..files.failures import reading
from ..model.building import build_connector, build_decoder
from ..model.configuration import Component, TinyLlavaConfig, as_json
from ..model.vocabulary.grammar import grammar_of
from ..plugin.catalog import Catalog
from ..plugin.discovery import discover
from ..plugin.specs import load
from ..pretrained.sizes import bounded
from .assembly import Assembly, Resolved, ResolvedPart
from .licence import licence_of
from .saved_model import SavedModel, is_saved_model


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """A checked assembly: everything but the weights."""

    resolved: Resolved
    config: TinyLlavaConfig
    preprocessors: Mapping[str, Preprocessor]
    catalog: Catalog


def read_blueprint(assembly: Assembly, catalog: Catalog | None = None) -> Blueprint:
    """Read the parts' configurations and check that they join; no weights are read.

    Raises:
        KitError: an unknown part, a checkpoint that is not there or of another kind, a joint that cannot work.
    """
    catalog = catalog or discover()
    resolved = assembly.resolve(catalog)
    text_config = _read_text_config(resolved.llm)
    towers, connectors, preprocessors = {}, {}, {}
    for modality, part in resolved.towers.items():
        tower_class: type[Tower] = load(part.offer.spec)
        tower_config, preprocessors[modality] = _read_tower(part, modality, tower_class)
        towers[modality] = _component(part, config=tower_config, licence=licence_of(part, "tower", modality))
        where = f"towers.{modality}: no {part.part.name!r} can be made of {part.checkpoint!r}"
        with torch.device("meta"), reading(where), bounded(where):
            tower = tower_class(tower_config)
        joint = {"in_dim": tower.embed_dim, "out_dim": text_config.hidden_size}
        if tower.grid is not None:
            joint["grid"] = list(tower.grid)
        connector = resolved.connectors[modality]
        options = _connector_options(connector, modality, joint)
        licence = licence_of(connector, "connector", modality)
        connectors[modality] = _component(connector, options=options, config=joint, licence=licence)
    config = TinyLlavaConfig(
        text_config=text_config,
        llm=_component(resolved.llm, licence=licence_of(resolved.llm, "llm")),
        template=_component(resolved.template, options=resolved.template.options),
        towers=towers,
        connectors=connectors,
        modalities={m: _component(part, options=part.options) for m, part in resolved.modalities.items()},
        decoders={m: _read_decoder(part, m) for m, part in resolved.decoders.items()},
    )
    _allot_ids(config, resolved, catalog)
    for modality in config.towers:
        with torch.device("meta"):
            try:
                build_connector(config, modality, catalog)
            except KitError as error:
                raise KitError(f"connectors.{modality}: {error}") from error
    return Blueprint(resolved=resolved, config=config, preprocessors=preprocessors, catalog=catalog)


def _read_text_config(part: ResolvedPart) -> PreTrainedConfig:
    if is_saved_model(part.checkpoint):
        saved_model = SavedModel(part.checkpoint)
        saved_model.component(part, "llm", "")
        return saved_model.config.text_config
    llm: type[LanguageModel] = load(part.offer.spec)
    return llm.read_config(part.checkpoint, **part.options)


def _read_tower(part: ResolvedPart, modality: str, tower: type[Tower]) -> tuple[dict[str, Any], Preprocessor]:
    if is_saved_model(part.checkpoint):
        saved_model = SavedModel(part.checkpoint)
        saved = saved_model.component(part, "tower", modality)
        return dict(saved.config), saved_model.preprocessor(modality, tower.preprocessor_class)
    config = tower.read_config(part.checkpoint, **part.options)
    return config, tower.read_preprocessor(part.checkpoint, config)


def _connector_options(part: ResolvedPart, modality: str, joint: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those given, or those of the saved connector that is taken.

    Raises:
        KitError: the checkpoint is no model of this kit, or its connector joins other widths.
    """
    if not part.checkpoint:
        return part.options
    if not is_saved_model(part.checkpoint):
        raise KitError(
            f"connectors.{modality}: {part.checkpoint!r} is not a model directory of this kit; a connector is new, or "
            "taken from such a model"
        )
    saved = SavedModel(part.checkpoint).component(part, "connector", modality)
    if dict(saved.config) != dict(joint):
        raise KitError(
            f"connectors.{modality}: the connector in {part.checkpoint!r} joins {dict(saved.config)}, this assembly "
            f"wants {dict(joint)}; train a new one"
        )
    return saved.options


def _read_decoder(part: ResolvedPart, modality: str) -> dict[str, object]:
    """The component of a decoder, from its checkpoint's configuration.

    Raises:
        KitError: not found, of another kind, or its class is not what its spec says.
    """
    decoder: type[Decoder] = load(part.offer.spec)
    check_kind(decoder, part.part.name, part.offer.spec.reads)  # type: ignore[attr-defined]
    if is_saved_model(part.checkpoint):
        config = dict(SavedModel(part.checkpoint).component(part, "decoder", modality).config)
    else:
        config = decoder.read_config(part.checkpoint, **part.options)
    return _component(part, config=config, licence=licence_of(part, "decoder", modality))


def _allot_ids(config: TinyLlavaConfig, resolved: Resolved, catalog: Catalog) -> None:
    """Give each decoder its ids, behind those of the tokenizer and behind the LLM's rows.

    Raises:
        KitError: a decoder's ids have no order that can be written.
    """
    with torch.device("meta"):
        decoders = {m: build_decoder(config, m, catalog) for m in config.decoders}
    writing = {m: decoder for m, decoder in decoders.items() if isinstance(decoder, TokenDecoder)}
    if writing:
        llm: type[LanguageModel] = load(resolved.llm.offer.spec)
        tokens = len(llm.read_tokenizer(resolved.llm.checkpoint))
        ranges = {m: dict(decoder.ranges) for m, decoder in writing.items()}
        config.token_ranges = allot(ranges, max(tokens, config.text_config.vocab_size))
        config.parallel_streams = sizes_of({m: decoder.parallel for m, decoder in writing.items()})
    grammar_of(config, decoders)


def _component(part: ResolvedPart, **extra: Any) -> dict[str, object]:
    component = Component(
        name=part.part.name,
        distribution=part.offer.distribution,
        version=part.offer.version,
        checkpoint=part.checkpoint,
        **extra,
    )
    return as_json(component)
