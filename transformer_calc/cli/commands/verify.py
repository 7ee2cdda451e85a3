"""`tcalc verify`."""

from typing import Annotated, Any, Literal

import typer

from transformer_calc import streams
from transformer_calc.cli.app import command
from transformer_calc.report import Report


@command(
    examples="""
      tcalc verify deepseek-v3
      tcalc verify gpt2 --size full --seq 128
      tcalc verify --config ./config.json --weights model.safetensors --reference reference.npz""",
)
def verify(
    model: Any,
    sizes: Any,
    size: Annotated[
        Literal["small", "full"], typer.Option("--size", help="a tiny model of the same structure, or the model itself")
    ] = "small",
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="of the random weights and inputs")] = 0,
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="PATH", help="a safetensors file, index or folder to hold against the graph"),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option("--reference", metavar="PATH", help="an .npz file of inputs and logits to compare with"),
    ] = None,
    rtol: Annotated[float, typer.Option("--rtol", metavar="X", help="relative tolerance of the comparison")] = 1e-4,
    atol: Annotated[float, typer.Option("--atol", metavar="X", help="absolute tolerance of the comparison")] = 1e-5,
) -> Report:
    """Run the model in NumPy and compare it with what was predicted."""
    from transformer_calc.output.progress import progress
    from transformer_calc.report.verify import build

    with progress("running") as update:
        answer = model.verify(
            **sizes,
            size=size,
            seed=seed,
            weights=weights,
            reference=reference,
            rtol=rtol,
            atol=atol,
            progress=update,
            say=lambda message: streams.say("note", message),
        )
    return build(answer)
