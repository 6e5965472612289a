"""An evaluation: its figures under every control, what it keeps, and how it goes on."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace

import pytest
import torch
from transformers import GenerationConfig

from tests import toys
from tests.processes import start, tinyllava
from tinyllava_kit.core.conversation import ITEM, Conversation, Item, Turn
from tinyllava_kit.errors import KitError
from tinyllava_kit.evaluation import evaluation as module
from tinyllava_kit.evaluation.asking import answers
from tinyllava_kit.evaluation.controls import CONTROLS, content_key, controlled
from tinyllava_kit.evaluation.evaluation import Evaluation, read_results
from tinyllava_kit.evaluation.exact_match import exact_match
from tinyllava_kit.evaluation.figures import Figure
from tinyllava_kit.evaluation.question import Question
from tinyllava_kit.evaluation.question_rows import read_questions
from tinyllava_kit.evaluation.record import fingerprint, lines_of, read_record, record
from tinyllava_kit.evaluation.retrieval import retrieve
from tinyllava_kit.evaluation.scorer import find_scorer
from tinyllava_kit.inference.answering import answer

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


def test_of_the_generation_config_only_what_ends_an_answer_changes_one(seeing, monkeypatch):
    """Whatever an LLM's makers put there, one by one; most of it changes what `answer` says."""
    model, processor, questions = seeing
    prompt = processor(questions[0].conversation, answer=True)
    first = model.generate(**prompt, max_new_tokens=1, do_sample=False, pad_token_id=0)[0, -1].item()
    plain = said(seeing)
    changed = 0
    for setting in (
        {"repetition_penalty": 1.9},
        {"no_repeat_ngram_size": 1},
        {"bad_words_ids": [[first]]},
        {"suppress_tokens": [first]},
        {"begin_suppress_tokens": [first]},
        {"sequence_bias": [[[first], -50.0]]},
        {"forced_bos_token_id": 5},
        {"forced_eos_token_id": 6},
        {"exponential_decay_length_penalty": [1, 90.0]},
        {"num_beams": 3, "length_penalty": 9.0},
        {"do_sample": True, "temperature": 30.0, "top_k": 3, "top_p": 0.9, "min_p": 0.01},
        {"guidance_scale": 4.0},
        {"watermarking_config": {"greenlist_ratio": 0.25, "bias": 9.0, "seeding_scheme": "lefthash"}},
        {"max_time": 0.0},
        {"cache_implementation": "static"},
        {"eos_token_id": first},
        {"eos_token_id": [1, first], "min_new_tokens": 3},
    ):
        ends = {"eos_token_id": model.generation_config.eos_token_id}
        given = GenerationConfig(**{**ends, **setting})
        with monkeypatch.context() as patched:
            patched.setattr(model, "generation_config", given)
            if "eos_token_id" in setting:
                assert said(seeing)[0] == processor.decode([first]) != plain[0]
            else:
                assert said(seeing) == plain, setting
            assert model.generation_config is given
            changed += answer(model, processor, [q.conversation for q in questions], max_new_tokens=7) != plain
    assert changed > 10


def said(seeing):
    model, processor, questions = seeing
    return [judged.said for judged in answers(model, processor, questions, max_new_tokens=7)]


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


def test_a_record_keeps_the_last_of_each_and_forgets_other_weights(place, tmp_path, seeing):
    directory = shutil.copytree(place / "model", tmp_path / "model", ignore=shutil.ignore_patterns("evaluations.json"))
    weights = fingerprint(directory)
    figures = evaluation(seeing, tmp_path / "out").run().figures
    for data, line in (("a.json", "first"), ("b.json", "other"), ("a.json", "second")):
        record(directory, weights, data, ["exact_match"], figures, line)
    assert [entry["line"] for entry in read_record(directory)] == ["b.json: other", "a.json: second"]
    entry = read_record(directory)[-1]
    assert entry["figures"]["as given"]["accuracy"] == figures["as given"]["accuracy"].value
    assert (entry["questions"], entry["weights"]) == (6, weights)
    assert fingerprint(directory) == weights  # the record is no part of it
    (directory / "generation_config.json").write_text("{}")
    other = fingerprint(directory)
    assert other != weights
    record(directory, other, "c.json", ["wer"], figures, "new weights")
    assert [entry["data"] for entry in read_record(directory)] == ["c.json"]


