"""What `params` answers: the totals, their formula, and every parameter by itself, by layer or by stored tensor."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from transformer_calc.answer import OfModel
from transformer_calc.errors import check_choice
from transformer_calc.expr import formula
from transformer_calc.graph.core import Graph, Sizes, shape
from transformer_calc.readings.count.formulas import Identity, identities, symbols, textbook, total_params
from transformer_calc.readings.count.legend import Symbol, legend, symbols_of
from transformer_calc.readings.count.params import components, params, tensors
from transformer_calc.tuples import NamedTuple

if TYPE_CHECKING:
    from transformer_calc.expr import Size

BY = ("component", "layer", "tensor")


class Entry(NamedTuple):
    """A parameter, a stored tensor or a layer's parameters, as they stand `repeat` times in the model.

    shape, symbols: of a tensor, in numbers and in letters; params: entries of one, formula: the same in letters; parts:
    of a stored tensor, the parameters that are fused in it
    """

    path: str
    shape: list[int]
    symbols: list[str]
    repeat: int
    params: int
    formula: Size
    parts: list[str] | None = None

    @property
    def total(self) -> int:
        """Entries of all of them."""
        return self.repeat * self.params


class Params(OfModel):
    """How many parameters a model has, and where: counts, buffers left out, and a tied weight once.

    total: all of them; active: those that one token passes through; embedding: those of tables that are looked up;
    non_embedding: the others; formula, formula_general: the total in letters, the first shortened by `identities`;
    identities: what holds of this model; symbols: the letters; by: component, layer or tensor; components: what the
    total is the sum of
    """

    total: int
    active: int
    embedding: int
    non_embedding: int
    formula: Size
    formula_general: Size
    identities: tuple[Identity, ...]
    symbols: tuple[Symbol, ...]
    by: str
    components: tuple[Entry, ...]

    FIRST: ClassVar[Mapping[str, str]] = {"title": "text", "total": "count", "active": "count", "embedding": "count"}


def counted(graph: Graph, sizes: Sizes, of: Mapping[str, Any], *, by: str = "component") -> Params:
    """The parameters of a model; `of`: what an answer says of the model itself."""
    check_choice("by", by, BY)
    general, short, used = total_params(graph, sizes)
    parts = components(graph)
    shown = {axis for part in parts for dim in part.dims for axis in dim} | {part.repeat for part in parts}
    shown |= {name for name, axis in graph.axes.items() if axis.symbol in symbols(short)}
    return Params(
        **of,
        **params(graph, sizes)._asdict(),
        formula=short,
        formula_general=general,
        identities=tuple(used),
        symbols=legend(graph, sizes, used=shown),
        by=by,
        components=tuple(ROWS[by](graph, sizes, graph.symbols())),
    )


def _by_component(graph: Graph, sizes: Any, letters: Any) -> Iterator[Entry]:
    """An entry for each parameter of the graph."""
    for part in components(graph):
        repeat = sizes[part.repeat] if part.repeat else 1
        numbers: Any = list(shape(part.dims, sizes))
        entries: Any = part.entries(sizes)
        yield Entry(part.path, numbers, symbols_of(part.dims, graph), repeat, entries, part.entries(letters))


def _by_tensor(graph: Graph, sizes: Any, letters: Any) -> Iterator[Entry]:
    """An entry for each stored tensor: fused ones as one, and those that are stacked in the graph but stored apart."""
    for tensor in tensors(graph):
        repeat, numbers, size = tensor.repeat(sizes), list[Any](tensor.shape(sizes)), list[Any](tensor.shape(letters))
        parts = [part.path for part in tensor.parts]
        params = math.prod(numbers)
        yield Entry(tensor.name, numbers, list(map(formula, size)), repeat, params, math.prod(size), parts)  # type: ignore[arg-type]


def _by_layer(graph: Graph, sizes: Any, letters: Any) -> Iterator[Entry]:
    """An entry for each block: the embedding, each kind of layer, what follows."""
    rules, every = identities(graph, sizes), components(graph)
    for block in graph.blocks:
        if parts := [part for part in every if part.block is block]:
            entries: Any = sum(part.entries(sizes) for part in parts)
            short, _ = textbook(sum(part.entries(letters) for part in parts), rules)
            repeat = block.sets(sizes)
            yield Entry(f"{block.title} {block.where}".strip(), [], [], repeat, entries, short)


ROWS = {"component": _by_component, "layer": _by_layer, "tensor": _by_tensor}
