"""``tinyllava ask``: one question to a model."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import click

from tinyllava_kit_cli.generation import answer_length, load_to_run, sampled, sampling
from tinyllava_kit_cli.items import AnswersCommand, answers_of, items_of
from tinyllava_kit_cli.output import say


@click.command(cls=AnswersCommand, short_help="Ask a model one question, about items if you like.")
@click.argument("directory", type=click.Path())
@click.argument("question")
@click.option("--item", "items", multiple=True, metavar="MODALITY=FILE", help="An item, in the order of the question.")
@click.option(
    "--write", "writes", multiple=True, metavar="MODALITY=FILE", help="Let the answer hold an item, and save it."
)
@answer_length()
@sampling
@click.pass_context
def command(
    ctx: click.Context,
    directory: str,
    question: str,
    items: tuple[str, ...],
    writes: tuple[str, ...],
    max_new_tokens: int | None,
    temperature: float | None,
    seed: int,
) -> None:
    """Ask the model in DIRECTORY one QUESTION.

    Placeholders in the question (<image>) say where the items stand; without any they stand in front. The
    answer is printed as it is generated. With --write it also holds an item of that modality, where the model
    has a decoder of it.
    """
    given, wanted = items_of(ctx, items), answers_of(ctx, writes)

    from tinyllava_kit.checkpoints.loading import load_processor
    from tinyllava_kit.inference.answering import answer, with_items_read
    from tinyllava_kit.inference.answering import question as ask
    from tinyllava_kit.inference.replies import check_made

    how = sampled(temperature, seed)
    processor = load_processor(directory)
    check_made(wanted, processor.decoders)
    for modality, file in wanted.items():
        processor.modalities[modality].check_name(file)
    conversation = with_items_read(ask(question, given, processor), processor)
    model, processor = load_to_run(directory)
    if wanted:
        _give(model, processor, conversation, wanted, max_new_tokens=max_new_tokens, **how)
        return
    answer(model, processor, [conversation], max_new_tokens=max_new_tokens, stream=True, **how)


def _give(model: Any, processor: Any, conversation: Any, wanted: Mapping[str, str], **how: Any) -> None:
    """Print the words of the answer as they come, and save its items: the first under its name, others numbered.

    Raises:
        KitError: the answer holds no item of a modality that is wanted.
    """
    from tinyllava_kit.core.errors import KitError
    from tinyllava_kit.inference.replies import Given, reply

    start = time.monotonic()
    began: dict[str, float] = {}

    def show(part: str | Given) -> None:
        if isinstance(part, str):
            say(part, nl=False)
        else:
            began.setdefault(part.modality, time.monotonic() - start)

    others = [modality for modality in model.decoders if modality not in wanted]
    said = reply(model, processor, conversation, show, force=list(wanted), forbid=others, **how)
    say()
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
            cut = "" if given.closed else f"; it was not ended, and {given.dropped} ids were left out"
            first = f"made in {time.monotonic() - start:.1f} s, its first piece after {began[modality]:.1f} s"
            say(f"wrote {path}, {first}{cut}", err=True)
