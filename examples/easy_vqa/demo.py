"""The demo: assemble a model that sees, train it on easy-VQA, ask it about pictures it never saw.

    python examples/easy_vqa/demo.py --assets .demo

`prepare.py` has put weights and data under ``--assets``. What is there already is not made again.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):  # run as a script: let Python find the repository's `examples`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.easy_vqa.page import write_page
from examples.running import keep, kept, print_rows, tinyllava
from tinyllava_kit import load_pretrained
from tinyllava_kit.core.conversation import Conversation
from tinyllava_kit.data.dataset import ConversationDataset
from tinyllava_kit.evaluation.answers import Judged, answers
from tinyllava_kit.evaluation.controls import Control
from tinyllava_kit.evaluation.exact_match import accuracy, is_right

HERE = Path(__file__).resolve().parent
GOAL = 0.90
YES_NO = ("yes", "no")
CONTROLS: tuple[Control, ...] = ("as given", "without items", "shuffled items")
SHOWN = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=Path, required=True, help="the folder that prepare.py filled")
    parser.add_argument("--questions", type=int, default=1000, help="how many held-out questions to ask")
    arguments = parser.parse_args()
    assets = arguments.assets.resolve()
    if not (assets / "model" / "config.json").exists():
        tinyllava(assets, "assemble", str(HERE / "assembly.yaml"), "-o", "model", "--force")
    tinyllava(assets, "train", str(HERE / "recipe.yaml"))
    results = assets / "runs" / "results"
    if not results.exists():
        evaluate(assets, results, arguments.questions)
    judged, _ = kept(results)
    print_table(judged)
    write_page(assets / "demo.html", assets, shown(judged["as given"]), table(judged))
    print(f"the pictures, answers and loss curves are in {assets.name}/demo.html")


def evaluate(assets: Path, results: Path, count: int) -> None:
    """Ask the held-out questions as they are, without the picture, and with another's."""
    model, processor = load_pretrained(assets / "runs" / "lora")
    held_out = ConversationDataset.from_file(assets / "easy-vqa" / "test.json", processor).conversations
    asked: Sequence[Conversation] = random.Random(0).sample(held_out, min(count, len(held_out)))
    judged = {}
    for control in CONTROLS:
        start = time.monotonic()
        judged[control] = answers(model, processor, asked, control=control, max_new_tokens=4, batch_size=64)
        print(f"asked {len(asked)} held-out questions, {control}: {time.monotonic() - start:.0f} s", flush=True)
    keep(results, judged)


def table(judged: dict[str, list[Judged]]) -> list[list[str]]:
    """Accuracy over all, yes/no and open questions, for the model and its controls."""
    rows = [["held-out questions", "all", "yes/no", "open"]]
    for control, every in judged.items():
        closed = [j for j in every if j.truth in YES_NO]
        open_ = [j for j in every if j.truth not in YES_NO]
        rows.append([control, *(f"{accuracy(part):.3f} ({len(part)})" for part in (every, closed, open_))])
    return rows


def print_table(judged: dict[str, list[Judged]]) -> None:
    print_rows(table(judged))
    reached = accuracy(judged["as given"])
    print(f"goal {GOAL:.2f}: {'reached' if reached >= GOAL else 'not reached'}")
    for j in shown(judged["as given"]):
        print(f"{Path(j.name).name}: {j.question}  said: {j.said}  truth: {j.truth}")


def shown(judged: Sequence[Judged]) -> list[Judged]:
    """A handful: the first wrong ones among them, so that the page does not flatter."""
    wrong = [j for j in judged if not is_right(j)][:2]
    return [*[j for j in judged if is_right(j)][: SHOWN - len(wrong)], *wrong]


if __name__ == "__main__":
    main()
