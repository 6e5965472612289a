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
    "checkpoints/exporting/test_parts.py": "",
    "checkpoints/exporting/test_targets.py": "",
    "checkpoints/exporting/test_without_decoder.py": "",
    "checkpoints/test_changed_files.py": "",
    "checkpoints/test_export_llava.py": "",
    "checkpoints/test_from_pretrained.py": "",
    "checkpoints/test_killed.py": "",
    "checkpoints/test_layouts.py": "",
    "components/connectors/test_connectors.py": "what every connector promises, whatever it computes",
    "components/connectors/test_golden.py": "connectors beside the numbers of TinyLLaVA_Factory's",
    "components/templates/test_golden.py": "templates beside the prompts, ids and labels of TinyLLaVA_Factory",
    "components/templates/test_jinja.py": "what other programs render of each template, beside what the kit asks",
    "data/test_changed_rows.py": "",
    "evaluation/test_benchmarks.py": "",
    "evaluation/test_changed_evaluations.py": "",
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
    "training/test_adapters.py": "",
    "training/test_changed_recipes.py": "",
    "training/test_checkpoints.py": "",
    "training/test_ctc.py": "",
    "training/test_curves.py": "",
    "training/test_data_check.py": "",
    "training/test_decisions.py": "",
    "training/test_distillation.py": "",
    "training/test_distributed.py": "",
    "training/test_distributed_decoders.py": "",
    "training/test_feature_matching.py": "",
    "training/test_four_bits.py": "",
    "training/test_gradient_check.py": "",
    "training/test_items_as_text.py": "",
    "training/test_modes.py": "",
    "training/test_objectives.py": "",
    "training/test_outcome.py": "",
    "training/test_pack_probe.py": "",
    "training/test_packing.py": "",
    "training/test_preflight.py": "",
    "training/test_preview.py": "",
    "training/test_progress.py": "",
    "training/test_resume.py": "",
    "training/test_schedule.py": "",
    "training/test_shown_items.py": "",
    "training/test_sized.py": "",
    "training/test_stopping.py": "",
    "training/test_training.py": "",
    "training/test_trl.py": "",
    "training/test_validation.py": "",
}
# Modules without a file of their own, and the file that tests them.
THROUGH: dict[str, str] = {
    "checkpoints/adapters": "",
    "checkpoints/card_usage": "",
    "checkpoints/checking": "",
    "checkpoints/exporting/export_targets": "",
    "checkpoints/exporting/gguf_writing": "",
    "checkpoints/exporting/llava": "",
    "checkpoints/exporting/requirements": "",
    "checkpoints/exporting/target": "",
    "checkpoints/external/external_checkpoint": "",
    "checkpoints/external/factory": "",
    "checkpoints/external/legacy": "",
    "checkpoints/external/llava": "",
    "checkpoints/external/mapping": "",
    "checkpoints/external/names": "",
    "checkpoints/external/reader": "",
    "checkpoints/external/weights": "",
    "checkpoints/loading": "",
    "checkpoints/parity": "",
    "checkpoints/plugin": "",
    "components/connectors/average_pool": "components/connectors/test_sequence.py",
    "components/connectors/conv": "components/connectors/test_sequence.py",
    "components/connectors/stack": "components/connectors/test_sequence.py",
    "components/connectors/window_qformer": "components/connectors/test_sequence.py",
    "data/dataset": "",
    "data/huggingface": "",
    "data/json_rows": "",
    "data/plugin": "",
    "evaluation/anls": "",
    "evaluation/answer_log": "",
    "evaluation/asking": "",
    "evaluation/benchmarks/answer_file": "",
    "evaluation/benchmarks/benchmark": "",
    "evaluation/benchmarks/gqa": "",
    "evaluation/benchmarks/mme": "",
    "evaluation/benchmarks/mmmu": "",
    "evaluation/benchmarks/mmvet": "",
    "evaluation/benchmarks/pope": "",
    "evaluation/benchmarks/scienceqa": "",
    "evaluation/benchmarks/tasks": "",
    "evaluation/benchmarks/textvqa": "",
    "evaluation/benchmarks/vqav2": "",
    "evaluation/choice": "",
    "evaluation/figures": "",
    "evaluation/judged": "",
    "evaluation/likelihood": "",
    "evaluation/plugin": "",
    "evaluation/question": "",
    "evaluation/record": "",
    "evaluation/scorer": "",
    "evaluation/tables": "",
    "evaluation/vqa": "",
    "evaluation/yes_no": "",
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
    "training/batches/batching": "",
    "training/batches/dummy_items": "",
    "training/batches/epochs": "",
    "training/batches/packing": "",
    "training/batches/size": "",
    "training/batches/sized": "",
    "training/checks/data_check": "",
    "training/checks/gradient_check": "",
    "training/checks/pack_probe": "",
    "training/checks/preflight": "",
    "training/checks/preview": "",
    "training/feature_caching": "",
    "training/loop/arguments": "",
    "training/loop/clock": "",
    "training/loop/fitting": "",
    "training/loop/lost_workers": "",
    "training/loop/meter": "",
    "training/loop/progress": "",
    "training/loop/schedule": "",
    "training/loop/sharding": "",
    "training/loop/stopping": "",
    "training/loop/trainer": "",
    "training/loop/validation": "",
    "training/objectives/ctc": "",
    "training/objectives/distillation": "",
    "training/objectives/feature_matching": "",
    "training/objectives/objective": "",
    "training/objectives/shipped": "",
    "training/output/checkpoints": "",
    "training/output/completion": "",
    "training/output/curves": "",
    "training/output/decisions": "",
    "training/output/history": "",
    "training/output/outcome": "",
    "training/output/provenance": "",
    "training/output/recorded_settings": "",
    "training/output/report": "",
    "training/output/shown_items": "",
    "training/plugin": "",
    "training/preparation": "",
    "training/recipe": "",
    "training/run": "",
    "training/stage_run": "",
    "training/stage_settings": "",
    "training/stages": "",
    "training/trained_parts": "",
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
