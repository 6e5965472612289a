"""What every page is made of: a document, a table, and pictures and sounds that lie in the page itself."""

from __future__ import annotations

import base64
import html
import mimetypes
from collections.abc import Sequence
from pathlib import Path

STYLE = """
:root { color-scheme: light dark; --line: light-dark(#ccc, #444); --mark: light-dark(#2563a8, #7db4f0) }
body { font: 16px/1.45 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: light-dark(#222, #ddd); background: light-dark(#fff, #181a1b) }
table { border-collapse: collapse; margin: .6rem 0 }
td, th { padding: .2rem .8rem; border-bottom: 1px solid var(--line); text-align: left }
"""


def document(title: str, body: str, style: str = "") -> str:
    """A whole page. `title` is text, `body` HTML, `style` what the page wants beside `STYLE`."""
    head = f"<meta charset='utf-8'><title>{html.escape(title)}</title><style>{STYLE}{style}</style>"
    return f"<!doctype html><html><head>{head}</head><body>{body}</body></html>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of HTML. Where rows have more cells than the head, its last one stands over the rest."""
    span = max(map(len, rows), default=len(head)) - len(head) + 1
    titles = "".join(f"<th>{cell}</th>" for cell in head[:-1]) + f"<th colspan='{span}'>{head[-1]}</th>"
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{titles}</tr>{body}</table>"


def text_table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A table of text."""
    first, *rest = [[html.escape(str(cell)) for cell in row] for row in (head, *rows)]
    return table(first, rest)


def picture(content: bytes, kind: str = "image/png", *, alt: str = "") -> str:
    """A picture in the page itself."""
    return f"<img src='{_inline(content, kind)}' alt='{html.escape(alt)}'>"


def sound(content: bytes, kind: str = "audio/wav") -> str:
    """A sound to play, in the page itself."""
    return f"<audio controls src='{_inline(content, kind)}'></audio>"


def media(file: Path) -> str | None:
    """A file in the page itself; None where its name is not that of something that browsers show or play."""
    kind = mimetypes.guess_type(file.name)[0] or ""
    show = {"image": picture, "audio": sound}.get(kind.partition("/")[0])
    return show(file.read_bytes(), kind) if show else None


def _inline(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
