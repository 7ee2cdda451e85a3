"""The letters of formulas and shapes: what each stands for."""

from __future__ import annotations

from collections.abc import Iterable

from transformer_calc.graph.core import Dims, Graph, Sizes
from transformer_calc.tuples import NamedTuple


class Symbol(NamedTuple):
    """A letter, the formula of what it is made of where that is something else, its value, and what it counts."""

    letter: str
    made_of: str
    value: int | float  # a fraction where it is a mean
    meaning: str


def legend(graph: Graph, sizes: Sizes, *, used: Iterable[str] | None = None) -> tuple[Symbol, ...]:
    """Every letter once, in the order of the graph's axes; `used`: only these axes."""
    wanted = set(graph.axes if used is None else used)
    found: dict[str, Symbol] = {}
    for name, axis in graph.axes.items():
        if name in wanted and axis.symbol not in found:
            value = sizes[name]
            assert isinstance(value, int)
            made_of = str(axis.rule(graph.symbols())) if axis.rule else ""
            found[axis.symbol] = Symbol(axis.symbol, made_of if made_of != axis.symbol else "", value, axis.meaning)
    return tuple(found.values())


def symbols_of(dims: Dims, graph: Graph) -> list[str]:
    """A shape in symbols: `["B", "S", "H·E"]`; a dimension without axes is 1."""
    return ["·".join(graph.axes[axis].symbol for axis in dim) or "1" for dim in dims]
