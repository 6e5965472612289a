"""``tinyllava ask``: one question to a model."""

from __future__ import annotations

import click


class _ItemFlags(click.Command):
    """``--MODALITY FILE`` for every modality that an installed plugin offers, as sugar for ``--item``."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        from tinyllava_kit.core.discovery import discover

        params = super().get_params(ctx)
        taken = {option for param in params for option in param.opts}
        for offer in discover().of_kind("modality"):
            flag = f"--{offer.spec.name.replace('_', '-')}"
            if flag not in taken:
                taken.add(flag)
                params.append(
                    click.Option(
                        [flag, f"item_{offer.spec.name}"],
                        multiple=True,
                        metavar="FILE",
                        help=f"The same as --item {offer.spec.name}=FILE.",
                        expose_value=False,
                        callback=_as_item(offer.spec.name),
                    )
                )
        return params


def _as_item(modality: str):
    def keep(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> None:
        ctx.ensure_object(list).extend((modality, file) for file in value)

    return keep


@click.command(cls=_ItemFlags, short_help="Ask a model one question, about items if you like.")
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
    from tinyllava_kit.core.conversation import Item
    from tinyllava_kit.core.errors import KitError

    given = list(ctx.ensure_object(list))
    for word in items:
        modality, equals, file = word.partition("=")
        if not (modality and equals and file):
            raise KitError(f"--item wants MODALITY=FILE, got {word!r}")
        given.append((modality, file))

    import torch

    from tinyllava_kit import load_pretrained
    from tinyllava_kit.inference.answering import answer
    from tinyllava_kit.inference.answering import question as ask

    torch.manual_seed(seed)
    model, processor = load_pretrained(directory)
    conversation = ask(question, [Item(modality, file) for modality, file in given], processor)
    sampling = {"do_sample": True, "temperature": temperature} if temperature else {}
    answer(model, processor, [conversation], max_new_tokens=max_new_tokens, stream=True, **sampling)
