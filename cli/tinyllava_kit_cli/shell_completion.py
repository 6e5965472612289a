"""What a shell completes: components, scorers, tasks, modalities, files. Light.

Each function is a ``shell_complete`` of click: the beginning of a word -> the words that it may become.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from tinyllava_kit.plugin.discovery import installed_catalog
from tinyllava_kit.plugin.specs import KINDS

VARIABLE = "_TINYLLAVA_COMPLETE"  # what the shell's function sets, to ``bash_complete`` and its like

Complete = Callable[[Any, Any, str], list[Any]]


def kinds(ctx: Any, param: Any, incomplete: str) -> list[Any]:
    """Kinds of components."""
    return _words(KINDS, incomplete)


def names(*of: str) -> Complete:
    """Names of components: of these kinds, or of all."""

    def complete(ctx: Any, param: Any, incomplete: str) -> list[Any]:
        catalog = installed_catalog()
        found = {offer.spec.name: offer.spec.summary for kind in of or KINDS for offer in catalog.of_kind(kind)}
        return _described(found, incomplete)

    return complete


def parts(kind: str, *, with_modality: bool = True) -> Complete:
    """``MODALITY=NAME[:CHECKPOINT]``, or ``NAME[:CHECKPOINT]``; a connector is of every modality."""

    def complete(ctx: Any, param: Any, incomplete: str) -> list[Any]:
        catalog = installed_catalog()
        modality, equals, rest = incomplete.partition("=") if with_modality else ("", "", incomplete)
        if with_modality and not equals:
            return _words([f"{offer.spec.name}=" for offer in catalog.of_kind("modality")], incomplete)
        name, colon, place = rest.partition(":")
        if colon:
            return _paths(f"{modality}{equals}{name}:", place, folders_only=True)
        specs = [offer.spec for offer in catalog.of_kind(kind)]
        parts_of = {each.spec.name: getattr(each.spec, "parts_of", "") for each in catalog.of_kind("modality")}
        taken = (modality, parts_of.get(modality) or modality)
        fitting = [spec for spec in specs if getattr(spec, "modality", modality) in taken]
        return _described({f"{modality}{equals}{spec.name}": spec.summary for spec in fitting}, incomplete)

    return complete


def item_words(ctx: Any, param: Any, incomplete: str) -> list[Any]:
    """``MODALITY=FILE``."""
    modality, equals, file = incomplete.partition("=")
    if equals:
        return _paths(f"{modality}=", file)
    return _words([f"{offer.spec.name}=" for offer in installed_catalog().of_kind("modality")], incomplete)


def directories(ctx: Any, param: Any, incomplete: str) -> list[Any]:
    """Directories."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="dir")]


def tasks_and_files(ctx: Any, param: Any, incomplete: str) -> list[Any]:
    """Benchmarks, and files of rows."""
    return [*names("benchmark")(ctx, param, incomplete), *_listed("", incomplete, folders_only=False)]


def _words(known: Iterable[str], incomplete: str) -> list[Any]:
    return _described(dict.fromkeys(known, ""), incomplete)


def _described(known: dict[str, str], incomplete: str) -> list[Any]:
    from click.shell_completion import CompletionItem

    return [
        CompletionItem(word, help=summary or None) for word, summary in known.items() if word.startswith(incomplete)
    ]


def _paths(prefix: str, typed: str, *, folders_only: bool = False) -> list[Any]:
    """Paths behind a prefix of the same word. bash takes a word apart at ``=`` and ``:`` and lists paths itself."""
    from click.shell_completion import CompletionItem

    if os.environ.get(VARIABLE, "").startswith("bash"):
        return [CompletionItem(prefix + typed, type="dir" if folders_only else "file")]
    return _listed(prefix, typed, folders_only=folders_only)


def _listed(prefix: str, typed: str, *, folders_only: bool) -> list[Any]:
    from click.shell_completion import CompletionItem

    folder, slash, start = typed.rpartition("/")
    try:
        with os.scandir(os.path.expanduser(folder + slash) or ".") as found:
            entries = sorted((entry.name, entry.is_dir()) for entry in found if entry.name.startswith(start))
    except OSError:
        return []
    return [
        CompletionItem(f"{prefix}{folder}{slash}{name}{'/' * is_folder}")
        for name, is_folder in entries
        if (is_folder or not folders_only) and (start or not name.startswith("."))
    ]
