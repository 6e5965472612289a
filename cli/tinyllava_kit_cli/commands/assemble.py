"""``tinyllava assemble``: components to a model directory."""

from __future__ import annotations

import click

from tinyllava_kit.core.disk import check_writable
from tinyllava_kit_cli.output import refuse_taken, say


@click.command(short_help="Put towers, connectors and an LLM together as one model.")
@click.argument("file", required=False, type=click.Path())
@click.option("--llm", metavar="NAME[:CHECKPOINT]", help="The language model.")
@click.option(
    "--tower", "towers", multiple=True, metavar="MODALITY=NAME[:CHECKPOINT]", help="An encoder; one per modality."
)
@click.option("--connector", "connectors", multiple=True, metavar="MODALITY=NAME[:MODEL]", help="Its joint to the LLM.")
@click.option(
    "--decoder", "decoders", multiple=True, metavar="MODALITY=NAME[:CHECKPOINT]", help="A way out; one per modality."
)
@click.option("--template", default="auto", show_default=True, help="The chat template.")
@click.option(
    "--set", "settings", multiple=True, metavar="PART.OPTION=VALUE", help="As in tower.image.layer=-2; see 'info'."
)
@click.option("-o", "--output", type=click.Path(), help="The model directory to write.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), default="float32", show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of new weights: connectors, rows of decoders.")
@click.option("--dry-run", is_flag=True, help="Read configurations only and print what the model would cost.")
@click.option("--force", is_flag=True, help="Replace the output directory's model.")
def command(
    file: str | None,
    llm: str | None,
    towers: tuple[str, ...],
    connectors: tuple[str, ...],
    decoders: tuple[str, ...],
    template: str,
    settings: tuple[str, ...],
    output: str | None,
    dtype: str,
    seed: int,
    dry_run: bool,
    force: bool,
) -> None:
    """Put towers, connectors, decoders and an LLM together as one model.

    The parts come from options, or from a YAML FILE with llm, towers, connectors, modalities, decoders and template.
    A CHECKPOINT is a hub name, a directory as transformers or timm save one, or a model directory of this kit,
    which gives the part it has. Connectors, and what the LLM knows of a decoder's ids, are new, unless a MODEL
    gives them: train them next.
    """
    from tinyllava_kit.core.assembly import Assembly
    from tinyllava_kit.core.errors import KitError

    if bool(file) == bool(llm):
        raise click.UsageError("give either a YAML FILE or --llm with --tower and --connector, or --decoder")
    if not output and not dry_run:
        raise click.UsageError("give the output directory with -o DIR, or --dry-run")
    if output and not dry_run and force:
        check_writable(output)
    elif output and not dry_run:
        refuse_taken(output, "choose another -o, or --force to replace the model in it")
    if file and (towers or connectors or decoders or settings):
        raise click.UsageError(
            "--tower, --connector, --decoder and --set go with --llm; write them into the FILE instead"
        )
    if file:
        assembly = Assembly.from_yaml(file)
    else:
        assembly = Assembly.from_flags(
            llm=llm or "",
            towers=towers,
            connectors=connectors,
            decoders=decoders,
            template=template,
            settings=settings,
        )

    import torch

    from tinyllava_kit.core.building import assemble, draw

    number = getattr(torch, dtype)
    drawn = draw(assembly)
    _print_report(drawn, number)
    if dry_run:
        return
    torch.manual_seed(seed)
    model, processor = assemble(drawn, dtype=number)
    from tinyllava_kit.core.replaced import save_together

    if output is None:
        raise KitError("no output directory")
    save_together(output, model, processor)
    say(f"wrote {output}", err=True)


def _print_report(drawn: object, dtype: object) -> None:
    """Per part: parameters, memory, tokens, licence; then the whole model."""
    from tinyllava_kit.core.building import cache_bytes, report
    from tinyllava_kit_cli.table import align

    rows = report(drawn)
    table = [["PART", "COMPONENT", "FROM", "PARAMETERS", "DTYPE", "LOAD", "TOKENS/ITEM", "LICENCE"]]
    size = dtype.itemsize
    name = str(dtype).removeprefix("torch.")
    for row in rows:
        has_items = row.part.startswith(("tower", "connector"))
        tokens = "" if not has_items else "varies" if row.tokens is None else str(row.tokens)
        source = row.checkpoint or row.distribution
        table.append(
            [
                row.part,
                row.component,
                source,
                f"{row.parameters:,}",
                name,
                _mb(row.parameters * size),
                tokens,
                row.licence or "?",
            ]
        )
    say("\n".join(align(table)))
    weights = sum(row.parameters for row in rows) * size
    joints = sum(row.parameters for row in rows if row.part.startswith("connector"))
    everything = sum(row.parameters for row in rows)
    context = min(getattr(drawn.config.text_config, "max_position_embeddings", 2048), 2048)
    say(f"to load: {_mb(weights)}")
    say(
        f"to train the connectors (AdamW, weights and states, before activations): {_mb(weights + joints * (size + 8))}"
    )
    say(f"to train everything (the same): {_mb(weights + everything * (size + 8))}")
    say(f"to generate, one sample of {context} positions: {_mb(weights + cache_bytes(drawn.config, context, dtype))}")


def _mb(count: float) -> str:
    return f"{count / 1e6:,.1f} MB"
