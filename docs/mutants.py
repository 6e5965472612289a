"""The table of mutants in plugin-checks.md, of the tests that plant them: ``python docs/mutants.py`` writes it."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "plugin-checks.md"
BEGIN, END = "<!-- mutants: begin -->\n", "<!-- mutants: end -->\n"
# module of tests -> kind, and the names of its tables.
TABLES = {
    "test_preprocessing": {"PREPROCESSORS": "tower"},
    "test_towers": {"NETWORKS": "tower"},
    "test_tower_layouts": {"RASTERS": "tower", "LAYOUTS": "tower"},
    "test_specified": {"SPECS": "spec"},
    "test_audio_towers": {"BROKEN": "audio tower"},
    "test_connectors": {"MUTANTS": "connector"},
    "test_modalities": {"MUTANTS": "modality"},
    "test_clouds": {"CLOUDS": "modality"},
    "test_language_models": {"MUTANTS": "llm"},
    "test_chat_templates": {"MUTANTS": "template"},
    "test_token_decoders": {"MUTANTS": "decoder"},
    "test_text_decoders": {"TEXT_MUTANTS": "decoder of text"},
    "test_item_decoders": {"TOKEN_MUTANTS": "decoder", "PARALLEL_MUTANTS": "decoder"},
    "test_hidden_decoders": {"HIDDEN_MUTANTS": "decoder of states"},
    "test_commands": {"MUTANTS": "command"},
    "test_scorers": {"MUTANTS": "scorer"},
    "test_benchmarks": {"MUTANTS": "benchmark", "SCORERS": "benchmark"},
    "test_exports": {"MUTANTS": "export"},
    "test_layouts": {"MUTANTS": "checkpoint", "SPECS": "checkpoint"},
    "test_objectives": {"MUTANTS": "objective"},
    "test_readers": {"MUTANTS": "reader", "SPECS": "reader"},
}


def main() -> None:
    sys.path.insert(0, str(ROOT))
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def with_table(page: str) -> str:
    """The page with the table as it should be, between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def table() -> str:
    """A row for each mutant: its kind, its fault, and the check that finds it."""
    found = sorted(rows(), key=lambda row: row[0])
    head = f"## Mutants\n\nEach of these {len(found)} is wrong in one way, and a test sees that the check fails."
    lines = [f"| {kind} | {what} | {check} |" for kind, what, check in found]
    return "\n".join([f"{head}\n", "| kind | what is wrong | caught by |", "|---|---|---|", *lines, ""])


def rows() -> Iterator[tuple[str, str, str]]:
    for module, tables in TABLES.items():
        tests = importlib.import_module(f"tests.testing.{module}")
        for name, kind in tables.items():
            for what, *rest in getattr(tests, name):
                text = what if isinstance(what, str) else _words(what.__name__)
                yield kind, text, rest[-2].removeprefix("test_")


def _words(name: str) -> str:
    """``CountsOneMore`` and ``counts_one_more`` as words."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).replace("_", " ").lower()


if __name__ == "__main__":
    main()
