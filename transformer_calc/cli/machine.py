"""Options of a device and of what an hour of it costs, which several commands take."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import typer

from transformer_calc import units
from transformer_calc.cli.options import DEVICE, amount, count, names
from transformer_calc.errors import InputError


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


def devices(
    help: str = "of the whole machine; the ways that are not given are found", panel: str | None = DEVICE
) -> Any:
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
