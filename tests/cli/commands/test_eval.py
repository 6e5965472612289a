"""``tinyllava eval`` as a user types it: a table beside its controls, a record in the model, and every wrong turn."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest

from tests import toys
from tests.limits import FULL_DISK, run_limited
from tests.training.processes import finish, start
from tinyllava_kit.evaluation.benchmarks.tasks import benchmark_names
from tinyllava_kit.evaluation.controls import CONTROLS
from tinyllava_kit.evaluation.scorer import scorer_names
from tinyllava_kit_cli import app
from tinyllava_kit_cli.commands import eval as eval_command

pytestmark = pytest.mark.slow

SHORT = ["--max-new-tokens", "3"]
EXACT = ["--scorer", "exact_match", *SHORT]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A saved model that reads pictures, rows of conversations and of pairs, and POPE's files."""
    folder = toys.captioned_model(tmp_path_factory.mktemp("user"), ["a dog", "a cat", "a red circle"])
    toys.picture_rows(folder)
    toys.save_pictures(folder / "bench" / "pope" / "val2014", 2)
    asked = [
        {"question_id": n, "image": f"{n}.png", "text": "Is there a dog?", "category": "popular"} for n in range(2)
    ]
    (folder / "bench" / "pope" / "llava_pope_test.jsonl").write_text("\n".join(map(json.dumps, asked)))
    labels = folder / "bench" / "pope" / "coco" / "coco_pope_popular.json"
    labels.parent.mkdir()
    labels.write_text("\n".join(json.dumps({"label": label}) for label in ("yes", "no")))
    return folder


@pytest.fixture
def place(built, tmp_path, monkeypatch):
    folder = shutil.copytree(built, tmp_path / "user")
    monkeypatch.chdir(folder)
    return folder


def tinyllava(*words, capfd):
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        app.main(["eval", *map(str, words)])
    return subprocess.CompletedProcess(words, ended.value.code or 0, *capfd.readouterr())


def test_a_table_has_every_control_and_the_model_keeps_a_line(place, capfd):
    done = tinyllava("model", "rows.json", *EXACT, "--scorer", "anls", "-o", "out", capfd=capfd)
    assert done.returncode == 0, done.stderr
    rows = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert rows == ["rows.json", "as given", "without items", "shuffled items", "blank items"]
    assert done.stdout.splitlines()[0].split() == ["rows.json", "accuracy", "ANLS"]
    assert "recorded in model/evaluations.json" in done.stderr
    (entry,) = json.loads((place / "model" / "evaluations.json").read_text())
    assert entry["line"].startswith("rows.json: accuracy ")
    assert entry["scorers"] == ["exact_match", "anls"]
    again = tinyllava("model", "rows.json", *EXACT, "--scorer", "anls", "-o", "out", capfd=capfd)
    assert again.stdout == done.stdout
    assert "24 of 24 answers exist" in again.stderr


def test_several_processes_write_what_one_writes(place, capfd):
    words = ["--scorer", "exact_match", "--scorer", "retrieval", "--batch-size", 2, *SHORT]
    assert tinyllava("model", "rows.json", *words, "--no-record", "-o", "one", capfd=capfd).returncode == 0
    assert not (place / "model" / "evaluations.json").exists()
    where = [place / "model", place / "rows.json", *words, "-o", place / "two"]
    first, second = finish(start(["-m", "tinyllava_kit_cli", "eval", *map(str, where)]), seconds=500)
    assert (first[0], second[0]) == (0, 0), (first, second)
    for name in ("answers.jsonl", "log_probs.jsonl"):
        one, two = (
            {
                (line["control"], line["row"]): line
                for line in map(json.loads, (place / folder / name).read_text().splitlines())
            }
            for folder in ("one", "two")
        )
        assert one.keys() == two.keys()
        assert len((place / "two" / name).read_text().splitlines()) == len(two)
    figures = [json.loads((place / folder / "results.json").read_text()) for folder in ("one", "two")]
    assert figures[0] == figures[1]
    assert "as given" in first[1]
    assert second[1] == ""
    assert len(json.loads((place / "model" / "evaluations.json").read_text())) == 1


def test_a_package_that_a_scorer_needs_is_asked_for_before_the_first_answer(place, capfd, monkeypatch):
    monkeypatch.setattr(eval_command, "load_to_run", lambda *_: pytest.fail("a model was loaded"))
    monkeypatch.setitem(sys.modules, "jiwer", None)
    done = tinyllava("model", "rows.json", "--scorer", "wer", "-o", "out", capfd=capfd)
    assert done.returncode == 2
    assert "scorer 'wer'" in done.stderr
    assert "jiwer" in done.stderr


