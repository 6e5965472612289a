"""An evaluation: its figures under every control, what it keeps, and how it goes on."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace

import pytest
import torch

from tests import toys
from tests.processes import start, tinyllava
from tinyllava_kit.core.conversation import ITEM, Conversation, Item, Turn
from tinyllava_kit.errors import KitError
from tinyllava_kit.evaluation import evaluation as module
from tinyllava_kit.evaluation.asking import answers
from tinyllava_kit.evaluation.controls import CONTROLS
from tinyllava_kit.evaluation.evaluation import Evaluation, read_results
from tinyllava_kit.evaluation.exact_match import exact_match
from tinyllava_kit.evaluation.question import Question
from tinyllava_kit.evaluation.question_rows import read_questions
from tinyllava_kit.evaluation.retrieval import retrieve
from tinyllava_kit.evaluation.scorer import find_scorer

pytestmark = pytest.mark.slow

NEW = 4
EXACT = [find_scorer("exact_match")]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A saved model that reads pictures, and a file of rows."""
    folder = tmp_path_factory.mktemp("evaluation")
    toys.save_picture_model(folder)
    toys.picture_rows(folder)
    return folder


@pytest.fixture(scope="module")
def seeing(place):
    """The model, its processor, and questions of which it answers some right."""
    torch.manual_seed(3)
    model, processor = toys.picture_model(place / "llm2")
    model.eval()
    questions = read_questions(place / "rows.json", processor)
    said = answers(model, processor, questions, max_new_tokens=NEW)
    true = [j.said if n % 2 else "no" for n, j in enumerate(said)]
    return model, processor, [_with(q, truth) for q, truth in zip(questions, true, strict=True)]


def _with(question, truth):
    return Question(id=question.id, conversation=question.conversation, truths=(truth,), category=question.id[-1:])


def evaluation(seeing, folder, scorers=EXACT, **options):
    model, processor, questions = seeing
    options = {"batch_size": 2, "max_new_tokens": NEW, **options}
    return Evaluation(model, processor, options.pop("questions", questions), scorers, folder, **options)


def lines(folder, name="answers.jsonl"):
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


def test_the_figures_of_every_control_are_those_of_asking_under_it(seeing, tmp_path):
    model, processor, questions = seeing
    results = evaluation(seeing, tmp_path / "out").run()
    assert tuple(results.figures) == CONTROLS
    for control in CONTROLS:
        said = answers(model, processor, questions, control=control, max_new_tokens=NEW, batch_size=5)
        assert results.answers[control] == said
        assert results.figures[control]["accuracy"] == exact_match(said)["accuracy"]
    assert results.figures["as given"]["accuracy"].value > results.figures["blank items"]["accuracy"].value
    assert [(line["control"], line["row"]) for line in lines(tmp_path / "out")] == [
        (control, row) for control in CONTROLS for row in range(len(questions))
    ]


def test_results_are_read_back_from_the_folder(seeing, tmp_path):
    results = evaluation(seeing, tmp_path / "out").run()
    again = read_results(tmp_path / "out")
    assert again.figures == results.figures
    assert again.answers == results.answers
    kept = json.loads((tmp_path / "out" / "results.json").read_text())
    given, blank = (results.figures[c]["accuracy"].value for c in ("as given", "blank items"))
    assert kept["line"].startswith(f"accuracy {given:.3f} (6), without items ")
    assert kept["line"].endswith(f"blank items {blank:.3f}")


def test_a_scorer_that_ranks_writes_no_answer_and_is_read_back_to_the_bit(seeing, tmp_path):
    model, processor, questions = seeing
    results = evaluation(seeing, tmp_path / "out", [find_scorer("retrieval")]).run()
    assert results.answers == {}
    assert not (tmp_path / "out" / "answers.jsonl").exists()
    log_probs = {
        (line["control"], line["row"]): line["log_probs"] for line in lines(tmp_path / "out", "log_probs.jsonl")
    }
    for control in CONTROLS:
        found = retrieve(model, processor, questions, control=control)
        assert results.figures[control]["R@1"].value == found.recall(1)
        kept = torch.tensor([log_probs[control, row] for row in range(len(questions))])
        assert torch.allclose(kept, found.log_probs, atol=1e-4)
    again = evaluation(seeing, tmp_path / "out", [find_scorer("retrieval")])
    assert again.num_known == again.num_asked
    assert again.run().figures == results.figures


