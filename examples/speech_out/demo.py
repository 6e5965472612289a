"""The demo of speech out: an LLM learns recordings by heart, then says dates that it never heard.

    python examples/speech_out/demo.py --assets .demo

`prepare.py` has put an LLM and recordings under ``--assets``. Existing files are not made again.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

if __package__ in (None, ""):  # run as a script: let Python find the repository's `examples`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from examples.page import Card, curves, shown, write_demo_page
from examples.running import assemble_once, demo_parser, print_rows, tinyllava
from examples.speech.texts import Row, read_rows
from examples.speech_out.ears import Ears
from tinyllava_kit import (
    GeneratedItem,
    Reply,
    TinyLlavaForConditionalGeneration,
    TinyLlavaProcessor,
    load_pretrained,
    question,
    replies,
    reply,
)
from tinyllava_kit.components import Waveform
from tinyllava_kit.evaluation import word_errors

HERE = Path(__file__).resolve().parent
PROMPT = "Say: {text}"
BATCH = 10
MAX_IDS = 420  # of an answer: more than the longest date takes
WHAT = ("the recordings", "coded and decoded", "the model", "another date's", "silence")


@dataclass(frozen=True)
class Spoken:
    """A text, what was said for it, and what Whisper heard in each of `WHAT`."""

    text: str
    said: Reply
    sounds: dict[str, Waveform]
    heard: dict[str, str]


def main() -> None:
    assets = demo_parser(__doc__).parse_args().assets
    assemble_once(assets, HERE / "assembly.yaml", "speaking")
    tinyllava(assets, "train", str(HERE / "recipe.yaml"))
    show(assets, assets / "speaking-runs", assets / "dates", "demo-speech.html")


def show(assets: Path, runs: Path, data: Path, page: str) -> None:
    """What the models of the folder `runs` say, by heart and of dates of `data` that they never heard; a page of it."""
    print(by_heart(runs, data), flush=True)
    model, processor = load_pretrained(runs / "dates")
    spoken = speak(model, processor, data, Ears(assets / "whisper-tiny.en"))
    rows = judge(spoken)
    print_rows(rows)
    for line in facts(model, processor, spoken):
        print(line)
    folder = runs / "dates-results"
    folder.mkdir(exist_ok=True)
    for number, each in enumerate(spoken):
        processor.modalities["audio"].write(each.sounds["the model"], str(folder / f"{number:02}.wav"))
        print(f"{number:02}.wav  asked: {each.text!r}  heard: {each.heard['the model']!r}")
    write_page(assets / page, runs, folder, spoken, rows)
    print(f"the sounds, what was heard and the loss curves are in {assets.name}/{page}")


def by_heart(runs: Path, data: Path) -> str:
    """Ask the first model for the recordings that it was trained on: text, ids and samples, one by one."""
    model, processor = load_pretrained(runs / "by-heart")
    rows = read_rows(data / "by-heart.jsonl")
    answers = asked(model, processor, rows)
    exact = {"texts": 0, "samples": 0, "prompts that give another's": 0}
    codec = model.decoders["audio"]
    for row, answer in zip(rows, answers, strict=True):
        truth = codec.decode(codec.encode(read(processor, data, row)))
        exact["texts"] += answer.text == row["text"]
        given = [item.item.samples for item in answer.items("audio")]
        exact["samples"] += len(given) == 1 and np.array_equal(given[0], truth.samples)
        others = [a for r, a in zip(rows, answers, strict=True) if r is not row]
        exact["prompts that give another's"] += any(same_sound(answer, other) for other in others)
    counts = ", ".join(f"{what} {count} of {len(rows)}" for what, count in exact.items())
    return f"by heart, equal to what the codec makes of the recording: {counts}"


def same_sound(one: Reply, other: Reply) -> bool:
    """Whether two replies hold the same samples."""
    first, second = (reply.items("audio") for reply in (one, other))
    return bool(first and second) and np.array_equal(first[0].item.samples, second[0].item.samples)


def read(processor: TinyLlavaProcessor, data: Path, row: Row) -> Waveform:
    """The recording of a row."""
    return processor.modalities["audio"].read(str(data / row["audio"]))


def asked(model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor, rows: Sequence[Row]) -> list[Reply]:
    """The model's answer to the prompt of each row, greedy."""
    conversations = [question(PROMPT.replace("{text}", row["text"]), [], processor) for row in rows]
    parts = [conversations[at : at + BATCH] for at in range(0, len(conversations), BATCH)]
    return [r for part in parts for r in replies(model, processor, part, force=["audio"], max_new_tokens=MAX_IDS)]


