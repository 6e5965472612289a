"""Find the installed plugins and collect their specs, each in isolation."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib import metadata

import pluggy

from . import hookspecs
from .catalog import Catalog, Offer, Plugin
from .hookspecs import API, GROUP, GROUP_STEM, HOOKS, PROJECT
from .specs import KINDS, Spec

MAX_SPECS = 1000  # of one hook of one plugin: a generator need not end
DISABLE = "TINYLLAVA_DISABLED_PLUGINS"


def discover(disabled: Iterable[str] = ()) -> Catalog:
    """Import every enabled plugin and collect its specs. Never raises for a plugin's fault.

    Args:
        disabled: entry-point names that are not imported, besides those that the environment variable
            ``TINYLLAVA_DISABLED_PLUGINS`` (comma-separated) names.
    """
    # Not pluggy's load_setuptools_entrypoints: it stops at the first broken plugin and
    # silently skips the second one of a name.
    manager = new_manager()
    plugins: list[Plugin] = []
    offers: list[Offer] = []
    for entry, plugin in find_plugins(disabled):
        if plugin.status == "ok":
            plugin, specs = _load(manager, entry, plugin)
            owner = {"plugin": plugin.name, "distribution": plugin.distribution, "version": plugin.version}
            offers += [Offer(spec=spec, **owner) for spec in specs]
        plugins.append(plugin)
    return Catalog(plugins=tuple(plugins), offers=tuple(offers))


def find_plugins(disabled: Iterable[str] = ()) -> Iterator[tuple[metadata.EntryPoint, Plugin]]:
    """Every entry point of ours with its row, imported by nobody yet, in an order that is the same everywhere.

    A row whose status is not ``ok`` is not to be imported.
    """
    off = {name.strip() for name in os.environ.get(DISABLE, "").split(",")} | set(disabled)
    owners: dict[str, str] = {}
    rows = [(entry, _row(entry)) for entry in _entry_points()]
    for entry, row in sorted(rows, key=lambda pair: (pair[0].group, pair[1].name, pair[1].distribution)):
        name, distribution = row.name, row.distribution
        if entry.group != GROUP:
            detail = f"speaks hook API {entry.group.removeprefix(GROUP_STEM)}, this core speaks {API}"
            fix = f"install a version of {distribution} for {GROUP}"
            row = replace(row, status="incompatible", detail=detail, fix=fix)
        elif name in off:
            fix = f"take it out of {DISABLE} to use it"
            row = replace(row, status="disabled", detail=f"named in {DISABLE}", fix=fix)
        elif name in owners:
            detail = f"entry point {name!r} is already provided by {owners[name]}"
            fix = f"pip uninstall {distribution} or {owners[name]}"
            row = replace(row, status="duplicate", detail=detail, fix=fix)
        else:
            owners[name] = distribution
        yield entry, row


def new_manager() -> pluggy.PluginManager:
    """A manager that knows our hooks and no plugin."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def collect(manager: pluggy.PluginManager, entry: metadata.EntryPoint) -> list[Spec]:
    """Import one plugin and call its hooks, and no other's. Raises whatever the plugin raises."""
    with contextlib.redirect_stdout(sys.stderr):  # a plugin that prints must not spoil `list --json`
        module = entry.load()
        manager.register(module, name=entry.name)
        manager.check_pending()  # a misspelled hook is an error, not a silence
        return _call_hooks(manager, module)


def version_of(distribution: metadata.Distribution) -> tuple[str, str]:
    """Name and version; ``?`` for what broken metadata does not say."""
    try:
        fields = distribution.metadata  # parses the whole file at each access
        return fields["Name"] or "?", fields["Version"] or "?"
    except Exception:  # half removed: the folder is there, its METADATA is not
        return "?", "?"


def _entry_points() -> list[metadata.EntryPoint]:
    """Ours, of every API version."""
    try:
        entries = metadata.entry_points()
        groups = [group for group in entries.groups if group.startswith(GROUP_STEM)]
        return [entry for group in groups for entry in entries.select(group=group)]
    except Exception:  # one unreadable entry_points.txt, of any distribution, fails the call for all
        return _entry_points_one_by_one()


def _entry_points_one_by_one() -> list[metadata.EntryPoint]:
    """The same, slowly, without the distributions that cannot be read."""
    found: dict[str, list[metadata.EntryPoint]] = {}
    for distribution in metadata.distributions():
        with contextlib.suppress(Exception):
            entries = [entry for entry in distribution.entry_points if entry.group.startswith(GROUP_STEM)]
            found.setdefault(version_of(distribution)[0], entries)
    return [entry for entries in found.values() for entry in entries]


def _row(entry: metadata.EntryPoint) -> Plugin:
    distribution, version = version_of(entry.dist) if entry.dist else ("?", "?")
    return Plugin(name=entry.name, distribution=distribution, version=version, target=entry.value)


def _load(manager: pluggy.PluginManager, entry: metadata.EntryPoint, plugin: Plugin) -> tuple[Plugin, list[Spec]]:
    """One plugin: its row, and its specs where all went well."""
    try:
        return plugin, collect(manager, entry)
    except (Exception, SystemExit) as error:
        if manager.has_plugin(entry.name):
            manager.unregister(name=entry.name)
        return replace(plugin, status="broken", detail=describe(error), fix=_fix(error, plugin)), []


def describe(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")


def _fix(error: BaseException, plugin: Plugin) -> str:
    """What may help; the way out that always works is to disable the plugin."""
    own = f"{plugin.target.partition(':')[0]}."
    if isinstance(error, ModuleNotFoundError) and error.name and not own.startswith(f"{error.name}."):
        advice = f"pip install what it needs (module {error.name!r})"
    elif isinstance(error, pluggy.PluginValidationError):
        advice = f"hooks take no argument and are called {', '.join(HOOKS)}"
    else:
        advice = f"reinstall or report it: pip install --force-reinstall {plugin.distribution}"
    return f"{advice}; or set {DISABLE}={plugin.name}"


def _call_hooks(manager: pluggy.PluginManager, module: object) -> list[Spec]:
    """What one plugin offers; its hooks alone are called, so that one that raises costs nobody else."""
    others = [plugin for plugin in manager.get_plugins() if plugin is not module]
    specs: list[Spec] = []
    for hook, kind in HOOKS.items():
        for offered in manager.subset_hook_caller(hook, remove_plugins=others)():
            specs += _checked(hook, KINDS[kind], offered)
    seen = set()
    for spec in specs:
        if (spec.kind, spec.name) in seen:
            raise ValueError(f"offers {spec.kind} {spec.name!r} twice")
        seen.add((spec.kind, spec.name))
    return specs


def _checked(hook: str, expected: type[Spec], offered: object) -> list[Spec]:
    if not isinstance(offered, Iterable):
        raise TypeError(f"{hook} must return an iterable of {expected.__name__}, got {type(offered).__name__}")
    specs: list[Spec] = []
    for spec in offered:
        if len(specs) == MAX_SPECS:
            raise ValueError(f"{hook} offers more than {MAX_SPECS}; a family of names is one spec with a pattern")
        if not isinstance(spec, expected):
            raise TypeError(f"{hook} must return {expected.__name__} values, got {type(spec).__name__}")
        specs.append(spec)
    return specs
