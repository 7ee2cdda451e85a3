"""The report of `tcalc shapes`: every operation in order, with what goes in and comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from transformer_calc.errors import InputError, did_you_mean, shown
from transformer_calc.graph.core import Graph, Sizes
from transformer_calc.readings.count.params import params
from transformer_calc.readings.count.shapes import Place, Shaped, Value, expanded, n_layers, places, shaped
from transformer_calc.readings.count.shapes import layer as layer_places
from transformer_calc.report import Column, Report, Table, Text
from transformer_calc.report.common import legend

if TYPE_CHECKING:
    from transformer_calc.api import Transformer
    from transformer_calc.spec import Workload

LONGEST = 1000  # layers that are written out one by one
COLUMNS = (
    Column("path", "operation", "text"),
    Column("note", "what it does", "text", 1),
    Column("in", "in", "shapes", 5),
    Column("weights", "weights", "shapes", 3),
    Column("out_symbols", "out", "shape", 2),
    Column("out", "sizes", "shape"),
    Column("params", "parameters", "count", 4),
)


def build(model: Transformer, workload: Workload, *, expand: bool = False, layer: str | None = None) -> Report:
    """Every operation, repeated layers once with their count, or with `expand` each; `layer`: only that one."""
    graph = model.graph
    sizes = graph.sizes(workload)
    ops: list[dict[str, Any]] = []
    every: list[dict[str, Any]] = []  # rows of all tables
    tables = []
    known: dict[tuple[str, str], _Block] = {}  # with --expand a block stands at many places
    for place in _chosen(graph, sizes, expand=expand, layer=layer):
        key = place.block.path, place.block.title
        block = known[key] = known.get(key) or _Block.of(place, graph, sizes)
        paths = [f"{place.path}.{op.path}" if place.path else op.path for op in place.block.ops]
        ops += [{**op, "path": path} for op, path in zip(block.ops, paths, strict=True)]
        every += [{**row, "path": path} for row, path in zip(block.rows, paths, strict=True)]
        tables.append(Table(place.title, COLUMNS, block.rows, block.total))
    values, symbols = legend(graph, sizes)
    data = {"symbols": values, "ops": ops}
    head = Text(f"{model.title}: {_workload(workload)}; {params(graph, sizes).total:,} parameters")
    main = Table("shapes", COLUMNS, tuple(every))
    return Report("shapes", model.describe(), workload.to_dict(), data, (head, symbols, *tables), main)


class _Block(NamedTuple):
    """A block's operations as JSON has them, and as rows of a table."""

    ops: list[dict[str, Any]]
    rows: tuple[dict[str, Any], ...]
    total: dict[str, Any] | None

    @classmethod
    def of(cls, place: Place, graph: Graph, sizes: Sizes) -> _Block:
        """The block at one of its places."""
        found = shaped(place, graph, sizes)
        rows = tuple(_cells(op, inner.path) for op, inner in zip(found, place.block.ops, strict=True))
        whose = ("of one" if place.block.copies else "shared by all") if place.repeat > 1 else ""
        total = {"path": f"parameters {whose}".rstrip(), "params": sum(op.params for op in found)}
        return cls([_plain(op) for op in found], rows, total if total["params"] else None)


def _workload(workload: Workload) -> str:
    text = f"batch {workload.batch:,}, {workload.seq:,} token{'s' if workload.seq > 1 else ''}"
    if workload.target:
        text += f", {workload.target:,} target token{'s' if workload.target > 1 else ''}"
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
    if layer.isascii() and layer.isdigit():
        found = layer_places(graph, int(layer)) if len(layer) < 19 else []
        if not found:
            raise InputError(f"--layer is {shown(layer)}; this model's layers are 0 to {n_layers(graph) - 1:,}")
        return found
    repeated = [place for place in places(graph, sizes) if place.block.repeat]
    names = [{place.path, place.path.rpartition(".")[2], place.block.stack} - {""} for place in repeated]
    found = [place for place, known in zip(repeated, names, strict=True) if layer in known]
    if not found:
        kinds = [place.path for place in repeated]
        right = f"a number from 0 to {n_layers(graph) - 1:,}" + (f" or one of {', '.join(kinds)}" if kinds[1:] else "")
        raise InputError(f"--layer is {shown(layer)}; it must be {right}", did_you_mean(layer, kinds))
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
    note = f"{op.note}{', tied' if any(weight.tied for weight in op.weights) else ''}"
    if op.op == "mask":  # what it is added to has the output's shape; its own is the lesson
        note = f"mask {op.inputs[-1].shape}: {note.partition(', ')[2]}"
    elif op.inputs and op.inputs[0].name.endswith(".output"):  # of another stack: cross-attention
        note = f"{note}, X = {op.inputs[0].name}"
    return {
        "path": path,
        "note": note,
        "in": [value.shape for value in op.inputs],
        "weights": [weight.shape for weight in op.weights],
        "out_symbols": op.output.symbols,
        "out": op.output.shape,
        "params": op.params or None,
    }
