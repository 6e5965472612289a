"""A stage with its directories: all of them in the one that it leaves, but for features that stages share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinyllava_kit.training.recipe import Recipe, Stage
from tinyllava_kit.training.stage_run import CACHE_FOLDER, StageRun


def stage(name="s", **keys) -> Stage:
    return Stage.model_validate({"name": name, "data": "rows.json", "train": {"llm": "full"}, **keys})


def test_what_a_stage_writes_lies_in_its_directory_and_features_beside_it():
    run, other = StageRun(stage(), Path("model"), Path("out/s")), StageRun(stage("t"), Path("out/s"), Path("out/t"))
    assert (run.checkpoints, run.skipped_file) == (Path("out/s/checkpoints"), Path("out/s/skipped.jsonl"))
    assert run.cache_folder == other.cache_folder == Path("out", CACHE_FOLDER)


def test_its_settings_are_those_of_the_model_the_seed_and_the_stage():
    first = StageRun(stage(), Path("model"), Path("out/s"), seed=3).settings
    assert (first["model"], first["seed"], first["name"]) == ("model", 3, "s")
    assert StageRun(stage(), Path("model"), Path("elsewhere/s"), seed=3).settings == first
    for other in (
        StageRun(stage(), Path("other"), Path("out/s"), seed=3),
        StageRun(stage(), Path("model"), Path("out/s"), seed=4),
        StageRun(stage(learning_rate=0.5), Path("model"), Path("out/s"), seed=3),
    ):
        assert other.settings != first
    assert StageRun(stage(workers=4, logging_steps=3), Path("model"), Path("out/s"), seed=3).settings == first


def test_no_stage_has_the_name_of_the_folder_of_features():
    with pytest.raises(ValueError, match="name"):
        Recipe.model_validate({"model": "m", "output": "o", "stages": [{**stage().model_dump(), "name": CACHE_FOLDER}]})
