"""The report of `tcalc shapes`: every operation in order, with what goes in and comes out."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from transformer_calc.ops import kinds
from transformer_calc.ops.kind import MASKS
from transformer_calc.report import Column, Report, Table, Text
from transformer_calc.report.common import legend

if TYPE_CHECKING:
    from transformer_calc.readings.count.shapes import Shaped, Shapes, Value

COLUMNS = (
    Column("path", "operation", "text"),
    Column("note", "what it does", "text", 1),
    Column("in", "in", "shapes", 5),
    Column("weights", "weights", "shapes", 3),
    Column("out_symbols", "out", "shape", 2),
    Column("out", "sizes", "shape"),
    Column("params", "parameters", "count", 4),
)


def build(answer: Shapes) -> Report:
    """A table for each block."""
    ops: list[dict[str, Any]] = []
    every: list[dict[str, Any]] = []  # rows of all tables
    tables = []
    rest = iter(answer.ops)
    known: dict[int, tuple[list[dict[str, Any]], tuple[dict[str, Any], ...]]] = {}  # equal layers share their rows
    for part in answer.parts:
        if id(part.ops) not in known:
            known[id(part.ops)] = [_plain(op) for op in part.ops], tuple(_cells(op) for op in part.ops)
        plain, rows = known[id(part.ops)]
        paths = [op.path for op in islice(rest, len(plain))]
        ops += [{**op, "path": path} for op, path in zip(plain, paths, strict=True)]
        every += [{**row, "path": path} for row, path in zip(rows, paths, strict=True)]
        total = {"path": f"parameters {part.whose}".rstrip(), "params": part.params}
        tables.append(Table(part.title, COLUMNS, rows, total if part.params else None))
    values, symbols = legend(answer.symbols)
    head = Text(f"{answer.title}: {_on(**answer.workload)}; {answer.params:,} parameters")
    main = Table("shapes", COLUMNS, tuple(every))
    data = {"symbols": values, "ops": ops}
    return Report("shapes", answer.model, answer.workload, data, (head, symbols, *tables), main)


def _on(batch: int, seq: int, context: int, target_seq: int = 0) -> str:
    text = f"batch {batch:,}, {seq:,} token{'s' if seq > 1 else ''}"
    if target_seq:
        text += f", {target_seq:,} target token{'s' if target_seq > 1 else ''}"
    return text + (f", {context:,} in the cache" if context else "")


def _plain(op: Shaped) -> dict[str, Any]:
    """One operation, as JSON has it."""

    def value(v: Value) -> dict[str, Any]:
        return {"name": v.name, "axes": v.axes, "symbols": v.symbols, "shape": v.shape}

    output = value(op.output)
    del output["name"]
    weights = [value(w) | ({"tied": w.tied} if w.tied else {}) for w in op.weights]
    return op._asdict() | {"inputs": [value(v) for v in op.inputs], "weights": weights, "output": output}


def _cells(op: Shaped) -> dict[str, Any]:
    """One operation as a table's row."""
    note = f"{op.note}{', tied' if any(weight.tied for weight in op.weights) else ''}"
    if MASKS in kinds()[op.op].traits:  # what it is added to has the output's shape; its own is the lesson
        note = f"mask {op.inputs[-1].shape}: {note.partition(', ')[2]}"
    elif op.inputs and op.inputs[0].name.endswith(".output"):  # of another stack: cross-attention
        note = f"{note}, X = {op.inputs[0].name}"
    return {
        "path": op.path,
        "note": note,
        "in": [value.shape for value in op.inputs],
        "weights": [weight.shape for weight in op.weights],
        "out_symbols": op.output.symbols,
        "out": op.output.shape,
        "params": op.params or None,
    }