def _kept(directory, data, count, **how):
    """Record an accuracy over `count` rows; what is said."""
    figures = {"as given": {"accuracy": Figure(0.5, count)}}
    return record(directory, "w", data, ["exact_match"], figures, f"accuracy 0.5 ({count})", **how)


def test_fewer_rows_take_the_place_of_more_only_where_the_data_has_no_more(tmp_path):
    assert _kept(tmp_path, "a.json", 9) == ""
    said = _kept(tmp_path, "a.json", 2)
    assert said == "a.json was evaluated on 9 rows before; these 2 do not take their place"
    assert [entry["questions"] for entry in read_record(tmp_path)] == [9]
    assert _kept(tmp_path, "a.json", 9, questions=9) == ""  # again
    assert _kept(tmp_path, "a.json", 8, limited=False) == ""  # a row was taken out of the file
    assert _kept(tmp_path, "b.json", 2) == ""
    assert [(entry["data"], entry["questions"]) for entry in read_record(tmp_path)] == [("a.json", 8), ("b.json", 2)]


def test_figures_of_other_settings_stand_beside_and_the_card_tells_them_apart(tmp_path):
    for tokens in (4, 64, 4):
        assert _kept(tmp_path, "a.json", 9, settings={"prompt": None, "max_new_tokens": tokens}) == ""
    _kept(tmp_path, "b.json", 9, settings={"max_new_tokens": 4})
    assert lines_of(read_record(tmp_path)) == [
        "a.json: accuracy 0.5 (9) (max_new_tokens 64)",
        "a.json: accuracy 0.5 (9) (max_new_tokens 4)",
        "b.json: accuracy 0.5 (9)",
    ]


def test_an_entry_of_an_earlier_version_keeps_its_place_by_its_rows(tmp_path):
    old = {"data": "a.json", "scorers": ["exact_match"], "line": "a.json: old", "questions": 9, "weights": "w"}
    (tmp_path / "evaluations.json").write_text(json.dumps([old]))
    assert "evaluated on 9 rows before" in _kept(tmp_path, "a.json", 3, settings={"max_new_tokens": 4})
    assert _kept(tmp_path, "a.json", 9, settings={"max_new_tokens": 4}) == ""
    assert len(read_record(tmp_path)) == 1


def test_the_fingerprint_is_of_every_file_that_changes_an_answer(place, tmp_path):
    directory = shutil.copytree(place / "model", tmp_path / "model")
    known = {fingerprint(directory)}
    for name in ("tokenizer_config.json", "chat_template.jinja", "processor_config.json", "generation_config.json"):
        (directory / name).write_text(f"{(directory / name).read_text()} ")
        known.add(fingerprint(directory))
    assert len(known) == 5


def test_a_record_that_is_none_is_named(tmp_path):
    (tmp_path / "evaluations.json").write_text("{}[")
    with pytest.raises(KitError, match="is no record of evaluations; remove it"):
        read_record(tmp_path)


@pytest.mark.parametrize("control", ["as given", "without items", "blank items"])
def test_the_same_about_the_same_is_asked_once(seeing, monkeypatch, control):
    """Other places of one question get its answer."""
    model, processor, questions = seeing
    asked = []

    def counted(model, processor, conversations, **options):
        asked.extend(conversations)
        return [f"{conversation.turns[-1].text} {number}" for number, conversation in enumerate(conversations)]

    monkeypatch.setattr("tinyllava_kit.evaluation.asking.answer", counted)
    same = [
        replace(question, conversation=replace(question.conversation, name=str(n)))
        for n, question in enumerate(3 * questions)
    ]
    kept = {}
    said = answers(model, processor, same, control=control, batch_size=2, keep=kept.update)
    assert len(asked) == len({content_key(conversation) for conversation in asked}) <= len(questions)
    assert kept == {place: judged.said for place, judged in enumerate(said)}
    count = len(questions)
    assert [j.said for j in said[:count]] == [j.said for j in said[count : 2 * count]]
    asked.clear()
    answers(model, processor, same, control=control, batch_size=2, do_sample=True)
    assert len(asked) == 3 * count


def test_blank_pictures_of_two_sizes_are_asked_about_twice(seeing):
    _, processor, questions = seeing
    seen = [q.conversation for q in questions if q.conversation.items]
    blank = list(controlled(seen, "blank items", processor.modalities))
    sizes = {tuple(item.source.size for item in conversation.items) for conversation in blank}
    keys = {content_key(replace(conversation, turns=blank[0].turns)) for conversation in blank}
    assert len(keys) == len(sizes)
