"""The recipe of a command line: what it names and what its stages need is told before anything heavy is imported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tinyllava_kit_cli import app

pytestmark = pytest.mark.usefixtures("runs")


RECIPES = {
    "data: {dataset: org/name}": ("datasets", "stage 'one': data 'org/name' needs datasets; pip install"),
    "data: empty": ("datasets", "stage 'one': data 'empty' needs datasets; pip install"),
    "data: [a.json, b.parquet]": ("pyarrow", "stage 'one': data 'b.parquet' needs pyarrow; pip install"),
    "data: 'b-{0..3}.PARQUET'": ("pyarrow", "stage 'one': data 'b-{0..3}.PARQUET' needs pyarrow; pip install"),
    "data: {path: b.rows, reader: parquet}": ("pyarrow", "stage 'one': data 'b.rows' needs pyarrow; pip install"),
    "data: {path: b.rows, reader: saved_dataset}": ("datasets", "stage 'one': data 'b.rows' needs datasets; pip"),
    "data: {path: a.csv, pairs: {modality: audio, prompts: [Repeat it.]}}": (
        "soundfile",
        "a file of audio needs soundfile",
    ),
    "data: a.json, quantization: {bits: 4}": ("bitsandbytes", "stage 'one': quantization needs bitsandbytes; pip"),
}


@pytest.mark.parametrize("stage", RECIPES)
@pytest.mark.parametrize("command", [["train"], ["data", "check"], ["data", "show"]], ids=lambda words: words[-1])
def test_an_extra_that_a_stage_needs_is_asked_for_first(
    command: list[str], stage: str, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, match = RECIPES[stage]
    monkeypatch.setitem(sys.modules, module, None)
    other = "  - {name: zero, data: x.json, train: {llm: full}}\n"
    text = f"model: nowhere\noutput: o\nstages:\n{other}  - {{name: one, {stage}, train: {{llm: lora}}}}\n"
    (runs / "recipe.yaml").write_text(text)
    done = CliRunner().invoke(app.cli, [*command, "recipe.yaml"])
    assert done.exit_code == 2, done.output
    assert match in done.stderr
    alone = CliRunner().invoke(app.cli, [*command, "recipe.yaml", "--stage", "zero"])
    assert match not in alone.stderr  # which needs none


def test_a_recipe_that_is_mistyped_gets_the_near_one(runs: Path) -> None:
    (runs / "recipe.yaml").touch()
    done = CliRunner().invoke(app.cli, ["train", "recpe.yaml"])
    assert done.stderr == "error: cannot read 'recpe.yaml': No such file or directory; did you mean 'recipe.yaml'?\n"


@pytest.mark.parametrize(
    ("name", "advice"),
    [("smal", "did you mean 'small'?"), ("speaking", "give an existing one, or a hub name (org/name)")],
)
@pytest.mark.parametrize("command", [["train"], ["data", "check"]], ids=" ".join)
def test_a_recipes_model_is_no_hubs_where_its_name_could_not_be(
    runs: Path, command: list[str], name: str, advice: str
) -> None:
    (runs / "rows.json").write_text("[]")
    stage = "  - {name: one, data: rows.json, max_steps: 1, train: {llm: full}}\n"
    (runs / "recipe.yaml").write_text(f"model: {name}\noutput: o\nstages:\n{stage}")
    done = CliRunner().invoke(app.cli, [*command, "recipe.yaml"])
    assert done.exit_code == 2, done.output
    assert done.stderr == f"error: no model directory {name!r}; {advice}\n"
