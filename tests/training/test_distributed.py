"""Several processes: the same recipe, the same outcome, every sample once; a rank without items, one that fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import toys
from tests.training.processes import finish, start
from tests.training.runs import losses, weights, write_recipe
from tinyllava_kit.training.output.checkpoints import check_whole
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    toys.captioned_model(folder, ["a red ball", "two", "blue and green", "the last one"])
    toys.picture_rows(folder, 7)
    return folder


def recipe(place: Path, name: str, **stage: object) -> Path:
    stage = {
        "data": str(place / "rows.json"),
        "train": {"connector.image": "full", "llm": "lora", "tower.image": "full"},
        "batch_size": 2,
        "logging_steps": 1,
        "warmup_ratio": 0,
        "epochs": 2,
        **stage,
    }
    return write_recipe(place, name, stage)


def by_two(file: Path) -> list[tuple[int, str, str]]:
    return finish(start(["-m", "tinyllava_kit_cli", "train", str(file)]))


PAIRS = {"modality": "image", "text": "caption", "prompts": ["What is it?"]}
WAYS = {
    # what makes two ranks' steps those of one process
    "sized": ({"group_by_size": True}, {"gradient_accumulation": 2}),
    "packed": ({"packing": {"length": 40}, "max_length": 40}, {"gradient_accumulation": 2}),
    "drawn": ({"epochs": 1, "train": {"connector.image": "full"}}, {"batch_size": 4}),
    "cached": ({"cache_features": True, "group_by_size": True, "train": {"llm": "full"}}, {"gradient_accumulation": 2}),
}


@pytest.mark.parametrize("way", WAYS)
def test_two_processes_do_what_one_does_with_the_same_batches(place, way):
    shared, alone = WAYS[way]
    done = by_two(recipe(place, f"{way}-two", **shared))
    assert [code for code, _, _ in done] == [0, 0], done
    run_recipe(Recipe.from_yaml(recipe(place, f"{way}-one", **shared, **alone)))
    one, two = losses(place, f"{way}-one"), losses(place, f"{way}-two")
    assert len(one) == len(two) > 1
    if way == "sized":
        kinds = [losses(place, f"sized-{name}", "loss_image") for name in ("one", "two")]
        assert kinds[0] == pytest.approx(kinds[1], abs=1e-4)
        assert kinds[0]
    if way != "drawn":  # where accelerate takes the first samples once more, to make the last step even
        assert one == pytest.approx(two, abs=1e-4)
        before, first, second = (weights(place / name) for name in ("model", f"{way}-one/s", f"{way}-two/s"))
        assert (first - second).norm() < 0.01 * (first - before).norm()
    else:
        assert one[:-1] == pytest.approx(two[:-1], abs=1e-4)
    assert done[1][1] == ""  # rank 1 says nothing
    assert "the trained model is in" in done[0][2]
    assert "the trained model is in" not in done[1][2]


def test_the_command_with_weights_sharded_by_accelerate_does_what_one_process_does(place):
    shared = {"packing": {"length": 40}, "max_length": 40, "save_steps": 2}
    file = recipe(place, "fsdp-two", **shared)
    done = finish(start(["-m", "tests.training.fsdp_on_cpu", str(file)]))
    assert [code for code, _, _ in done] == [0, 0], done
    run_recipe(Recipe.from_yaml(recipe(place, "fsdp-one", **shared, gradient_accumulation=2)))
    one, two = losses(place, "fsdp-one"), losses(place, "fsdp-two")
    assert len(one) > 1
    assert one == pytest.approx(two, abs=1e-4)
    before, first, second = (weights(place / name) for name in ("model", "fsdp-one/s", "fsdp-two/s"))
    assert (first - second).norm() < 0.01 * (first - before).norm()


def test_the_loss_of_an_objective_is_averaged_over_the_targets_of_both(place):
    how = {
        "data": {"path": str(place / "pairs.jsonl"), "pairs": PAIRS},
        "train": {"connector.image": "full"},
        "distill": {"weight": 0.5},
        "batch_budget": {"image": 1},
        "epochs": 2,
    }
    assert [code for code, _, _ in by_two(recipe(place, "taught-two", **how))] == [0, 0]
    run_recipe(Recipe.from_yaml(recipe(place, "taught-one", **how, gradient_accumulation=2)))
    assert losses(place, "taught-one") == pytest.approx(losses(place, "taught-two"), abs=1e-4)


STOPPED = """
import os, signal, sys
from tinyllava_kit.training.loop.trainer import KitTrainer
keep = KitTrainer.training_step
def step(self, *args, **kwargs):
    if self.state.global_step == 1 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGTERM)
    return keep(self, *args, **kwargs)
KitTrainer.training_step = step
from tinyllava_kit_cli.app import main
main(["train", sys.argv[1]])
"""


def test_a_signal_to_one_rank_stops_both_behind_one_step(place):
    file = recipe(place, "stopped", train={"connector.image": "full"}, group_by_size=True)
    done = finish(start(["-c", STOPPED, str(file)]))
    assert [code for code, _, _ in done] == [143, 143], done
    assert done[0][2].splitlines()[-1] == "stopped at step 2; the same command resumes from step 2"
    assert "stopped at" not in done[1][2]
    check_whole(place / "stopped" / "s" / "checkpoints" / "checkpoint-2")


def test_a_rank_that_cannot_read_a_row_stops_the_other_and_says_which(place):
    rows = json.loads((place / "rows.json").read_text())
    (place / "images" / "cut.png").write_bytes((place / "images" / "0.png").read_bytes()[:60])
    rows[3]["image"] = "images/cut.png"
    (place / "cut.json").write_text(json.dumps(rows))
    done = by_two(recipe(place, "cut", data=str(place / "cut.json"), group_by_size=True))
    assert [code for code, _, _ in done] == [2, 2]
    said = [line for _, _, errors in done for line in errors.splitlines() if line.startswith("error: ")]
    assert len(said) == 2
    (read,) = (line for line in said if "cut.png" in line)
    assert "cut.json[3] 'row-3'" in read
    (other,) = (line for line in said if line != read)
    assert other.endswith("another rank has stopped; its own message says why")
    assert not any("Traceback" in errors for _, _, errors in done)


def test_a_mistake_of_all_is_told_once(place):
    done = by_two(recipe(place, "wrong", train={"connector.smell": "full"}))
    assert [code for code, _, _ in done] == [2, 2]
    assert "error: stage 's': train.connector.smell: the model has no such part" in done[0][2]
    assert "error" not in done[1][2]


def test_a_step_of_sharded_weights_is_that_of_whole_ones_with_a_rank_that_has_no_item(place):
    done = finish(start(["-m", "tests.training.sharded_step", str(place)]))
    assert [code for code, _, _ in done] == [0, 0], done
    found = dict(pair.split("=") for pair in done[0][1].split())
    assert 0.4 < float(found["share"]) < 0.6
    assert float(found["loss"]) < 1e-5
    assert float(found["away"]) < 1e-5
    assert float(found["moved"]) > 1e-3
    assert found["saved"] == "True"
