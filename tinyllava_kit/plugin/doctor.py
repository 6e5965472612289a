"""Faults of the installed plugins, and what fixes them.

Read-only. No component is imported here: the plugins' own light modules are, first in a child process,
so that one that kills its process is a finding like any other.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from ..errors import near
from .catalog import Catalog, Offer, Plugin
from .child_process import Outcome, run_trials
from .discovery import DISABLE, advice, collect, disabled_names, discover, find_plugins, register, version_of
from .extras import CORE
from .hook_functions import hooks_of, place_of
from .hookspecs import GROUP, GROUP_STEM, HOOKS
from .isolation import PluginFault, isolated
from .specs import DecoderSpec, ModalitySpec, TowerSpec, import_target

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from packaging.requirements import Requirement

# Packages that cost seconds to import; a plugin module must reach none of them.
HEAVY = frozenset({"numpy", "torch", "transformers"})
IMPORT_LIMIT_S = 60.0
PROBE_LIMIT_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One row: what it is about, what is wrong and what fixes it.

    `status` is that of the plugin (`catalog.Plugin`), or ``missing`` (the core is not installed), ``unmet``
    (a requirement), ``stale`` (an editable installation whose project has changed), ``heavy`` (a plugin module
    that imports torch), ``empty`` (one without a hook), ``deprecated`` (a hook's argument is), ``unknown``
    (a name that is to be disabled and is nobody's), ``conflict``, ``orphan`` (nobody offers the modality) or
    ``failed`` (the probe). Of the environment
    (`tinyllava_kit.environment`): ``absent`` is an extra that is not installed.
    """

    status: str
    name: str
    distribution: str = ""
    version: str = ""
    detail: str = ""
    fix: str = ""

    @property
    def attention(self) -> bool:
        """Whether there is something to fix."""
        return self.status not in ("ok", "disabled", "absent")


def examine(*, probe: bool = False, reserved: Collection[str] = ()) -> list[Finding]:
    """Every finding, what needs attention first, and a row for each healthy plugin.

    Args:
        probe: also import every component, each with a time limit; takes seconds to minutes.
        reserved: names of the command line's own commands.
    """
    imports = _try_imports()
    dead = {name: outcome for name, outcome in imports.items() if outcome.died}
    catalog = discover(disabled=dead)
    modules = list(_healthy_modules(catalog))
    findings = [
        *_plugins(catalog, dead),
        *_requirements(),
        *_stale(),
        *_unknown(catalog),
        *_empty(modules, imports),
        *_heavy(catalog, imports),
        *_deprecated(modules),
        *_conflicts(catalog, reserved),
        *_placeholders(catalog),
        *_orphans(catalog),
        *(_probe(catalog) if probe else ()),
    ]
    empty = {finding.name for finding in findings if finding.status == "empty"}
    findings = [finding for finding in findings if finding.attention] + [f for f in findings if not f.attention]
    return findings + [_healthy(p, catalog) for p in catalog.plugins if p.status == "ok" and p.name not in empty]


def _try_imports() -> dict[str, Outcome]:
    """Each enabled plugin's import and hooks in a child process, by entry-point name."""
    rows = [plugin for _, plugin in find_plugins() if plugin.status == "ok"]
    outcomes = run_trials(import_plugin, [(row.name, row.target) for row in rows], limit_s=IMPORT_LIMIT_S)
    return {row.name: outcome for row, outcome in zip(rows, outcomes, strict=True)}


def import_plugin(name: str, target: str) -> Outcome:
    """Run in a child: import a plugin, call its hooks, and tell which heavy packages that took."""
    before = set(sys.modules)
    error = ""
    try:
        collect(metadata.EntryPoint(name=name, value=target, group=GROUP))
    except PluginFault as fault:
        error = str(fault)
    return Outcome(error=error, heavy=tuple(sorted(HEAVY & (set(sys.modules) - before))))


def _plugins(catalog: Catalog, dead: dict[str, Outcome]) -> Iterator[Finding]:
    """What discovery says of each plugin, and those that it could not be allowed to import."""
    for plugin in catalog.plugins:
        if plugin.name in dead and plugin.status == "disabled":
            yield _about(
                plugin,
                "broken",
                f"its import, or a hook of it, {dead[plugin.name].error}",
                f"set {DISABLE}={plugin.name}",
            )
        elif plugin.status != "ok":
            yield _about(plugin, plugin.status, plugin.detail, plugin.fix)


