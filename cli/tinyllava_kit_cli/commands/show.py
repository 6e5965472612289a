"""``tinyllava show``: an answer, and why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from tinyllava_kit.plugin.extras import need
from tinyllava_kit_cli.generation import answer_length, load_to_run, placed, placement
from tinyllava_kit_cli.items import ITEMS, ItemsCommand, items_of
from tinyllava_kit_cli.models import check_model
from tinyllava_kit_cli.printing import refuse_taken, say
from tinyllava_kit_cli.question import asked
from tinyllava_kit_cli.shell_completion import directories, item_words

if TYPE_CHECKING:
    from tinyllava_kit.explanation.explaining import Explanation


@click.command(cls=ItemsCommand)
@click.argument("directory", type=click.Path(), shell_complete=directories)
@click.argument("question")
@click.option("-o", "--output", type=click.Path(), required=True, help="The directory to write.")
@click.option(
    "--item",
    ITEMS,
    multiple=True,
    expose_value=False,
    metavar="MODALITY=FILE",
    shell_complete=item_words,
    help="An item, in the order of the question.",
)
@answer_length()
@placement
@click.option("--json", "as_json", is_flag=True, help="Print the page's facts about the answer as a JSON object.")
@click.pass_context
def command(
    ctx: click.Context,
    directory: str,
    question: str,
    output: str,
    max_new_tokens: int | None,
    device: str,
    dtype: str,
    as_json: bool,
) -> None:
    """Ask the model in DIRECTORY one QUESTION, or what standard input holds for -, and show why it answers as it does.

    OUTPUT/index.html shows how probable each token of the answer was and which others were, where the answer's words
    attended to in each item, and which words of the LLM each embedding of an item resembles most. The drawings are in
    the page and in files of their own. The answer is printed.
    """
    need("matplotlib", "show")
    check_model(directory)
    given = items_of(ctx)
    refuse_taken(output)
    question = asked(question)

    from tinyllava_kit.checkpoints.loading import open_checkpoint
    from tinyllava_kit.explanation.explaining import explain
    from tinyllava_kit.explanation.page import write_page
    from tinyllava_kit.inference.answering import question as ask

    where = placed(device, dtype)
    opened = open_checkpoint(directory)
    processor = opened.processor()
    model = load_to_run(opened, where)
    explanation = explain(model, processor, ask(question, given, processor), max_new_tokens=max_new_tokens)
    files = write_page(explanation, processor, output)
    for file in files:
        say(f"wrote {file}", err=True)
    if as_json:
        facts: dict[str, Any] = {"model": directory, "question": question}
        facts |= {"items": [{"modality": item.modality, "file": item.source} for item in given]}
        say(json.dumps({**facts, **_told(explanation), "files": [str(file) for file in files]}, indent=2))
    else:
        say(explanation.answer)


def _told(explanation: Explanation) -> dict[str, Any]:
    """The answer, how probable each token was, and where each word looked: on each item in order, and elsewhere."""
    names = ("first_position", "other_text", "answer_so_far")
    tokens = [
        {
            "text": choice.text,
            "probability": choice.probability,
            "likeliest": [{"text": text, "probability": value} for text, value in choice.likeliest],
        }
        for choice in explanation.choices
    ]
    words = []
    for word in explanation.words:
        shares = {"items": word.shares[:-3], **dict(zip(names, word.shares[-3:], strict=True))} if word.shares else None
        words.append({"text": word.text, "attention": shares})
    return {"answer": explanation.answer, "tokens": tokens, "words": words}
