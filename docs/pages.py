"""mkdocs' view of the repository: every page stands at its own path, so that the links in it lead where they do there.

mkdocs knows one folder of pages; ours stand beside what they are about.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PAGES = (
    "*.md",
    "docs/**/*.md",
    "examples/**/*.md",
    "benchmarks/*.md",
    "plugins/*/README.md",
    "tests/plugins/sensor/README.md",
)
_LINK = re.compile(r"\]\(([^)\s#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The pages, and the files of the repository that they link to."""
    root = Path(config.config_file_path).parent
    for file in list(files):
        if file.abs_src_path and Path(file.abs_src_path).is_relative_to(config.docs_dir):
            files.remove(file)
    pages = [path for pattern in PAGES for path in sorted(root.glob(pattern))]
    linked = {path for page in pages for path in _linked(page) if path.suffix != ".md" and path.is_relative_to(root)}
    for path in [*pages, *sorted(linked)]:
        files.append(File.generated(config, path.relative_to(root).as_posix(), abs_src_path=str(path)))
    return files


def _linked(page: Path) -> Iterator[Path]:
    """The files beside a page that it links to."""
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        path = (page.parent / target).resolve()
        if "://" not in target and path.is_file():
            yield path