def _about(who: Plugin | Offer, status: str, detail: str, fix: str) -> Finding:
    name = who.name if isinstance(who, Plugin) else who.spec.name
    return Finding(status=status, name=name, distribution=who.distribution, version=who.version, detail=detail, fix=fix)


def _healthy(plugin: Plugin, catalog: Catalog) -> Finding:
    names: dict[str, list[str]] = {}
    for offer in catalog.offers:
        if offer.plugin == plugin.name:
            names.setdefault(offer.spec.kind, []).append(offer.spec.name)
    offers = "; ".join(f"{kind} {', '.join(each)}" for kind, each in names.items())
    return _about(plugin, "ok", offers or "offers nothing", "")


def _requirements() -> Iterator[Finding]:
    """Unmet ``Requires-Dist`` of the core and of every distribution with a plugin that is not disabled."""
    try:
        names = {CORE: metadata.distribution(CORE)}
    except metadata.PackageNotFoundError:
        detail = "no such distribution is installed, so that the kit's own components are not found"
        yield Finding(status="missing", name=CORE, detail=detail, fix="pip install -e . in the kit's folder")
        names = {}
    for entry, plugin in find_plugins():
        if entry.dist is not None and plugin.status != "disabled":
            names[plugin.distribution] = entry.dist
    for distribution in names.values():
        yield from _unmet(distribution)


def _unmet(distribution: metadata.Distribution) -> Iterator[Finding]:
    name, version = version_of(distribution)
    for wanted, detail in _wrong(distribution):
        fix = f"pip install '{wanted.name}{wanted.specifier}'" if wanted else f"report it to the authors of {name}"
        if wanted and wanted.name == CORE:
            fix = f"pip install --upgrade {name}, or {fix}"
        yield Finding(status="unmet", name=name, distribution=name, version=version, detail=detail, fix=fix)


def unmet(extra: str) -> list[str]:
    """Requirements of the core's extras that are missing, or of another version; none where the core is not known."""
    try:
        core = metadata.distribution(CORE)
    except metadata.PackageNotFoundError:
        return []
    return [detail for _, detail in _wrong(core, extra)]


def _wrong(distribution: metadata.Distribution, extra: str = "") -> Iterator[tuple[Requirement | None, str]]:
    """Each requirement that is not met, and what is wrong with it; None for one that cannot be read.

    Args:
        extra: only of this extra, in place of those that always hold.
    """
    # Costs 20 ms to import; `list` lives without it.
    from packaging.requirements import InvalidRequirement, Requirement

    for text in distribution.requires or ():
        try:
            wanted = Requirement(text)
        except InvalidRequirement:
            if not extra:
                yield None, f"cannot read its requirement {text!r}"
            continue
        holds = [wanted.marker is None or wanted.marker.evaluate({"extra": name}) for name in {"", extra}]
        if not any(holds) or (extra and all(holds)):
            continue
        present = _version(wanted.name)
        if present is None or not wanted.specifier.contains(present, prereleases=True):
            said = f"{present} is installed" if present else "not installed"
            yield wanted, f"requires {wanted.name}{wanted.specifier}, {said}"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _stale() -> Iterator[Finding]:
    """Editable installations whose project declares other plugins than the installed metadata.

    Metadata is a snapshot: an entry point that is added or renamed is not seen until the next ``pip install -e``.
    """
    for distribution in metadata.distributions():
        folder = _editable_folder(distribution)
        if folder is None:
            continue
        now = {e.name: e.value for e in distribution.entry_points if e.group.startswith(GROUP_STEM)}
        wanted = _declared(folder)
        if wanted is None and not now:
            continue  # a stranger's
        name, version = version_of(distribution)
        if wanted is None:
            detail = f"was installed from {folder}, where its pyproject.toml is gone or unreadable"
            fix = f"pip install -e FOLDER from where it is now, or pip uninstall {name}"
        elif wanted != now:
            detail = f"{folder} declares {_list(wanted)}, installed is {_list(now)}"
            fix = f"pip install -e {folder}"
        else:
            continue
        yield Finding(status="stale", name=name, distribution=name, version=version, detail=detail, fix=fix)


