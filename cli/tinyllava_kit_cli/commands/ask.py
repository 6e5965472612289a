"""``tinyllava ask``: one question to a model."""

from __future__ import annotations

import click

from tinyllava_kit_cli.items import ItemsCommand, items_of


@click.command(cls=ItemsCommand, short_help="Ask a model one question, about items if you like.")
@click.argument("directory", type=click.Path())
@click.argument("question")
@click.option("--item", "items", multiple=True, metavar="MODALITY=FILE", help="An item, in the order of the question.")
@click.option(
    "--max-new-tokens",
    type=click.IntRange(min=1),
    show_default="256, or what the LLM has room for",
    help="Of the answer; refused where the LLM has no room for them.",
)
@click.option(
    "--temperature",
    type=click.FloatRange(min=0, min_open=True),
    help="Sample at this temperature; greedy when not given.",
)
@click.option("--seed", default=0, show_default=True, help="Of the sampling.")
@click.pass_context
def command(
    ctx: click.Context,
    directory: str,
    question: str,
    items: tuple[str, ...],
    max_new_tokens: int | None,
    temperature: float | None,
    seed: int,
) -> None:
    """Ask the model in DIRECTORY one QUESTION.

    Placeholders in the question (<image>) say where the items stand; without any they stand in front. The
    answer is printed as it is generated.
    """
    given = items_of(ctx, items)

    import torch

    from tinyllava_kit import load_pretrained
    from tinyllava_kit.inference.answering import answer
    from tinyllava_kit.inference.answering import question as ask

    torch.manual_seed(seed)
    model, processor = load_pretrained(directory)
    conversation = ask(question, given, processor)
    sampling = {"do_sample": True, "temperature": temperature} if temperature else {}
    answer(model, processor, [conversation], max_new_tokens=max_new_tokens, stream=True, **sampling)
