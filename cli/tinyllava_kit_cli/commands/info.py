"""``tinyllava info``: all that is known of a component, without importing it."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import click

from tinyllava_kit.errors import MissingPluginError, near
from tinyllava_kit.plugin.catalog import Catalog, Offer
from tinyllava_kit.plugin.discovery import installed_catalog
from tinyllava_kit.plugin.specs import Option, TokenType
from tinyllava_kit_cli.printing import say
from tinyllava_kit_cli.shell_completion import names
from tinyllava_kit_cli.table import fit, terminal_width


@click.command
@click.argument("name", shell_complete=names())
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def command(name: str, as_json: bool) -> None:
    """Show what a component is, its options and its plugin.

    NAME is a component's name, of any kind, or DISTRIBUTION/NAME.
    """
    offers = _matching(installed_catalog(), name)
    if as_json:
        say(json.dumps([_facts(offer, name) for offer in offers], indent=2))
    else:
        say("\n\n".join("\n".join(_lines(offer, name)) for offer in offers))


def _matching(catalog: Catalog, name: str) -> list[Offer]:
    """Every offer that `name` may mean: of its exact name, else of a family."""
    distribution, _, bare = name.rpartition("/")
    offers = [o for o in catalog.offers if not distribution or o.distribution == distribution]
    found = [o for o in offers if o.spec.name == bare] or [o for o in offers if o.spec.matches(bare)]
    if not found:
        known = (o.qualified if distribution else o.spec.name for o in catalog.offers)
        raise MissingPluginError(f"no component is called {name!r}; {near(name, known)} ('tinyllava list' shows all)")
    return found


def _facts(offer: Offer, asked: str) -> dict[str, Any]:
    """The spec's fields and its owner as plain JSON."""
    spec = offer.spec
    facts: dict[str, Any] = {"kind": spec.kind, "name": spec.name, "summary": spec.summary}
    facts |= {"distribution": offer.distribution, "version": offer.version, "plugin": offer.plugin}
    facts |= {field.name: getattr(spec, field.name) for field in fields(spec) if field.name not in (*facts, "options")}
    if isinstance(token := facts.pop("token", None), TokenType):
        facts |= {"placeholder": token.placeholder, "begin": token.begin, "end": token.end}
    name_options = spec.name_options(asked.rpartition("/")[2])
    return facts | {"name_options": name_options, "options": [_option(option) for option in spec.options]}


def _option(option: Option) -> dict[str, Any]:
    return {
        "name": option.name,
        "type": option.type.__name__,
        "default": option.default,
        "choices": list(option.choices),
        "required": option.required,
        "bounds": option.bounds,
        "help": option.help,
    }


def _lines(offer: Offer, asked: str) -> list[str]:
    """The facts that say something, a line each."""
    facts = _facts(offer, asked)
    heading = f"{facts.pop('kind')} {facts.pop('name')}: {facts.pop('summary')}".removesuffix(": ")
    options = facts.pop("options")
    owner = f"{facts.pop('distribution')} {facts.pop('version')} (plugin {facts.pop('plugin')})"
    rows: list[tuple[str, ...]] = [("from", owner)]
    rows += [(key.replace("_", " "), _text(value)) for key, value in facts.items() if value not in ("", (), {}, False)]
    return [heading, *_indented(rows, 2), *_option_lines(options)]


def _option_lines(options: list[dict[str, Any]]) -> list[str]:
    if not options:
        return ["  no options"]
    rows: list[tuple[str, ...]] = []
    for option in options:
        choices = f"one of {', '.join(option['choices'])}" if option["choices"] else option["type"]
        choices = f"{choices} {option['bounds']}".rstrip()
        default = "required" if option["required"] else f"default {_text(option['default'])}"
        rows.append((option["name"], choices, default, option["help"]))
    return ["  options", *_indented(rows, 4)]


def _indented(rows: list[tuple[str, ...]], by: int) -> list[str]:
    width = terminal_width()
    return [" " * by + line for line in fit(rows, None if width is None else width - by)]


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} = {each}" for key, each in value.items())
    if isinstance(value, (tuple, list)):
        return ", ".join(map(str, value))
    return "yes" if value is True else "no" if value is False else str(value)
