"""From an assembly to a model: read the configurations, check that the parts fit, then read the weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from .assembly import Assembly, Resolved, ResolvedPart
from .catalog import Catalog
from .configuration import Component, TinyLlavaConfig, as_json
from .decoders import Decoder, TokenDecoder, check_kind
from .discovery import discover
from .donor import Donor, is_donor
from .errors import KitError
from .generation_settings import GENERATION_FILE, taken
from .grammar import allot, grammar_of, sizes_of
from .interfaces import LanguageModel, Preprocessor, Tower
from .modeling import TinyLlavaForConditionalGeneration, build_connector, build_decoder, build_tower
from .processing import TinyLlavaProcessor
from .reading import reading
from .sizes import bounded
from .specs import load


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """A checked assembly: everything but the weights."""

    resolved: Resolved
    config: TinyLlavaConfig
    preprocessors: Mapping[str, Preprocessor]
    catalog: Catalog


def draw(assembly: Assembly, catalog: Catalog | None = None) -> Blueprint:
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
        towers[modality] = _component(part, config=tower_config, licence=_licence(part, "tower", modality))
        where = f"towers.{modality}: no {part.part.name!r} can be made of {part.checkpoint!r}"
        with torch.device("meta"), reading(where), bounded(where):
            tower = tower_class(tower_config)
        joint = {"in_dim": tower.embed_dim, "out_dim": text_config.hidden_size}
        if tower.grid is not None:
            joint["grid"] = list(tower.grid)
        connector = resolved.connectors[modality]
        options = _connector_options(connector, modality, joint)
        licence = _licence(connector, "connector", modality)
        connectors[modality] = _component(connector, options=options, config=joint, licence=licence)
    config = TinyLlavaConfig(
        text_config=text_config,
        llm=_component(resolved.llm, licence=_licence(resolved.llm, "llm")),
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


def assemble(
    assembly: Assembly | Blueprint, *, dtype: torch.dtype = torch.float32, catalog: Catalog | None = None
) -> tuple[TinyLlavaForConditionalGeneration, TinyLlavaProcessor]:
    """The model, its towers and LLM with their weights, its connectors new; and its processor.

    A part whose checkpoint is a model directory of this kit is taken from that model, connectors too.

    Raises:
        KitError: see `draw`; or weights that do not fit.
    """
    drawn = assembly if isinstance(assembly, Blueprint) else draw(assembly, catalog)
    config, resolved = drawn.config, drawn.resolved
    llm: type[LanguageModel] = load(resolved.llm.offer.spec)
    language_model = _load_language_model(resolved.llm, config, dtype)
    towers, connectors = {}, {}
    for modality, part in resolved.towers.items():
        towers[modality] = build_tower(config, modality, drawn.catalog).to(dtype)
        if is_donor(part.checkpoint):
            Donor(part.checkpoint).fill(towers[modality], f"towers.{modality}.")
        else:
            towers[modality].load_weights(part.checkpoint)
        connectors[modality] = build_connector(config, modality, drawn.catalog).to(dtype)
        if source := resolved.connectors[modality].checkpoint:
            Donor(source).fill(connectors[modality], f"connectors.{modality}.")
    decoders = {m: _load_decoder(part, m, drawn, language_model) for m, part in resolved.decoders.items()}
    config.dtype = dtype
    model = TinyLlavaForConditionalGeneration(
        config,
        language_model=language_model,
        towers=towers,
        connectors=connectors,
        decoders=decoders,
        catalog=drawn.catalog,
    )
    if language_model.can_generate():
        own = language_model.generation_config.to_dict()
        model.generation_config = taken(own, f"{resolved.llm.checkpoint!r}: {GENERATION_FILE}")
    tokenizer = llm.read_tokenizer(resolved.llm.checkpoint)
    if is_donor(resolved.llm.checkpoint):
        Donor(resolved.llm.checkpoint).restore_template(tokenizer)
    processor = TinyLlavaProcessor(tokenizer, config, drawn.preprocessors, drawn.catalog)
    return model.eval(), processor


def _read_text_config(part: ResolvedPart) -> PreTrainedConfig:
    if is_donor(part.checkpoint):
        donor = Donor(part.checkpoint)
        donor.component(part, "llm", "")
        return donor.config.text_config
    llm: type[LanguageModel] = load(part.offer.spec)
    return llm.read_config(part.checkpoint, **part.options)


def _load_language_model(part: ResolvedPart, config: TinyLlavaConfig, dtype: torch.dtype) -> PreTrainedModel:
    llm: type[LanguageModel] = load(part.offer.spec)
    if not is_donor(part.checkpoint):
        return llm.load(part.checkpoint, config.text_config, dtype)
    with bounded(f"{part.checkpoint}: text_config"):
        language_model = llm.build(config.text_config).to(dtype)
    Donor(part.checkpoint).fill(language_model, "language_model.")
    return language_model


def _read_tower(part: ResolvedPart, modality: str, tower: type[Tower]) -> tuple[dict[str, Any], Preprocessor]:
    if is_donor(part.checkpoint):
        donor = Donor(part.checkpoint)
        saved = donor.component(part, "tower", modality)
        return dict(saved.config), donor.preprocessor(modality, tower.preprocessor_class)
    config = tower.read_config(part.checkpoint, **part.options)
    return config, tower.read_preprocessor(part.checkpoint, config)


def _connector_options(part: ResolvedPart, modality: str, joint: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those given, or those of the saved connector that is taken.

    Raises:
        KitError: the checkpoint is no model of this kit, or its connector joins other widths.
    """
    if not part.checkpoint:
        return part.options
    if not is_donor(part.checkpoint):
        raise KitError(
            f"connectors.{modality}: {part.checkpoint!r} is not a model directory of this kit; a connector is new, or "
            "taken from such a model"
        )
    saved = Donor(part.checkpoint).component(part, "connector", modality)
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
    if is_donor(part.checkpoint):
        config = dict(Donor(part.checkpoint).component(part, "decoder", modality).config)
    else:
        config = decoder.read_config(part.checkpoint, **part.options)
    return _component(part, config=config, licence=_licence(part, "decoder", modality))


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
        config.token_sides = sizes_of({m: decoder.sides for m, decoder in writing.items()})
    grammar_of(config, decoders)


