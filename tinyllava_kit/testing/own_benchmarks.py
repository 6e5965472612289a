"""The contracts of the benchmarks that the kit ships: a few questions in the layout of each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from .benchmarks import BenchmarkContract

_SHORT = "Answer the question using a single word or phrase."


class GqaContract(BenchmarkContract):
    """Questions, and truths by their ids."""

    def toy_root(self, folder: Path) -> None:
        """Truths of other questions, too."""
        lines = [_asked(f"20{n}", f"{n}.png", f"Is it {n}?\n{_SHORT}") for n in range(3)]
        _save(folder / "gqa" / "llava_gqa_testdev_balanced.jsonl", lines)
        answers = {f"20{n}": {"answer": answer} for n, answer in enumerate(("yes", "left", "a cat", "none"))}
        _save(folder / "gqa" / "testdev_balanced_questions.json", answers)
        _draw(folder / "gqa" / "images", ("0.png", "1.png", "2.png"))

    def expected_truths(self) -> Sequence[str]:
        """Of its three."""
        return ("yes", "left", "a cat")


class PopeContract(BenchmarkContract):
    """Labels by the order of a category's questions."""

    def toy_root(self, folder: Path) -> None:
        """Two categories, whose questions stand among each other."""
        kinds = ("random", "popular", "random", "popular")
        lines = [_asked(n, f"{n}.png", "Is there a dog?", category=kind) for n, kind in enumerate(kinds)]
        _save(folder / "pope" / "llava_pope_test.jsonl", lines)
        for kind, labels in (("random", ("yes", "no")), ("popular", ("no", "yes"))):
            rows = [{"question": "Is there a dog?", "label": label} for label in labels]
            _save(folder / "pope" / "coco" / f"coco_pope_{kind}.json", rows, on_lines=True)
        _draw(folder / "pope" / "val2014", [f"{n}.png" for n in range(4)])

    def expected_truths(self) -> Sequence[str]:
        """In the order of the questions."""
        return ("yes", "no", "no", "yes")


class ScienceQaContract(BenchmarkContract):
    """Choices, with pictures and without."""

    def toy_root(self, folder: Path) -> None:
        """One of another split, too."""
        texts = ("<image>\nWhich? (A) a (B) b", "Which? (A) c (B) d (C) e", "of another split")
        rows = [{"id": f"{n}", "conversations": [{"from": "human", "value": text}]} for n, text in enumerate(texts)]
        rows[0]["image"] = "0/0.png"
        of = folder / "scienceqa"
        _save(of / "llava_test_CQM-A.json", rows)
        _save(of / "pid_splits.json", {"test": ["0", "1"], "train": ["2"]})
        known = {"0": (("a", "b"), 1), "1": (("c", "d", "e"), 0), "2": (("x",), 0)}
        _save(of / "problems.json", {id: {"choices": c, "answer": a} for id, (c, a) in known.items()})
        _draw(of / "images" / "test" / "0", ("0.png",))

    def expected_truths(self) -> Sequence[str]:
        """Letters."""
        return ("B", "A")


class TextVqaContract(BenchmarkContract):
    """Truths by the picture and the question in the prompt."""

    def toy_root(self, folder: Path) -> None:
        """Two questions on a picture, with letters read in it and without; annotations of others, too."""
        of = folder / "textvqa"
        texts = (f"What brand is it?\nReference OCR token: A, B\n{_SHORT}", f"how old?\n{_SHORT}")
        _save(of / "llava_textvqa_val_v051_ocr.jsonl", [_asked("pic", "0.png", text) for text in texts])
        known = {("pic", "How old?"): "ten", ("pic", "what brand is it?"): "nokia", ("other", "how old?"): "1"}
        data = [{"image_id": id, "question": text, "answers": [a] * 10} for (id, text), a in known.items()]
        _save(of / "TextVQA_0.5.1_val.json", {"data": data})
        _draw(of / "train_images", ("0.png",))

    def expected_truths(self) -> Sequence[str]:
        """The first of ten."""
        return ("nokia", "ten")


