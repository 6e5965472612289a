"""Find the installed plugins and collect their specs, each in isolation."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from importlib import metadata
from types import ModuleType

import pluggy

from ..errors import PluginError
from . import hookspecs
from .catalog import Catalog, Offer, Plugin
from .hook_functions import hooks_of, place_of
from .hookspecs import API, GROUP, GROUP_STEM, HOOKS, PROJECT
from .isolation import PluginFault, isolated
from .specs import KINDS, Spec, plain

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
    plugins: list[Plugin] = []
    offers: list[Offer] = []
    for entry, plugin in find_plugins(disabled):
        if plugin.status == "ok":
            plugin, specs = _load(entry, plugin)
            owner = {"plugin": plugin.name, "distribution": plugin.distribution, "version": plugin.version}
            offers += [Offer(spec=spec, **owner) for spec in specs]
        plugins.append(plugin)
    return Catalog(plugins=tuple(plugins), offers=tuple(offers))


def installed_catalog() -> Catalog:
    """What `discover()` finds, found once for each state of the installation.

    A distribution that is installed while the process runs changes a folder of ``sys.path``, and is found.
    """
    return _discovered(os.environ.get(DISABLE, ""), tuple(map(_state, sys.path)))


@lru_cache(maxsize=1)
def _discovered(disabled: str, folders: tuple[tuple[str, int], ...]) -> Catalog:
    """The arguments are what the catalog depends on."""
    return discover()


def _state(folder: str) -> tuple[str, int]:
    """A folder of ``sys.path`` and when an entry was last added to it or removed."""
    try:
        return folder, os.stat(folder or ".").st_mtime_ns
    except OSError:
        return folder, 0


def find_plugins(disabled: Iterable[str] = ()) -> Iterator[tuple[metadata.EntryPoint, Plugin]]:
    """Every entry point of ours with its row, imported by nobody yet, in an order that is the same everywhere.

    A row whose status is not ``ok`` is not to be imported.
    """
    off = {*disabled_names(), *disabled}
    owners: dict[str, str] = {}
    for entry, row in sorted(_rows(), key=lambda pair: (pair[0].group, pair[1].name, pair[1].distribution)):
        name, distribution = row.name, row.distribution
        if name in off:
            fix = f"take it out of {DISABLE} to use it"
            row = replace(row, status="disabled", detail=f"named in {DISABLE}", fix=fix)
        elif entry.group != GROUP:
            detail = f"speaks hook API {entry.group.removeprefix(GROUP_STEM)}, this core speaks {API}"
            fix = f"install a version of {distribution} for {GROUP}"
            row = replace(row, status="incompatible", detail=detail, fix=fix)
        elif name in owners:
            detail = f"entry point {name!r} is already provided by {owners[name]}"
            fix = f"pip uninstall {distribution} or {owners[name]}"
            row = replace(row, status="duplicate", detail=detail, fix=fix)
        else:
            owners[name] = distribution
        yield entry, row


def disabled_names() -> list[str]:
    """The entry-point names that the environment switches off."""
    return [name.strip() for name in os.environ.get(DISABLE, "").split(",") if name.strip()]


def collect(entry: metadata.EntryPoint) -> list[Spec]:
    """Import one plugin and call its hooks.

    Raises:
        PluginFault: it cannot be imported, or its hooks do not give what they should.
    """
    with contextlib.redirect_stdout(sys.stderr):  # a plugin that prints must not spoil `list --json`
        return isolated(lambda: _collect(entry))


def _collect(entry: metadata.EntryPoint) -> list[Spec]:
    module = entry.load()
    functions = hooks_of(module)  # a misspelled hook, or one that is not marked, is an error and not a silence
    manager = register(entry.name, functions)
    specs: list[Spec] = []
    for hook in (hook for hook in HOOKS if hook in functions):
        given = getattr(manager.hook, hook)()  # of the one plugin; pluggy leaves None out
        specs += _checked(hook, KINDS[HOOKS[hook]], given[0] if given else None, functions[hook])
    return specs


def register(name: str, hooks: Mapping[str, object]) -> pluggy.PluginManager:
    """A manager of one plugin's hooks; pluggy checks them against their specifications, and warns of deprecation."""
    manager = pluggy.PluginManager(PROJECT)  # its own: what a plugin is compared with may be another's object
    if hooks:
        manager.add_hookspecs(hookspecs.specifications(hooks))
        plugin = ModuleType(name)  # of the hooks alone: pluggy looks at each name of what it is given
        vars(plugin).update(hooks)
        manager.register(plugin, name=name)
    return manager


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


