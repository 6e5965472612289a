"""``tinyllava export``: a model of this kit as other programs read it."""

from __future__ import annotations

import click

from tinyllava_kit_cli.output import refuse_taken

TARGETS = ("hf-llava",)


@click.command(short_help="Write a model as other programs read it.")
@click.argument("directory", type=click.Path())
@click.option("--to", "target", type=click.Choice(TARGETS), default="hf-llava", show_default=True)
@click.option("-o", "--output", type=click.Path(), help="The directory to write.")
@click.option("--check-only", is_flag=True, help="Say which targets are possible, and why the others are not.")
def command(directory: str, target: str, output: str | None, check_only: bool) -> None:
    """Write the model in DIRECTORY as other programs read it.

    hf-llava is transformers' LlavaForConditionalGeneration with its LlavaProcessor; engines that serve it (vllm serve
    OUTPUT) read that directory. What is written is loaded again and run beside the model, both in memory, on one
    picture and question, and the largest difference of logits is printed; a model in float32 that differs by more than
    1e-4 is not written.
    """
    if not check_only and not output:
        raise click.UsageError("give the output directory with -o DIR, or --check-only")
    if output and not check_only:
        refuse_taken(output)

    from tinyllava_kit import load_pretrained
    from tinyllava_kit.checkpoints.exporting.llava import export, faults
    from tinyllava_kit_cli.table import align

    model, processor = load_pretrained(directory)
    model.eval()
    if check_only:
        why = faults(model, processor)
        click.echo(
            "\n".join(align([["TARGET", "POSSIBLE", "WHY NOT"], [target, "no" if why else "yes", "; ".join(why)]]))
        )
        return
    parity = export(model, processor, output or "")
    click.echo(f"logits beside ours, one picture: largest difference {parity.difference:.1e} ({model.dtype})")
    click.echo(f"next tokens, greedy: {'the same' if parity.same_ids else 'DIFFERENT'}")
    prompt = "the same" if parity.same_prompt else "not the same; the tokenizer may begin each piece of a text anew"
    click.echo(f"token ids that its processor makes of a conversation: {prompt}")
    click.echo(f"wrote {output}", err=True)
