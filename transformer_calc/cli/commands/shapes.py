"""`tcalc shapes`."""

from typing import Annotated, Any

import typer

from transformer_calc.cli.app import command
from transformer_calc.report import Report


@command(
    examples="""
      tcalc shapes --preset gpt3
      tcalc shapes llama-3-8b --batch 8 --seq 8k
      tcalc shapes --config ./config.json --layer 0 --json""",
)
def shapes(
    model: Any,
    sizes: Any,
    expand: Annotated[bool, typer.Option("--expand", help="show every layer of a repeated block")] = False,
    layer: Annotated[
        str | None,
        typer.Option("--layer", metavar="KIND|N", help="only this kind of layer, or the layer with this number"),
    ] = None,
) -> Report:
    """Show the shapes on the way from token ids to logits."""
    from transformer_calc.report.shapes import build

    return build(model.shapes(**sizes, expand=expand, layer=layer))
