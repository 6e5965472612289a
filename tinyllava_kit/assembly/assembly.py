"""An assembly: which components a model is made of, from flags or a YAML file. Light."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import KitError, near, shown
from ..files.yaml_files import read_yaml
from ..plugin.catalog import Catalog, Offer
from .flags import split_word

_GROUPS = ("towers", "connectors", "modalities", "decoders")
_KINDS = {"tower": "towers", "connector": "connectors", "modality": "modalities", "decoder": "decoders"}


@dataclass(frozen=True, kw_only=True)
class Part:
    """One chosen component, with its checkpoint and options."""

    name: str
    checkpoint: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, value: Any, where: str) -> Part:
        """``NAME``, ``NAME:CHECKPOINT``, or a mapping with name, checkpoint and options.

        Raises:
            KitError: neither.
        """
        if isinstance(value, str) and value.partition(":")[0]:
            name, _, checkpoint = value.partition(":")
            return cls(name=name, checkpoint=checkpoint)
        if isinstance(value, Mapping):
            unknown = value.keys() - {"name", "checkpoint", "options"}
            if unknown:
                raise KitError(
                    f"{where}: unknown key {min(unknown)!r}; {near(min(unknown), ['name', 'checkpoint', 'options'])}"
                )
            given = {key: inner for key, inner in value.items() if inner is not None}
            texts = all(isinstance(given.get(key, ""), str) for key in ("name", "checkpoint"))
            if texts and given.get("name") and isinstance(given.get("options", {}), Mapping):
                return cls(**given)
        raise KitError(
            f"{where}: needs NAME or NAME:CHECKPOINT, or a mapping of name, checkpoint and options, got {shown(value)}"
        )


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """The LLM, the chat template, and per modality a tower with a connector, how items are read, and a decoder."""

    llm: Part
    towers: Mapping[str, Part] = field(default_factory=dict)
    connectors: Mapping[str, Part] = field(default_factory=dict)
    modalities: Mapping[str, Part] = field(default_factory=dict)
    decoders: Mapping[str, Part] = field(default_factory=dict)
    template: Part = Part(name="auto")

    @classmethod
    def from_flags(
        cls,
        *,
        llm: str,
        towers: Sequence[str] = (),
        connectors: Sequence[str] = (),
        decoders: Sequence[str] = (),
        template: str = "auto",
        settings: Sequence[str] = (),
    ) -> Assembly:
        """From the words of a command line.

        Example:
            >>> words = {"towers": ["m=t:dir"], "connectors": ["m=linear"], "settings": ["tower.m.layer=-1"]}
            >>> Assembly.from_flags(llm="x:dir", **words).towers["m"]
            Part(name='t', checkpoint='dir', options={'layer': '-1'})

        Raises:
            KitError: a word of another form; a setting of a part that is not there.
        """
        assembly = cls(
            llm=Part.parse(llm, "--llm"),
            towers=_by_modality(towers, "--tower"),
            connectors=_by_modality(connectors, "--connector"),
            decoders=_by_modality(decoders, "--decoder"),
            template=Part.parse(template, "--template"),
        )
        for setting in settings:
            assembly = assembly._with_setting(setting)
        return assembly

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> Assembly:
        """From a YAML file with ``llm``, ``towers``, ``connectors``, ``modalities``, ``decoders``, ``template``.

        Raises:
            KitError: unreadable, not YAML, unknown keys; names the file.
        """
        return cls.from_mapping(read_yaml(path), str(path))

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any], where: str) -> Assembly:
        """From what `from_yaml` reads; `where` is how messages call it.

        Raises:
            KitError: an unknown key, no llm, or parts that are not written as such.
        """
        known = ("llm", "template", *_GROUPS)
        for key in data:
            if key not in known:
                raise KitError(f"{where}: unknown key {key!r}; {near(str(key), known)}")
        if "llm" not in data:
            raise KitError(f"{where}: names no llm; write 'llm: NAME:CHECKPOINT'")
        groups: dict[str, dict[str, Part]] = {}
        for group in _GROUPS:
            given = data.get(group) or {}
            if not isinstance(given, Mapping):
                raise KitError(f"{where}: {group} needs a mapping from modality to component, got {shown(given)}")
            named = {
                m: {"name": m, **v} if group == "modalities" and isinstance(v, Mapping) else v for m, v in given.items()
            }
            groups[group] = {m: Part.parse(value, f"{where}: {group}.{m}") for m, value in named.items()}
        return cls(
            llm=Part.parse(data["llm"], f"{where}: llm"),
            template=Part.parse(data.get("template", "auto"), f"{where}: template"),
            **groups,
        )

    def _with_setting(self, setting: str) -> Assembly:
        """``tower.MODALITY.OPTION=VALUE`` (or connector, modality, decoder, or ``llm.OPTION=VALUE``) put in place."""
        path, equals, value = setting.partition("=")
        kind, *rest = path.split(".")
        group = _KINDS.get(kind)
        if (
            not equals
            or (group and len(rest) != 2)
            or (not group and (kind not in ("llm", "template") or len(rest) != 1))
        ):
            raise KitError(f"--set needs tower.MODALITY.OPTION=VALUE or llm.OPTION=VALUE, got {setting!r}")
        if not group:
            part: Part = getattr(self, kind)
            changed: dict[str, Any] = {kind: replace(part, options={**part.options, rest[0]: value})}
            return replace(self, **changed)
        parts: dict[str, Part] = dict(getattr(self, group))
        modality, option = rest
        if group == "modalities" and modality in {**self.towers, **self.decoders}:
            parts.setdefault(modality, Part(name=modality))
        if modality not in parts:
            raise KitError(f"--set {setting}: the assembly has no {kind} for {modality!r}; {near(modality, parts)}")
        parts[modality] = replace(parts[modality], options={**parts[modality].options, option: value})
        joined: dict[str, Any] = {group: parts}
        return replace(self, **joined)

    def resolve(self, catalog: Catalog) -> Resolved:
        """Every part with who offers it, its options complete and typed.

        Raises:
            KitError: an unknown component or option, a tower of another modality, a tower without
                a connector or the reverse.
        """
        for modality in self.towers:
            if modality not in self.connectors:
                raise KitError(
                    f"modality {modality!r} has a tower but no connector; add --connector {modality}=NAME, one of "
                    "'tinyllava list connector'"
                )
        for modality in self.connectors:
            if modality not in self.towers:
                raise KitError(f"connectors.{modality}: no tower reads {modality!r}; {near(modality, self.towers)}")
        used = {**self.towers, **self.decoders}
        for modality in self.modalities:
            if modality not in used:
                raise KitError(f"modalities.{modality}: no tower or decoder is of {modality!r}; {near(modality, used)}")
        towers = {m: _resolve("tower", part, catalog, f"towers.{m}") for m, part in self.towers.items()}
        decoders = {m: _resolve("decoder", part, catalog, f"decoders.{m}") for m, part in self.decoders.items()}
        modalities = {
            m: _resolve("modality", self.modalities.get(m, Part(name=m)), catalog, f"modalities.{m}") for m in used
        }
        _check_modalities(
            towers, "reads", {m: getattr(part.offer.spec, "parts_of", "") for m, part in modalities.items()}
        )
        _check_modalities(decoders, "makes", {})
        return Resolved(
            llm=_resolve("llm", self.llm, catalog, "llm"),
            template=_resolve("template", self.template, catalog, "template"),
            towers=towers,
            connectors={
                m: _resolve("connector", part, catalog, f"connectors.{m}") for m, part in self.connectors.items()
            },
            modalities=modalities,
            decoders=decoders,
        )


@dataclass(frozen=True, kw_only=True)
class ResolvedPart:
    """A part, its offer, and its options with defaults filled in."""

    part: Part
    offer: Offer
    options: Mapping[str, Any]

    @property
    def checkpoint(self) -> str:
        return self.part.checkpoint or getattr(self.offer.spec, "checkpoint", "")


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """An assembly whose every part was found."""

    llm: ResolvedPart
    template: ResolvedPart
    towers: Mapping[str, ResolvedPart]
    connectors: Mapping[str, ResolvedPart]
    modalities: Mapping[str, ResolvedPart]
    decoders: Mapping[str, ResolvedPart]


def _by_modality(words: Sequence[str], flag: str) -> dict[str, Part]:
    parts: dict[str, Part] = {}
    for word in words:
        modality, rest = split_word(word, flag, "MODALITY=NAME or MODALITY=NAME:CHECKPOINT")
        if modality in parts:
            raise KitError(f"{flag} names {modality!r} twice; a modality has one")
        parts[modality] = Part.parse(rest, f"{flag} {modality}")
    return parts


def _check_modalities(parts: Mapping[str, ResolvedPart], does: str, parts_of: Mapping[str, str]) -> None:
    """Check that each tower or decoder is listed under its own modality.

    Args:
        parts_of: modality -> the modality of its items' parts; empty or missing: none.

    Raises:
        KitError: a tower or decoder is listed under another modality than its own.
    """
    for modality, part in parts.items():
        spec: Any = part.offer.spec
        if spec.modality not in (modality, parts_of.get(modality) or modality):
            raise KitError(
                f"{_KINDS[spec.kind]}.{modality}: {spec.kind} {part.part.name!r} {does} {spec.modality!r}, "
                f"not {modality!r}"
            )


def _resolve(kind: str, part: Part, catalog: Catalog, where: str) -> ResolvedPart:
    offer = catalog.find(kind, part.name)
    name = part.name.rpartition("/")[2]
    options = {**offer.spec.check_options(dict(part.options), where), **offer.spec.name_options(name)}
    if kind == "llm" and not (part.checkpoint or getattr(offer.spec, "checkpoint", "")):  # a tower may be new
        raise KitError(f"{where}: {kind} {name!r} needs a checkpoint: write {name}:DIR or {name}:ORG/NAME")
    return ResolvedPart(part=replace(part, name=name), offer=offer, options=options)
