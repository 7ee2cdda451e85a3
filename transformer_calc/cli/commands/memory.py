"""`tcalc memory`."""

from typing import Annotated, Any

import typer

from transformer_calc.cli import machine
from transformer_calc.cli.app import command
from transformer_calc.errors import InputError
from transformer_calc.report import Report


@command(
    plan="all",
    examples="""
      tcalc memory llama-3-70b --device h100-sxm --tp 8 --batch 16 --context 8k
      tcalc memory deepseek-v3 --weights fp8 --ep 16 --dp 16 --batch 16 --context 32k
      tcalc memory llama-3-8b --weights int4 --device rtx-4090 --context 32k --check
      tcalc memory gpt3 --mode train --tp 8 --sp --pp 8 --batch 64 --micro-batch 1 --recompute selective""",
)
def memory(
    model: Any,
    sizes: Any,
    how: Any,
    device: Annotated[str | None, machine.device()] = None,
    device_set: Annotated[list[str] | None, machine.FIGURES] = None,
    devices: Annotated[int | None, machine.devices()] = None,
    check: Annotated[bool, typer.Option("--check", help="exit with status 1 if it does not fit")] = False,
    overhead: Annotated[int, machine.OVERHEAD] = 0,
    formula: Annotated[bool, typer.Option("--formula", help="each part as a formula, too")] = False,
) -> Report:
    """Say what serving or training needs on each device."""
    from transformer_calc.report.memory import build

    known = machine.load(device, device_set) if device is not None or device_set else None
    if check and known is None:
        raise InputError("`check` asks whether it fits, but no device is given", "`device=NAME`")
    answer = model.memory(**sizes, **how, device=known, devices=devices, overhead=overhead, formula=formula)
    return build(answer, check=check)
