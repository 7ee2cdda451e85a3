"""The report of `tcalc params`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformer_calc import units
from transformer_calc.errors import check_choice
from transformer_calc.expr import STYLES, formula
from transformer_calc.report import Column, Facts, Report, Table
from transformer_calc.report.common import legend

if TYPE_CHECKING:
    from transformer_calc.readings.count.parameters import Params

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


def build(answer: Params, *, notation: str = "unicode") -> Report:
    """Totals, their formula in the notation, and the rows."""
    check_choice("notation", notation, STYLES)
    rows: list[dict[str, Any]] = []
    for part in answer.components:
        row = part._asdict() | {"formula": formula(part.formula, notation), "total": part.total}
        parts = row.pop("parts")
        row["share"] = part.total / answer.total if answer.total else 0.0
        rows.append(row | ({"parts": parts} if parts else {}))
    counts = {name: getattr(answer, name) for name in ("total", "active", "embedding", "non_embedding")}
    identities = [" = ".join(formula(side, notation) for side in rule) for rule in answer.identities]
    values, symbols = legend(answer.symbols)
    data = {
        "params": counts,
        "formula": formula(answer.formula, notation),
        "formula_general": formula(answer.formula_general, notation),
        "identities": identities,
        "symbols": values,
        "by": answer.by,
        "components": rows,
    }
    facts = Facts(
        f"{answer.title}: {units.format_count(answer.total)} parameters",
        (
            ("total", answer.total, "count"),
            ("active per token", answer.active, "count"),
            ("embedding", answer.embedding, "count"),
            ("non-embedding", answer.non_embedding, "count"),
            *_left_out(answer),
            ("formula of the total", data["formula"], "formula"),
            *((("where", ", ".join(identities), "text"),) if identities else ()),
        ),
    )
    columns = (PATH, *COUNTS) if answer.by == "layer" else (PATH, SYMBOLS, SHAPE, *COUNTS)
    total = {"path": "total", "total": answer.total, "share": 1.0 if answer.total else 0.0}
    table = Table(f"by {answer.by}", columns, tuple(rows), total)
    return Report("params", answer.model, answer.workload, data, (facts, symbols, table), table)


def _left_out(answer: Params) -> list[tuple[str, object, Any]]:
    """Layers that are known of and not counted."""
    of = answer.model["mtp"]
    if of is None or of["counted"]:
        return []
    layers = "a layer that predicts" if of["layers"] == 1 else f"{of['layers']} layers that predict"
    return [("not counted (--mtp)", f"{of['params']:,} in {layers} further tokens", "text")]
