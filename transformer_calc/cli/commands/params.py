"""`tcalc params`."""

from typing import Annotated, Any, Literal

import typer

from transformer_calc.cli.app import command
from transformer_calc.report import Report


@command(
    examples="""
      tcalc params gpt3
      tcalc params --preset mixtral-8x7b --by layer
      tcalc params --layers 12 --d-model 768 --heads 12 --vocab 50257 --format md""",
)
def params(
    model: Any,
    sizes: Any,
    by: Annotated[
        Literal["layer", "component", "tensor"], typer.Option("--by", help="what a line of the table is")
    ] = "component",
    notation: Annotated[
        Literal["unicode", "ascii", "latex"], typer.Option("--notation", help="how formulas are written")
    ] = "unicode",
) -> Report:
    """Count the parameters, and give their formula."""
    from transformer_calc.report.params import build

    return build(model.params(**sizes, by=by), notation=notation)
