"""CSV: the report's main table, raw: full integers, fractions, shapes as `5x12x768`, and no total row to trip over."""

from __future__ import annotations

import csv
from typing import TextIO

from ..errors import InputError
from ..report import Kind, Report
from .cells import showable


def render(report: Report, stream: TextIO) -> None:
    """Write the main table with its column keys as the header."""
    table = report.main
    if table is None:
        raise InputError(f"{report.command} has no table to write as csv", "use --format json")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([showable(column.key, stream) for column in table.columns])
    for row in table.rows:
        writer.writerow([showable(_raw(row.get(column.key), column.kind), stream) for column in table.columns])


def _raw(value: object, kind: Kind) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if kind == "mixed":
        return _raw(*value)  # type: ignore[misc]
    if kind == "shapes" and not isinstance(value, str):
        return " ".join(_raw(shape, "shape") for shape in value)  # type: ignore[attr-defined]
    if isinstance(value, (tuple, list)):
        return ("x" if kind == "shape" else " ").join(map(str, value))
    return str(value)
