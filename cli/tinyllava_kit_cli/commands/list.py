"""``tinyllava list``: the components that the installed plugins offer."""

from __future__ import annotations

import click

from tinyllava_kit.plugin.catalog import Catalog, Offer
from tinyllava_kit.plugin.discovery import installed_catalog
from tinyllava_kit.plugin.specs import KINDS
from tinyllava_kit_cli.printing import say, say_table
from tinyllava_kit_cli.shell_completion import kinds


@click.command
@click.argument("kind", required=False, metavar="[KIND]", shell_complete=kinds)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def command(kind: str | None, as_json: bool) -> None:
    """List the installed components.

    On a narrow terminal a description is printed below its component.

    KIND is one of modality, tower, connector, llm, decoder, template, checkpoint, scorer, benchmark, objective, export,
    reader, command.
    """
    catalog = installed_catalog()
    offers = [offer for each in ([kind] if kind else KINDS) for offer in catalog.of_kind(each)]
    if as_json:
        import json

        owners = _owners(offers)
        say(json.dumps([_fields(offer, owners[_key(offer)]) for offer in offers], indent=2))
    elif offers:
        say_table(_rows(offers))
    else:
        say(f"no {kind or 'component'} is installed; add a plugin with pip install", err=True)
    if troubled := _troubled(catalog):
        say(f"{troubled} plugin(s) need attention; run 'tinyllava doctor'", err=True)


def _rows(offers: list[Offer]) -> list[tuple[str, ...]]:
    """A row for each name; a name in conflict has one row for all its offers."""
    rows: dict[tuple[str, str], tuple[str, ...]] = {}
    all_owners = _owners(offers)
    for offer in offers:
        spec, owners = offer.spec, all_owners[_key(offer)]
        last = (f"{offer.distribution} {offer.version}", spec.summary)
        if len(owners) > 1:
            last = ("CONFLICT", f"offered by {', '.join(owners)}: write DISTRIBUTION/{spec.name}")
        rows[_key(offer)] = (spec.kind, spec.name, *last)
    return list(rows.values())


def _owners(offers: list[Offer]) -> dict[tuple[str, str], list[str]]:
    """For each kind and name, the distributions that offer it."""
    owners: dict[tuple[str, str], list[str]] = {}
    for offer in offers:
        owners.setdefault(_key(offer), []).append(offer.distribution)
    return owners


def _key(offer: Offer) -> tuple[str, str]:
    return offer.spec.kind, offer.spec.name


def _fields(offer: Offer, owners: list[str]) -> dict[str, object]:
    return {
        "kind": offer.spec.kind,
        "name": offer.spec.name,
        "distribution": offer.distribution,
        "version": offer.version,
        "plugin": offer.plugin,
        "summary": offer.spec.summary,
        "conflict": owners if len(owners) > 1 else [],
    }


def _troubled(catalog: Catalog) -> int:
    """How many plugins did not load, or offer a name that another offers."""
    failed = {(plugin.name, plugin.distribution) for plugin in catalog.plugins if plugin.attention}
    conflicting = {(o.plugin, o.distribution) for conflict in catalog.conflicts() for o in conflict.offers}
    return len(failed | conflicting)