def _editable_folder(distribution: metadata.Distribution) -> Path | None:
    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    except ValueError:
        return None
    if not origin.get("dir_info", {}).get("editable"):
        return None
    return Path(url2pathname(urlparse(origin["url"]).path))


def _declared(folder: Path) -> dict[str, str] | None:
    """Name and target of every plugin that a project declares; None where there is no readable project."""
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
    except (OSError, ValueError):
        return None
    groups = project.get("entry-points", {})
    return {name: value for group, of in groups.items() if group.startswith(GROUP_STEM) for name, value in of.items()}


def _list(entries: dict[str, str]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in sorted(entries.items())) or "no plugin"


def _unknown(catalog: Catalog) -> Iterator[Finding]:
    """Names that the environment switches off, and that no plugin has."""
    known = {plugin.name for plugin in catalog.plugins}
    for name in disabled_names():
        if name not in known:
            detail = f"{DISABLE} names {name!r}, which is no plugin; {near(name, known)}"
            yield Finding(status="unknown", name=name, detail=detail, fix=f"correct it in {DISABLE}, or take it out")


Modules = Sequence[tuple[Any, Plugin]]


def _healthy_modules(catalog: Catalog) -> Iterator[tuple[Any, Plugin]]:
    """The module of each plugin that discovery can use."""
    healthy = {plugin.name: plugin for plugin in catalog.plugins if plugin.status == "ok"}
    for entry, plugin in find_plugins():
        if healthy.get(plugin.name) == plugin:
            yield entry.load(), plugin


def _deprecated(modules: Modules) -> Iterator[Finding]:
    """What pluggy warns of: an argument, or a hook, that a later version does not have."""
    for module, plugin in modules:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            register(plugin.name, hooks_of(module))
        for each in (each for each in found if issubclass(each.category, DeprecationWarning)):
            yield _about(plugin, "deprecated", str(each.message), f"change line {each.lineno} of {each.filename}")


def _empty(modules: Modules, imports: dict[str, Outcome]) -> Iterator[Finding]:
    """Plugins whose module defines no hook; one that is too heavy is reported for that first."""
    for module, plugin in modules:
        if not imports[plugin.name].heavy and not hooks_of(module):
            detail = f"{plugin.target} defines no hook, so that it offers nothing"
            fix = f"define one of {', '.join(HOOKS)} in it, marked with @hookimpl"
            yield _about(plugin, "empty", detail, fix)


def _heavy(catalog: Catalog, imports: dict[str, Outcome]) -> Iterator[Finding]:
    for plugin in catalog.plugins:
        outcome = imports.get(plugin.name)
        if outcome is not None and outcome.heavy and plugin.status in ("ok", "broken"):
            detail = f"importing {plugin.target} imports {', '.join(outcome.heavy)}"
            yield _about(plugin, "heavy", detail, "import them in the module that the spec's target names")


def _conflicts(catalog: Catalog, reserved: Collection[str]) -> Iterator[Finding]:
    for conflict in catalog.conflicts():
        plugins = " or ".join(sorted({offer.plugin for offer in conflict.offers}))
        yield Finding(
            status="conflict",
            name=conflict.name,
            distribution=conflict.owners,
            detail=f"{conflict.kind} {conflict.name!r} is offered by {conflict.owners}",
            fix=f"write DISTRIBUTION/{conflict.name}, or set {DISABLE} to {plugins}",
        )
    for offer in catalog.of_kind("command"):
        if offer.spec.name in reserved:
            detail = f"command {offer.spec.name!r} is one of tinyllava's own"
            yield _about(offer, "conflict", detail, f"run it as 'tinyllava {offer.qualified}'")