def test_a_limited_run_leaves_the_record_and_the_card_of_all_rows(place, capfd):
    assert tinyllava("model", "rows.json", *EXACT, "-o", "all", capfd=capfd).returncode == 0
    kept = [(place / "model" / name).read_text() for name in ("evaluations.json", "README.md")]
    done = tinyllava("model", "rows.json", *EXACT, "--limit", 2, "-o", "two", capfd=capfd)
    assert done.returncode == 0, done.stderr
    assert "not recorded: rows.json was evaluated on 6 rows before; these 2 do not take their place" in done.stderr
    assert [(place / "model" / name).read_text() for name in ("evaluations.json", "README.md")] == kept
    done = tinyllava(
        "model", "rows.json", "--scorer", "exact_match", "-o", "longer", "--max-new-tokens", 5, capfd=capfd
    )
    assert "recorded in" in done.stderr
    card = (place / "model" / "README.md").read_text()
    assert [line for line in ("(max_new_tokens 3)", "(max_new_tokens 5)") if line in card] != []
    assert card.count("rows.json: accuracy") == 2


def test_pairs_are_ranked_and_transcribed_in_one_run(place, capfd):
    words = ["--prompt", "<image>\nWhat?", "--text", "caption", "--scorer", "retrieval", "--scorer", "wer", *SHORT]
    done = tinyllava("model", "pairs.jsonl", *words, "-o", "out", capfd=capfd)
    assert done.returncode == 0, done.stderr
    head = done.stdout.splitlines()[0]
    assert [name for name in ("R@1", "R@5", "median rank", "WER", "of it inserted") if name in head] == [
        *("R@1", "R@5", "median rank", "WER", "of it inserted")
    ]


def test_figures_as_json_are_those_of_the_folder(place, capfd):
    done = tinyllava("model", "rows.json", *EXACT, "--limit", 2, "-o", "out", "--json", capfd=capfd)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    kept = json.loads((place / "out" / "results.json").read_text())
    assert {key: said[key] for key in kept} == kept
    assert (said["model"], said["data"], said["scorers"]) == ("model", "rows.json", ["exact_match"])
    assert (said["output"], said["dtype"]) == ("out", "auto")
    assert said["figures"].keys() | said["left_out"].keys() == set(CONTROLS)
    assert set(said["figures"]["as given"]["accuracy"]) == {"value", "count", "form"}


def test_answers_in_another_dtype_are_not_mixed_with_the_models_own(place, capfd):
    words = ["model", "rows.json", *EXACT, "--limit", 2]
    assert tinyllava(*words, "-o", "out", capfd=capfd).returncode == 0
    other = tinyllava(*words, "--dtype", "bfloat16", "-o", "out", capfd=capfd)
    assert other.returncode == 2
    assert "holds an evaluation whose model was another one" in other.stderr
    assert tinyllava(*words, "--dtype", "bfloat16", "-o", "other", capfd=capfd).returncode == 0
    entries = json.loads((place / "model" / "evaluations.json").read_text())
    assert [entry["settings"].get("dtype") for entry in entries] == [None, "bfloat16"]


def test_rows_that_cannot_be_asked_are_told_before_the_model_is_read(place, capfd, monkeypatch):
    monkeypatch.setattr(eval_command, "load_to_run", lambda *args: pytest.fail("the model was read"))
    assert (
        "no data 'row.json', and no task of that name; did you mean 'rows.json'"
        in tinyllava("model", "row.json", *EXACT, "-o", "out", capfd=capfd).stderr
    )
    (place / "bad.jsonl").write_text('{"question": 7}\n')
    assert (
        "'question' is 7; expected a text" in tinyllava("model", "bad.jsonl", *EXACT, "-o", "out", capfd=capfd).stderr
    )
    (place / "heard.jsonl").write_text(json.dumps({"audio": "a.wav", "question": "What?", "answer": "a"}) + "\n")
    said = tinyllava("model", "heard.jsonl", *EXACT, "-o", "out", capfd=capfd).stderr
    assert "column 'audio': the model does not read 'audio'; it reads image" in said


def test_rows_are_drawn_with_the_seed(place, capfd):
    for seed, folder in ((0, "a"), (0, "b"), (3, "c")):
        words = [*EXACT, "--limit", 4, "--seed", seed, "-o", folder]
        assert tinyllava("model", "rows.json", *words, capfd=capfd).returncode == 0
    ids = [
        [json.loads(line)["id"] for line in (place / folder / "answers.jsonl").read_text().splitlines()[:4]]
        for folder in "abc"
    ]
    assert ids[0] == ids[1] != ids[2]
    assert len(set(ids[0])) == 4


def test_a_task_is_read_from_its_layout_and_its_answers_are_written(place, capfd):
    words = ["--root", "bench", *SHORT, "-o", "out", "--write-answers", "bench/pope/answers/model.jsonl"]
    done = tinyllava("model", "pope", *words, capfd=capfd)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0].split() == ["pope", "F1", "accuracy", "precision", "recall", "yes", "ratio"]
    lines = [json.loads(line) for line in (place / "bench/pope/answers/model.jsonl").read_text().splitlines()]
    assert [line["question_id"] for line in lines] == [0, 1]
    assert {line["model_id"] for line in lines} == {"model"}


