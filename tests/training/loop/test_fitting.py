"""A stage that is trained from its first step to its last."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.training.runs import losses_in, train
from tinyllava_kit.errors import KitError, PluginError
from tinyllava_kit.training.loop import fitting
from tinyllava_kit.training.recipe import Stage


@pytest.mark.slow
def test_a_model_learns_its_rows_by_heart(place):
    found = losses_in(
        train(
            place,
            "heart",
            max_steps=40,
            batch_size=6,
            learning_rate=1e-2,
            train={"connector.image": "full", "llm": "full"},
        )
    )
    assert found[-1] < found[0] / 10


def stopped_trainer(ended: list[str]) -> SimpleNamespace:
    handler = SimpleNamespace(on_train_end=lambda *_: ended.append("ended"))
    return SimpleNamespace(callback_handler=handler, args=None, state=None, control=None)


@pytest.fixture
def checkpoints(tmp_path) -> Path:
    folder = tmp_path / "out" / "s" / "checkpoints"
    folder.mkdir(parents=True)
    for name in ("stage.json", "bf16.json"):
        (folder / name).write_text("{}")
    return folder


def test_a_stage_that_failed_before_its_first_checkpoint_leaves_no_folder(checkpoints, tmp_path):
    ended = []
    with pytest.raises(KitError, match=r"^no$"), fitting._clean_failure(stopped_trainer(ended), checkpoints):
        raise KitError("no")
    assert ended == ["ended"]  # the line of progress
    assert list(tmp_path.iterdir()) == []


def test_one_that_has_a_checkpoint_or_something_of_others_keeps_its_folder(checkpoints, tmp_path):
    (checkpoints / "checkpoint-3").mkdir()
    with pytest.raises(KitError, match=r"^no$"), fitting._clean_failure(stopped_trainer([]), checkpoints):
        raise KitError("no")
    assert sorted(path.name for path in checkpoints.iterdir()) == ["bf16.json", "checkpoint-3", "stage.json"]
    (checkpoints / "checkpoint-3").rmdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(KitError, match=r"^no$"), fitting._clean_failure(stopped_trainer([]), checkpoints):
        raise KitError("no")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]


def test_the_kind_of_a_mistake_stays_whatever_it_is_made_of(checkpoints):
    with pytest.raises(PluginError, match=r"^a$") as error, fitting._clean_failure(stopped_trainer([]), checkpoints):
        raise PluginError("a", "b")
    assert error.value.fix == "b"


def test_of_a_mistake_in_a_process_that_reads_its_own_line_is_left(checkpoints):
    """As torch words it."""
    told = (
        "Caught KitError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        '  File "x.py", line 3, in f\n    raise KitError("a: b")\ntinyllava_kit.errors.KitError: a: b\n'
    )
    with pytest.raises(KitError, match=r"^a: b$"), fitting._clean_failure(stopped_trainer([]), checkpoints):
        raise KitError(told)


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"max_length": 7}, "were cut at max_length 7"),
        ({"match_words": {}}, "have more words than rows; take shorter texts"),
    ],
)
def test_what_was_cut_is_counted_and_says_why(capsys, keys, why):
    stage = Stage.model_validate({"name": "s", "data": "d", "train": {"connector.image": "full"}, **keys})
    fitting._report_truncations(SimpleNamespace(num_cut=3), stage)
    assert capsys.readouterr().out.startswith(f"3 times, samples {why}")
    fitting._report_truncations(SimpleNamespace(num_cut=0), stage)
    assert capsys.readouterr().out == ""
