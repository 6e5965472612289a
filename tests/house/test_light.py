"""What must start fast imports nothing heavy, at any depth. In processes of their own: this one has torch loaded."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tinyllava_kit_cli.app import COMMANDS

pytestmark = pytest.mark.slow

HEAVY = {"torch", "transformers", "numpy"}
# What `list` and help have no use for either; each costs more than they do.
SLOW = HEAVY | {"packaging", "pydantic", "rich", "yaml", "PIL", "accelerate", "peft", "safetensors"}

ROOT = Path(__file__).parents[2]

RUN = """
import sys
from tinyllava_kit_cli.app import main
for line in {lines!r}:
    try:
        main(line.split())
    except SystemExit as ended:
        print(f"\\n{{line}}: exit", ended.code or 0, file=sys.stderr)
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
    "new-plugin --help": (SLOW, 0),
    "serve --help": (HEAVY, 0),
    "help": (SLOW, 0),
    "help train": (HEAVY, 0),
}


@pytest.mark.parametrize("unwanted", [SLOW, HEAVY], ids=["slow", "heavy"])
def test_a_light_command_imports_nothing_heavy(unwanted: set[str]) -> None:
    lines = [line for line, (theirs, _) in LIGHT.items() if theirs is unwanted]
    said, _ = run(RUN.format(lines=lines))  # one process for all: what one imports, the next ones have
    after = [set(modules.split()) for modules in re.findall(r"^modules (.*)$", said, flags=re.MULTILINE)]
    assert [line for line, modules in zip(lines, after, strict=True) if modules & unwanted] == []
    assert [line for line in lines if f"\n{line}: exit {LIGHT[line][1]}\n" not in said] == [], said


RECIPE = "{model: %s, output: out, stages: [{name: one, data: %s, train: {llm: full}}]}"
FILES = {
    "model/config.json": '{"model_type": "tinyllava", "llm": {}}',
    "rows.json": "[]",
    "no_model.yaml": RECIPE % ("no/such/model", "rows.json"),
    "no_rows.yaml": RECIPE % ("model", "nope.json"),
}
# Each names something that is not there, or a place that is taken.
WRONG = [
    *("ask nope what", "ask model what --image nope.png", "ask model what --item audio=nope.wav"),
    *("ask model what --write image=nope/x.png", "chat nope", "chat no/such/model"),
    *("show nope what -o out", "show model what --image nope.png -o out", "show model what -o rows.json"),
    *("eval nope rows.json -o out --scorer exact_match", "eval model nope.json -o out --scorer exact_match"),
    *("eval model gqa -o out", "eval model gqa --root nope -o out", "eval model nope -o out"),
    *("serve nope", "serve rows.json", "serve no/such/model"),
    *("train nope.yaml", "train model", "train no_model.yaml", "train no_rows.yaml", "train no_rows.yaml --stage two"),
    *("data check nope.yaml", "data show nope.yaml", "data check no_rows.yaml", "data show no_model.yaml"),
    *("assemble nope.yaml -o out", "assemble --llm nope -o out", "assemble --llm causal_lm:no/such/one -o out"),
    *("assemble --llm causal_lm:a/b --connector image=linear:./nope -o out", "assemble --llm causal_lm:a/b -o model"),
    *("load-check nope", "load-check model --reference nope", "load-check model --names-from nope"),
    *("convert nope out", "convert model rows.json", "convert model out --reference nope", "convert model out"),
    *("merge nope out --adapters rows", "merge model model --adapters rows", "merge model out --adapters nope"),
    *("quantize nope out --bits 4", "quantize model rows.json --bits 4"),
    *("export nope --to hf-llava -o out", "export model --to hf-llava -o rows.json"),
    *("info nope", "nope"),
    *("new-plugin Nope --kind tower", "new-plugin mine --kind tower --out model"),
]
HAS_NO_PATH = {"list", "info", "doctor", "help"}

RUN_WRONG = """
import sys
from tinyllava_kit_cli.app import main
for line in {lines!r}:
    try:
        main(line.split())
    except SystemExit as ended:
        print(f"\\n{{line}}: exit {{ended.code}}", *{{"torch", "transformers"}} & set(sys.modules), file=sys.stderr)
print("\\nmodules", file=sys.stderr)
"""


def test_what_is_not_there_is_reported_before_anything_heavy_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    said, _ = run(RUN_WRONG.format(lines=WRONG))  # one process for all: what the first imports, the next ones have
    assert [line for line in WRONG if f"\n{line}: exit 2\n" not in said] == [], said
    assert said.count("error: ") == len(WRONG), said


def test_every_command_is_given_a_wrong_path() -> None:
    assert set(COMMANDS) - HAS_NO_PATH == {line.partition(" ")[0] for line in WRONG} & set(COMMANDS) - HAS_NO_PATH


@pytest.mark.parametrize("words", ["assemble --tower image=", "eval model --scorer ", "ask model --im", "inf"])
def test_a_shell_completes_without_anything_heavy(words: str) -> None:
    line = words.split(" ")
    asked = {"_TINYLLAVA_COMPLETE": "bash_complete", "COMP_WORDS": f"tinyllava {words}", "COMP_CWORD": str(len(line))}
    said, modules = run(f"import os; os.environ |= {asked!r}\n" + RUN.format(lines=[""]))
    assert modules & HEAVY == set()
    assert "\n: exit 0\n" in said, said


def test_the_doctor_imports_nothing_heavy() -> None:
    _, modules = run(RUN.format(lines=["doctor"]))  # its exit code is about whatever is installed here
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
