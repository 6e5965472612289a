"""Speech out with a talker: the LLM writes words alone, a small transformer says them.

    python examples/speech_out/talker.py --assets .demo

Behind `demo.py`, of the same recordings and with the same judge.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a script: let Python find the repository's `examples`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.running import assemble_once, demo_parser, tinyllava
from examples.speech_out.demo import show

HERE = Path(__file__).resolve().parent


def main() -> None:
    assets = demo_parser(__doc__).parse_args().assets
    assemble_once(assets, HERE / "talker_assembly.yaml", "talking")
    tinyllava(assets, "train", str(HERE / "talker.yaml"))
    show(assets, assets / "talking-runs", assets / "more-dates", "demo-talker.html")


if __name__ == "__main__":
    main()