class MmmuContract(BenchmarkContract):
    """Choices and open questions."""

    def toy_root(self, folder: Path) -> None:
        """One of several pictures, which is asked in words alone."""
        options = {"A": "one", "B": "two", "C": "three"}
        of, many = folder / "MMMU", {"question_type": "multiple-choice", "index2ans": options}
        rows = (
            {"id": "Art_1", "prompt": "Which? (A) one (B) two (C) three", "image": "0.png", **many},
            {"id": "Art_2", "prompt": "Which of several pictures?", **many},
            {"id": "Math_3", "prompt": "How many?", "image": "0.png", "question_type": "open"},
        )
        _save(of / "anns_for_eval.json", rows)
        known = {"Art_1": "B", "Art_2": "C", "Math_3": ["12", "a dozen"]}
        _save(of / "eval" / "answer_dict_val.json", {id: {"ground_truth": right} for id, right in known.items()})
        _draw(of / "all_images", ("0.png",))

    def expected_truths(self) -> Sequence[str]:
        """Letters, and a number."""
        return ("B", "C", "12")


class MmVetContract(BenchmarkContract):
    """A judge scores it."""

    def toy_root(self, folder: Path) -> None:
        """Questions alone."""
        lines = [_asked(n, f"{n}.png", f"What is {n}?") for n in range(2)]
        _save(folder / "mm-vet" / "llava-mm-vet.jsonl", lines)
        _draw(folder / "mm-vet" / "images", ("0.png", "1.png"))

    def expected_truths(self) -> Sequence[str]:
        """Nobody says."""
        return ("", "")


class MmeTaskContract(BenchmarkContract):
    """Two questions on a picture; truths in a text file of its name."""

    perfect: ClassVar[Mapping[str, float]] = {"mme": 400.0}  # two subtasks of perception, of 200 each

    def toy_root(self, folder: Path) -> None:
        """In both layouts of its subtasks."""
        of = folder / "MME"
        pictures = of / "MME_Benchmark_release_version"
        _draw(pictures / "color", ("0.png",))
        _draw(pictures / "artwork" / "images", ("1.png",))
        (pictures / "artwork" / "questions_answers_YN").mkdir()
        asked = "Is it red? Please answer yes or no.\tYes\nIs it blue?  Please answer yes or no.\tNo\n"
        (pictures / "color" / "0.txt").write_text(asked)
        shown = "Is it shown? Please answer yes or no.\tNo\n"
        (pictures / "artwork" / "questions_answers_YN" / "1.txt").write_text(shown)
        lines = (
            _asked("color/0.png", "color/0.png", f"Is it red?\n{_SHORT}"),
            _asked("color/0.png", "color/0.png", f"Is it blue?\n{_SHORT}"),
            _asked("artwork/1.png", "artwork/images/1.png", f"Is it shown?\n{_SHORT}"),
        )
        _save(of / "llava_mme.jsonl", lines)

    def expected_truths(self) -> Sequence[str]:
        """As MME writes them."""
        return ("Yes", "No", "No")


class VqaV2Contract(BenchmarkContract):
    """A server scores it."""

    def toy_root(self, folder: Path) -> None:
        """Questions of the whole split, too."""
        of = folder / "vqav2"
        lines = [_asked(n, f"{n}.png", f"What is {n}?\n{_SHORT}") for n in range(2)]
        _save(of / "llava_vqav2_mscoco_test-dev2015.jsonl", lines)
        _save(of / "llava_vqav2_mscoco_test2015.jsonl", [*lines, _asked(7, "7.png", "not of test-dev")])
        _draw(of / "test2015", ("0.png", "1.png"))

    def expected_truths(self) -> Sequence[str]:
        """Nobody says."""
        return ("", "")


def _asked(id: str | int, image: str, text: str, **more: Any) -> dict[str, Any]:
    return {"question_id": id, "image": image, "text": text, **more}


def _save(path: Path, content: Any, *, on_lines: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = on_lines or path.suffix == ".jsonl"
    path.write_text("\n".join(map(json.dumps, content)) if lines else json.dumps(content))


def _draw(folder: Path, names: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.fromarray(np.full((3, 4, 3), 40 * number, np.uint8)).save(folder / name)