def _placeholders(catalog: Catalog) -> Iterator[Finding]:
    """Modalities of different names that stand in text as the same placeholder."""
    holders: dict[str, list[Offer]] = {}
    for offer in catalog.of_kind("modality"):
        assert isinstance(offer.spec, ModalitySpec)
        holders.setdefault(offer.spec.token.placeholder, []).append(offer)
    for placeholder, offers in holders.items():
        names = sorted({offer.spec.name for offer in offers})
        if len(names) > 1:
            owners = ", ".join(sorted({offer.distribution for offer in offers}))
            plugins = " or ".join(sorted({offer.plugin for offer in offers}))
            detail = f"placeholder {placeholder} is that of modalities {' and '.join(names)}"
            fix = f"set {DISABLE} to {plugins}"
            yield Finding(status="conflict", name=placeholder, distribution=owners, detail=detail, fix=fix)


def _orphans(catalog: Catalog) -> Iterator[Finding]:
    known = {offer.spec.name for offer in catalog.of_kind("modality")} | {"text"}
    for offer in (*catalog.of_kind("tower"), *catalog.of_kind("decoder")):
        assert isinstance(offer.spec, (TowerSpec, DecoderSpec))
        if offer.spec.modality not in known:
            detail = (
                f"{offer.spec.kind} {offer.spec.name!r} is of modality {offer.spec.modality!r}, which nobody offers"
            )
            fix = "pip install a plugin that offers the modality"
            if off := [plugin.name for plugin in catalog.plugins if plugin.status == "disabled"]:
                fix += f", or take the one that does out of {DISABLE} (disabled: {', '.join(off)})"
            yield _about(offer, "orphan", detail, fix)


def _probe(catalog: Catalog) -> Iterator[Finding]:
    """Import every component in a child process."""
    items = [(offer.spec.kind, offer.spec.target, offer.distribution) for offer in catalog.offers]
    outcomes = run_trials(import_component, items, limit_s=PROBE_LIMIT_S)
    for offer, outcome in zip(catalog.offers, outcomes, strict=True):
        if outcome.error:
            detail = f"{offer.spec.kind} {offer.spec.name!r} ({offer.spec.target}): {outcome.error}"
            fix = outcome.fix or f"report it to the authors of {offer.distribution}"
            fix += f"; or set {DISABLE}={offer.plugin}"
            yield _about(offer, "failed", detail, fix)


# The class that a component of each kind extends.
_INTERFACES = {
    "modality": "core.interfaces.Modality",
    "tower": "core.interfaces.Tower",
    "connector": "core.interfaces.Connector",
    "llm": "core.interfaces.LanguageModel",
    "decoder": "core.decoders.Decoder",
    "template": "core.interfaces.ChatTemplate",
    "checkpoint": "checkpoints.CheckpointReader",
    "scorer": "evaluation.Scorer",
    "export": "checkpoints.ExportTarget",
    "objective": "training.Objective",
}
_CALLABLES = {"command": "a click command", "reader": "a function of a path"}


def import_component(kind: str, target: str, distribution: str) -> Outcome:
    """Run in a child: import what a spec points to, and check that it is what its kind requires."""
    try:
        component = isolated(lambda: import_target(target))
    except PluginFault as fault:
        return Outcome(error=str(fault), fix=advice(fault.__cause__, target, distribution))
    try:
        isolated(lambda: check_component(kind, component))
    except PluginFault as fault:
        return Outcome(error=str(fault), fix=f"change {place_of(component)}, to which {target} points")
    return Outcome()


def check_component(kind: str, component: object) -> None:
    """Check that a loaded component is what its kind of spec requires.

    Raises:
        TypeError: a component is not what its kind requires.
    """
    if kind in _INTERFACES:
        _check_class(component, _INTERFACES[kind])
    elif kind in _CALLABLES and not callable(component):
        raise TypeError(f"must be {_CALLABLES[kind]}, got {type(component).__name__}")
    elif kind == "benchmark" and not isinstance(component, _attribute("evaluation.Benchmark")):
        raise TypeError(f"must be an evaluation.Benchmark, got {type(component).__name__}")


def _attribute(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(f"tinyllava_kit.{module}"), name)


def _check_class(component: object, wanted: str) -> None:
    interface = _attribute(wanted)
    if not (inspect.isclass(component) and issubclass(component, interface)):
        raise TypeError(f"must be a class that extends {wanted}")
    missing: Iterable[str] = sorted(getattr(component, "__abstractmethods__", ()))
    if missing:
        raise TypeError(f"does not define {', '.join(missing)}")