def test_what_was_asked_is_not_asked_again_and_other_scorers_may_score_it(seeing, tmp_path, monkeypatch):
    evaluation(seeing, tmp_path / "out").run()
    monkeypatch.setattr("tinyllava_kit.evaluation.asking.answer", lambda *args, **options: pytest.fail("asked"))
    results = evaluation(seeing, tmp_path / "out", [*EXACT, find_scorer("anls")]).run()
    assert {"accuracy", "ANLS"} < set(results.figures["as given"])


@pytest.mark.parametrize("left", [0, 1, 150, -3, -1])
def test_one_that_was_stopped_goes_on_from_the_last_whole_line(seeing, tmp_path, left):
    whole = evaluation(seeing, tmp_path / "whole").run()
    out = tmp_path / "out"
    shutil.copytree(tmp_path / "whole", out)
    (out / "results.json").unlink()
    log = out / "answers.jsonl"
    log.write_bytes(log.read_bytes()[:left])
    known = log.read_bytes().count(b"\n")
    going_on = evaluation(seeing, out)
    assert going_on.num_known == known
    seen = []
    results = going_on.run(lambda done, total: seen.append((done, total)))
    assert results.answers == whole.answers
    assert seen[-1] == (24, 24)
    assert len(lines(out)) == 24


def test_one_that_is_killed_goes_on_where_it_was(place):
    out = place / "killed"
    words = ["eval", "model", "rows.json", "--scorer", "exact_match", "--max-new-tokens", "4", "--batch-size", "1"]
    process = start(["-m", "tinyllava_kit_cli", *words, "-o", "killed"], cwd=place)
    log = out / "answers.jsonl"
    process.until(lambda: log.exists() and log.read_bytes().count(b"\n") >= 3)
    process.send(signal.SIGKILL)
    process.end()
    before = log.read_bytes()
    done = tinyllava(*words, "-o", "killed", cwd=place)
    assert done.returncode == 0, done.stderr
    assert log.read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    assert sorted((line["control"], line["row"]) for line in lines(out)) == sorted(
        (control, row) for control in CONTROLS for row in range(6)
    )
    assert json.loads((out / "results.json").read_text())["figures"].keys() == set(CONTROLS)


def test_figures_of_one_name_are_told_apart_by_their_scorers(seeing, tmp_path):
    _, _, questions = seeing
    closed = [replace(q, truths=("yes",)) for q in questions]
    results = evaluation(seeing, tmp_path / "out", [*EXACT, find_scorer("yes_no")], questions=closed).run()
    names = list(results.figures["as given"])
    assert names[0] == "accuracy"
    assert "yes_no accuracy" in names
    assert results.figures["as given"]["F1"] == find_scorer("yes_no").figures(results.answers["as given"])["F1"]


def test_an_item_that_the_model_does_not_read_is_named(seeing, tmp_path):
    heard = Conversation((Turn("user", f"{ITEM}what?"),), (Item("audio", "a.wav"),), "rows.json[0]")
    question = Question(id="x", conversation=heard, truths=("a",))
    with pytest.raises(KitError, match=r"rows\.json\[0\]: the model does not read 'audio'; it reads image"):
        evaluation(seeing, tmp_path / "out", questions=[question])


def test_without_items_there_are_no_controls(seeing, tmp_path):
    _, _, questions = seeing
    text = [q for q in questions if not q.conversation.items]
    alone = evaluation(seeing, tmp_path / "out", questions=text)
    assert alone.controls == ("as given",)
    assert set(alone.left_out.values()) == {"no row has an item"}
    assert tuple(alone.run().figures) == ("as given",)


