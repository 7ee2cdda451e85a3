"""`tcalc fit`."""

from typing import Annotated, Any, Literal

import typer

from transformer_calc.cli import machine
from transformer_calc.cli.app import command
from transformer_calc.report import Report

FOUND = ("tp", "pp", "dp")  # what solving for devices looks for


@command(
    plan="all",
    found=FOUND,
    examples="""
      tcalc fit llama-3-8b --device h100-sxm --context 8k
      tcalc fit llama-3-8b --device h100-sxm --context 8k --batch 16
      tcalc fit llama-3-70b --device h100-sxm --tp 4 --solve context
      tcalc fit deepseek-v3 --device h200-sxm --weights fp8 --solve devices --context 4k
      tcalc fit llama-3-8b --mode train --dp 8 --zero 3 --recompute full --seq 8k --device h100-sxm""",
)
def fit(
    model: Any,
    sizes: Any,
    how: Any,
    device: Annotated[str | None, machine.device()] = None,
    device_set: Annotated[list[str] | None, machine.FIGURES] = None,
    solve: Annotated[
        Literal["batch", "context", "devices"] | None,
        typer.Option(
            "--solve",
            help="what to look for, the most or the fewest; else whichever of --batch and the length is not given, "
            "and of both whether they fit",
        ),
    ] = None,
    devices: Annotated[int | None, machine.devices()] = None,
    overhead: Annotated[int, machine.OVERHEAD] = 0,
) -> Report:
    """Find the largest batch or context, or the fewest devices."""
    from transformer_calc.report.fit import build

    known = machine.load(device, device_set)
    return build(model.fit(**sizes, **how, device=known, devices=devices, solve=solve, overhead=overhead))
