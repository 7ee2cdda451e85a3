"""The report of `tcalc shapes`: every operation in order, with what goes in and comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformer_calc.errors import InputError, did_you_mean
from transformer_calc.graph.core import Graph, Sizes
from transformer_calc.readings.shapes import Place, Shaped, Value, expanded, n_layers, places, shaped
from transformer_calc.readings.shapes import layer as layer_places
from transformer_calc.report import Column, Report, Table, Text
from transformer_calc.report.common import legend

if TYPE_CHECKING:
    from transformer_calc.api import Transformer
    from transformer_calc.spec import Workload

LONGEST = 1000  # layers that are written out one by one
COLUMNS = (
    Column("path", "operation", "text"),
    Column("note", "what it does", "text", 4),
    Column("in", "in", "shapes", 3),
    Column("weights", "weights", "shapes", 2),
    Column("out_symbols", "out", "shape", 1),
    Column("out", "sizes", "shape"),
    Column("params", "parameters", "count", 1),
)


def build(model: Transformer, workload: Workload, *, expand: bool = False, layer: str | None = None) -> Report:
    """Every operation, repeated layers once with their count, or with `expand` each; `layer`: only that one."""
    graph = model.graph
    sizes = graph.sizes(workload)
    ops: list[Shaped] = []
    tables = []
    for place in _chosen(graph, sizes, expand=expand, layer=layer):
        found = [shaped(op, place, graph, sizes) for op in place.block.ops]
        ops += found
        rows = tuple(_cells(op, op.path.removeprefix(f"{place.path}.") if place.path else op.path) for op in found)
        total = {
            "path": "parameters of one" if place.repeat > 1 else "parameters",
            "params": sum(op.params for op in found),
        }
        tables.append(Table(place.title, COLUMNS, rows, total if total["params"] else None))
    values, symbols = legend(graph, sizes)
    data = {"symbols": values, "ops": [_plain(op) for op in ops]}
    head = Text(f"{model.title}: {_workload(workload)}")
    main = Table("shapes", COLUMNS, tuple(_cells(op, op.path) for op in ops))
    return Report("shapes", model.describe(), workload.to_dict(), data, (head, symbols, *tables), main)


def _workload(workload: Workload) -> str:
    text = f"batch {workload.batch:,}, {workload.seq:,} tokens"
    if workload.target:
        text += f", {workload.target:,} target tokens"
    return text + (f", {workload.context:,} in the cache" if workload.context else "")


def _chosen(graph: Graph, sizes: Sizes, *, expand: bool, layer: str | None) -> list[Place]:
    """The blocks to show."""
    if layer is None:
        if not expand:
            return places(graph, sizes)
        if n_layers(graph) > LONGEST:
            message = f"--expand would write out {n_layers(graph):,} layers, expected at most {LONGEST:,}"
            raise InputError(message, hint="--layer N shows one")
        return list(expanded(graph))
    if layer.isdigit():
        found = layer_places(graph, int(layer)) if len(layer) < 19 else []
        if not found:
            raise InputError(f"--layer is {layer}; this model's layers are 0 to {n_layers(graph) - 1:,}")
        return found
    repeated = [place for place in places(graph, sizes) if place.block.repeat]
    found = [place for place in repeated if layer in (place.path, place.path.rpartition(".")[2], place.block.stack)]
    if not found:
        kinds = [place.path for place in repeated]
        hint = did_you_mean(layer, kinds)
        raise InputError(f"--layer is {layer!r}; it must be a number or one of {', '.join(kinds)}", hint)
    return found


def _plain(op: Shaped) -> dict[str, Any]:
    """One operation, as JSON has it."""

    def value(v: Value) -> dict[str, Any]:
        return {"name": v.name, "axes": v.axes, "symbols": v.symbols, "shape": v.shape}

    output = value(op.output)
    del output["name"]
    row = op._asdict()
    weights = [value(w) | ({"tied": w.tied} if w.tied else {}) for w in op.weights]
    return row | {"inputs": [value(v) for v in op.inputs], "weights": weights, "output": output}


def _cells(op: Shaped, path: str) -> dict[str, Any]:
    """One operation as a table's row."""
    return {
        "path": path,
        "note": f"{op.note or op.what}{', tied' if any(weight.tied for weight in op.weights) else ''}",
        "in": [value.shape for value in op.inputs],
        "weights": [weight.shape for weight in op.weights],
        "out_symbols": op.output.symbols,
        "out": op.output.shape,
        "params": op.params or None,
    }
