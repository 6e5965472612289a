"""The demo of hearing: a connector learns on real and synthetic speech, and is asked about voices it never heard.

    python examples/speech/demo.py --assets .demo

`prepare.py` has put weights and recordings under ``--assets``, and the picture demo its trained model. What is there
already is not made again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):  # run as a script: let Python find the repository's `examples`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.running import assemble_once, demo_parser, print_rows, tinyllava, verdict
from examples.speech.page import write_page
from tinyllava_kit.evaluation import Results, read_results, table

HERE = Path(__file__).resolve().parent
MODEL = "hearing-runs/transcribe"
GOALS = {"R@1": 0.9, "WER": 0.45}
DATA = "asterisk/test.jsonl"
OTHERS = {  # the same model, on other recordings
    "0.9 of the speed": "asterisk-speeds/test-0.9.jsonl",
    "1.1 of the speed": "asterisk-speeds/test-1.1.jsonl",
    "LibriVox": "librivox/test.jsonl",
}
PROMPT = "Repeat this exactly: <audio>"
SCORERS = ("retrieval", "wer")
ASKING = ("--max-new-tokens", "48", "--batch-size", "10")
SHOWN = 8


def main() -> None:
    assets = demo_parser(__doc__).parse_args().assets
    assemble_once(assets, HERE / "assembly.yaml", "hearing")
    tinyllava(assets, "train", str(HERE / "audio_align.yaml"))
    results = judge(assets, MODEL, DATA)
    others = {name: judge(assets, MODEL, data, ("wer",)).figures["as given"] for name, data in OTHERS.items()}
    figures = {**results.figures, **others}
    print_rows(table(figures, "held-out speech"))
    heard = results.answers["as given"][:SHOWN]
    for judged in heard:
        print(f"row {judged.id}  said: {judged.said!r}  truth: {judged.truth!r}")
    write_page(assets / "demo-audio.html", assets, heard, table(figures, "held-out speech"))
    print(verdict(results.figures["as given"], GOALS))
    print(f"The page {os.path.relpath(assets / 'demo-audio.html')} has the recordings, answers and loss curves.")


def judge(assets: Path, model: str, data: str, scorers: Sequence[str] = SCORERS) -> Results:
    """The recordings of a file, transcribed and retrieved by a model, unchanged and under the controls."""
    output = f"{model}-evaluation/{Path(data).with_suffix('')}"
    named = [word for scorer in scorers for word in ("--scorer", scorer)]
    tinyllava(assets, "eval", model, data, "--prompt", PROMPT, *named, *ASKING, "-o", output)
    return read_results(assets / output)


if __name__ == "__main__":
    main()