def test_rows_and_their_answers_can_be_written_for_another_scorer(place, capfd):
    done = tinyllava("model", "rows.json", *EXACT, "-o", "out", "--write-answers", "said.jsonl", capfd=capfd)
    assert done.returncode == 0, done.stderr
    assert len((place / "said.jsonl").read_text().splitlines()) == 6


def test_the_help_names_every_task_and_scorer(capfd):
    said = " ".join(tinyllava("--help", capfd=capfd).stdout.split())
    assert ", ".join(benchmark_names()) in said
    assert ", ".join(scorer_names()) in said


BAD_ROWS = {
    "no-answer.json": [{"question": "q?", "image": "0.png"}],
    "no-picture.json": [{"question": "q?", "image": "gone.png", "answer": "a"}],
    "no-picture-item.json": [{"question": "q?", "image": "rows.json", "answer": "a"}],
    "no-question.json": [{"image": "0.png", "answer": "a"}],
}


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["rows.json", "--scorer", "exact"], "no scorer is called 'exact'; did you mean 'exact_match'?"),
        (["rows.json"], "'rows.json' is no task (gqa, pope,"),
        (["popee", *EXACT], "no data 'popee', and no task of that name; tasks: gqa, pope"),
        (["pope"], "cannot read 'pope/llava_pope_test.jsonl'"),
        (["pope", "--root", "bench", *EXACT], "leave --scorer, --prompt, --text out; see 'tinyllava eval --help'"),
        (["rows.json", "--scorer", "vqa"], "rows.json[0] 'row-0': scorer 'vqa' needs the answers of 10 people"),
        (["rows.json", "--scorer", "choice"], "scorer 'choice' needs 'choices', and the right one's letter"),
        (["no-answer.json", *EXACT], "no-answer.json[0]: scorer 'exact_match' needs the right answer"),
        (["no-picture.json", *EXACT], "no-picture.json[0]: "),
        (["no-picture-item.json", *EXACT], "no-picture-item.json[0]: "),
        (["no-question.json", *EXACT], "no-question.json[0]: needs 'conversations' or 'messages'"),
        (["pairs.jsonl", *EXACT, "--prompt", "What?"], "needs one placeholder, of the rows' items: <image>"),
        (["rows.json", *EXACT, "--write-answers", "a.json"], "answers to these rows are written to FILE.jsonl"),
        (
            ["rows.json", "--scorer", "retrieval", "--write-answers", "a.jsonl"],
            "--scorer retrieval writes no answers; leave --write-answers out",
        ),
        (["rows.json", "--scorer", "exact_match", "--max-new-tokens", "5000"], "--max-new-tokens of"),
    ],
)
def test_a_wrong_turn_is_one_line_and_leaves_nothing(place, words, match, capfd):
    for name, rows in BAD_ROWS.items():
        (place / name).write_text(json.dumps(rows))
    before = sorted(place.rglob("*"))
    done = tinyllava("model", *words, "-o", "out", capfd=capfd)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert len(errors) == 1, done.stderr
    assert match in errors[0]
    assert sorted(place.rglob("*")) == before


def test_an_output_folder_of_other_settings_is_refused(place, capfd):
    assert tinyllava("model", "rows.json", *EXACT, "-o", "out", capfd=capfd).returncode == 0
    for words, match in (
        (["--limit", "3"], "whose list of questions was another one"),
        (["--seed", "1"], "whose seed was 0, now it is 1"),
    ):
        done = tinyllava("model", "rows.json", *EXACT, *words, "-o", "out", capfd=capfd)
        assert done.returncode == 2
        assert match in done.stderr
    config = place / "model" / "generation_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "num_beams": 2}))
    done = tinyllava("model", "rows.json", *EXACT, "-o", "out", capfd=capfd)
    assert done.returncode == 2
    assert "whose model was another one" in done.stderr


def test_on_a_full_disk_whole_answers_are_kept_and_asked_no_more(place, capfd):
    words = ["model", "rows.json", *EXACT, "--batch-size", "1", "-o", "out"]
    done = run_limited("eval", *words, file_bytes=1000)
    assert done.returncode == 2, done.stderr
    assert re.search(rf"error: cannot write 'out/answers.jsonl': {FULL_DISK}", done.stderr)
    assert "Traceback" not in done.stderr
    assert not (place / "out" / "results.json").exists()
    again = tinyllava(*words, capfd=capfd)
    assert again.returncode == 0, again.stderr
    assert re.search(r"\b[1-9]\d* of 24 answers exist", again.stderr)
    assert len((place / "out" / "answers.jsonl").read_text(encoding="utf-8").splitlines()) == 24
