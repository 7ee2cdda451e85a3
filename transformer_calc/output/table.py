"""Tables for people. How wide a column is, is decided before it is drawn, because a digit must never be cut.

Numbers and shapes keep their width, text and formulas wrap, bars shrink; what still has no room loses
whole columns, the least important first, and the caption says which. Tables of the same columns that follow
each other share their widths, so that they read as one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TextIO

from rich.cells import cell_len, chop_cells

from ..report import Column, Facts, Kind, Matrix, Plot, Report, Section, Table, Text
from . import grids, plots
from .cells import NUMERIC, can_show, cell, printable, showable

_GAP = 2  # between columns
_BAR = 10  # a bar's length where there is room
_LEAST_BAR = 3  # a shorter bar says nothing
_BAR_PRIORITY = 2  # columns of a larger priority are left out before bars are
_TEXT = 14  # a text column is no narrower than this, if its texts are that long
_LONG_WORD = 32  # a longer word in a text column may be folded
_STYLES = {"bold": "\033[1m", "dim": "\033[2m", "cyan": "\033[36m"}  # of a terminal (ECMA-48)
_PLAIN = "\033[0m"
_ESCAPES = re.compile(r"\033\[[0-9]+m")
_EIGHTHS = " ▏▎▍▌▋▊▉█"
# Where a line may end: a text at its spaces, a formula before a sign, a list of shapes before one.
_BREAKS: dict[Kind, str] = {"text": " ", "mixed": " ", "formula": r" (?=[+−-] )", "shapes": r" (?=\[)"}


def render(report: Report, stream: TextIO, *, width: int | None = None, color: bool | None = None) -> None:
    """Write all sections, as wide as the terminal is, or as they are where there is no terminal."""
    canvas = _Canvas(
        stream,
        width=_available_width(stream) if width is None else width,
        color=_wants_color(stream) if color is None else color,
    )
    for number, group in enumerate(_groups(report.sections)):
        if number:
            canvas.write("")
        if isinstance(group, list):
            _draw_tables(canvas, group)
        elif isinstance(group, Facts):
            _draw_facts(canvas, group)
        elif isinstance(group, Matrix):
            _draw_matrix(canvas, group)
        elif isinstance(group, Plot):
            _draw_plot(canvas, group)
        else:
            canvas.write(group.text)
    stream.write(canvas.finish())


def _groups(sections: Iterable[Section]) -> list[list[Table] | Facts | Text | Matrix | Plot]:
    """Return the sections with tables of the same columns that follow each other as one list."""
    groups: list[list[Table] | Facts | Text | Matrix | Plot] = []
    for section in sections:
        last = groups[-1] if groups else None
        if not isinstance(section, Table):
            groups.append(section)
        elif isinstance(last, list) and last[0].columns == section.columns:
            last.append(section)
        else:
            groups.append([section])
    return groups


def _available_width(stream: TextIO) -> int | None:
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return int(columns)
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError, AttributeError):
        return None  # a pipe or a file: as wide as needed


def _wants_color(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class _Canvas:
    """Collects the output, so that it is written at once and without spaces at the ends of lines."""

    def __init__(self, stream: TextIO, width: int | None, color: bool) -> None:
        self.stream = stream
        self.width = width
        self.rules, self.bars = can_show("─", stream), can_show(_EIGHTHS, stream)
        self.curves = can_show(plots.EIGHTHS, stream)
        self.color = color
        self._lines: list[str] = []

    def show(self, text: str) -> str:
        """Return the text as the stream can show it."""
        return showable(printable(text), self.stream)

    def write(self, text: str, style: str = "") -> None:
        for line in self.show(text).split("\n"):
            indent = line[: len(line) - len(line.lstrip())]
            room = None if self.width is None else max(self.width - len(indent), 1)
            for part in _wrap(line.lstrip(), "text", room):
                self.draw(self.styled(indent + part, style))

    def styled(self, text: str, style: str) -> str:
        """Return the text as it is to look, on a terminal."""
        return f"{_STYLES[style]}{text}{_PLAIN}" if style and text and self.color else text

    def draw(self, line: str) -> None:
        self._lines.append(line.rstrip() + "\n")

    def lines(self, lines: Iterable[str]) -> None:
        self._lines += [line.rstrip() + "\n" for line in lines]

    def finish(self) -> str:
        return "".join(self._lines)


@dataclass(frozen=True)
class _Layout:
    """A column with its texts and the widths between which it can be drawn well."""

    column: Column
    header: str
    cells: tuple[str, ...]
    total: str
    least: int
    natural: int
    bare: int  # the least without a bar

    @classmethod
    def together(cls, layouts: Sequence[_Layout]) -> _Layout:
        """Return one column of several tables as if it were of one."""
        return replace(
            layouts[0],
            least=max(layout.least for layout in layouts),
            natural=max(layout.natural for layout in layouts),
            bare=max(layout.bare for layout in layouts),
        )

    @classmethod
    def of(cls, table: Table, column: Column, canvas: _Canvas) -> _Layout:
        header = canvas.show(column.title)
        cells = tuple(canvas.show(cell(row.get(column.key), column.kind)) for row in table.rows)
        total = canvas.show(cell((table.total or {}).get(column.key), column.kind))
        widths = [_widths(text, column.kind) for text in (*cells, total)] + [_widths(header, "text")]
        least = max(least for least, _ in widths)
        natural = max(natural for _, natural in widths)
        bare = least
        if column.kind == "share":
            natural = max(natural, bare + 1 + _BAR)
            least = bare + 1 + _LEAST_BAR
        elif column.kind in ("text", "mixed"):
            least = bare = max(least, min(natural, _TEXT))
        return cls(column, header, cells, total, least, natural, bare)


def _draw_tables(canvas: _Canvas, tables: list[Table]) -> None:
    """Draw tables of the same columns, one below the other, with the same widths."""
    known: dict[tuple[int, int], list[_Layout]] = {}  # of tables that are alike, as layers are, down to their rows
    alike = [(id(table.rows), id(table.total)) for table in tables]
    for key, table in zip(alike, tables, strict=True):
        if key not in known:
            known[key] = [_Layout.of(table, column, canvas) for column in table.columns]
    layouts = [known[key] for key in alike]
    kept, left_out = _drop([_Layout.together(column) for column in zip(*known.values(), strict=True)], canvas.width)
    if tables[0].stacks and canvas.width is not None and _together(kept) > canvas.width:
        for number, table in enumerate(tables):
            if number:
                canvas.write("")
            _draw_stacked(canvas, table)
        return
    widths = _share_out(kept, canvas.width)
    columns = [layout.column for layout in kept]
    drawn: dict[tuple[int, int], list[str]] = {}
    for number, (key, table) in enumerate(zip(alike, tables, strict=True)):
        if number:
            canvas.write("")
        if table.title:
            canvas.write(table.title, "bold")
        if key not in drawn:
            kept_here = [layout for layout in layouts[number] if layout.column in columns]
            drawn[key] = list(_drawn_table(canvas, table, kept_here, widths))
        canvas.lines(drawn[key])
        if table.caption:
            canvas.write(table.caption, "dim")
    if left_out:
        names = ", ".join(dict.fromkeys(column.title for column in left_out))
        canvas.write(f"Left out at this width: {names} (--format json has all)", "dim")


def _drawn_table(canvas: _Canvas, table: Table, layouts: list[_Layout], widths: list[int]) -> Iterator[str]:
    """Yield the lines of a table: header, rule, rows, and where it has a total a rule and that."""
    footer = any(layout.total for layout in layouts if layout.column.kind in NUMERIC)
    rule = canvas.styled(("─" if canvas.rules else "-") * (sum(widths) + _GAP * (len(widths) - 1)), "dim")

    def drawn(cells: Iterable[Sequence[str]], style: str = "") -> Iterator[str]:
        """Yield the lines of a row: those of each cell, as wide as its column is."""
        for lines in zip_longest(*cells, fillvalue=""):
            padded = (
                _justified(text, layout.column.kind, width)
                for text, layout, width in zip(lines, layouts, widths, strict=True)
            )
            yield (" " * _GAP).join(canvas.styled(text, style) for text in padded)

    headers = [_wrap(layout.header, "text", width) for layout, width in zip(layouts, widths, strict=True)]
    height = max(map(len, headers), default=0)
    yield from drawn(([""] * (height - len(lines)) + lines for lines in headers), "bold")  # they stand on the rule
    yield rule
    for number, row in enumerate(table.rows):
        yield from drawn(
            _drawn_cell(layout, layout.cells[number], row, width, canvas)
            for layout, width in zip(layouts, widths, strict=True)
        )
    if footer:
        yield rule
        yield from drawn(
            (_wrap(layout.total, layout.column.kind, width) for layout, width in zip(layouts, widths, strict=True)),
            "bold",
        )


def _justified(text: str, kind: Kind, width: int) -> str:
    """A line of a cell with the spaces that its column has beside it."""
    room = " " * (width - cell_len(_ESCAPES.sub("", text) if "\033" in text else text))
    return room + text if kind in NUMERIC else text + room


def _draw_stacked(canvas: _Canvas, table: Table) -> None:
    """Draw each row as lines: what its mixed columns are called and hold, with what stands beside them."""
    canvas.write(table.title, "bold")
    for row in table.rows:
        head, items = list[str](), list[tuple[str, str, Kind]]()
        for column in table.columns:
            text = cell(row.get(column.key), column.kind)
            if column.kind == "mixed":
                items.append((f"  {column.title}", text, "text"))
            elif items and text:
                label, before, kind = items.pop()
                items.append((label, f"{before} {text}", kind))
            elif text:
                head.append(text)
        _draw_facts(canvas, Facts(" ".join(head), tuple(items)))
    if table.caption:
        canvas.write(table.caption, "dim")


def _together(layouts: Sequence[_Layout]) -> int:
    """The least width of a table of these columns."""
    return sum(layout.least + _GAP for layout in layouts) - _GAP


def _drop(layouts: list[_Layout], width: int | None) -> tuple[list[_Layout], list[Column]]:
    """Leave out columns, the largest priority first and the rightmost of equals, until the others fit.

    Columns of one title, as ratios to the same thing, go together.
    """
    kept = list(layouts)
    while width is not None and _together(kept) > width:
        droppable = [layout for layout in kept if layout.column.priority > 0]
        last = max(reversed(droppable), key=lambda layout: layout.column.priority, default=None)
        bars = [number for number, layout in enumerate(kept) if layout.bare < layout.least]
        if bars and (last is None or last.column.priority <= _BAR_PRIORITY):
            kept[bars[-1]] = replace(kept[bars[-1]], least=kept[bars[-1]].bare)
        elif last is None:
            break  # too wide a line can be scrolled to; a number that is cut is wrong
        else:
            gone = [layout for layout in droppable if layout.column.title == last.column.title]
            kept = [layout for layout in kept if layout not in gone]
    columns = [layout.column for layout in kept]
    return kept, [layout.column for layout in layouts if layout.column not in columns]


def _share_out(layouts: list[_Layout], width: int | None) -> list[int]:
    """Give each column what it needs at least, then hand out the rest evenly up to what it would like."""
    if width is None:
        return [layout.natural for layout in layouts]
    widths = [layout.least for layout in layouts]
    rest = width - sum(widths) - _GAP * (len(widths) - 1)
    while rest > 0:
        hungry = [n for n, layout in enumerate(layouts) if widths[n] < layout.natural]
        if not hungry:
            break
        portion = max(rest // len(hungry), 1)
        for n in hungry[:rest]:
            more = min(portion, layouts[n].natural - widths[n])
            widths[n] += more
            rest -= more
    return widths


def _drawn_cell(layout: _Layout, text: str, row: Mapping[str, object], width: int, canvas: _Canvas) -> Sequence[str]:
    column = layout.column
    share = row.get(column.key)
    if column.kind == "share" and isinstance(share, (int, float)):
        number = max(cell_len(shown) for shown in (*layout.cells, layout.total))
        room = min(width - number - 1, _BAR)
        if room >= _LEAST_BAR:
            return (f"{canvas.styled(_bar(share, room, canvas.bars), 'cyan')} {text.rjust(number)}",)
    return _wrap(text, column.kind, width)


def _bar(share: float, length: int, unicode: bool) -> str:
    filled = min(max(share, 0.0), 1.0) * length
    if not unicode:
        return ("#" * round(filled)).ljust(length)
    whole, eighths = divmod(round(filled * 8), 8)
    return ("█" * whole + (_EIGHTHS[eighths] if eighths else "")).ljust(length)


def _draw_facts(canvas: _Canvas, facts: Facts) -> None:
    """Labels beside their values; numbers are right-aligned among themselves, so that they can be compared."""
    items = [(canvas.show(label), canvas.show(cell(value, kind)), kind) for label, value, kind in facts.items]
    label_width = max((cell_len(label) for label, _, _ in items), default=0)
    number_width = max((cell_len(text) for _, text, kind in items if kind in NUMERIC), default=0)
    if facts.title:
        canvas.write(facts.title, "bold")
    for label, text, kind in items:
        value = text.rjust(number_width) if kind in NUMERIC else text
        room = None if canvas.width is None else canvas.width - label_width - _GAP
        line = canvas.styled(label, "dim")
        if room is None or room >= _widths(value, kind)[0]:
            line += " " * (label_width - cell_len(label) + _GAP)
            indent = " " * (label_width + _GAP)
        else:  # no room beside the label: below it
            canvas.draw(line)
            line, indent = "  ", "  "
            room = max((canvas.width or 0) - len(indent), 1)
        for part in _wrap(value, kind, room):
            canvas.draw(line + part)
            line = indent


def _draw_matrix(canvas: _Canvas, matrix: Matrix) -> None:
    """The title, what is said about it, and the entries."""
    if matrix.title:
        canvas.write(matrix.title, "bold")
    for line in matrix.lines:
        canvas.write(line)
    for line in grids.drawn(matrix, canvas.show, canvas.width):
        canvas.draw(line)


def _draw_plot(canvas: _Canvas, plot: Plot) -> None:
    """The title and the curve."""
    canvas.write(plot.title, "bold")
    for line in plots.drawn(plot, canvas.show, canvas.width, unicode=canvas.curves):
        canvas.draw(line)


def _widths(text: str, kind: Kind) -> tuple[int, int]:
    """Return the least width at which the text can be drawn, and the width at which it is one line."""
    lines = text.split("\n")
    natural = max(map(cell_len, lines))
    if kind not in _BREAKS:
        return natural, natural
    pieces: Iterable[str] = (piece for line in lines for piece in re.split(_BREAKS[kind], line))
    least = max(map(cell_len, pieces))
    return (min(least, _LONG_WORD) if kind == "text" else least), natural


def _wrap(text: str, kind: Kind, width: int | None) -> list[str]:
    """Break the text where its kind allows it; only a word of text that is longer than a line is folded."""
    if width is None or (cell_len(text) <= width and "\n" not in text) or kind not in _BREAKS:
        return text.split("\n")
    wrapped: list[str] = []
    for line in text.split("\n"):
        current, *pieces = re.split(_BREAKS[kind], line)
        for piece in pieces:
            if cell_len(current) + 1 + cell_len(piece) <= width:
                current += " " + piece
            else:
                wrapped.append(current)
                current = piece
        wrapped.append(current)
    if kind == "text":
        wrapped = [part for line in wrapped for part in _fold(line, width)]
    return wrapped


def _fold(word: str, width: int) -> list[str]:
    """Fold a word that is longer than a line: after a dot of a path if there is one, else anywhere."""
    parts = []
    while cell_len(word) > width:
        first, *rest = chop_cells(word, width)
        if not rest:
            break  # a single character that is wider than the line
        first = first[: first.rfind(".") + 1] or first
        parts.append(first)
        word = word[len(first) :]
    return [*parts, word]
