"""Recordings of people from Debian packages, laid out as files and rows: prompts, captioned pictures, single words."""

from __future__ import annotations

import gzip
import random
import re
import shutil
import tempfile
import wave
from collections.abc import Collection, Iterator
from pathlib import Path

import soundfile
import torch
import torchaudio
from PIL import Image

from examples.assets import unpack_deb
from examples.speech.texts import Row, has_brackets, normalised, read_rows, split, tidy, write_rows

SPLIT_SEED = 17

HELD_OUT_PROMPTS = {"test": 50, "validation": 40}
HELD_OUT_WORDS = range(2, 31)

SPEEDS = (0.9, 1.1)

HELD_OUT_SPOKEN, HELD_OUT_OTHERS = 20, 80  # captions with an English recording, and without
LONGEST_SIDE = 224
LANGUAGES = ("be", "bg", "ca", "da", "el", "en", "es", "fr", "ml", "nl", "pt_BR", "ro", "ru")


# Asterisk: the prompts of a telephone exchange, one speaker.


def make_asterisk(texts: Path, sounds: Path, folder: Path) -> str:
    """``clips/*.wav`` as they are, and ``train.jsonl``, ``validation.jsonl``, ``test.jsonl`` of audio and text."""
    with tempfile.TemporaryDirectory(dir=folder) as unpacked:
        root = Path(unpacked)
        unpack_deb(texts, root)
        unpack_deb(sounds, root)
        rows = list(_prompts(root, folder))
    parts = split(rows, HELD_OUT_PROMPTS, HELD_OUT_WORDS, SPLIT_SEED)
    said = []
    for name, part in parts.items():
        write_rows(folder / f"{name}.jsonl", part)
        minutes = sum(seconds(folder / row["audio"]) for row in part) / 60
        said.append(f"{name} {len(part)} clips, {minutes:.1f} minutes")
    return "; ".join(said)


def _prompts(root: Path, folder: Path) -> Iterator[Row]:
    """The rows of the prompts that have a recording and a transcript of words only; moves their clips to `folder`."""
    (folder / "clips").mkdir()
    listed = root / "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
    for line in gzip.decompress(listed.read_bytes()).decode("utf-8").splitlines():
        name, colon, text = line.partition(": ")
        clip = root / "usr/share/asterisk/sounds/en_US_f_Allison" / f"{name}.wav"
        if colon and not has_brackets(text) and normalised(text) and clip.is_file():
            target = f"clips/{name.replace('/', '-')}.wav"
            clip.replace(folder / target)
            yield {"audio": target, "text": tidy(text)}


def seconds(clip: Path) -> float:
    """How long a WAV file is."""
    with wave.open(str(clip)) as file:
        return file.getnframes() / file.getframerate()


# Controls of what was heard: the same prompts faster and slower, and another speaker's sentences.


def make_speeds(_texts: Path, _sounds: Path, folder: Path, *, prompts: Path) -> str:
    """The rows of `prompts`, played at other speeds: for each a folder of clips and ``test-SPEED.jsonl``.

    Tempo and pitch change together, as when a tape runs too fast.
    """
    rows = read_rows(prompts)
    for speed in SPEEDS:
        clips = f"clips-{speed}"
        (folder / clips).mkdir()
        played = [{**row, "audio": f"{clips}/{Path(row['audio']).name}"} for row in rows]
        for row, other in zip(rows, played, strict=True):
            _play(prompts.parent / row["audio"], folder / other["audio"], speed)
        write_rows(folder / f"test-{speed}.jsonl", played)
    return f"{len(rows)} prompts at {' and '.join(map(str, SPEEDS))} of their speed"


def _play(source: Path, target: Path, speed: float) -> None:
    """Write the sound of `source` at `speed` times its tempo, at the same sampling rate."""
    samples, rate = soundfile.read(source, dtype="float32")  # (T,)
    played, _ = torchaudio.functional.speed(torch.from_numpy(samples), rate, speed)  # (T / speed,)
    soundfile.write(target, played.numpy(), rate)


def make_librivox(deb: Path, folder: Path) -> str:
    """``clips/*.wav`` and ``test.jsonl``: sentences of a novel, read by a volunteer of LibriVox."""
    (folder / "clips").mkdir()
    rows = []
    with tempfile.TemporaryDirectory(dir=folder) as unpacked:
        unpack_deb(deb, Path(unpacked))
        home = Path(unpacked) / "usr/share/pocketsphinx/test/data/librivox"
        for line in (home / "transcription").read_text(encoding="utf-8").splitlines():
            text, name = re.fullmatch(r"<s> (.+) </s> \((.+)\)", line).groups()
            (home / f"{name}.wav").replace(folder / "clips" / f"{name}.wav")
            rows.append({"audio": f"clips/{name}.wav", "text": text})
    write_rows(folder / "test.jsonl", rows)
    return f"{len(rows)} sentences"


