"""`tcalc hardware`: the devices that are known by name."""

from typing import Annotated

import typer

from transformer_calc.cli.app import catalogue, command
from transformer_calc.cli.options import names
from transformer_calc.report import Report

group = catalogue(
    "hardware",
    help="List the devices (tcalc hardware [FILTER]), or show one with its sources (tcalc hardware show NAME).",
    short_help="List the devices that are known by name.",
    epilog="""
      tcalc hardware
      tcalc hardware tpu --json
      tcalc hardware show h100""",
)


@command(to=group, takes="nothing", name="list", examples="tcalc hardware list nvidia")
def list_hardware(
    filter: Annotated[
        str | None,
        typer.Argument(metavar="FILTER", help="part of a name, vendor or kind", autocompletion=names("device")),
    ] = None,
) -> Report:
    """List the devices, all of them or those that match the filter."""
    from transformer_calc.report.hardware import build

    return build(filter)


@command(to=group, takes="nothing", name="show", examples="tcalc hardware show a100-80gb --json")
def show_hardware(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="the device's name, or a file's", autocompletion=names("device"))
    ],
) -> Report:
    """Show one device whole, with the sources of its figures."""
    from transformer_calc.report.hardware import show

    return show(name)
