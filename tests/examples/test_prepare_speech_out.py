"""What the demo of speech out prepares: dates of whole frames, none of them in two parts."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
import pytest

from examples.speech.texts import read_rows
from examples.speech_out import demo, prepare

pytestmark = pytest.mark.slow


def prompts(folder: Path) -> Path:
    """Recordings under the exchange's names: a tone each, in silence."""
    names = {
        f"digits-{kind}-{n}": f"{kind}{n}" for kind, count in (("day", 7), ("mon", 12), ("h", 13)) for n in range(count)
    }
    names |= {f"prompt-{n}": f"two words {n}" for n in range(6)}
    (folder / "clips").mkdir(parents=True)
    rows = []
    for number, (name, text) in enumerate(names.items()):
        tone = (8000 * np.sin(np.arange(900 + 10 * number) * 0.3)).astype(np.int16)
        prepare.write(folder / f"clips/{name}.wav", np.pad(tone, 2000))
        rows.append({"audio": f"clips/{name}.wav", "text": text})
    for name, part in {"train": rows[3:], "validation": rows[:2], "test": rows[2:3]}.items():
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in part))
    return folder


@pytest.mark.parametrize(("folder", "trained", "all_of_them"), [("dates", 200, 252), ("more-dates", 988, 1008)])
def test_dates_are_whole_frames_and_no_held_out_one_is_trained(folder, trained, all_of_them, tmp_path: Path) -> None:
    target = tmp_path / folder
    target.mkdir()
    said = prepare.make_dates(prompts(tmp_path / "asterisk"), target, *prepare.DATES[folder])
    assert said.startswith(f"{trained} of {all_of_them} dates to train")
    rows = {n: read_rows(target / f"{n}.jsonl") for n in ("train", "test", "by-heart")}
    assert {name: len(part) for name, part in rows.items()} == {"train": trained, "test": 20, "by-heart": 4}
    heard, held_out = ({row["text"] for row in rows[name]} for name in ("train", "test"))
    assert len(heard | held_out) == trained + 20
    assert {word for text in held_out for word in text.split()} <= {word for text in heard for word in text.split()}
    for row in [*rows["train"][:9], *rows["test"]]:
        with wave.open(str(target / row["audio"])) as sound:
            assert sound.getnframes() % prepare.FRAME == 0
    assert all((target / row["audio"]).exists() and " " in row["text"] for row in rows["by-heart"])


def test_a_word_keeps_its_sound_and_little_silence() -> None:
    tone = (9000 * np.sin(np.arange(1, 2001) * 0.5)).astype(np.int16)
    word = prepare.trimmed(np.pad(tone, 3000))
    assert len(word) % prepare.FRAME == 0
    assert 2000 <= len(word) <= 2000 + 2 * prepare.MARGIN + prepare.FRAME
    assert np.abs(word.astype(int)).max() == np.abs(tone.astype(int)).max()


def test_figures_are_the_words_that_they_stand_for() -> None:
    assert demo.ordinals("Monday, April 3rd.") == "Monday, April third."
    assert demo.ordinals("the 20th, not the 12th or 100th") == "the twentieth, not the twelfth or 100th"
