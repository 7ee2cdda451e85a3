"""`tcalc walk`."""

from typing import Annotated, Any, Literal

import typer

from transformer_calc.cli.app import command
from transformer_calc.report import Report


@command(
    default="walk",
    examples="""
      tcalc walk
      tcalc walk exercise
      tcalc walk --until layers.0.attn --seed 7
      tcalc walk exercise --input my.toml --step layers.0.ffn
      tcalc walk llama-3-8b --shrink --step layers.0.attn.softmax""",
)
def walk(
    model: Any,
    sizes: Any,
    step: Annotated[
        str | None, typer.Option("--step", metavar="PATH", help="only this operation, or those whose paths begin so")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="PATH", help="stop after this operation")] = None,
    input: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="FILE",
            help="x, token_ids, A and weights by their paths (.toml, .json, .npz), or weights (.safetensors)",
        ),
    ] = None,
    weights: Annotated[
        Literal["integers", "random"], typer.Option("--weights", help="the numbers of what is not given")
    ] = "integers",
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="of the numbers that are not given")] = 0,
    decimals: Annotated[
        int, typer.Option("--decimals", metavar="N", min=0, max=15, help="at most so many are shown")
    ] = 3,
    whole: Annotated[bool, typer.Option("--all", help="whole matrices, and every sequence of the batch")] = False,
    shrink: Annotated[
        bool, typer.Option("--shrink", help="walk a tiny model of the same structure, with weights of its own")
    ] = False,
) -> Report:
    """Show the forward pass by hand, matrix by matrix."""
    from transformer_calc.report.walk import build

    answer = model.walk(**sizes, step=step, until=until, input=input, weights=weights, seed=seed, shrink=shrink)
    return build(answer, decimals=decimals, whole=whole)
