"""`tcalc compare`."""

from typing import Annotated, Any

import typer

from transformer_calc.cli import machine
from transformer_calc.cli.app import command
from transformer_calc.cli.options import count, share
from transformer_calc.report import Report


@command(
    takes="models",
    examples="""
      tcalc compare gpt3 llama-3-8b
      tcalc compare llama-3-70b deepseek-v3 mixtral-8x7b --context 32k --diff
      tcalc compare llama-3-8b mistral-7b-v0.1 --device h100 --batch 16
      tcalc compare gpt3 llama-3-70b --device h100 --devices 8 --tokens 1T --mfu 40% --price 2.5
      tcalc compare gpt2 ./config.json --batch 8 --seq 512 --format csv""",
)
def compare(
    models: Any,
    sizes: Any,
    diff: Annotated[bool, typer.Option("--diff", help="only the rows that differ")] = False,
    device: Annotated[
        str | None, machine.device("and what serving and training on it take (see tcalc hardware)", None)
    ] = None,
    devices: Annotated[
        int | None, machine.devices("how many; else one to serve, and the published run's to train", None)
    ] = None,
    price: Annotated[float | None, machine.price(panel=None)] = None,
    tokens: Annotated[int | None, count("--tokens", "that each is trained on; else the published run's")] = None,
    mfu: Annotated[
        float | None, share("--mfu", "of training: 0.4; else a step is predicted where all is known")
    ] = None,
) -> Report:
    """Hold models side by side, with what differs marked."""
    import transformer_calc
    from transformer_calc.report.compare import build

    terms: dict[str, Any] = {"device": device, "devices": devices, "price": price, "tokens": tokens, "mfu": mfu}
    return build(transformer_calc.compare(*models, **sizes, **terms), diff=diff)
