"""``tinyllava assemble``: components to a model directory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from tinyllava_kit.assembly.assembly import Assembly
from tinyllava_kit.files.writing import check_writable
from tinyllava_kit_cli.generation import FLOAT_DTYPES
from tinyllava_kit_cli.models import check_checkpoints
from tinyllava_kit_cli.printing import refuse_taken, say
from tinyllava_kit_cli.shell_completion import names, parts
from tinyllava_kit_cli.table import align


@click.command
@click.argument("file", required=False, type=click.Path())
@click.option(
    "--llm", shell_complete=parts("llm", with_modality=False), metavar="NAME[:CHECKPOINT]", help="The language model."
)
@click.option(
    "--tower",
    "towers",
    multiple=True,
    shell_complete=parts("tower"),
    metavar="MODALITY=NAME[:CHECKPOINT]",
    help="An encoder; one per modality.",
)
@click.option(
    "--connector",
    "connectors",
    multiple=True,
    shell_complete=parts("connector"),
    metavar="MODALITY=NAME[:MODEL]",
    help="Its connection to the LLM.",
)
@click.option(
    "--decoder",
    "decoders",
    multiple=True,
    shell_complete=parts("decoder"),
    metavar="MODALITY=NAME[:CHECKPOINT]",
    help="An output decoder; one per modality.",
)
@click.option(
    "--template", default="auto", shell_complete=names("template"), show_default=True, help="The chat template."
)
@click.option(
    "--set", "settings", multiple=True, metavar="PART.OPTION=VALUE", help="As in tower.image.layer=-2; see 'info'."
)
@click.option("-o", "--output", type=click.Path(), help="The model directory to write.")
@click.option("--dtype", type=click.Choice(FLOAT_DTYPES), default="float32", show_default=True)
@click.option(
    "--seed", default=0, show_default=True, help="The seed of new weights: connectors, embeddings of decoders."
)
@click.option("--dry-run", is_flag=True, help="Read configurations only and print what the model would cost.")
@click.option("--json", "as_json", is_flag=True, help="Print what the model would cost as a JSON object.")
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
    as_json: bool,
    force: bool,
) -> None:
    """Put towers, connectors, decoders and an LLM together as one model.

    The parts come from options, or from a YAML FILE with llm, towers, connectors, modalities, decoders and template. A
    CHECKPOINT is a hub name, a directory as transformers or timm save one, or a model directory of this kit, whose part
    is used. Connectors and the embeddings of a decoder's ids are new unless a MODEL provides them: train them next.
    """
    if bool(file) == bool(llm):
        raise click.UsageError("give either a YAML FILE or --llm with --tower and --connector, or --decoder")
    if file and (towers or connectors or decoders or settings):
        raise click.UsageError(
            "--tower, --connector, --decoder and --set go with --llm; write them into the FILE instead"
        )
    target = None if dry_run else _place(output, force=force)
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
    check_checkpoints(assembly)

    import torch

    from tinyllava_kit.assembly.blueprint import read_blueprint
    from tinyllava_kit.assembly.building import assemble
    from tinyllava_kit.assembly.costs import costs_of
    from tinyllava_kit.model.storage.replaced import save_together

    number = getattr(torch, dtype)
    blueprint = read_blueprint(assembly)
    costs = costs_of(blueprint, number)
    say(json.dumps(costs, indent=2) if as_json else "\n".join(_lines(costs)))
    if target is None:
        return
    torch.manual_seed(seed)
    save_together(target, *assemble(blueprint, dtype=number))
    say(f"wrote {target}", err=True)


def _place(output: str | None, *, force: bool) -> str:
    """The directory to write.

    Raises:
        UsageError: none is given. KitError: it cannot be written to, or there is something in it.
    """
    if not output:
        raise click.UsageError("give the output directory with -o DIR, or --dry-run")
    if force:
        check_writable(output)
    else:
        refuse_taken(output, "choose another -o, or --force to replace the model in it")
    return output


def _lines(costs: dict[str, Any]) -> Iterator[str]:
    rows = [["PART", "COMPONENT", "FROM", "PARAMETERS", "DTYPE", "LOAD", "TOKENS/ITEM", "LICENCE"]]
    for part in costs["parts"]:
        has_items = part["part"].startswith(("tower", "connector"))
        tokens = "" if not has_items else "varies" if part["tokens"] is None else str(part["tokens"])
        source = part["checkpoint"] or part["distribution"]
        numbers = [f"{part['parameters']:,}", part["dtype"], _mb(part["bytes"]), tokens]
        rows.append([part["part"], part["component"], source, *numbers, part["licence"] or "?"])
    yield from align(rows)
    for purpose, what in (
        ("load", "to load"),
        ("train_connectors", "to train the connectors (AdamW, weights and states, before activations)"),
        ("train_all", "to train everything (the same)"),
        ("generate", f"to generate, one sample of {costs['positions']} positions"),
    ):
        yield f"{what}: {_mb(costs['bytes'][purpose])}"


def _mb(count: float) -> str:
    return f"{count / 1e6:,.1f} MB"
