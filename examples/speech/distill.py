"""The other way to learn to hear: from the LLM that reads the transcript, in place of the transcript itself.

    python examples/speech/distill.py --assets .demo

The hearing demo has been run in ``--assets``; its first stage is where this one begins too.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a script: let Python find the repository's `examples`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.running import demo_parser, tinyllava
from examples.speech.demo import DATA, judge


def main() -> None:
    assets = demo_parser(__doc__, assets="the folder with the hearing demo's stages").parse_args().assets
    tinyllava(assets, "train", str(Path(__file__).with_name("audio_distill.yaml")))
    judge(assets, "hearing-runs/distill", DATA)


if __name__ == "__main__":
    main()
