"""Benchmarks on small files in TinyLLaVA_Factory's layout, and their answers as its scripts and scorers read them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests import toys
from tinyllava_kit.core.conversation import ITEM
from tinyllava_kit.errors import KitError
from tinyllava_kit.evaluation.benchmarks.answer_file import check_answer_file, write_answers
from tinyllava_kit.evaluation.benchmarks.mmmu import MMMU, chosen, is_right
from tinyllava_kit.evaluation.benchmarks.tasks import benchmark_names, find_benchmark, is_benchmark
from tinyllava_kit.evaluation.benchmarks.textvqa import asked_in
from tinyllava_kit.evaluation.evaluation import Evaluation
from tinyllava_kit.evaluation.judged import Judged
from tinyllava_kit.evaluation.scorer import find_scorer

GOLDEN = Path(__file__).parents[1] / "golden" / "evaluation"
SHORT = "Answer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.suffix == ".jsonl" or path.parent.name == "coco"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in content) if lines else json.dumps(content))


def asked(id, image, text, **more):
    return {"question_id": id, "image": image, "text": text, "category": "default", **more}


def make_gqa(root):
    toys.save_pictures(root / "gqa" / "images", 2)
    lines = [asked(f"20{n}", f"{n}.png", f"Is it {n}?\n{SHORT}") for n in range(2)]
    write(root / "gqa" / "llava_gqa_testdev_balanced.jsonl", lines)
    truths = {"200": {"answer": "yes", "imageId": "0"}, "201": {"answer": "left"}, "999": {"answer": "other"}}
    write(root / "gqa" / "testdev_balanced_questions.json", truths)
    return [("200", "yes"), ("201", "left")]


def make_pope(root):
    toys.save_pictures(root / "pope" / "val2014", 3)
    kinds = ["random", "adversarial", "random"]
    lines = [asked(n, f"{n}.png", "Is there a dog?", category=kind) for n, kind in enumerate(kinds)]
    write(root / "pope" / "llava_pope_test.jsonl", lines)
    for kind, labels in (("random", ["yes", "no"]), ("adversarial", ["no"])):
        of = [{"question_id": 9 - n, "image": "x", "text": "?", "label": label} for n, label in enumerate(labels)]
        write(root / "pope" / "coco" / f"coco_pope_{kind}.json", of)
    return [(0, "yes"), (1, "no"), (2, "no")]


def make_scienceqa(root):
    folder = root / "scienceqa"
    toys.save_pictures(folder / "images" / "test" / "5", 1)
    rows = [
        {"id": "5", "image": "5/0.png", "conversations": [{"from": "human", "value": "<image>\nWhich? (A) a (B) b"}]},
        {"id": "6", "conversations": [{"from": "human", "value": "Which? (A) c (B) d (C) e"}]},
        {"id": "7", "conversations": [{"from": "human", "value": "of another split"}]},
    ]
    write(folder / "llava_test_CQM-A.json", rows)
    write(folder / "pid_splits.json", {"test": ["5", "6"], "train": ["7"]})
    problems = {"5": (["a", "b"], 1), "6": (["c", "d", "e"], 0), "7": (["x"], 0)}
    write(folder / "problems.json", {id: {"choices": c, "answer": a} for id, (c, a) in problems.items()})
    return [("5", "B"), ("6", "A")]


def make_textvqa(root):
    folder = root / "textvqa"
    toys.save_pictures(folder / "train_images", 1)
    texts = [f"What brand is it?\nReference OCR token: A, B\n{SHORT}", f"how old?\n{SHORT}"]
    write(folder / "llava_textvqa_val_v051_ocr.jsonl", [asked("pic", "0.png", text) for text in texts])
    data = [
        {"image_id": "pic", "question": "How old?", "answers": ["ten"] * 4 + ["12"] * 6},
        {"image_id": "pic", "question": "what brand is it?", "answers": ["nokia"] * 10},
        {"image_id": "other", "question": "how old?", "answers": ["1"] * 10},
    ]
    write(folder / "TextVQA_0.5.1_val.json", {"dataset_type": "val", "data": data})
    return [("pic", "nokia"), ("pic", "ten")]


def make_mmmu(root):
    folder = root / "MMMU"
    toys.save_pictures(folder / "all_images", 1)
    options = {"A": "one", "B": "two", "C": "three"}
    many = {"question_type": "multiple-choice", "all_choices": list(options), "index2ans": options}
    rows = [
        {"id": "validation_Art_1", "prompt": "Which? (A) one (B) two (C) three", "image": "0.png", **many},
        {"id": "validation_Art_2", "prompt": "Which of several pictures?", **many},
        {"id": "validation_Math_3", "prompt": "How many?", "image": "0.png", "question_type": "open"},
    ]
    write(folder / "anns_for_eval.json", rows)
    truths = {
        "Art_1": ("multiple-choice", "B"),
        "Art_2": ("multiple-choice", "C"),
        "Math_3": ("open", ["12", "a dozen"]),
    }
    of = {f"validation_{id}": {"question_type": kind, "ground_truth": right} for id, (kind, right) in truths.items()}
    write(folder / "eval" / "answer_dict_val.json", of)
    return [("validation_Art_1", "B"), ("validation_Art_2", "C"), ("validation_Math_3", "12")]


def make_mmvet(root):
    toys.save_pictures(root / "mm-vet" / "images", 2)
    write(root / "mm-vet" / "llava-mm-vet.jsonl", [asked(n, f"{n}.png", f"What is {n}?") for n in range(2)])
    return [(0, ""), (1, "")]


def make_mme(root):
    folder = root / "MME"
    pictures = folder / "MME_Benchmark_release_version"
    toys.save_pictures(pictures / "color", 1)
    toys.save_pictures(pictures / "artwork" / "images", 1)
    (pictures / "artwork" / "questions_answers_YN").mkdir()
    is_red, is_blue = "Is it red? Please answer yes or no.", "Is it blue?  Please answer yes or no."
    (pictures / "color" / "0.txt").write_text(f"{is_red}\tYes\n{is_blue}\tNo\n\n")
    shown = "Is it shown? Please answer yes or no."
    (pictures / "artwork" / "questions_answers_YN" / "0.txt").write_text(f"{shown}\tNo\n")
    lines = [
        asked("color/0.png", "color/0.png", f"Is it red?\n{SHORT}", category="color"),
        asked("color/0.png", "color/0.png", f"Is it blue?\n{SHORT}", category="color"),
        asked("artwork/0.png", "artwork/images/0.png", f"Is it shown?\n{SHORT}", category="artwork"),
    ]
    write(folder / "llava_mme.jsonl", lines)
    return [("color/0.png", "Yes"), ("color/0.png", "No"), ("artwork/0.png", "No")]


def make_vqav2(root):
    toys.save_pictures(root / "vqav2" / "test2015", 2)
    lines = [asked(n, f"{n}.png", f"What is {n}?\n{SHORT}") for n in range(2)]
    write(root / "vqav2" / "llava_vqav2_mscoco_test-dev2015.jsonl", lines)
    write(root / "vqav2" / "llava_vqav2_mscoco_test2015.jsonl", [*lines, asked(7, "7.png", "not of test-dev")])
    return [(0, ""), (1, "")]


BENCHMARKS = {name: find_benchmark(name) for name in benchmark_names()}
MAKE = {name: globals()[f"make_{name}"] for name in BENCHMARKS}


def test_a_task_is_named_alone_or_with_its_distribution():
    for word in ("pope", "tinyllava-kit/pope"):
        assert is_benchmark(word)
        assert find_benchmark(word).name == "pope"
    assert not any(map(is_benchmark, ("pope.json", "other/pope")))


def said(questions, *texts):
    return [question.judged(text) for question, text in zip(questions, texts, strict=True)]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_questions_have_their_pictures_and_their_truths(name, tmp_path):
    truths = MAKE[name](tmp_path)
    questions = BENCHMARKS[name].read(tmp_path)
    assert [(q.id, q.judged("").truth) for q in questions] == truths
    for question in questions:
        (turn,) = question.conversation.turns
        assert turn.text.count(ITEM) == len(question.conversation.items)
        assert all(Path(item.source).is_file() for item in question.conversation.items)
        assert not question.conversation.items or turn.text.startswith(f"{ITEM}\n")
    for scorer in map(find_scorer, BENCHMARKS[name].scorers):
        scorer.check(questions)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_file_of_the_layout_that_is_missing_is_named(name, tmp_path):
    MAKE[name](tmp_path)
    files = [f for f in tmp_path.rglob("*.json*") if f.name != "llava_vqav2_mscoco_test2015.jsonl"]
    for file in files:
        content = file.read_text()
        file.unlink()
        with pytest.raises(KitError, match=rf"(?s){re.escape(file.name)}"):
            BENCHMARKS[name].read(tmp_path)
        file.write_text("{")
        with pytest.raises(KitError, match=rf"{re.escape(file.name)}.*not JSON"):
            BENCHMARKS[name].read(tmp_path)
        file.write_text(content)


def test_labels_and_questions_of_pope_are_as_many(tmp_path):
    make_pope(tmp_path)
    file = tmp_path / "pope" / "coco" / "coco_pope_random.json"
    first, second = file.read_text().splitlines()
    file.write_text(first)
    with pytest.raises(KitError, match=r"jsonl\[2\]: 'coco/coco_pope_random.json' in .* has no label for it"):
        BENCHMARKS["pope"].read(tmp_path)
    file.write_text(f"{first}\n{second}\n{second}")
    with pytest.raises(KitError, match=r"'coco/coco_pope_random\.json' has more labels than there are questions"):
        BENCHMARKS["pope"].read(tmp_path)


def test_a_question_without_its_truth_is_named(tmp_path):
    make_gqa(tmp_path)
    write(tmp_path / "gqa" / "testdev_balanced_questions.json", {"200": {"answer": "yes"}})
    with pytest.raises(KitError, match=r"testdev_balanced_questions\.json: has no '201'"):
        BENCHMARKS["gqa"].read(tmp_path)
    make_mme(tmp_path)
    (tmp_path / "MME" / "MME_Benchmark_release_version" / "color" / "0.txt").write_text("")
    with pytest.raises(KitError, match=r"llava_mme\.jsonl\[0\]: no answer to 'Is it red\? Please"):
        BENCHMARKS["mme"].read(tmp_path)


@pytest.mark.parametrize(
    ("prompt", "question"),
    [
        (f"What IS it?\n{SHORT}", "what is it?"),
        (f"What is it?\nReference OCR token: A, B\n{SHORT}", "what is it?"),
        (f"Reference OCR token: A, B\nWhat is it?\n{SHORT}", "what is it?"),
        ("OCR tokens: A\nQuestion: What is it? Short answer:", "what is it?"),
    ],
)
def test_the_question_is_found_in_a_prompt_of_textvqa(prompt, question):
    assert asked_in(prompt, "row") == question


def test_a_prompt_of_no_such_form_is_named():
    with pytest.raises(KitError, match="row: needs a question, a line of OCR tokens if any"):
        asked_in("What is it?", "row")


def test_scienceqa_asks_for_a_letter_and_keeps_its_placeholder_for_its_scorer(tmp_path):
    make_scienceqa(tmp_path)
    questions = BENCHMARKS["scienceqa"].read(tmp_path)
    assert [q.conversation.turns[0].text for q in questions] == [
        f"{ITEM}\nWhich? (A) a (B) b\n{LETTER}",
        f"Which? (A) c (B) d (C) e\n{LETTER}",
    ]
    write_answers(
        tmp_path / "a.jsonl", questions, said(questions, "B", "B"), model="m", benchmark=BENCHMARKS["scienceqa"]
    )
    prompts = [json.loads(line)["prompt"] for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert ["<image>" in prompt for prompt in prompts] == [True, False]
    (scorer,) = map(find_scorer, BENCHMARKS["scienceqa"].scorers)
    figures = scorer.figures(said(questions, "B", "B"))
    assert {name: (f.value, f.count) for name, f in figures.items()} == {
        "accuracy": (0.5, 2),
        "accuracy, with a picture": (1.0, 1),
        "accuracy, text alone": (0.0, 1),
    }


def test_letters_and_open_answers_of_mmmu_are_judged_as_mmmu_judges():
    known = json.loads((GOLDEN / "mmmu.json").read_text(encoding="utf-8"))
    for text, wanted in known["chosen"]:
        assert chosen(text, known["choices"]) == wanted, text
    assert {right for *_, right in known["open"]} == {True, False}
    for text, truth, right in known["open"]:
        truths = tuple(truth) if isinstance(truth, list) else (truth,)
        assert is_right(Judged("x", "?", truths, text)) is right, (text, truth)


def test_mmmu_counts_choices_and_open_answers_and_writes_the_letter(tmp_path):
    make_mmmu(tmp_path)
    questions = MMMU.read(tmp_path)
    assert not questions[1].conversation.items
    judged = said(questions, "I say (B).", "none", "it is a dozen.")
    (scorer,) = map(find_scorer, MMMU.scorers)
    figures = scorer.figures(judged)
    assert {name: (f.value, f.count) for name, f in figures.items()} == {
        "accuracy": (pytest.approx(2 / 3), 3),
        "multiple choice": (0.5, 2),
        "open": (1.0, 1),
    }
    write_answers(tmp_path / "out.json", questions, judged, model="m", benchmark=MMMU)
    written = json.loads((tmp_path / "out.json").read_text())
    assert list(written.values()) == ["B", "none", "it is a dozen."]
    write_answers(tmp_path / "out.jsonl", questions, judged, model="m", benchmark=MMMU)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert {line["question_id"]: line["text"] for line in lines} == written


def test_mme_is_the_sum_of_accuracy_and_of_pictures_with_both_right(tmp_path):
    make_mme(tmp_path)
    mme = BENCHMARKS["mme"]
    questions = mme.read(tmp_path)
    (scorer,) = map(find_scorer, mme.scorers)
    both, one = said(questions, "Yes, it is", "no", "yes"), said(questions, "it is", "No.", "No")
    assert {name: f.value for name, f in scorer.figures(both).items()} == {
        "perception": 200.0,
        "cognition": 0.0,
        "color": 200.0,
        "artwork": 0.0,
    }
    assert {name: f.value for name, f in scorer.figures(one).items()} == {
        "perception": 250.0,
        "cognition": 0.0,
        "color": 50.0,
        "artwork": 200.0,
    }
    cognitive = [replace(j, category="code_reasoning") for j in both[:2]]
    assert scorer.figures(cognitive)["cognition"].value == 200.0


def test_mme_writes_a_file_for_each_subtask_with_the_benchmarks_own_questions(tmp_path):
    make_mme(tmp_path)
    mme = BENCHMARKS["mme"]
    questions = mme.read(tmp_path)
    out = tmp_path / "answers" / "model"
    write_answers(out, questions, said(questions, "Yes\nit is", "no", "no"), model="m", benchmark=mme, root=tmp_path)
    assert {file.name: file.read_text() for file in out.iterdir()} == {
        "color.txt": "0.txt\tIs it red? Please answer yes or no.\tYes\tYes it is\n"
        "0.txt\tIs it blue?  Please answer yes or no.\tNo\tno\n",
        "artwork.txt": "0.txt\tIs it shown? Please answer yes or no.\tNo\tno\n",
    }
    with pytest.raises(KitError, match="mme needs a new folder for its answers"):
        check_answer_file(out, mme, tmp_path)


@pytest.mark.parametrize(
    ("name", "texts", "wanted"),
    [
        (
            "gqa",
            ("Yes.", "Left"),
            [{"questionId": "200", "prediction": "yes"}, {"questionId": "201", "prediction": "left"}],
        ),
        (
            "vqav2",
            ("The two dogs.", "no"),
            [
                {"question_id": 0, "answer": "2 dogs"},
                {"question_id": 1, "answer": "no"},
                {"question_id": 7, "answer": ""},
            ],
        ),
        ("mmvet", ("It is a cat.", "5"), {"v1_0": "It is a cat.", "v1_1": "5"}),
    ],
)
def test_the_file_of_the_benchmarks_own_scorer(name, texts, wanted, tmp_path):
    MAKE[name](tmp_path)
    questions = BENCHMARKS[name].read(tmp_path)
    judged = said(questions, *texts)
    write_answers(
        tmp_path / "deep" / "out.json", questions, judged, model="m", benchmark=BENCHMARKS[name], root=tmp_path
    )
    assert json.loads((tmp_path / "deep" / "out.json").read_text()) == wanted
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["out.json"]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_lines_have_the_factorys_keys_and_the_prompt_that_its_scorers_look_up(name, tmp_path):
    MAKE[name](tmp_path)
    questions = BENCHMARKS[name].read(tmp_path)
    judged = said(questions, *["no"] * len(questions))
    write_answers(tmp_path / "a.jsonl", questions, judged, model="my-model", benchmark=BENCHMARKS[name], root=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    for line, question in zip(lines, questions, strict=True):
        assert list(line) == ["question_id", "prompt", "text", "answer_id", "model_id", "metadata"]
        assert (line["question_id"], line["text"], line["model_id"]) == (question.id, "no", "my-model")
    assert len({line["answer_id"] for line in lines}) == len(lines)
    if name in ("gqa", "pope", "textvqa", "mme", "vqav2", "mmvet"):
        (file,) = (f for f in tmp_path.rglob("llava*.jsonl") if "test2015" not in f.name)
        asked_lines = [json.loads(line) for line in file.read_text().splitlines()]
        assert [line["prompt"] for line in lines] == [line["text"] for line in asked_lines]


@pytest.mark.parametrize(
    ("name", "target", "match"),
    [
        ("pope", "a.json", r"answers to pope are written to FILE\.jsonl, got 'a\.json'"),
        ("gqa", "a.txt", r"answers to gqa are written to FILE\.jsonl or FILE\.json, got"),
        ("mme", "a.json", r"answers to mme are written to FILE\.jsonl or a new FOLDER, got"),
        (None, "a.json", r"answers to these rows are written to FILE\.jsonl, got"),
        ("vqav2", "a.json", r"cannot read .*llava_vqav2_mscoco_test2015\.jsonl"),
    ],
)
def test_a_name_that_does_not_fit_is_refused_before_anything_is_asked(name, target, match, tmp_path):
    with pytest.raises(KitError, match=match):
        check_answer_file(target, BENCHMARKS.get(name), tmp_path)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_model_is_judged_on_it(name, tmp_path, seeing):
    MAKE[name](tmp_path)
    benchmark = BENCHMARKS[name]
    questions = benchmark.read(tmp_path)
    scorers = [find_scorer(name) for name in benchmark.scorers]
    made = Evaluation(*seeing, questions, scorers, tmp_path / "out", max_new_tokens=3)
    results = made.run()
    assert len(results.answers["as given"]) == len(questions)
    assert bool(results.figures) == bool(benchmark.scorers)
    for scorer in scorers:
        assert set(scorer.figures(results.answers["as given"])) <= set(results.figures["as given"])


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    model, processor = toys.picture_model(tmp_path_factory.mktemp("llm"))
    return model.eval(), processor
