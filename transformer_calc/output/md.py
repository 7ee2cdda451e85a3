"""GitHub Markdown of all sections."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TextIO

from ..report import Column, Facts, Matrix, Plot, Report, Section, Text
from . import grids, plots
from .cells import NUMERIC, can_show, cell, printable, showable

_SPECIAL = re.compile(r"([\\`*|<>\[\]])")


def render(report: Report, stream: TextIO) -> None:
    """Write every section, one after another."""
    sections = ["\n".join(_section(section, stream)) for section in report.sections]
    stream.write(showable("\n\n".join(sections), stream) + "\n")


def _section(section: Section, stream: TextIO) -> Iterable[str]:
    def show(text: str) -> str:  # before it is aligned
        return showable(printable(text), stream)

    if isinstance(section, Text):
        # Two spaces at the end are a line break; without them Markdown joins the lines.
        yield "  \n".join(map(_escape, section.text.split("\n")))
        return
    if section.title:
        yield f"### {_escape(section.title)}\n"
    if isinstance(section, Matrix):
        lines = [*section.lines, *grids.drawn(section, show)]
        yield "\n".join(["```text", *lines, "```"])
        return
    if isinstance(section, Plot):
        yield "\n".join(["```text", *plots.drawn(section, show, unicode=can_show(plots.EIGHTHS, stream)), "```"])
        return
    if isinstance(section, Facts):
        yield "| | |"
        yield "| --- | --- |"
        for label, value, kind in section.items:
            yield _line([label, cell(value, kind)])
        return
    yield _line(column.title for column in section.columns)
    yield "| " + " | ".join("---:" if c.kind in NUMERIC else "---" for c in section.columns) + " |"
    for row in section.rows:
        yield _line(_cells(section.columns, row))
    if section.total is not None:
        yield _line(_cells(section.columns, section.total), mark="**")
    if section.caption:
        yield f"\n{_escape(section.caption)}"


def _cells(columns: tuple[Column, ...], row: Mapping[str, object]) -> Iterable[str]:
    return (cell(row.get(column.key), column.kind) for column in columns)


def _line(cells: Iterable[str], mark: str = "") -> str:
    texts = (_escape(text).replace("\n", "<br>") for text in cells)
    return "| " + " | ".join(f"{mark}{text}{mark}" if text else "" for text in texts) + " |"


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", printable(text))
