"""Pages of one file, from templates and one style sheet. What a page quotes is text, whatever it spells."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined

_TEMPLATES = Path(__file__).parent / "templates"


def render(name: str, *, templates: Path | None = None, **values: Any) -> str:
    """A page from its template.

    Args:
        templates: a folder of one's own; its templates may extend ``page.html``, which takes a `title` and has the
            blocks `style` and `body`, and import ``parts.html``.
        values: what the template names.
    """
    return _environment(templates).get_template(name).render(values)


@cache
def _environment(templates: Path | None) -> Environment:
    folders = [_TEMPLATES] if templates is None else [templates, _TEMPLATES]
    return Environment(
        loader=ChoiceLoader([FileSystemLoader(folder) for folder in folders]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
