"""Options of a device and of what an hour of it costs, which several commands take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from transformer_calc import units
from transformer_calc.cli.options import DEVICE, amount, count, names
from transformer_calc.errors import InputError, as_options


def device(help: str = "a device (see tcalc hardware)", panel: str | None = DEVICE) -> Any:
    """The option that names one."""
    return typer.Option("--device", metavar="NAME", help=help, autocompletion=names("device"), rich_help_panel=panel)


FIGURES = typer.Option(
    "--device-set",
    metavar="KEY=VALUE",
    help="a figure of the device, as in bandwidth=4e12 or peaks.bf16=500T (repeatable)",
    rich_help_panel=DEVICE,
)
OVERHEAD = count("--overhead", "of framework and allocator on each device", DEVICE, least=0, metavar="BYTES")


def devices(help: str, panel: str | None = DEVICE) -> Any:
    """The option that says how many."""
    return count("--devices", help, panel)


def price(help: str = "dollars of an hour of a device, if not the device's own", panel: str | None = DEVICE) -> Any:
    """The option that says what an hour costs."""
    return amount("--price", "USD", help, panel, inclusive=True)


def amortize(panel: str | None = DEVICE) -> Any:
    """The option that spreads a price to buy."""
    help = "over which a device with a price to buy is paid off (4)"
    return amount("--amortize", "YEARS", help, panel, minimum=0.01, maximum=100, inclusive=True)


def carbon(text: Any) -> Any:
    """Read g CO₂e for a kWh, or a place. No grid has 1.5 g or 1,500: up to that a number is meant in kg."""
    if not isinstance(text, str) or not text.strip().lstrip("+-.")[:1].isdigit():
        return text
    grams = units.parse_amount(text, field="--carbon", maximum=2000, inclusive=True)
    return grams * 1000 if grams <= 1.5 else grams


def load(name: str | None, figures: Iterable[str] | None) -> Any:
    """The device that is named, with the figures that are set."""
    from transformer_calc.sources import hardware

    if name is None and not figures:
        raise InputError("`device` is missing, expected the name of a device", "tcalc hardware lists them")
    return hardware.load(name, tuple(figures or ()))


def spread(plan: Any, devices: int | None) -> Any:
    """A plan on so many devices: they share each matrix, or where that is given, hold copies."""
    if devices is None:
        return plan
    mesh = plan.mesh
    if mesh.devices == 1:
        return plan.changed(mesh=mesh.changed(tp=devices))
    if mesh.devices == devices:
        return plan
    if mesh.dp > 1 or devices % mesh.devices:
        raise InputError(
            f"`devices` is {devices:,}, but `dp`, `tp`, `pp` and `cp` make {mesh.devices:,}; give one of them"
        )
    return plan.changed(mesh=mesh.changed(dp=devices // mesh.devices))


@contextmanager
def spreading(plan: Any, devices: int | None) -> Iterator[Any]:
    """A plan on so many devices; what is refused of a way that `devices` made is said of that."""
    spread_out = spread(plan, devices)
    try:
        yield spread_out
    except InputError as error:
        for way, hint in (
            ("tp", "--tp N beside it: the other devices hold copies"),
            ("dp", "--batch N, a multiple of it"),
        ):
            made = getattr(spread_out.mesh, way)
            told = as_options(error.message)
            if made != getattr(plan.mesh, way) and told.startswith(f"--{way} is {made};"):
                said = told.replace(f"--{way} is {made}", f"--devices is {devices}, short for --{way} {made} here", 1)
                raise InputError(said, error.hint or hint) from error
        raise
