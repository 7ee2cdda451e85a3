"""`tcalc flops`."""

from typing import Annotated, Any, Literal

import typer

from transformer_calc.cli.app import command
from transformer_calc.report import Report


@command(
    examples="""
      tcalc flops gpt3
      tcalc flops llama-3-8b --batch 8 --seq 8k --recompute selective
      tcalc flops deepseek-v3 --context 8k --latent absorbed --needed --json""",
)
def flops(
    model: Any,
    sizes: Any,
    needed: Annotated[bool, typer.Option("--needed", help="count only what the mask lets through")] = False,
    recompute: Annotated[
        Literal["none", "selective", "full"],
        typer.Option("--recompute", help="what the backward pass computes again"),
    ] = "none",
    latent: Annotated[
        Literal["naive", "absorbed"], typer.Option("--latent", help="the form of latent attention")
    ] = "naive",
    compare: Annotated[bool, typer.Option("--compare", help="hold 2·N and 6·N per token against the count")] = False,
    notation: Annotated[
        Literal["unicode", "ascii", "latex"], typer.Option("--notation", help="how formulas are written")
    ] = "unicode",
) -> Report:
    """Count the FLOPs of a forward pass and a training step."""
    from transformer_calc.report.flops import build

    answer = model.flops(**sizes, needed=needed, recompute=recompute, latent=latent)
    return build(answer, compare=compare, notation=notation)
