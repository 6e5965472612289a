"""The trained demo model with 8- and 4-bit weights: how large it is, and how well it still answers.

    python examples/easy_vqa/quantized.py --assets .demo

`demo.py` has trained the model. Each row of the table is a whole run: the model is quantized while it is read, the
answers to held-out questions are scored, and the questions asked.
"""

from __future__ import annotations

import logging
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

if __package__ in (None, ""):  # run as a script: let Python find the repository's `examples`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.running import demo_parser, print_rows
from tinyllava_kit import (
    Quantization,
    TinyLlavaForConditionalGeneration,
    TinyLlavaProcessor,
    load_pretrained,
    stored_bytes,
)
from tinyllava_kit.evaluation import Question, accuracy, answer_log_probs, answers, read_questions
from tinyllava_kit.interfaces import IGNORE_INDEX, TextSpan, Turn

WAYS: dict[str, Quantization | None] = {
    "float32": None,
    "8 bit": Quantization(bits=8),
    "nf4": Quantization(bits=4),
    "nf4, single quant": Quantization(bits=4, double_quant=False),
    "fp4": Quantization(bits=4, type="fp4"),
}


def main() -> None:
    parser = demo_parser(__doc__)
    parser.add_argument("--model", type=Path, help="a model directory; default: what demo.py trained last")
    parser.add_argument("--questions", type=int, default=200, help="how many held-out questions to ask")
    arguments = parser.parse_args()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it says of each layer that it casts its input
    assets = arguments.assets
    directory = arguments.model or assets / "runs" / "match"
    rows = [["weights", "bytes", "of float32", "perplexity", "accuracy"]]
    full = 0
    for name, how in WAYS.items():
        model, processor = load_pretrained(directory, quantization=how, dtype=torch.float32)
        size = stored_bytes(model)
        full = full or size
        asked = held_out(assets, processor, arguments.questions)
        said = answers(model, processor, asked, max_new_tokens=4, batch_size=32)
        odds = perplexity(model, processor, asked)
        rows.append([name, f"{size:,}", f"{size / full:.3f}", f"{odds:.4f}", f"{accuracy(said):.3f} ({len(said)})"])
        print(f"asked {len(asked)} held-out questions, {name}", flush=True)
    print_rows(rows)


def held_out(assets: Path, processor: TinyLlavaProcessor, count: int) -> Sequence[Question]:
    """The questions that demo.py asks first."""
    every = read_questions(assets / "easy-vqa" / "test.json", processor)
    return random.Random(0).sample(every, min(count, len(every)))


def perplexity(
    model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor, asked: Sequence[Question]
) -> float:
    """e to the mean negative log probability of a token of the true answers, each to one question."""
    total, tokens = 0.0, 0
    for question in asked:
        answered = (*question.conversation.turns, Turn("assistant", question.truths[0]))
        sample = processor.encode(replace(question.conversation, turns=answered))
        total -= float(answer_log_probs(model, processor, [sample]))
        spans = (span for span in sample.spans if isinstance(span, TextSpan) and span.labels is not None)
        tokens += sum(label != IGNORE_INDEX for span in spans for label in span.labels)
    return math.exp(total / tokens)


if __name__ == "__main__":
    main()