# Tux Paint: stamps with a caption in many languages, and volunteers who say it.


def make_tuxpaint(stamps: Path, folder: Path, *, trained: Collection[str]) -> str:
    """``images/*.png``, ``speech/*.ogg``, ``train.jsonl`` and ``test.jsonl``: a row for each spoken description.

    A row has ``image``, ``audio``, ``text`` (the English caption), ``caption`` (the one in the language that is
    spoken) and ``language``. No English caption stands in both parts.

    Args:
        trained: what other training data says, normalised: no such caption is held out.
    """
    with tempfile.TemporaryDirectory(dir=folder) as unpacked:
        unpack_deb(stamps, Path(unpacked))
        rows = list(_descriptions(Path(unpacked) / "usr/share/tuxpaint/stamps", folder))
    held_out = _held_out_captions(rows, trained)
    said = []
    for name in ("train", "test"):
        part = [row for row in rows if (normalised(row["text"]) in held_out) == (name == "test")]
        write_rows(folder / f"{name}.jsonl", part)
        pictures, captions = len({row["image"] for row in part}), len({normalised(row["text"]) for row in part})
        english = sum(row["language"] == "en" for row in part)
        said.append(f"{name} {len(part)} descriptions ({english} English), {captions} captions, {pictures} pictures")
    return "; ".join(said)


def _descriptions(stamps: Path, folder: Path) -> Iterator[Row]:
    """The rows of the spoken descriptions that have a picture and a caption; brings both to `folder`."""
    for spoken in sorted(stamps.rglob("*_desc*")):
        found = re.fullmatch(r"(.+)_desc(?:_(\w+))?\.(?:ogg|wav)", spoken.name)
        if not found:
            continue
        stem, language = spoken.with_name(found[1]), found[2] or "en"
        picture, listed = Path(f"{stem}.png"), Path(f"{stem}.txt")
        captions = _captions(listed) if listed.is_file() else {}
        if not (picture.is_file() and language in LANGUAGES and captions.get("en") and captions.get(language)):
            continue
        image = Path("images", picture.relative_to(stamps))
        audio = Path("speech", spoken.relative_to(stamps))
        _small_picture(picture, folder / image)
        (folder / audio).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(spoken, folder / audio)
        yield {
            "image": image.as_posix(),
            "audio": audio.as_posix(),
            "text": captions["en"],
            "caption": captions[language],
            "language": language,
        }


def _captions(listed: Path) -> dict[str, str]:
    """Language -> caption: the first line is the English one, the others are like ``es.utf8=Un perro.``"""
    english, *others = listed.read_text(encoding="utf-8", errors="replace").split("\n")
    pairs = (line.split(".utf8=", 1) for line in others if ".utf8=" in line)
    return {**{language: tidy(caption) for language, caption in pairs}, "en": tidy(english)}


def _small_picture(source: Path, target: Path) -> None:
    """The picture on white, no side longer than `LONGEST_SIDE`."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as picture:
        drawn = picture.convert("RGBA")
    white = Image.new("RGBA", drawn.size, "white")
    small = Image.alpha_composite(white, drawn).convert("RGB")
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    small.save(target)


def _held_out_captions(rows: list[Row], trained: Collection[str]) -> set[str]:
    """English captions, normalised, drawn from those that are spoken in English and from the others."""
    spoken = {normalised(row["text"]) for row in rows if row["language"] == "en"}.difference(trained)
    others = {normalised(row["text"]) for row in rows}.difference(trained, spoken)
    draw = random.Random(SPLIT_SEED)
    groups = ((spoken, HELD_OUT_SPOKEN), (others, HELD_OUT_OTHERS))
    return {text for texts, count in groups for text in draw.sample(sorted(texts), min(count, len(texts)))}


# KTuberling: nouns, one to a recording.

_AS_SAID = {"broccolli": "broccoli", "fallingstar": "falling star", "palmtree": "palm tree", "sphynx": "sphinx"}


def make_ktuberling(words: Path, folder: Path, *, held_out: Collection[str]) -> str:
    """``clips/*.ogg`` and ``train.jsonl``: English nouns, none of `held_out` (normalised) among them."""
    (folder / "clips").mkdir()
    rows = []
    with tempfile.TemporaryDirectory(dir=folder) as unpacked:
        unpack_deb(words, Path(unpacked))
        for clip in sorted((Path(unpacked) / "usr/share/ktuberling/sounds/en").glob("*.ogg")):
            word = clip.stem.rpartition("_")[2]  # moon_rocket
            text = _AS_SAID.get(word, word)
            if normalised(text) not in held_out:
                clip.replace(folder / "clips" / clip.name)
                rows.append({"audio": f"clips/{clip.name}", "text": text})
    write_rows(folder / "train.jsonl", rows)
    return f"{len(rows)} spoken nouns"
