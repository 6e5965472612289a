"""The contract of what a plugin offers: the plugin's own, or that of the kind."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from ..core.interfaces import Modality
from ..plugin.catalog import Catalog, Offer
from ..plugin.isolation import PluginFault, isolated
from ..plugin.specs import DecoderSpec, Spec, TowerSpec, import_target, load
from .contract import CheckFailure, Contract

# kind, and for a decoder what it reads -> the module and class of its contract.
CONTRACTS = {
    "tower": ".towers:TowerContract",
    "connector": ".connectors:ConnectorContract",
    "modality": ".modalities:ModalityContract",
    "llm": ".language_models:LanguageModelContract",
    "template": ".chat_templates:ChatTemplateContract",
    "decoder.tokens": ".token_decoders:TokenDecoderContract",
    "decoder.hidden": ".hidden_decoders:HiddenDecoderContract",
    "decoder.text": ".text_decoders:TextDecoderContract",
    "command": ".commands:CommandContract",
    "scorer": ".scorers:ScorerContract",
    "benchmark": ".benchmarks:BenchmarkContract",
    "checkpoint": ".layouts:CheckpointReaderContract",
    "export": ".exports:ExportContract",
    "objective": ".objectives:ObjectiveContract",
    "reader": ".readers:ReaderContract",
}


def contract_of(offer: Offer, catalog: Catalog) -> type[Contract]:
    """A contract of one component: a class whose instances run its checks.

    Raises:
        CheckFailure: the class that the spec's `contract` names cannot be imported, or is of another kind.
    """
    return _contract_of(offer, catalog)


@cache
def _contract_of(offer: Offer, catalog: Catalog) -> type[Contract]:
    spec = offer.spec
    base = _class_of(CONTRACTS[key_of(spec)])
    if spec.contract:
        base = _own(spec, base)
    component = _component(spec)
    known = {"kind": spec.kind, "spec": spec, "catalog": catalog, "component": component, "__doc__": base.__doc__}
    return type(f"{spec.kind}:{spec.name}", (base,), known)


def key_of(spec: Spec) -> str:
    """Which of `CONTRACTS` is that of a spec's kind."""
    return f"decoder.{getattr(spec, 'reads', '')}" if spec.kind == "decoder" else spec.kind


def modality_of(spec: TowerSpec | DecoderSpec, catalog: Catalog) -> Modality:
    """The modality that a tower reads or a decoder writes, with the defaults of its options."""
    found = catalog.find("modality", spec.modality).spec
    modality: Modality = load(found)(**{option.name: option.default for option in found.options})
    return modality


def _own(spec: Spec, base: type[Contract]) -> type[Contract]:
    where = f"{spec.kind} {spec.name!r}: contract={spec.contract!r}"
    try:
        own = isolated(lambda: import_target(spec.contract))
    except PluginFault as fault:
        change = "the contract of the spec: 'package.module:Class'"
        raise CheckFailure(f"{where} cannot be imported: {fault}\nchange: {change}") from fault
    if not (isinstance(own, type) and issubclass(own, base)):
        raise CheckFailure(f"{where} is no {base.__name__}\nchange: let the class extend {base.__name__}")
    return own


def _component(spec: Spec) -> Any:
    """What the spec's target names; None where it cannot be imported, which its check says."""
    try:
        return isolated(lambda: import_target(spec.target))
    except PluginFault:
        return None


def _class_of(target: str) -> type[Contract]:
    module, _, name = target.partition(":")
    found: type[Contract] = getattr(import_module(module, __package__), name)
    return found
