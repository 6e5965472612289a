"""``tinyllava show``: an answer, and why."""

from __future__ import annotations

import click

from tinyllava_kit.plugin.extras import need
from tinyllava_kit_cli.completion import directories, item_words
from tinyllava_kit_cli.generation import answer_length, load_to_run, placed, placement
from tinyllava_kit_cli.items import ItemsCommand, items_of
from tinyllava_kit_cli.models import check_model
from tinyllava_kit_cli.output import refuse_taken, say
from tinyllava_kit_cli.question import asked


@click.command(cls=ItemsCommand, short_help="Show why a model answers as it does.")
@click.argument("directory", type=click.Path(), shell_complete=directories)
@click.argument("question")
@click.option("-o", "--output", type=click.Path(), required=True, help="The directory to write.")
@click.option(
    "--item",
    "items",
    multiple=True,
    metavar="MODALITY=FILE",
    shell_complete=item_words,
    help="An item, in the order of the question.",
)
@answer_length()
@placement
@click.pass_context
def command(
    ctx: click.Context,
    directory: str,
    question: str,
    output: str,
    items: tuple[str, ...],
    max_new_tokens: int | None,
    device: str,
    dtype: str,
) -> None:
    """Ask the model in DIRECTORY one QUESTION, or what standard input holds for -, and show why it answers as it does.

    OUTPUT/index.html says how probable each token of the answer was and which others were, where the answer's words
    attended to in each item, and which words of the LLM each row of an item is most like. The drawings are in it and
    beside it. The answer is printed.
    """
    need("matplotlib", "show")
    check_model(directory)
    given = items_of(ctx, items)
    refuse_taken(output)
    question = asked(question)

    from tinyllava_kit.explanation.explaining import explain
    from tinyllava_kit.explanation.page import write_page
    from tinyllava_kit.inference.answering import question as ask

    model, processor = load_to_run(directory, placed(device, dtype))
    explanation = explain(model, processor, ask(question, given, processor), max_new_tokens=max_new_tokens)
    for file in write_page(explanation, processor, output):
        say(f"wrote {file}", err=True)
    say(explanation.answer)
