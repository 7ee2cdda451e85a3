"""The report of `tcalc params`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformer_calc import units
from transformer_calc.errors import InputError
from transformer_calc.graph.core import Graph, Sizes, shape
from transformer_calc.readings.count import formulas
from transformer_calc.readings.count.params import components, params, tensors
from transformer_calc.readings.count.shapes import symbols_of
from transformer_calc.report import Column, Facts, Report, Table
from transformer_calc.report.common import legend

if TYPE_CHECKING:
    from transformer_calc.api import Transformer
    from transformer_calc.expr import Size
    from transformer_calc.spec import Workload

BY = ("component", "layer", "tensor")
NOTATIONS = ("unicode", "ascii", "latex")
PATH, SYMBOLS, SHAPE = (
    Column("path", "parameter", "text"),
    Column("symbols", "shape", "shape", 2),
    Column("shape", "sizes", "shape", 3),
)
COUNTS = (
    Column("repeat", "×", "count", 1),
    Column("formula", "formula of one", "formula", 4),
    Column("total", "parameters", "count"),
    Column("share", "share", "share", 1),
)


def build(model: Transformer, workload: Workload, *, by: str = "component", notation: str = "unicode") -> Report:
    """Totals, their formula in the notation, and the rows by component, layer or stored tensor."""
    if by not in BY:
        raise InputError(f"--by is {by!r}; it must be one of {', '.join(BY)}")
    if notation not in NOTATIONS:
        raise InputError(f"--notation is {notation!r}; it must be one of {', '.join(NOTATIONS)}")
    graph = model.graph
    sizes = graph.sizes(workload)
    counts = params(graph, sizes)
    general, short, used = formulas.total_params(graph, sizes)
    rows = [
        {
            "path": path,
            "shape": list(numbers),
            "symbols": symbols,
            "repeat": repeat,
            "params": entries,
            "formula": formulas.text(formula, notation),
            "total": repeat * entries,
            "share": repeat * entries / counts.total if counts.total else 0.0,
            **more,
        }
        for path, numbers, symbols, repeat, entries, formula, more in ROWS[by](graph, sizes)
    ]
    identities = [f"{formulas.text(rule.left, notation)} = {formulas.text(rule.right, notation)}" for rule in used]
    data: dict[str, Any] = {
        "params": counts._asdict(),
        "formula": formulas.text(short, notation),
        "formula_general": formulas.text(general, notation),
        "identities": identities,
    }
    shown = {axis for part in components(graph) for dim in part.dims for axis in dim}
    shown |= {part.repeat for part in components(graph) if part.repeat}
    shown |= {name for name, axis in graph.axes.items() if axis.symbol in formulas.symbols(short)}
    data["symbols"], symbols = legend(graph, sizes, used=shown)
    data |= {"by": by, "components": rows}
    facts = Facts(
        f"{model.title}: {units.format_count(counts.total)} parameters",
        (
            ("total", counts.total, "count"),
            ("active per token", counts.active, "count"),
            ("embedding", counts.embedding, "count"),
            ("non-embedding", counts.non_embedding, "count"),
            *_left_out(model),
            ("formula of the total", data["formula"], "formula"),
            *((("where", ", ".join(identities), "text"),) if identities else ()),
        ),
    )
    columns = (PATH, *COUNTS) if by == "layer" else (PATH, SYMBOLS, SHAPE, *COUNTS)
    total = {"path": "total", "total": counts.total, "share": 1.0 if counts.total else 0.0}
    table = Table(f"by {by}", columns, tuple(rows), total)
    sections = (facts, symbols, table)
    return Report("params", model.describe(), workload.to_dict(), data, sections, table)


def _left_out(model: Transformer) -> list[tuple[str, object, Any]]:
    """Layers that are known of and not counted."""
    of = model.further
    if of is None or of.counted:
        return []
    layers = "a layer that predicts" if of.layers == 1 else f"{of.layers} layers that predict"
    return [("not counted (--mtp)", f"{of.params:,} in {layers} further tokens", "text")]


# path, shape, symbols, how often, entries of one, formula of one, more for JSON
Row = tuple[str, tuple[Any, ...], list[str], Any, Any, "Size", dict[str, Any]]


def _by_component(graph: Graph, sizes: Sizes) -> list[Row]:
    """A row for each parameter of the graph."""
    letters = graph.symbols()
    return [
        (
            part.path,
            shape(part.dims, sizes),
            symbols_of(part.dims, graph),
            sizes[part.repeat] if part.repeat else 1,
            part.entries(sizes),
            part.entries(letters),
            {},
        )
        for part in components(graph)
    ]


def _by_tensor(graph: Graph, sizes: Sizes) -> list[Row]:
    """A row for each stored tensor: fused ones as one, and those that are stacked in the graph but stored apart."""
    letters = graph.symbols()
    return [
        (
            tensor.name,
            tensor.shape(sizes),
            [formulas.text(size) for size in tensor.shape(letters)],
            tensor.repeat(sizes),
            _times(tensor.shape(sizes)),
            _times(tensor.shape(letters)),
            {"parts": [part.path for part in tensor.parts]},
        )
        for tensor in tensors(graph)
    ]


def _by_layer(graph: Graph, sizes: Sizes) -> list[Row]:
    """A row for each block: the embedding, each kind of layer, what follows."""
    letters = graph.symbols()
    rules = formulas.identities(graph, sizes)
    rows: list[Row] = []
    for block in graph.blocks:
        parts = [part for part in components(graph) if part.block is block]
        if parts:
            entries: Any = sum(part.entries(sizes) for part in parts)
            formula: Size = 0
            for part in parts:
                formula = formula + part.entries(letters)
            name = f"{block.title} {block.where}".strip()
            repeat = sizes[block.copies] if block.copies else 1
            rows.append((name, (), [], repeat, entries, formulas.textbook(formula, rules)[0], {}))
    return rows


ROWS = {"component": _by_component, "layer": _by_layer, "tensor": _by_tensor}


def _times(sizes: tuple[Any, ...]) -> Any:
    total: Any = 1
    for size in sizes:
        total = total * size
    return total
