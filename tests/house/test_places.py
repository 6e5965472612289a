"""One file of tests per module, under its name: `tests/model/test_losses.py` tests `tinyllava_kit/model/losses.py`.

Ways through several rooms lie in the folders of `WAYS`. `THROUGH` names the file that tests a module which has none of
its own.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
ROOMS = {Path("cli"): ROOT / "cli/tinyllava_kit_cli", Path(): ROOT / "tinyllava_kit"}

# Folders of tests about more than one room, and what they ask.
WAYS = {
    "benchmarks": "the programs of benchmarks/",
    "docs": "pages, and the commands in them",
    "end_to_end": "from parts to an answer, as a user goes",
    "examples": "the programs of examples/",
    "golden": "fixtures",
    "house": "rules of the whole project",
    "plugins": "distributions of strangers, made for tests",
    "transformers_suite": "transformers' own tests of models",
}
# Files of a room's folder that test it as a whole, and what they ask.
WHOLE: dict[str, str] = {
    "assembly/test_changed_assemblies.py": "changed files of assemblies and of models that give parts",
    "checkpoints/test_changed_files.py": "files of a model's directory, changed by chance",
    "components/connectors/test_connectors.py": "what every connector promises, whatever it computes",
    "components/connectors/test_golden.py": "connectors beside the numbers of TinyLLaVA_Factory's",
    "components/templates/test_golden.py": "templates beside the prompts, ids and labels of TinyLLaVA_Factory",
    "components/templates/test_jinja.py": "what other programs render of each template, beside what the kit asks",
    "data/test_changed_rows.py": "files of rows, changed by chance",
    "evaluation/test_changed_evaluations.py": "files of an evaluation, changed by chance",
    "model/test_compile.py": "the model under torch.compile",
    "model/test_cuda.py": "the model on a CUDA device",
    "model/test_golden.py": "the model against the numbers of TinyLLaVA_Factory",
    "serving/browser/test_answers.py": "the page in a browser: answers",
    "serving/browser/test_faults.py": "the page in a browser: what goes wrong",
    "serving/browser/test_inputs.py": "the page in a browser: pictures and sounds that are given to it",
    "serving/browser/test_looks.py": "the page in a browser: keyboard, colours, a phone",
    "serving/browser/test_speaking.py": "the page in a browser: answers in sound",
    "serving/test_page.py": "the code of docs/serving.md, run against a server",
    "test_fuzz.py": "the harness of changed files, tests/fuzz.py",
    "testing/test_clouds.py": "the contract of modalities, of items with several arrays and holes",
    "testing/test_tower_layouts.py": "the contract of towers, of rasters and other layouts of features",
    "training/test_changed_recipes.py": "recipes and files of stages, changed by chance",
    "training/test_distributed.py": "two processes do what one does",
    "training/test_resume.py": "a run that is killed goes on to the bit",
}
# Modules without a file of their own, and the file that tests them.
THROUGH: dict[str, str] = {
    "checkpoints/exporting/target": "checkpoints/exporting/test_export_targets.py",
    "components/connectors/average_pool": "components/connectors/test_sequence.py",
    "components/connectors/conv": "components/connectors/test_sequence.py",
    "components/connectors/stack": "components/connectors/test_sequence.py",
    "components/connectors/window_qformer": "components/connectors/test_sequence.py",
    "testing/decoder_models": "testing/test_token_decoders.py",
    "testing/loaded": "testing/test_towers.py",
    "testing/own_benchmarks": "testing/test_pytest_plugin.py",
    "testing/own_exports": "testing/test_pytest_plugin.py",
    "testing/own_layouts": "testing/test_pytest_plugin.py",
    "testing/own_modalities": "testing/test_pytest_plugin.py",
    "testing/own_objectives": "testing/test_pytest_plugin.py",
    "testing/own_readers": "testing/test_pytest_plugin.py",
    "testing/own_scorers": "testing/test_pytest_plugin.py",
    "testing/own_templates": "testing/test_pytest_plugin.py",
    "testing/packed_samples": "model/test_packed_attention.py",
    "testing/toy_models": "testing/test_objectives.py",
    "training/objectives/shipped": "training/objectives/test_objective.py",
    "training/output/completion": "training/output/test_outcome.py",
    "training/preparation": "training/test_run.py",
}


def modules() -> dict[str, Path]:
    """The modules that do something, by the path of their tests: `model/losses`, `cli/commands/ask`."""
    found = {}
    for prefix, folder in ROOMS.items():
        for file in sorted(folder.rglob("*.py")):
            if not file.name.startswith("__") and does_something(file.read_text(encoding="utf-8")):
                found[(prefix / file.relative_to(folder)).with_suffix("").as_posix()] = file
    return found


def does_something(source: str) -> bool:
    """Whether a module has a function with a body: one of constants, fields and stubs alone has nothing to test."""
    functions = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    return any(len(node.body) > 1 or not is_text(node.body[0]) for node in functions)


def is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def file_of(module: str) -> Path:
    folder, _, name = module.rpartition("/")
    return TESTS / folder / f"test_{name}.py"


def test_every_module_has_a_file_of_tests() -> None:
    without = {module for module in modules() if not file_of(module).is_file()}
    assert without - set(THROUGH) == set(), "write tests/ROOM/test_MODULE.py, or say in THROUGH which file tests it"
    assert set(THROUGH) - without == set(), "THROUGH names modules that have a file of their own, or that are gone"
    assert {file for file in THROUGH.values() if not (TESTS / file).is_file()} == set()


def test_every_file_of_tests_has_a_module() -> None:
    of_modules = {file_of(module) for module in modules()}
    others = {
        str(file.relative_to(TESTS))
        for file in TESTS.rglob("test_*.py")
        if file.relative_to(TESTS).parts[0] not in WAYS and file not in of_modules
    }
    assert others - set(WHOLE) == set(), (
        "name the file as its module, move it to end_to_end/, or say in WHOLE what it asks"
    )
    assert set(WHOLE) - others == set()
