"""What must start fast imports nothing heavy, at any depth. A subprocess each: this one has torch loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "transformers", "numpy"}
# What `list` and help have no use for either; each costs more than they do.
SLOW = HEAVY | {"packaging", "pydantic", "rich", "yaml", "PIL", "accelerate", "peft", "safetensors"}

ROOT = Path(__file__).parents[2]

RUN = """
import sys
from tinyllava_kit_cli.app import main
try:
    main({args!r})
except SystemExit as ended:
    print("\\nexit", ended.code or 0, file=sys.stderr)
print("\\nmodules", *{{name.partition(".")[0] for name in sys.modules}}, file=sys.stderr)
"""


def run(code: str) -> tuple[str, set[str]]:
    """Run Python code that ends with a line of modules on stderr -> its stderr, those modules."""
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'cli')!r}]\n{code}"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stderr
    return said, set(said.rpartition("\nmodules ")[2].split())


LIGHT = {
    "--help": (SLOW, 0),
    "--version": (SLOW, 0),
    "list": (SLOW, 0),
    "list --json": (SLOW, 0),
    "info image": (SLOW, 0),
    "info no_such_component": (SLOW, 2),
    "lst": (SLOW, 2),
    "assemble --help": (HEAVY, 0),
    "train --help": (HEAVY, 0),
    "ask --help": (HEAVY, 0),
    "eval --help": (HEAVY, 0),
    "chat --help": (HEAVY, 0),
    "show --help": (HEAVY, 0),
    "help": (SLOW, 0),
    "help train": (HEAVY, 0),
    "ask no_such_model what": (HEAVY, 2),
    "chat no/such/model": (HEAVY, 2),
    "eval no_such_model rows.json -o out": (HEAVY, 2),
    "show no_such_model what -o out": (HEAVY, 2),
}


@pytest.mark.parametrize("line", LIGHT)
def test_a_light_command_imports_nothing_heavy(line: str) -> None:
    unwanted, code = LIGHT[line]
    said, modules = run(RUN.format(args=line.split()))
    assert modules & unwanted == set()
    assert f"\nexit {code}\n" in said, said


@pytest.mark.parametrize("words", ["assemble --tower image=", "eval model --scorer ", "ask model --im", "inf"])
def test_a_shell_completes_without_anything_heavy(words: str) -> None:
    line = words.split(" ")
    asked = {"_TINYLLAVA_COMPLETE": "bash_complete", "COMP_WORDS": f"tinyllava {words}", "COMP_CWORD": str(len(line))}
    said, modules = run(f"import os; os.environ |= {asked!r}\n" + RUN.format(args=[]))
    assert modules & HEAVY == set()
    assert "\nexit 0\n" in said, said


def test_the_doctor_imports_nothing_heavy() -> None:
    _, modules = run(RUN.format(args=["doctor"]))  # its exit code is about whatever is installed here
    assert "packaging" in modules
    assert modules & HEAVY == set()


@pytest.mark.parametrize(
    "name", ["", ".specs", ".files", ".components", ".plugin.discovery", ".plugin.doctor", ".assembly.assembly"]
)
def test_a_light_module_imports_nothing_heavy(name: str) -> None:
    module = f"tinyllava_kit{name}"
    _, modules = run(f"import {module}, sys\nprint('\\nmodules', *sys.modules, file=sys.stderr)")
    assert module in modules
    assert modules & HEAVY == set()
