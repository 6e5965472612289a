"""The gallery of components, of the specs that are installed: ``python docs/gallery.py`` writes plugin-gallery.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinyllava_kit import discover
from tinyllava_kit.specs import Option

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "plugin-gallery.md"
HEAD = """# Gallery

What this repository offers, of the specs themselves (`python docs/gallery.py` writes this page). The licence is that of
the code; a checkpoint has its own. The toy run takes the component through its checks, with a checkpoint of toy size
that it makes itself.
"""


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The whole page: a heading for each kind, and a part for each component."""
    ours = _licences()
    parts = [HEAD]
    catalog = discover()
    for kind in sorted({offer.spec.kind for offer in catalog.offers}):
        offers = [offer for offer in catalog.of_kind(kind) if offer.distribution in ours]
        if offers:
            parts.append(f"## {kind}\n")
            parts += ["\n".join(_lines(offer, ours[offer.distribution])) + "\n" for offer in offers]
    return "\n".join(parts)


def _lines(offer: Any, licence: str) -> Iterator[str]:
    spec = offer.spec
    yield f"### {spec.kind} {spec.name}\n"
    yield f"{_sentence(spec.summary)}\n"
    yield f"- from `{offer.distribution}`, {licence}"
    if checkpoint := getattr(spec, "checkpoint", ""):
        yield f"- checkpoint: {checkpoint}"
    yield from (f"- option `{option.name}`: {_told(option)}" for option in spec.options)
    yield f"- toy run: `pytest --tinyllava-conformance={offer.distribution} -k {spec.kind}:{spec.name}::`"


def _told(option: Option) -> str:
    kinds = " or ".join(f"`{choice}`" for choice in option.choices) or option.type.__name__
    default = "none" if option.default is None else str(option.default)
    return f"{kinds}, default {default}{'; ' if option.help else ''}{option.help}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _licences() -> dict[str, str]:
    """Each distribution of this repository, with its licence."""
    found = {}
    for file in (ROOT / "pyproject.toml", *sorted(ROOT.glob("plugins/*/pyproject.toml"))):
        text = file.read_text(encoding="utf-8")
        name, licence = (re.search(rf'^{key} = "(.*)"', text, re.MULTILINE) for key in ("name", "license"))
        if name and licence:
            found[name.group(1)] = licence.group(1)
    return found


if __name__ == "__main__":
    main()
