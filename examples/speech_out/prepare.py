"""Dates as a telephone exchange says them, of recordings of its words; recordings to learn by heart; and a smaller LLM.

    python examples/speech_out/prepare.py --out .demo

makes, under ``--out``, of what examples/speech/prepare.py has put there:

    dates/, more-dates/ clips/*.wav, train.jsonl, test.jsonl (dates that train.jsonl lacks), by-heart.jsonl. A
                        date is three recordings of a person behind one another, a day, a month and an ordinal, each cut
                        to its sound and to whole frames of 40 ms
    smollm2-6-layers/   the first 6 of the 30 layers of SmolLM2-135M-Instruct, to be trained on two processor cores
"""

from __future__ import annotations

import itertools
import random
import shutil
import sys
import wave
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):  # run as a script: let Python find the repository's `examples`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from examples.assets import make_once, run_script
from examples.speech.prepare import ASTERISK
from examples.speech.recordings import seconds
from examples.speech.texts import Row, normalised, read_rows, write_rows
from tinyllava_kit.files import atomic_directory

CONVERSION = 3  # raise it when the written files change: directories of an older one are made again
SCRIPT = "examples/speech_out/prepare.py"
SEED = 17
LAYERS = 6
HELD_OUT, BY_HEART = 20, 4
# Folder -> months and ordinals of its dates, beside all days, and how many are trained. An LLM whose weights are all
# trained has time for few; a talker hears more, and so has to tell them apart.
DATES = {"dates": (6, 6, 200), "more-dates": (12, 12, 988)}
RATE_HZ, FRAME = 8000, 320  # of the recordings, and of a frame in samples
QUIET, MARGIN = 655, 160  # of 16 bits: what counts as silence; samples of it that stay on either side


def make_dates(prompts: Path, target: Path, months: int, ordinals: int, trained: int) -> str:
    """Fill the folder `target`; `prompts` is that of the exchange's recordings."""
    rows = [*read_rows(prompts / "train.jsonl"), *read_rows(prompts / "validation.jsonl")]
    rows += read_rows(prompts / "test.jsonl")
    texts = {Path(row["audio"]).stem: row["text"] for row in rows}
    names = {"day": range(7), "mon": range(months), "h": range(1, ordinals + 1)}
    dates = list(itertools.product(*([f"digits-{kind}-{n}" for n in numbers] for kind, numbers in names.items())))
    random.Random(SEED).shuffle(dates)
    (target / "clips").mkdir()
    for name, part in {"test": dates[:HELD_OUT], "train": dates[HELD_OUT : HELD_OUT + trained]}.items():
        made: list[Row] = []
        for number, words in enumerate(part):
            made.append({"audio": f"clips/{name}-{number:03}.wav", "text": " ".join(texts[word] for word in words)})
            samples = np.concatenate([trimmed(read(prompts / "clips" / f"{word}.wav")) for word in words])
            write(target / made[-1]["audio"], samples)
        write_rows(target / f"{name}.jsonl", made)
    by_heart = shortest(read_rows(prompts / "train.jsonl"), prompts, BY_HEART)
    write_rows(target / "by-heart.jsonl", [{**row, "audio": f"../{prompts.name}/{row['audio']}"} for row in by_heart])
    minutes = sum(seconds(file) for file in (target / "clips").glob("train-*.wav")) / 60
    return f"{trained} of {len(dates)} dates to train, {minutes:.1f} minutes; {HELD_OUT} held out; {BY_HEART} by heart"


def shortest(rows: Sequence[Row], folder: Path, count: int) -> list[Row]:
    """The shortest recordings of two words or more, each of other words."""
    several = sorted((row for row in rows if len(row["text"].split()) > 1), key=lambda r: seconds(folder / r["audio"]))
    return list({normalised(row["text"]): row for row in reversed(several)}.values())[::-1][:count]


def trimmed(samples: np.ndarray) -> np.ndarray:
    """A word without the silence around it but for a little, padded to whole frames: (n,) int16."""
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > QUIET)
    word = samples[max(0, loud[0] - MARGIN) : loud[-1] + MARGIN]
    return np.pad(word, (0, -len(word) % FRAME))


def read(file: Path) -> np.ndarray:
    """The samples of a WAV file of 16 bits, (n,)."""
    with wave.open(str(file)) as sound:
        return np.frombuffer(sound.readframes(sound.getnframes()), "<i2")


def write(file: Path, samples: np.ndarray) -> None:
    """The inverse."""
    with wave.open(str(file), "wb") as sound:
        sound.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        sound.writeframes(samples.astype("<i2").tobytes())


def make_smaller_llm(whole: Path, target: Path) -> None:
    """The first layers of a saved Llama with its embeddings, final norm and tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(whole, trust_remote_code=False)
    model.model.layers = model.model.layers[:LAYERS]
    model.config.num_hidden_layers = LAYERS
    with atomic_directory(target) as stage:
        model.save_pretrained(stage)
        AutoTokenizer.from_pretrained(whole, trust_remote_code=False).save_pretrained(stage)
        shutil.copy(whole / "README.md", stage)


def prepare(out: Path) -> None:
    """Everything the demo needs beside what examples/speech/prepare.py makes."""
    smaller = out / f"smollm2-{LAYERS}-layers"
    if not smaller.exists():
        make_smaller_llm(out / "smollm2-135m-instruct", smaller)
        print(f"made {smaller}")
    asterisk = out / "asterisk"

    built_on = [asterisk / f"{name}.jsonl" for name in ("train", "validation", "test")]
    for name, sizes in DATES.items():

        def make(texts: Path, sounds: Path, folder: Path, sizes: tuple[int, int, int] = sizes) -> str:
            return make_dates(asterisk, folder, *sizes)

        make_once(out / name, ASTERISK, out / "wheels", make, script=SCRIPT, conversion=CONVERSION, built_on=built_on)


def main(arguments: list[str] | None = None) -> int:
    """The script: exit code 0, or 2 with one line on what was wrong."""
    return run_script(prepare, "Put dates together of recordings, for the demo of speech out.", arguments)


if __name__ == "__main__":
    sys.exit(main())
