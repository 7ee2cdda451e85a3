"""Printing a report. Formats know nothing of transformers; each is the module of its name, imported when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import Any, TextIO

from ..errors import InputError, check_choice
from ..report import Report

TERMINAL = "table"  # the format that a terminal has a say in
FORMATS = (TERMINAL, "json", "csv", "md")


def render(report: Report, format: str, stream: TextIO, **terminal: Any) -> None:
    """Write the whole report, and nothing else, to the stream.

    terminal:  width and color, of tables; without them the terminal decides, and COLUMNS and NO_COLOR
    """
    check_choice("format", format, FORMATS)
    if beyond := report.beyond():
        raise InputError(
            f"{beyond}: what was given is too large or too small for {report.command} to reckon with",
            "no measure needs to be smaller than 1e-9 or larger than 1e18",
        )
    settings = terminal if format == TERMINAL else {}
    import_module(f"transformer_calc.output.{format}").render(report, stream, **settings)
