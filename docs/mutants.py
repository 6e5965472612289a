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
    "test_mutants_towers": {
        "PREPROCESSORS": "tower",
        "NETWORKS": "tower",
        "RASTERS": "tower",
        "LAYOUTS": "tower",
        "SPECS": "spec",
    },
    "test_contracts": {"BROKEN": "audio tower"},
    "test_mutants_connectors": {"MUTANTS": "connector"},
    "test_mutants_modalities": {"MUTANTS": "modality"},
    "test_mutants_clouds": {"CLOUDS": "modality"},
    "test_mutants_llms": {"MUTANTS": "llm"},
    "test_mutants_templates": {"MUTANTS": "template"},
    "test_mutants_decoders": {"MUTANTS": "decoder", "TEXT_MUTANTS": "decoder of text"},
    "test_decoder_contract": {
        "TOKEN_MUTANTS": "decoder",
        "PARALLEL_MUTANTS": "decoder",
        "HIDDEN_MUTANTS": "decoder of states",
    },
    "test_mutants_commands": {"MUTANTS": "command", "SPECS": "command"},
    "test_mutants_plugins": {"SPECS": "spec", "NAMES": "spec"},
    "test_mutants_scorers": {"MUTANTS": "scorer"},
    "test_mutants_benchmarks": {"MUTANTS": "benchmark", "SCORERS": "benchmark"},
    "test_mutants_exports": {"MUTANTS": "export"},
    "test_mutants_layouts": {"MUTANTS": "checkpoint", "SPECS": "checkpoint"},
    "test_mutants_objectives": {"MUTANTS": "objective"},
    "test_mutants_readers": {"MUTANTS": "reader", "SPECS": "reader"},
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
    """A row for each mutant: its kind, what is wrong with it, and the check that says so."""
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
