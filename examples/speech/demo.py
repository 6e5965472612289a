"""The demo of hearing: a connector learns on real and synthetic speech, and is asked about voices it never heard.

    python examples/speech/demo.py --assets .demo

`prepare.py` has put weights and recordings under ``--assets``, and the picture demo its trained model. What is there
already is not made again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script: let Python find the repository's `examples`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.running import keep, kept, print_rows, tinyllava
from examples.speech.page import write_page
from tinyllava_kit import load_pretrained
from tinyllava_kit.core.conversation import Conversation
from tinyllava_kit.core.modeling import TinyLlavaForConditionalGeneration
from tinyllava_kit.core.processing import TinyLlavaProcessor
from tinyllava_kit.data.dataset import ConversationDataset
from tinyllava_kit.data.sources import Pairs, Source
from tinyllava_kit.evaluation.answers import Judged, answers
from tinyllava_kit.evaluation.controls import Control
from tinyllava_kit.evaluation.retrieval import retrieve
from tinyllava_kit.evaluation.word_error import word_errors
from tinyllava_kit.inference.features import FeatureCache

HERE = Path(__file__).resolve().parent
GOAL = 0.50
CONTROLS: tuple[Control, ...] = ("as given", "shuffled items", "silent items")
PROMPT = "Repeat this exactly: <audio>"
SHOWN = 8

Found = Mapping[str, Mapping[str, Any]]  # control -> figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=Path, required=True, help="the folder that prepare.py filled")
    assets = parser.parse_args().assets.resolve()
    if not (assets / "hearing" / "config.json").exists():
        tinyllava(assets, "assemble", str(HERE / "assembly.yaml"), "-o", "hearing", "--force")
    tinyllava(assets, "train", str(HERE / "audio_align.yaml"))
    heard, found, rows = judge(assets, "hearing-runs/align", "held-out speech")
    print(f"goal R@1 {GOAL:.2f}: {'reached' if found['as given']['R@1'] >= GOAL else 'not reached'}")
    for judged in heard["as given"][:SHOWN]:
        print(f"{Path(judged.name).name}  said: {judged.said!r}  truth: {judged.truth!r}")
    write_page(assets / "demo-audio.html", assets, heard["as given"][:SHOWN], rows)
    print(f"the recordings, answers and loss curves are in {assets.name}/demo-audio.html")


def judge(assets: Path, model: str, title: str) -> tuple[dict[str, list[Judged]], Found, list[list[str]]]:
    """Evaluate a model once, print its table; its answers, figures and table."""
    results = assets / f"{model}-results"
    if not results.exists():
        evaluate(assets / model, assets, results)
    heard, found = kept(results)
    rows = table(found, title)
    print_rows(rows)
    return heard, found, rows


def evaluate(directory: Path, assets: Path, results: Path) -> None:
    """The held-out prompts, transcribed and retrieved by a model, as they are and under the controls."""
    model, processor = load_pretrained(directory)
    source = Source(path=str(assets / "asterisk" / "test.jsonl"), pairs=Pairs(modality="audio", prompts=(PROMPT,)))
    asked = ConversationDataset.from_sources([source], processor).conversations
    heard: dict[str, list[Judged]] = {}
    found: dict[str, dict[str, float]] = {}
    for control in CONTROLS:
        start = time.monotonic()
        heard[control] = answers(model, processor, asked, control=control, max_new_tokens=48, batch_size=10)
        found[control] = figures(model, processor, asked, control, heard[control])
        print(f"asked for {len(asked)} held-out recordings, {control}: {time.monotonic() - start:.0f} s", flush=True)
    keep(results, heard, **found)


def figures(
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    asked: Sequence[Conversation],
    control: Control,
    heard: Sequence[Judged],
) -> dict[str, float]:
    """R@1, R@5 and median rank among all transcripts, and the word error rate with its insertions."""
    ranks = retrieve(model, processor, asked, control=control, features=FeatureCache(model, processor))
    errors = word_errors((judged.truth, judged.said) for judged in heard)
    return {
        "R@1": ranks.recall(1),
        "R@5": ranks.recall(5),
        "median rank": ranks.median_rank,
        "WER": errors.rate,
        **asdict(errors),
    }


def table(found: Found, title: str) -> list[list[str]]:
    """A row for each control."""
    rows = [[title, "R@1", "R@5", "median rank", "WER", "of it inserted"]]
    for control in CONTROLS:
        f = found[control]
        inserted = f["insertions"] / f["num_truth"]
        rows.append(
            [
                control,
                f"{f['R@1']:.2f}",
                f"{f['R@5']:.2f}",
                f"{f['median rank']:g}",
                f"{f['WER']:.2f}",
                f"{inserted:.2f}",
            ]
        )
    return rows


if __name__ == "__main__":
    main()
