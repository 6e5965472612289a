"""The demo: assemble a model that sees, train it on easy-VQA, ask it about pictures it never saw.

    python examples/easy_vqa/demo.py --assets .demo

`prepare.py` has put weights and data under ``--assets``. What is there already is not made again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):  # run as a script: let Python find the repository's `examples`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.easy_vqa.page import write_page
from examples.running import assemble_once, demo_parser, tinyllava
from tinyllava_kit.evaluation import Judged, is_right, read_results, table

HERE = Path(__file__).resolve().parent
GOAL = 0.90
DATA = "easy-vqa/test.json"
ASKING = ("--scorer", "exact_match", "--max-new-tokens", "4", "--batch-size", "64")
SHOWN = 8


def main() -> None:
    parser = demo_parser(__doc__)
    parser.add_argument("--questions", type=int, default=1000, help="how many held-out questions to ask")
    arguments = parser.parse_args()
    assets = arguments.assets
    assemble_once(assets, HERE / "assembly.yaml", "model")
    tinyllava(assets, "train", str(HERE / "recipe.yaml"))
    limit = ("--limit", str(arguments.questions))
    tinyllava(assets, "eval", "runs/lora", DATA, *ASKING, *limit, "-o", "runs/evaluation")
    results = read_results(assets / "runs" / "evaluation")
    reached = results.figures["as given"]["accuracy"].value
    print(f"goal {GOAL:.2f}: {'reached' if reached >= GOAL else 'not reached'}")
    answered = shown(results.answers["as given"])
    for j in answered:
        print(f"{j.id}: {j.question}  said: {j.said}  truth: {j.truth}")
    write_page(assets / "demo.html", assets, answered, table(results.figures, "held-out questions"))
    print(f"the pictures, answers and loss curves are in {assets.name}/demo.html")


def shown(judged: Sequence[Judged]) -> list[Judged]:
    """A handful: the first wrong ones among them, so that the page does not flatter."""
    wrong = [j for j in judged if not is_right(j)][:2]
    return [*[j for j in judged if is_right(j)][: SHOWN - len(wrong)], *wrong]


if __name__ == "__main__":
    main()