def speak(
    model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor, data: Path, ears: Ears
) -> list[Spoken]:
    """Every held-out date as it was recorded, as the codec makes it, as the model says it, and the floors."""
    rows, codec = read_rows(data / "test.jsonl"), model.decoders["audio"]
    answers = asked(model, processor, rows)
    blank = Waveform(np.zeros(8000, np.float32), 8000, "nothing")
    said = [answer.items("audio")[0].item if answer.items("audio") else blank for answer in answers]
    recorded = [read(processor, data, row) for row in rows]
    sounds = {
        "the recordings": recorded,
        "coded and decoded": [codec.decode(codec.encode(each)) for each in recorded],
        "the model": said,
        "another date's": [said[(number + 1) % len(said)] for number in range(len(said))],
        "silence": [processor.modalities["audio"].blank(each) for each in recorded],
    }
    heard = {what: ears.hear(each) for what, each in sounds.items() if what != "another date's"}
    heard["another date's"] = heard["the model"][1:] + heard["the model"][:1]
    return [
        Spoken(row["text"], answer, {w: sounds[w][n] for w in WHAT}, {w: heard[w][n] for w in WHAT})
        for n, (row, answer) in enumerate(zip(rows, answers, strict=True))
    ]


def judge(spoken: Sequence[Spoken]) -> list[list[str]]:
    """The word error rate of each, against the text that was asked for."""
    rows = [[f"{len(spoken)} held-out dates", "WER", "all right"]]
    for what in WHAT:
        pairs = [(ordinals(each.text), ordinals(each.heard[what])) for each in spoken]
        right = sum(word_errors([pair]).rate == 0 for pair in pairs)
        rows.append([what, f"{word_errors(pairs).rate:.2f}", f"{right} of {len(spoken)}"])
    return rows


def ordinals(text: str) -> str:
    """Whisper writes ``3rd`` where the text has ``third``.

    Example:
        >>> ordinals("Monday, April 3rd.")
        'Monday, April third.'
    """
    return re.sub(r"\b(1?\d|20)(st|nd|rd|th)\b", lambda found: _ORDINALS[int(found[1])], text)


_ORDINALS = (
    *("zeroth", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"),
    *("eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth"),
    *("nineteenth", "twentieth"),
)


def facts(
    model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor, spoken: Sequence[Spoken]
) -> list[str]:
    """How many answers were whole, and how long one takes, streamed."""
    closed = sum(item.closed for each in spoken for item in each.said.items("audio")[:1])
    texts = sum(each.said.text == each.text for each in spoken)
    conversation = question(PROMPT.replace("{text}", spoken[0].text), [], processor)
    start, first = time.monotonic(), []

    def show(part: str | GeneratedItem) -> None:
        if isinstance(part, GeneratedItem):
            first.append(time.monotonic() - start)

    (given,) = reply(model, processor, conversation, show, force=["audio"], max_new_tokens=MAX_IDS).items("audio")
    took, seconds = time.monotonic() - start, len(given.item.samples) / given.item.rate_hz
    ids = model.decoders["audio"].num_ids(given.item)
    return [
        f"ended by the model: {closed} of {len(spoken)}; its words are those that were asked for: {texts}",
        f"first sound after {first[0]:.2f} s of {took:.2f} s; {seconds:.2f} s of sound, real-time factor "
        f"{took / seconds:.1f}, {ids / seconds:.0f} ids a second of sound",
    ]


def write_page(path: Path, runs: Path, folder: Path, spoken: Sequence[Spoken], rows: Sequence[Sequence[str]]) -> None:
    """The page: each sound that the model made, what was asked for and heard."""
    cards = []
    for number, each in enumerate(spoken):
        heard = each.heard["the model"]
        right = word_errors([(ordinals(each.text), ordinals(heard))]).rate == 0
        sound = shown(folder / f"{number:02}.wav")
        cards.append(Card(media=sound, said=heard, truth=each.text, is_right=right))
    write_demo_page(
        path,
        heading="Speech that was written id by id",
        cards=cards,
        cards_title="Dates that were never trained, and what was heard",
        rows=rows,
        table_title="Beside other dates, and silence",
        charts=curves(runs),
    )


if __name__ == "__main__":
    main()
