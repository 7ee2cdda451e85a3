"""How an operation is written as a line of algebra: what its rule is told, and the factors in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from transformer_calc.ops.core import Dim, Op
from transformer_calc.tuples import NamedTuple

LARGEST_ROOT = 10**6  # a factor is written as a root of a whole number no larger than this

# the letter of what an operation makes: one of its own, its input's, or a norm's; and of its parameters
NEW, KEPT, NORM = "new", "kept", "norm"
MATRICES, SCALES, TABLE, NAMED = "matrices", "scales", "table", "named"


class Written(NamedTuple):
    """What a line is written with: letters of inputs and weights, and how a dimension is written and how long it is.

    short: leave out what a function is made of
    cached: there may be tokens in the cache, as it is written for any run
    """

    inputs: Sequence[str]
    weights: Sequence[str]
    symbol: Callable[[Dim], str]
    size: Callable[[Dim], int]  # 0 where the workload gives it
    short: bool
    cached: bool

    @property
    def x(self) -> str:
        """The first input."""
        return self.inputs[0] if self.inputs else ""

    @property
    def bias(self) -> str:
        """What is added."""
        return f" + {self.weights[1]}" if len(self.weights) > 1 else ""


class Algebra(NamedTuple):
    """The right side of the line; the letter of what is made; the letters of its parameters."""

    line: Callable[[Op, Written], str]
    letter: str
    weights: str


def note(op: Op) -> str:
    """The note behind a line."""
    return f": {op.note}" if op.note else ""


def in_words(word: str) -> Callable[[Op, Written], str]:
    """A word, of what goes in."""

    def line(op: Op, w: Written) -> str:
        what = f"{word} of {', '.join([*w.inputs, *w.weights])}" if w.inputs or w.weights else word
        return f"{what}{note(op)}" if op.note else f"{what} ({op.last})"

    return line


def as_it_is(op: Op, w: Written) -> str:
    """What goes in, with the note."""
    return f"{', '.join(w.inputs)}{note(op)}"


def _close(x: float, y: float) -> bool:
    return math.isclose(x, y, rel_tol=1e-9)


def _root(x: float, symbol: str, size: int) -> str:
    """A number as a root or multiple of a size, or of a whole number; empty where it is neither."""
    square = x * x
    if size and _close(square, size):
        return f"√{symbol}"
    if size and _close(x, size):
        return symbol
    if size and size * 1.5 < square and _close(square, round(square / size) * size) and square / size < 10:
        return f"√({round(square / size)}·{symbol})"
    if _close(x, round(x)):
        return f"{round(x)}"
    return f"√{round(square)}" if square < LARGEST_ROOT and _close(square, round(square)) else ""


def by(scale: float, symbol: str = "", size: int = 0, *, stretched: bool = False) -> str:
    """What a product is multiplied with: ` / √E`, ` / √144`, ` / 8`, ` · 0.1`; nothing where that is 1.

    symbol, size: of the dimension that is summed over; stretched: there is a factor on top of 1/√size.
    """
    if stretched and size:
        return f"{by(scale * math.sqrt(size))} / √{symbol}"
    if scale == 1.0:
        return ""
    if 0 < scale < 1 and (root := _root(1 / scale, symbol, size)):
        return f" / {root}"
    root = _root(scale, symbol, size) if scale > 1 else ""
    return f" · {root or f'{scale:.4g}'}" if scale > 0 else f" · ({scale:.4g})".replace("-", "−")
