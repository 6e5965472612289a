"""One model that sees and hears: assembled from the two demos' parts, trained on both, asked about both at once.

python examples/speech/both.py --assets .demo
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script: let Python find the repository's `examples`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.running import assemble_once, demo_parser, print_rows, tinyllava
from examples.speech.page import write_page_of_both
from examples.speech.texts import read_rows
from tinyllava_kit.evaluation import Judged, accuracy, read_results, word_errors
from tinyllava_kit.files import atomic_directory

HERE = Path(__file__).resolve().parent
ASKING = ("--scorer", "exact_match", "--scorer", "wer", "--max-new-tokens", "48", "--batch-size", "10")
HEAR = "Repeat exactly what is said."
SEED = 5
SHOWN = 12
YES_NO = ("yes", "no")


def main() -> None:
    assets = demo_parser(__doc__, assets="the folder with both demos' trained models").parse_args().assets
    if not (assets / "both-data").exists():
        make_rows(assets)
    assemble_once(assets, HERE / "both_assembly.yaml", "both")
    tinyllava(assets, "train", str(HERE / "audio_instruct.yaml"))
    tinyllava(assets, "eval", "both-runs/instruct", "both-data/test.json", *ASKING, "-o", "both-runs/evaluation")
    answered = read_results(assets / "both-runs" / "evaluation").answers
    rows = table(answered)
    print_rows(rows)
    write_page_of_both(assets / "demo-both.html", assets / "both-data", answered["as given"][:SHOWN], rows)
    print(f"pictures, recordings and answers are in {assets.name}/demo-both.html")
    row = json.loads((assets / "both-data" / "test.json").read_text(encoding="utf-8"))[0]
    picture, sound = (str(Path("both-data") / row[modality][0]) for modality in ("image", "audio"))
    for question in ("<image>\n<audio>\nwhat shape is in the image?", f"<image>\n<audio>\n{HEAR}"):
        tinyllava(assets, "ask", "both-runs/instruct", "--image", picture, "--audio", sound, question)


def make_rows(assets: Path) -> None:
    """``both-data/``: conversations with a picture and a sound, the test's with none of the training's; and text."""
    draw = random.Random(SEED)
    with atomic_directory(assets / "both-data") as stage:
        for split, count in (("train", 300), ("test", 50)):
            asked = _questions(json.loads((assets / "easy-vqa" / f"{split}.json").read_text(encoding="utf-8")))
            spoken = [
                (f"../asterisk/{row['audio']}", row["text"]) for row in read_rows(assets / f"asterisk/{split}.jsonl")
            ]
            stamps = [row for row in read_rows(assets / f"tuxpaint/{split}.jsonl") if row["language"] == "en"]
            rows = [
                _row(f"{split}-{n}", draw.choice(asked), draw.choice(spoken), first=draw.random() < 0.5)
                for n in range(count)
            ]
            rows += [_stamp(f"{split}-stamp-{n}", row) for n, row in enumerate(stamps)]
            (stage / f"{split}.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
            if split == "train":
                written = [_written(f"text-{n}", text) for n, (_, text) in enumerate(spoken[::3])]
                (stage / "text.json").write_text(json.dumps(written, indent=1), encoding="utf-8")


def _written(name: str, text: str) -> dict[str, Any]:
    """The same task in words alone, so that what the LLM does with text is practised too."""
    said = [{"from": "human", "value": f"Repeat exactly what is written: {text}"}, {"from": "gpt", "value": text}]
    return {"id": name, "conversations": said}


def _questions(rows: Iterable[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """(picture, question, answer) of the rows' first turns that ask which, not whether."""
    found = []
    for row in rows:
        question, answer = (turn["value"] for turn in row["conversations"][:2])
        if answer not in YES_NO:
            found.append((f"../easy-vqa/{row['image'][0]}", question.removeprefix("<image>\n"), answer))
    return found


def _row(name: str, seen: tuple[str, str, str], spoken: tuple[str, str], *, first: bool) -> dict[str, Any]:
    """A picture and a sound in front, then a question about each; the picture's is the `first` or the second."""
    (picture, question, answer), (sound, text) = seen, spoken
    turns = [(question, answer), (HEAR, text)][:: 1 if first else -1]
    said = []
    for number, (asked, answered) in enumerate(turns):
        said.append({"from": "human", "value": asked if number else f"<image>\n<audio>\n{asked}"})
        said.append({"from": "gpt", "value": answered})
    return {"id": name, "image": [picture], "audio": [sound], "conversations": said}


def _stamp(name: str, row: dict[str, Any]) -> dict[str, Any]:
    """A picture and a voice that says what it shows."""
    said = [{"from": "human", "value": f"<image>\n<audio>\n{HEAR}"}, {"from": "gpt", "value": row["text"]}]
    image, audio = (f"../tuxpaint/{row[modality]}" for modality in ("image", "audio"))
    return {"id": name, "image": [image], "audio": [audio], "conversations": said}


def table(answered: Mapping[str, Sequence[Judged]]) -> list[list[str]]:
    """Accuracy of what was seen, word errors of what was heard: prompts, and Tux Paint's voices."""
    rows = [["picture and sound", "seen: accuracy", "heard: WER", "stamps: WER"]]
    for control, every in answered.items():
        stamps = [j for j in every if "-stamp-" in str(j.id)]
        heard = [j for j in every if j.question == HEAR and j not in stamps]
        seen = [j for j in every if j.question != HEAR]
        rows.append([control, f"{accuracy(seen):.2f} ({len(seen)})", *(_wer(part) for part in (heard, stamps))])
    return rows


def _wer(judged: Sequence[Judged]) -> str:
    return f"{word_errors((j.truth, j.said) for j in judged).rate:.2f} ({len(judged)})"


if __name__ == "__main__":
    main()
