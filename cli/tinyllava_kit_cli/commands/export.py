"""``tinyllava export``: a model of this kit as other programs read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from tinyllava_kit.checkpoints.exporting.export_targets import check_target, find_target, target_names
from tinyllava_kit.errors import KitError
from tinyllava_kit_cli.models import check_model
from tinyllava_kit_cli.printing import refuse_taken, say, say_table
from tinyllava_kit_cli.shell_completion import directories, names


@click.command
@click.argument("directory", type=click.Path(), shell_complete=directories)
@click.option(
    "--to",
    "target",
    metavar="TARGET",
    shell_complete=names("export"),
    help=f"The format, one of: {', '.join(target_names())}.",
)
@click.option("-o", "--output", type=click.Path(), help="The directory to write.")
@click.option(
    "--check-only", is_flag=True, help="Write nothing; list the possible targets, and why the others are not."
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16"]),
    help="The dtype of a gguf's matrices.  [default: float32 for a model in float32, else float16]",
)
@click.option("--llm-only", is_flag=True, help="With gguf: only the LLM, without the tower and the connector.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="OPTION=VALUE",
    help="An option of the target, as 'tinyllava info TARGET' shows it; may be given several times.",
)
def command(
    directory: str,
    target: str | None,
    output: str | None,
    check_only: bool,
    dtype: str | None,
    llm_only: bool,
    settings: tuple[str, ...],
) -> None:
    """Write the model in DIRECTORY as other programs read it.

    hf-llava: transformers' LlavaForConditionalGeneration with its LlavaProcessor; engines that serve it (vllm serve
    OUTPUT) read that directory. The result is loaded again and run alongside the model on one picture and question, and
    the largest difference of logits is printed; if it is more than rounding, nothing is written.

    hf-components: one directory for each part, loaded by transformers' own classes, and a README.md that says how. Each
    is loaded again and compared with the model's.

    gguf: model.gguf and mmproj.gguf for llama.cpp (llama-mtmd-cli -m model.gguf --mmproj mmproj.gguf). They are read
    back and compared; llama.cpp itself is not run.

    The first two hold the model in memory twice while they compare.
    """
    if not check_only and not (output and target):
        raise click.UsageError("say what to write and where, with --to TARGET -o DIR, or --check-only")
    if target not in (None, "gguf") and (dtype or llm_only):
        raise click.UsageError("--dtype and --llm-only are of --to gguf")
    how = _options(settings) | {key: value for key, value in (("dtype", dtype), ("llm_only", llm_only)) if value}
    if check_only and how:
        raise click.UsageError("--dtype, --llm-only and --set say how to write; leave them out with --check-only")
    if target and check_only:
        find_target(target)
    elif target:
        how = check_target(target, how)
    check_model(directory)
    if output and not check_only:
        refuse_taken(output)

    from tinyllava_kit import load_pretrained
    from tinyllava_kit.checkpoints.exporting.export_targets import load_target, table_of

    model, processor = load_pretrained(directory)
    model.eval()
    if check_only:
        say_table(table_of(model, processor, [target] if target else target_names()))
        return
    say("\n".join(load_target(target or "", **how).export(model, processor, output or "")))
    say(f"wrote {output}", err=True)


def _options(settings: Sequence[str]) -> dict[str, Any]:
    """Options of an export from texts OPTION=VALUE.

    Raises:
        KitError: not of the form OPTION=VALUE.
    """
    pairs = [setting.partition("=") for setting in settings]
    if any(not (name and equals) for name, equals, _ in pairs):
        raise KitError(f"--set needs OPTION=VALUE, got {', '.join(settings)}")
    return {name: value for name, _, value in pairs}
