"""`tcalc presets`: the models that are known by name."""

from typing import Annotated

import typer

from transformer_calc.cli.app import catalogue, command
from transformer_calc.cli.options import names
from transformer_calc.report import Report

group = catalogue(
    "presets",
    help="List the presets (tcalc presets [FILTER]), or show one with its sources (tcalc presets show NAME).",
    short_help="List the models that are known by name.",
    epilog="""
      tcalc presets
      tcalc presets llama --json
      tcalc presets show gpt3""",
)


@command(to=group, takes="nothing", name="list", examples="tcalc presets list llama")
def list_presets(
    filter: Annotated[
        str | None,
        typer.Argument(metavar="FILTER", help="part of a name or family", autocompletion=names("preset")),
    ] = None,
) -> Report:
    """List the presets, all of them or those that match the filter."""
    from transformer_calc.report.presets import build

    return build(filter)


@command(to=group, takes="nothing", name="show", examples="tcalc presets show gpt3 --json")
def show_preset(
    name: Annotated[str, typer.Argument(metavar="NAME", help="the preset's name", autocompletion=names("preset"))],
) -> Report:
    """Show one preset whole, with the sources of its figures."""
    from transformer_calc.report.presets import show

    return show(name)
