"""The demo: assemble a model that sees, train it on easy-VQA, ask it about pictures it never saw.

    python examples/easy_vqa/demo.py --assets .demo

`prepare.py` has put weights and data under ``--assets``. Existing files are not made again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

if __package__ in (None, ""):  # run as a script: let Python find the repository's `examples`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.easy_vqa.page import write_page
from examples.running import assemble_once, demo_parser, print_rows, tinyllava, verdict
from tinyllava_kit.evaluation import Figure, Results, read_results, table

HERE = Path(__file__).resolve().parent
MODEL = "runs/match"
GOALS = {"accuracy": 0.95, "open": 0.97, "balanced yes/no": 0.95}
ASKING = ("--scorer", "exact_match", "--max-new-tokens", "4", "--batch-size", "64")
COLUMNS = ("accuracy", "yes/no", "open")

Figures = Mapping[str, Mapping[str, Figure]]  # control -> name -> figure


def main() -> None:
    parser = demo_parser(__doc__)
    parser.add_argument("--questions", type=int, default=1000, help="how many held-out questions to ask")
    parser.add_argument("--balanced", type=int, default=500, help="how many balanced questions to ask")
    arguments = parser.parse_args()
    assets = arguments.assets
    print("The demo assembles a model, trains it for about 15 minutes on two CPU cores, and asks it questions.")
    assemble_once(assets, HERE / "assembly.yaml", "model")
    tinyllava(assets, "train", str(HERE / "recipe.yaml"))
    asked = ask(assets, "test", arguments.questions)
    even = ask(assets, "balanced", arguments.balanced)
    figures = together(asked, even)
    print_rows(table(figures, "held-out questions"))
    write_page(assets / "demo.html", assets, even, figures, commands(assets))
    print(verdict(figures["as given"], GOALS))
    print("\n".join(("Try it:", *commands(assets))))
    print(f"The page {os.path.relpath(assets / 'demo.html')} shows pictures, answers, controls and curves.")


def ask(assets: Path, split: str, limit: int) -> Results:
    """The questions of a file, asked under every control."""
    folder = f"runs/evaluation-{split}"
    tinyllava(assets, "eval", MODEL, f"easy-vqa/{split}.json", *ASKING, "--limit", str(limit), "-o", folder)
    return read_results(assets / folder)


def together(asked: Results, even: Results) -> Figures:
    """The figures of both files, in one table."""
    return {
        control: {
            **{name: every[name] for name in COLUMNS if name in every},
            "balanced yes/no": even.figures[control]["accuracy"],
        }
        for control, every in asked.figures.items()
    }


def commands(assets: Path) -> list[str]:
    """Three commands that work as printed, from the directory that the demo was started in."""
    tool, folder = (os.path.relpath(path) for path in (Path(sys.executable).parent / "tinyllava", assets))
    picture = f"--image {folder}/easy-vqa/images/test/0.png"
    return [
        f'{tool} ask {folder}/{MODEL} {picture} "what does the image contain?"',
        f'{tool} show {folder}/{MODEL} {picture} "what color is the shape?" -o {folder}/shown',
        f"{tool} chat {folder}/{MODEL}",
    ]


if __name__ == "__main__":
    main()
