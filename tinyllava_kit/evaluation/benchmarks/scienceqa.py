"""ScienceQA, test (Lu et al. 2022), with and without pictures. Light."""

from __future__ import annotations

from pathlib import Path
from string import ascii_uppercase as LETTERS

from ...errors import KitError
from ..question import ANSWER_A_LETTER, Question
from .benchmark import Benchmark, picture_question, read_json, wanted


def _read(root: Path) -> list[Question]:
    """The questions of the test split, each with LLaVA's line that asks for a letter."""
    folder = root / "scienceqa"
    file, problems, splits = (folder / name for name in ("llava_test_CQM-A.json", "problems.json", "pid_splits.json"))
    known, split = read_json(problems), set(map(str, wanted(read_json(splits), "test", str(splits))))
    found = []
    for number, row in enumerate(read_json(file)):
        name = f"{file}[{number}]"
        id = wanted(row, "id", name)
        if str(id) not in split:
            continue
        problem = wanted(known, str(id), str(problems))
        choices, right = (wanted(problem, key, f"{problems}: {id}") for key in ("choices", "answer"))
        if not 0 <= right < len(choices):
            raise KitError(f"{problems}: {id}: the answer {right} is none of {len(choices)} choices")
        said = wanted(wanted(row, "conversations", name)[0], "value", name)
        picture = folder / "images" / "test" / row["image"] if "image" in row else None
        found.append(
            picture_question(
                id,
                f"{said.replace('<image>', '').strip()}\n{ANSWER_A_LETTER}",
                picture,
                name=name,
                truths=[LETTERS[right]],
                choices=choices,
                category="text alone" if picture is None else "with a picture",
            )
        )
    return found


SCIENCEQA = Benchmark(name="scienceqa", read=_read, scorers=("choice",), max_new_tokens=1024)
