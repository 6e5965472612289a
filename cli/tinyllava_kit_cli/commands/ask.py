"""``tinyllava ask``: one question to a model."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import Any

import click

from tinyllava_kit_cli.generation import answer_length, load_to_run, placed, placement, sampled, sampling
from tinyllava_kit_cli.items import ITEMS, AnswersCommand, answers_of, items_of
from tinyllava_kit_cli.models import check_model
from tinyllava_kit_cli.printing import say
from tinyllava_kit_cli.question import asked
from tinyllava_kit_cli.shell_completion import directories, item_words


@click.command(cls=AnswersCommand)
@click.argument("directory", type=click.Path(), shell_complete=directories)
@click.argument("question")
@click.option(
    "--item",
    ITEMS,
    multiple=True,
    expose_value=False,
    metavar="MODALITY=FILE",
    shell_complete=item_words,
    help="An item, in the order of the question.",
)
@click.option(
    "--write",
    "writes",
    multiple=True,
    metavar="MODALITY=FILE",
    shell_complete=item_words,
    help="Let the answer hold an item, and save it.",
)
@answer_length()
@sampling
@placement
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object once the answer is complete.")
@click.pass_context
def command(
    ctx: click.Context,
    directory: str,
    question: str,
    writes: tuple[str, ...],
    max_new_tokens: int | None,
    temperature: float | None,
    seed: int,
    device: str,
    dtype: str,
    as_json: bool,
) -> None:
    """Ask the model in DIRECTORY one QUESTION; with - it is read from standard input.

    Placeholders in the question (<image>) give the places of the items; without any the items come first. The answer is
    printed as it is generated. With --write it also holds an item of that modality, if the model has a decoder for it.
    """
    check_model(directory)
    given, wanted = items_of(ctx), answers_of(ctx, writes)
    question = asked(question)

    from tinyllava_kit.checkpoints.loading import open_checkpoint
    from tinyllava_kit.inference.answering import answer, with_items_read
    from tinyllava_kit.inference.answering import question as ask
    from tinyllava_kit.inference.replies import check_generated

    where = placed(device, dtype)
    how = sampled(temperature, seed)
    opened = open_checkpoint(directory)
    processor = opened.processor()
    check_generated(wanted, processor.decoders)
    for modality, file in wanted.items():
        processor.modalities[modality].check_name(file)
    conversation = with_items_read(ask(question, given, processor), processor)
    model = load_to_run(opened, where)
    how["max_new_tokens"] = max_new_tokens
    if wanted:
        said, written = _give(model, processor, conversation, wanted, quiet=as_json, **how)
    else:
        said, written = answer(model, processor, [conversation], stream=not as_json, **how)[0], []
    if as_json:
        facts: dict[str, Any] = {"model": directory, "question": question}
        facts |= {"items": [{"modality": item.modality, "file": item.source} for item in given]}
        facts |= {"answer": said, "written": [{"modality": modality, "file": file} for modality, file in written]}
        say(json.dumps(facts, indent=2))


def _give(
    model: Any, processor: Any, conversation: Any, wanted: Mapping[str, str], *, quiet: bool, **how: Any
) -> tuple[str, list[tuple[str, str]]]:
    """Save the items of an answer: the first under its name, others numbered; its words and what was written.

    Args:
        quiet: do not print the words as they come.

    Raises:
        KitError: the answer holds no item of a modality that is wanted.
    """
    from tinyllava_kit.errors import KitError
    from tinyllava_kit.inference.replies import reply
    from tinyllava_kit.inference.segments import GeneratedItem

    start = time.monotonic()
    began: dict[str, float] = {}

    def show(part: str | GeneratedItem) -> None:
        if isinstance(part, GeneratedItem):
            began.setdefault(part.modality, time.monotonic() - start)
        elif not quiet:
            say(part, nl=False)

    others = [modality for modality in model.decoders if modality not in wanted]
    said = reply(model, processor, conversation, show, force=list(wanted), forbid=others, **how)
    if not quiet:
        say()
    written = []
    for modality, file in wanted.items():
        found = said.items(modality)
        if not found:
            raise KitError(
                f"the answer holds no {modality}: it is empty, or ended before one was whole; ask otherwise, or with "
                "more --max-new-tokens"
            )
        for number, given in enumerate(found, 1):
            stem, ending = os.path.splitext(file)
            path = file if number == 1 else f"{stem}-{number}{ending}"
            processor.modalities[modality].write(given.item, path)
            written.append((modality, path))
            cut = "" if given.closed else f"; it was not ended, and {given.dropped} ids were left out"
            first = f"made in {time.monotonic() - start:.1f} s, its first piece after {began[modality]:.1f} s"
            say(f"wrote {path}, {first}{cut}", err=True)
    return said.text, written