def _rows() -> Iterator[tuple[metadata.EntryPoint, Plugin]]:
    """Each entry point and the plugin that it names; the metadata of a distribution are parsed once."""
    entries = _entry_points()
    distributions = {id(entry.dist): entry.dist for entry in entries}
    versions = {key: version_of(each) if each else ("?", "?") for key, each in distributions.items()}
    for entry in entries:
        distribution, version = versions[id(entry.dist)]
        yield entry, Plugin(name=entry.name, distribution=distribution, version=version, target=entry.value)


def _load(entry: metadata.EntryPoint, plugin: Plugin) -> tuple[Plugin, list[Spec]]:
    """One plugin: its row, and its specs where all went well."""
    try:
        return plugin, collect(entry)
    except PluginFault as fault:
        said = str(fault).removeprefix(f"{PluginError.__name__}: ")
        return replace(plugin, status="broken", detail=said, fix=_fix(fault.__cause__, plugin)), []


def _fix(error: BaseException | None, plugin: Plugin) -> str:
    """What may help; the way out that always works is to disable the plugin."""
    return f"{advice(error, plugin.target, plugin.distribution)}; or set {DISABLE}={plugin.name}"


def advice(error: BaseException | None, target: str, distribution: str) -> str:
    """What to do where the module of a target fails: an author's mistake is mended at its line."""
    module, kind = target.partition(":")[0], type(error)  # what a class of the plugin's own says is not asked for
    if isinstance(error, PluginError) and kind is PluginError:
        return error.fix
    missing = error.name if isinstance(error, ModuleNotFoundError) and kind is ModuleNotFoundError else None
    if isinstance(missing, str):
        if f"{module}.".startswith(f"{missing}."):
            return (
                f"the target {target} is not there: correct it where it is written, or, where files of it were lost, "
                f"pip install --force-reinstall {distribution}"
            )
        if missing.partition(".")[0] != module.partition(".")[0]:
            return f"pip install what it needs (module {missing!r})"
    where = _line_in(error, module) or f"what {target} names"
    return f"change {where}, or report it to the authors of {distribution}"


def _line_in(error: BaseException | None, module: str) -> str:
    """The last line of the module's own package that an error came through; empty where there is none."""
    import traceback

    top = module.partition(".")[0]
    if isinstance(error, SyntaxError) and type(error) in (SyntaxError, IndentationError, TabError):
        return f"line {error.lineno} of {error.filename}"
    found = ""
    for called, line in traceback.walk_tb(error.__traceback__ if error else None):
        name, file = called.f_globals.get("__name__"), called.f_code.co_filename
        if isinstance(name, str) and name.partition(".")[0] == top and not file.startswith("<"):
            found = f"line {line} of {file}"
    return found


def _checked(hook: str, expected: type[Spec], offered: object, function: object) -> list[Spec]:
    """What a hook has returned, as specs of Python's own values.

    Raises:
        PluginError: it is something else; names the place of the `function`.
    """
    if offered is None:
        fix = f"write 'return (...)' at the end of {place_of(function)}, or 'return ()'"
        raise PluginError(f"{hook} returns nothing", fix)
    specs, wrong = _specs(hook, expected, offered)
    if wrong:
        raise PluginError(wrong, f"change what {place_of(function)} returns")
    return specs


def _specs(hook: str, expected: type[Spec], offered: object) -> tuple[list[Spec], str]:
    """The specs that a hook has returned, and their faults."""
    specs: dict[str, Spec] = {}
    if not isinstance(offered, Iterable):
        return [], f"{hook} must return an iterable of {expected.__name__}, got {type(offered).__name__}"
    for spec in offered:
        if len(specs) == MAX_SPECS:
            return [], f"{hook} offers more than {MAX_SPECS}; a family of names is one spec with a pattern"
        if not issubclass(type(spec), expected):  # `isinstance` would believe what it says of its class
            return [], f"{hook} must return {expected.__name__} values, got {type(spec).__name__}"
        made = plain(spec, expected)
        if made.name in specs:
            return [], f"{hook} offers {expected.kind} {made.name!r} twice"
        specs[made.name] = made
    return list(specs.values()), ""
