"""Small files in the layout of each benchmark, and what is right in them."""

from __future__ import annotations

import json

from tests import toys
from tinyllava_kit.evaluation.benchmarks.tasks import benchmark_names, find_benchmark

SHORT = "Answer the question using a single word or phrase."


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


def said(questions, *texts):
    return [question.judged(text) for question, text in zip(questions, texts, strict=True)]
