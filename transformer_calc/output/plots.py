"""A curve in a few lines of text: columns of block characters, or of # where the stream has no others."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

from ..report import Plot

HEIGHT = 4  # lines
WIDTH = 72  # columns, where there is room
LEAST = 12
EIGHTHS = " ▁▂▃▄▅▆▇█"
_GAP = "  "


def drawn(plot: Plot, show: Callable[[str], str], width: int | None = None, *, unicode: bool = True) -> list[str]:
    """The lines of a plot; `show` gives a text as the stream can show it."""
    top, bottom = (show(text) for text in plot.values)
    label = max(len(top), len(bottom))
    room = WIDTH if width is None else max(min(WIDTH, width - label - len(_GAP)), LEAST)
    heights = [value * HEIGHT for value in _columns(plot, room)]
    lines = []
    for row in range(HEIGHT):
        base = HEIGHT - 1 - row
        text = top if row == 0 else bottom if base == 0 else ""
        cells = "".join(_cell(height - base, unicode) for height in heights)
        lines.append(f"{text:>{label}}{_GAP}{cells}".rstrip())
    left, right = (show(text) for text in plot.ends)
    between = max(room - len(left) - len(right), 1)
    return [*lines, f"{'':{label}}{_GAP}{left}{'':{between}}{right}"]


def _columns(plot: Plot, count: int) -> list[float]:
    """The curve's value in the middle of each column, as a part of the largest."""
    across = [x for x, _ in plot.points]
    first, last = across[0], across[-1]
    most = max(value for _, value in plot.points) or 1
    return [_at(plot, across, first + (last - first) * (n + 0.5) / count) / most for n in range(count)]


def _at(plot: Plot, across: list[float], x: float) -> float:
    number = min(bisect_right(across, x), len(across) - 1)
    if number == 0:
        return plot.points[0][1]
    (x0, y0), (x1, y1) = plot.points[number - 1 : number + 1]
    if plot.growth == "steps" or x1 == x0:
        return y0
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


def _cell(height: float, unicode: bool) -> str:
    part = min(max(height, 0.0), 1.0)
    if not unicode:
        return "#" if part >= 0.5 else " "
    return EIGHTHS[round(part * 8)]
