"""``tinyllava quantize``: a model directory with 8- or 4-bit weights."""

from __future__ import annotations

import click

from tinyllava_kit.errors import KitError
from tinyllava_kit.plugin.extras import need
from tinyllava_kit_cli.generation import FLOAT_DTYPES
from tinyllava_kit_cli.models import check_model
from tinyllava_kit_cli.printing import refuse_taken, say, say_table
from tinyllava_kit_cli.shell_completion import directories


@click.command
@click.argument("source", type=click.Path(), shell_complete=directories)
@click.argument("target", type=click.Path(), shell_complete=directories)
@click.option("--bits", type=click.Choice(["8", "4"]), required=True, help="The bits of a weight.")
@click.option("--type", "kind", type=click.Choice(["nf4", "fp4"]), help="The 4-bit format.  [default: nf4]")
@click.option("--no-double-quant", is_flag=True, help="With 4 bits: do not quantize the scales.")
@click.option(
    "--compute-dtype",
    type=click.Choice(FLOAT_DTYPES),
    help="With 4 bits: the dtype of multiplications; default: the model's.",
)
@click.option(
    "--part",
    "parts",
    multiple=True,
    default=("llm",),
    show_default=True,
    help="llm, tower.MODALITY or connector.MODALITY; repeatable.",
)
def command(
    source: str,
    target: str,
    bits: str,
    kind: str | None,
    no_double_quant: bool,
    compute_dtype: str | None,
    parts: tuple[str, ...],
) -> None:
    """Write the model of SOURCE to TARGET with 8- or 4-bit weights, by bitsandbytes.

    The linear layers of the LLM are quantized, or those of the parts that are named; its head and layers whose sizes do
    not fit keep their dtype, and are listed. A table shows the bytes of each part before and after. TARGET is loaded as
    any model directory, where bitsandbytes is installed.
    """
    need("bitsandbytes", "quantize")
    check_model(source)
    refuse_taken(target)
    if bits == "8" and (kind or no_double_quant or compute_dtype):
        raise KitError("--type, --no-double-quant and --compute-dtype are of 4 bits; leave them out, or say --bits 4")

    from tinyllava_kit import load_pretrained
    from tinyllava_kit.checkpoints.quantization import Quantization, kept_layers, table_of
    from tinyllava_kit.model.storage.replaced import save_together

    how = Quantization(
        bits=int(bits),
        type=kind or "nf4",
        double_quant=not no_double_quant,
        compute_dtype=compute_dtype,
        parts=tuple(dict.fromkeys(parts)),
    )
    model, processor = load_pretrained(source, quantization=how)
    save_together(target, model, processor)
    say_table(table_of(model))
    if kept := kept_layers(model, how.parts):
        say(f"note: kept their dtype: {', '.join(kept)}")
    say(f"wrote {target}", err=True)