def _load_decoder(part: ResolvedPart, modality: str, drawn: Blueprint, language_model: PreTrainedModel) -> Decoder:
    """A decoder with its weights; its rows are new, unless a saved model gives them."""
    decoder = build_decoder(drawn.config, modality, drawn.catalog)
    if is_donor(part.checkpoint):
        Donor(part.checkpoint).fill(decoder, f"decoders.{modality}.")
        return decoder
    decoder.load_weights(part.checkpoint)
    if isinstance(decoder, TokenDecoder):
        tables = (language_model.get_input_embeddings(), language_model.get_output_embeddings())
        decoder.rows.spread_like(*(table.weight for table in tables))
    return decoder


@dataclass(frozen=True, kw_only=True)
class PartReport:
    """What one part of an assembly costs. `tokens` per item: None where it varies or does not apply."""

    part: str
    component: str
    distribution: str
    checkpoint: str
    parameters: int
    tokens: int | None = None
    licence: str = ""


def report(drawn: Blueprint) -> list[PartReport]:
    """Each part's parameters and tokens per item, from configurations alone."""
    config, resolved = drawn.config, drawn.resolved
    with torch.device("meta"), bounded("the assembly"):
        llm = load(resolved.llm.offer.spec).build(config.text_config)
        rows = [_row("llm", resolved.llm, config.component("llm"), llm)]
        for modality, part in resolved.towers.items():
            tower = build_tower(config, modality, drawn.catalog)
            connector = build_connector(config, modality, drawn.catalog)
            fixed = drawn.preprocessors[modality].fixed_features
            rows.append(_row(f"tower {modality}", part, config.component("tower", modality), tower, fixed))
            tokens = None if fixed is None else connector.num_tokens(fixed)
            joint, saved = resolved.connectors[modality], config.component("connector", modality)
            rows.append(_row(f"connector {modality}", joint, saved, connector, tokens))
        for modality, part in resolved.decoders.items():
            decoder = build_decoder(config, modality, drawn.catalog)
            rows.append(_row(f"decoder {modality}", part, config.component("decoder", modality), decoder))
    return rows


def cache_bytes(config: TinyLlavaConfig, positions: int, dtype: torch.dtype) -> int:
    """Bytes of the key-value cache for one sample of `positions` tokens."""
    text = config.text_config
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return 2 * text.num_hidden_layers * heads * head_dim * positions * dtype.itemsize


def _row(
    name: str, part: ResolvedPart, component: Component, module: nn.Module, tokens: int | None = None
) -> PartReport:
    return PartReport(
        part=name,
        component=part.part.name,
        distribution=f"{part.offer.distribution} {part.offer.version}",
        checkpoint=part.checkpoint,
        parameters=sum(p.numel() for p in module.parameters()),
        tokens=tokens,
        licence=component.licence,
    )


def _licence(part: ResolvedPart, kind: str, modality: str = "") -> str:
    """Under which a part's weights come: what a saved model notes of it, or else the checkpoint's model card."""
    if not part.checkpoint:
        return ""
    noted = Donor(part.checkpoint).config.component(kind, modality).licence if is_donor(part.checkpoint) else ""
    return noted or read_licence(part.checkpoint)


def read_licence(checkpoint: str) -> str:
    """The ``license:`` line of a local model card, or nothing; of a file, that of its folder."""
    from pathlib import Path

    path = Path(checkpoint)
    card = (path.parent if os.path.isfile(path) else path) / "README.md"
    if not os.path.isfile(card):
        return ""
    head = card.read_text(encoding="utf-8", errors="replace").split("---")
    lines = head[1].splitlines() if len(head) > 2 else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("license:")), "")


def _component(part: ResolvedPart, **extra: Any) -> dict[str, object]:
    component = Component(
        name=part.part.name,
        distribution=part.offer.distribution,
        version=part.offer.version,
        checkpoint=part.checkpoint,
        **extra,
    )
    return as_json(component)