def test_a_control_that_the_rows_cannot_have_is_left_out_with_its_reason(seeing, tmp_path, monkeypatch):
    _, processor, questions = seeing
    monkeypatch.delattr(type(processor.modalities["image"]), "blank")
    one = evaluation(seeing, tmp_path / "out", questions=questions[:1])
    assert one.controls == ("as given", "without items")
    assert "the data have no other image item" in one.left_out["shuffled items"]
    assert one.left_out["blank items"] == "image has no blank item"


def test_without_a_scorer_the_answers_alone_are_kept(seeing, tmp_path):
    _, _, questions = seeing
    bare = [Question(id=q.id, conversation=q.conversation) for q in questions]
    results = evaluation(seeing, tmp_path / "out", [], questions=bare).run()
    assert (results.figures, results.line, tuple(results.answers)) == ({}, "not scored", ("as given",))


def test_an_item_that_cannot_be_read_costs_no_answer_and_leaves_nothing(seeing, tmp_path):
    _, processor, _ = seeing
    names = toys.save_pictures(tmp_path / "pictures", 3)
    cut = tmp_path / "pictures" / names[2]
    cut.write_bytes(cut.read_bytes()[:700])
    rows = [{"question": "q?", "image": f"pictures/{name}", "answer": "a"} for name in names]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    questions = read_questions(tmp_path / "rows.json", processor)
    with pytest.raises(KitError, match=r"rows\.json\[2\]: .*2\.png"):
        evaluation(seeing, tmp_path / "out", questions=questions).run()
    assert not (tmp_path / "out").exists()
    cut.unlink()
    with pytest.raises(KitError, match=r"rows\.json\[2\]: .*2\.png"):
        evaluation(seeing, tmp_path / "out", questions=questions).run()


@pytest.mark.parametrize(
    ("other", "match"),
    [
        ({"max_new_tokens": 5}, "whose max_new_tokens was 4, now it is 5; choose another output, or remove the folder"),
        ({"seed": 1}, "whose seed was 0, now it is 1"),
        ({"weights": "other"}, "whose model was another one"),
        ({"questions": None}, "whose list of questions was another one"),
    ],
)
def test_a_folder_of_other_settings_is_refused(seeing, tmp_path, other, match):
    evaluation(seeing, tmp_path / "out").run()
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    if "questions" in other:
        other = {"questions": seeing[2][:3]}
    with pytest.raises(KitError, match=match):
        evaluation(seeing, tmp_path / "out", **other)
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before


def test_answers_of_another_decoding_are_not_gone_on_with(seeing, tmp_path):
    evaluation(seeing, tmp_path / "out").run()
    file = tmp_path / "out" / "settings.json"
    settings = json.loads(file.read_text())
    assert settings.pop("decoding") == "greedy"
    file.write_text(json.dumps(settings))  # as earlier versions wrote them
    with pytest.raises(KitError, match="whose decoding was None, now it is 'greedy'; choose another output"):
        evaluation(seeing, tmp_path / "out")


def test_a_folder_of_something_else_is_refused(seeing, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(KitError, match="is not empty and holds no evaluation; choose another output"):
        evaluation(seeing, tmp_path)
    with pytest.raises(KitError, match=r"notes\.txt' is a file; an evaluation needs a folder of its own"):
        evaluation(seeing, tmp_path / "notes.txt")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "notes.txt"]


def test_a_line_that_is_no_answer_is_named(seeing, tmp_path):
    evaluation(seeing, tmp_path / "out").run()
    log = tmp_path / "out" / "answers.jsonl"
    log.write_text(log.read_text() + "{}\n")
    with pytest.raises(KitError, match=r"answers\.jsonl line 25: not an answer of an evaluation; remove the file"):
        evaluation(seeing, tmp_path / "out")


def test_a_folder_without_results_has_none_to_read(tmp_path):
    with pytest.raises(KitError, match="holds no finished evaluation"):
        read_results(tmp_path)


def test_questions_of_other_items_or_truths_are_others():
    def one(text="q?", truths=("a",)):
        return Question(id="x", conversation=Conversation((Turn("user", text),), ()), truths=truths)

    digests = {module._digest([q]) for q in (one(), one("r?"), one(truths=("b",)))}
    assert len(digests) == 3
