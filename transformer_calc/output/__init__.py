"""Printing a report. Formats know nothing of transformers; each one is a module that is imported when it is used."""

from __future__ import annotations

from typing import Literal, TextIO

from ..errors import InputError
from ..report import Report

Format = Literal["table", "json", "csv", "md"]


def render(
    report: Report, format: Format, stream: TextIO, *, width: int | None = None, color: bool | None = None
) -> None:
    """Write the whole report, and nothing else, to the stream.

    `width` and `color` concern tables only: without them the terminal decides, and COLUMNS and NO_COLOR.
    """
    if beyond := report.beyond():
        raise InputError(
            f"{beyond}: what was given is too large or too small for {report.command} to reckon with",
            "no measure needs to be smaller than 1e-9 or larger than 1e18",
        )
    if format == "json":
        from . import json

        json.render(report, stream)
    elif format == "csv":
        from . import csv

        csv.render(report, stream)
    elif format == "md":
        from . import markdown

        markdown.render(report, stream)
    else:
        from . import table

        table.render(report, stream, width=width, color=color)
