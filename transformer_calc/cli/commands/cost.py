"""`tcalc cost`."""

from typing import Annotated, Any, Literal

import typer

from transformer_calc import units
from transformer_calc.cli import machine
from transformer_calc.cli.app import command
from transformer_calc.cli.options import DEVICE, amount, count, share
from transformer_calc.report import Report

RUN = "Run"
RATE = "Learning rate"
TIME = "Time (one of them: what is assumed or was observed; the others follow)"
MONEY = "Money, energy, carbon"


def _span(flag: str, help: str) -> Any:
    """An option that takes a stretch of a run: tokens, or steps where it says so."""

    def read(text: Any) -> Any:
        if not isinstance(text, str):
            return text
        stripped = text.strip().lower()
        for word in ("steps", "step", "tokens"):
            if stripped.endswith(word):
                unit = "tokens" if word == "tokens" else "steps"
                return units.parse_count(stripped.removesuffix(word), field=flag), unit
        return units.parse_count(stripped, field=flag), "tokens"

    return typer.Option(flag, metavar="SPAN", help=help, rich_help_panel=RATE, parser=read)


@command(
    plan="chosen",
    examples="""
      tcalc cost --preset gpt3 --mfu 0.3
      tcalc cost llama-3-70b --device h100 --devices 2048 --mfu 40% --tokens 15T --price 2.5
      tcalc cost llama-2-70b --device-hours 1720320 --carbon 385 --json
      tcalc cost gpt3 --device a100 --devices 1024 --recompute full --tflops 140
      tcalc cost llama-3-8b --lora-rank 16 --tokens 100M --batch 64 --device h100 --devices 8 --mfu 0.35""",
)
def cost(
    model: Any,
    sizes: Any,
    how: Any,
    tokens: Annotated[int | None, count("--tokens", "that the whole run sees", RUN)] = None,
    batch_tokens: Annotated[int | None, count("--batch-tokens", "tokens of a step, in place of --batch", RUN)] = None,
    device: Annotated[str | None, machine.device("a device (see tcalc hardware); else the published run's")] = None,
    device_set: Annotated[list[str] | None, machine.FIGURES] = None,
    devices: Annotated[int | None, count("--devices", "how many; else the published run's", DEVICE)] = None,
    needed: Annotated[
        bool, typer.Option("--needed", help="count of score matrices what the mask lets through", rich_help_panel=RUN)
    ] = False,
    serve_tokens: Annotated[int | None, count("--serve-tokens", "what serving so many tokens costs, too", RUN)] = None,
    lr: Annotated[float | None, amount("--lr", "RATE", "the learning rate at its peak", RATE, maximum=100)] = None,
    lr_schedule: Annotated[
        Literal["constant", "linear", "cosine", "wsd", "inverse-sqrt"] | None,
        typer.Option("--lr-schedule", help="how the learning rate changes", rich_help_panel=RATE),
    ] = None,
    min_lr: Annotated[
        float | None, amount("--min-lr", "RATE", "what it falls to", RATE, maximum=100, inclusive=True)
    ] = None,
    warmup: Annotated[Any, _span("--warmup", "it rises for so long: 375M tokens, or 2000steps")] = None,
    decay: Annotated[Any, _span("--decay", "it has fallen after so long (wsd: in so long)")] = None,
    mfu: Annotated[float | None, share("--mfu", "model FLOPs, of the peak: 0.4", TIME)] = None,
    hfu: Annotated[float | None, share("--hfu", "the same with recomputed ones", TIME)] = None,
    tflops: Annotated[float | None, amount("--tflops", "X", "TFLOP/s of a device, with recomputed ones", TIME)] = None,
    step_seconds: Annotated[float | None, amount("--step-seconds", "S", "of the full batch", TIME)] = None,
    tokens_per_second: Annotated[float | None, amount("--tokens-per-second", "N", "of all devices", TIME)] = None,
    device_hours: Annotated[float | None, amount("--device-hours", "H", "of the whole run", TIME)] = None,
    days: Annotated[float | None, amount("--days", "DAYS", "of the whole run", TIME)] = None,
    price: Annotated[float | None, machine.price("dollars of an hour of a device", MONEY)] = None,
    amortize: Annotated[float | None, machine.amortize(MONEY)] = None,
    power: Annotated[float | None, amount("--power", "W", "watts of a device, on average", MONEY)] = None,
    pue: Annotated[
        float | None,
        amount(
            "--pue",
            "X",
            "power of the whole data centre, as a multiple of the devices'",
            MONEY,
            minimum=1,
            maximum=10,
            inclusive=True,
        ),
    ] = None,
    carbon: Annotated[
        Any,
        typer.Option(
            "--carbon",
            metavar="G",
            help="g CO₂e for a kWh (up to 1.5: kg), or a place: USA, FRA …",
            rich_help_panel=MONEY,
            parser=machine.carbon,
        ),
    ] = None,
) -> Report:
    """Say what training costs: days, dollars, energy, carbon."""
    from transformer_calc.report.cost import build

    known = machine.load(device or model.run.hardware or None, device_set) if device_set else device
    answer = model.cost(
        **sizes,
        **how,
        tokens=tokens,
        batch_tokens=batch_tokens,
        serve_tokens=serve_tokens,
        device=known,
        devices=devices,
        needed=needed,
        mfu=mfu,
        hfu=hfu,
        tflops=tflops,
        step_seconds=step_seconds,
        tokens_per_second=tokens_per_second,
        device_hours=device_hours,
        days=days,
        price=price,
        amortize=amortize,
        power=power,
        pue=pue,
        carbon=carbon,
        lr=lr,
        lr_schedule=lr_schedule,
        min_lr=min_lr,
        warmup=warmup,
        decay=decay,
    )
    return build(answer)
