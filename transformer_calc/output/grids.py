"""Matrices as aligned text: side by side where there is room, one below the other where there is not."""

from __future__ import annotations

from collections.abc import Callable

from ..report import Grid, Matrix

_INDENT = "  "
_GAP = "    "  # between matrices
_LEFT_OUT = "…"


def drawn(matrix: Matrix, show: Callable[[str], str], width: int | None = None) -> list[str]:
    """Return the lines of all its matrices; `show` gives a text as the stream can show it."""
    lines: list[str] = []
    for row in matrix.grids:
        line: list[list[str]] = []
        for grid in row:
            block = _block(grid, show, width)
            together = sum(len(block[0]) + len(_GAP) for block in [*line, block]) - len(_GAP) + len(_INDENT)
            if line and width is not None and together > width:
                lines += _beside(line)
                line = []
            line.append(block)
        lines += _beside(line)
    return lines


def _beside(blocks: list[list[str]]) -> list[str]:
    height = max((len(block) for block in blocks), default=0)
    filled = [block + [" " * len(block[0])] * (height - len(block)) for block in blocks]
    return [(_INDENT + _GAP.join(parts)).rstrip() for parts in zip(*filled, strict=True)]


def _block(grid: Grid, show: Callable[[str], str], width: int | None) -> list[str]:
    """The label above the entries, every line of the same length."""
    rows = [[show(entry) for entry in row] for row in grid.rows]
    bars = list(grid.bars)
    while width is not None and len(_lines(rows, bars, show)[0]) + len(_INDENT) > width and len(rows[0]) > 3:
        at = len(rows[0]) // 2  # a number that is cut is wrong: whole columns go, from the middle
        if show(_LEFT_OUT) in [row[at] for row in rows[:1]]:
            at -= 1
        rows, bars = _without(rows, at, show), [bar - (bar > at) for bar in bars]
    lines = _lines(rows, bars, show)
    label = show(grid.label)
    length = max(len(label), *(len(line) for line in lines))
    return [line.ljust(length) for line in ([label, *lines] if label else lines)]


def _without(rows: list[list[str]], at: int, show: Callable[[str], str]) -> list[list[str]]:
    """The rows without a column; the one beside it becomes dots."""
    dots = show(_LEFT_OUT)
    shorter = [row[:at] + row[at + 1 :] for row in rows]
    for row in shorter:
        row[at] = dots
    return shorter


def _lines(rows: list[list[str]], bars: list[int], show: Callable[[str], str]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    bar = show("│")
    lines = []
    for row in rows:
        parts = []
        for column, entry in enumerate(row):
            parts.append(f"{bar} " if column in bars else "")
            parts.append(entry.rjust(widths[column]) + "  ")
        lines.append("".join(parts).rstrip())
    length = max(map(len, lines))
    return [line.ljust(length) for line in lines]
