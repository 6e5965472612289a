"""From an assembly to a blueprint: configurations are read and parts checked to fit, before any weight is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..core.decoders import Decoder, TokenDecoder, check_kind
from ..core.ids import allot, sizes_of
from ..core.interfaces import Preprocessor, Tower
from ..errors import KitError
from ..files.failures import reading
from ..model.builders import build_connector, build_decoder
from ..model.configuration import Component, TinyLlavaConfig, as_json
from ..model.vocabulary.grammar import grammar_of
from ..plugin.catalog import Catalog
from ..plugin.discovery import installed_catalog
from ..plugin.specs import load
from ..pretrained.sizes import bounded
from .assembly import Assembly, Resolved, ResolvedPart
from .part_sources import PartSource, Sources


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """A checked assembly: everything but the weights."""

    resolved: Resolved
    config: TinyLlavaConfig
    preprocessors: Mapping[str, Preprocessor]
    catalog: Catalog
    sources: Sources


def read_blueprint(assembly: Assembly, catalog: Catalog | None = None) -> Blueprint:
    """Read the parts' configurations and check that they join; no weights are read.

    Raises:
        KitError: an unknown part, a checkpoint that is not there or of another kind, a joint that cannot work.
    """
    catalog = catalog or installed_catalog()
    resolved = assembly.resolve(catalog)
    sources = Sources(catalog)
    llm = sources.of(resolved.llm)
    text_config = llm.read_text_config(resolved.llm)
    towers, connectors, preprocessors = {}, {}, {}
    for modality, part in resolved.towers.items():
        tower_class: type[Tower] = load(part.offer.spec)
        source = sources.of(part)
        tower_config, preprocessors[modality] = source.read_tower(part, modality)
        towers[modality] = _component(part, config=tower_config, licence=source.licence("tower", modality))
        where = f"towers.{modality}: no {part.part.name!r} can be made of {part.checkpoint!r}"
        with torch.device("meta"), reading(where), bounded(where):
            tower = tower_class(tower_config)
        joint = {"in_dim": tower.embed_dim, "out_dim": text_config.hidden_size}
        if tower.grid is not None:
            joint["grid"] = list(tower.grid)
        connector = resolved.connectors[modality]
        source = sources.of(connector)
        options = source.connector_options(connector, modality, joint)
        licence = source.licence("connector", modality)
        connectors[modality] = _component(connector, options=options, config=joint, licence=licence)
    config = TinyLlavaConfig(
        text_config=text_config,
        llm=_component(resolved.llm, licence=llm.licence("llm", "")),
        template=_component(resolved.template, options=resolved.template.options),
        towers=towers,
        connectors=connectors,
        modalities={m: _component(part, options=part.options) for m, part in resolved.modalities.items()},
        decoders={m: _read_decoder(part, m, sources.of(part)) for m, part in resolved.decoders.items()},
    )
    _allot_ids(config, resolved, llm, catalog)
    for modality in config.towers:
        with torch.device("meta"):
            try:
                build_connector(config, modality, catalog)
            except KitError as error:
                raise KitError(f"connectors.{modality}: {error}") from error
    return Blueprint(resolved=resolved, config=config, preprocessors=preprocessors, catalog=catalog, sources=sources)


def _read_decoder(part: ResolvedPart, modality: str, source: PartSource) -> dict[str, object]:
    """The component of a decoder, from its checkpoint's configuration.

    Raises:
        KitError: not found, of another kind, or its class is not what its spec says.
    """
    decoder: type[Decoder] = load(part.offer.spec)
    check_kind(decoder, part.part.name, part.offer.spec.reads)  # type: ignore[attr-defined]
    config = source.read_decoder(part, modality)
    return _component(part, config=config, licence=source.licence("decoder", modality))


def _allot_ids(config: TinyLlavaConfig, resolved: Resolved, llm: PartSource, catalog: Catalog) -> None:
    """Give each decoder its ids, behind those of the tokenizer and behind the LLM's rows.

    Raises:
        KitError: a decoder's ids have no order that can be written.
    """
    with torch.device("meta"):
        decoders = {m: build_decoder(config, m, catalog) for m in config.decoders}
    writing = {m: decoder for m, decoder in decoders.items() if isinstance(decoder, TokenDecoder)}
    if writing:
        tokens = len(llm.read_tokenizer(resolved.llm))
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
