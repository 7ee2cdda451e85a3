"""`tcalc serve`."""

from typing import Annotated, Any

import typer

from transformer_calc.cli import machine
from transformer_calc.cli.app import command
from transformer_calc.cli.options import count
from transformer_calc.report import Report


@command(
    plan="serving",
    examples="""
      tcalc serve llama-3-8b --device h100-sxm --seq 2k --batch 16
      tcalc serve llama-3-70b --device h100-sxm --tp 4 --weights fp8 --context 8k --batch 64
      tcalc serve deepseek-v3 --device h200-sxm --tp 8 --weights fp8 --context 4k --price 3.5 --json
      tcalc serve llama-2-13b --device tpu-v5e --tp 8 --context 8k --batch 16 --ideal""",
)
def serve(
    model: Any,
    sizes: Any,
    how: Any,
    device: Annotated[str | None, machine.device()] = None,
    device_set: Annotated[list[str] | None, machine.FIGURES] = None,
    devices: Annotated[int | None, machine.devices()] = None,
    price: Annotated[float | None, machine.price()] = None,
    amortize: Annotated[float | None, machine.amortize()] = None,
    output: Annotated[
        int | None, count("--output", "tokens of an answer: how long it takes whole", length=True)
    ] = None,
    compute: Annotated[
        str | None, typer.Option("--compute", metavar="TYPE", help="the precision of the matmuls: bf16, fp8, int8 …")
    ] = None,
    ideal: Annotated[bool, typer.Option("--ideal", help="the roofline itself: peaks without any loss")] = False,
    overhead: Annotated[int, machine.OVERHEAD] = 0,
) -> Report:
    """Say how fast a model answers, and what its tokens cost."""
    from transformer_calc.report.serve import build

    answer = model.serve(
        **sizes,
        **how,
        device=machine.load(device, device_set),
        devices=devices,
        price=price,
        amortize=amortize,
        output=output,
        compute=compute,
        ideal=ideal,
        overhead=overhead,
    )
    return build(answer, ideal=ideal)
