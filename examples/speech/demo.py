"""The demo of hearing: a connector learns on real and synthetic speech, and is asked about voices it never heard.

    python examples/speech/demo.py --assets .demo

`prepare.py` has put weights and recordings under ``--assets``, and the picture demo its trained model. What is there
already is not made again.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a script: let Python find the repository's `examples`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.running import assemble_once, demo_parser, tinyllava
from examples.speech.page import write_page
from tinyllava_kit.evaluation import Results, read_results, table

HERE = Path(__file__).resolve().parent
GOAL = 0.50
DATA = "asterisk/test.jsonl"
PROMPT = "Repeat this exactly: <audio>"
ASKING = ("--scorer", "retrieval", "--scorer", "wer", "--max-new-tokens", "48", "--batch-size", "10")
SHOWN = 8


def main() -> None:
    assets = demo_parser(__doc__).parse_args().assets
    assemble_once(assets, HERE / "assembly.yaml", "hearing")
    tinyllava(assets, "train", str(HERE / "audio_align.yaml"))
    results = judge(assets, "hearing-runs/align")
    reached = results.figures["as given"]["R@1"].value
    print(f"goal R@1 {GOAL:.2f}: {'reached' if reached >= GOAL else 'not reached'}")
    heard = results.answers["as given"][:SHOWN]
    for judged in heard:
        print(f"row {judged.id}  said: {judged.said!r}  truth: {judged.truth!r}")
    write_page(assets / "demo-audio.html", assets, heard, table(results.figures, "held-out speech"))
    print(f"the recordings, answers and loss curves are in {assets.name}/demo-audio.html")


def judge(assets: Path, model: str) -> Results:
    """The held-out prompts, transcribed and retrieved by a model, as they are and under the controls."""
    output = f"{model}-evaluation"
    tinyllava(assets, "eval", model, DATA, "--prompt", PROMPT, *ASKING, "-o", output)
    return read_results(assets / output)


if __name__ == "__main__":
    main()
