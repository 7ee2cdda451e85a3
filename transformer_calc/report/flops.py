"""The report of `tcalc flops`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformer_calc.errors import check_choice
from transformer_calc.expr import STYLES, formula
from transformer_calc.report import Column, Facts, Report, Table, Text
from transformer_calc.report.common import legend

if TYPE_CHECKING:
    from transformer_calc.readings.count.work import Flops

WORKS = ("forward", "backward", "train", "hardware")
HEADLINE = (
    Column("what", "", "text"),
    Column("matmul", "matmul", "flops"),
    Column("scan", "scan", "flops", 1),
    Column("other", "other", "flops", 1),
    Column("total", "total", "flops", 2),
    Column("per_token", "matmul per token", "flops", 1),
    Column("exact", "exact matmul", "count", 3),
)
COLUMNS = (
    Column("path", "matmul", "text"),
    Column("repeat", "×", "count", 1),
    Column("formula", "forward of one", "formula", 2),
    Column("forward", "forward", "flops"),
    Column("backward", "backward", "flops", 3),
    Column("share", "share", "share", 1),
)
THUMBS = (
    Column("what", "per token", "text"),
    Column("flops", "FLOPs", "flops"),
    Column("miss", "misses by", "text"),
)


def build(answer: Flops, *, compare: bool = False, notation: str = "unicode") -> Report:
    """FLOPs of a batch: forward, backward and of a training step, per token, and where they are.

    compare: with the rules of thumb; notation: of formulas
    """
    check_choice("notation", notation, STYLES)
    identities = [" = ".join(formula(side, notation) for side in rule) for rule in answer.identities]
    values, symbols = legend(answer.symbols)
    convention = _convention(answer)
    data: dict[str, Any] = {
        "flops": {name: {**(work := getattr(answer, name))._asdict(), "total": work.total} for name in WORKS},
        **{name: getattr(answer, name) for name in ("per_token", "tokens")},
        "formula": formula(answer.formula, notation),
        "formula_general": formula(answer.formula_general, notation),
        "backward_formula": formula(answer.backward_formula, notation),
        "identities": identities,
        "convention": convention,
        **{name: getattr(answer, name) for name in ("needed", "recompute", "decode", "latent")},
        "symbols": values,
        "components": [
            {
                "path": row.path,
                "op": row.op,
                "repeat": row.repeat,
                **{name: getattr(row, name)._asdict() for name in ("forward", "backward", "recomputed")},
                "formula": formula(row.forward_formula.model, notation),
                "other_formula": formula(row.forward_formula.other, notation),
                "backward_formula": formula(row.backward_formula.model, notation),
                "backward_other_formula": formula(row.backward_formula.other, notation),
            }
            for row in answer.components
        ],
    }
    where = (("where", ", ".join(identities), "text"),) if identities else ()
    table = _matmuls(answer, notation)
    sections: list[Any] = [
        _headline(answer),
        Facts("", (("forward", data["formula"], "formula"), *where)),
        symbols,
        table,
    ]
    if compare:
        data["compare"] = answer.thumbs
        lines = [
            line._asdict() | {"miss": "" if line.miss is None else f"{line.miss:+.1%}"} for line in answer.thumb_lines
        ]
        sections.append(Table("rules of thumb", THUMBS, tuple(lines), caption=answer.thumb_note))
    sections.append(Text(convention))
    return Report("flops", answer.model, answer.workload, data, tuple(sections), table)


def _convention(answer: Flops) -> str:
    text = (
        "A multiply-add is 2 FLOPs. The headline counts matmuls and convolutions; norms, softmax, activations and the "
    )
    text += "like are counted apart (other). "
    scores = "only where the mask lets a query look" if answer.needed else "whole, as eager attention computes them"
    text += f"Score matrices are counted {scores}. Of experts, those that a token goes to, and the router."
    if answer.latent == "absorbed":
        text += " Latent attention is in its absorbed form."
    if answer.recompute != "none":
        text += f" Hardware FLOPs: the backward pass computes {answer.recompute} activations again."
    return text


def _headline(answer: Flops) -> Table:
    """A row each for forward, backward and the training step; of a decoding step, forward alone."""
    labels = {"forward": "forward", "backward": "backward", "train": "training step"}
    if answer.decode:
        labels = {"forward": "forward, with a cache"}
    elif answer.recompute != "none":
        labels |= {"hardware": f"with {answer.recompute} recomputation"}
    lines = []
    for name, label in labels.items():
        work = getattr(answer, name)
        cells = {"per_token": answer.per_token[name], "exact": work.model}
        lines.append({"what": label, **work._asdict(), "total": work.total, **cells})
    columns = tuple(column for column in HEADLINE if column.key != "scan" or answer.forward.scan)
    return Table(answer.title, columns, tuple(lines))


def _matmuls(answer: Flops, notation: str) -> Table:
    """Matmuls one by one, and all else in one row."""
    cells = [
        {
            "path": row.path,
            "repeat": row.repeat,
            "formula": formula(row.forward_formula.model, notation),
            "forward": row.all_forward,
            "backward": row.all_backward,
            "share": row.all_forward / answer.forward.model,
        }
        for row in answer.components
        if row.forward.model
    ]
    total = {"path": "total", "forward": answer.forward.model, "backward": answer.backward.model, "share": 1.0}
    columns = tuple(column for column in COLUMNS if not (answer.decode and column.key == "backward"))
    caption = f"other: {', '.join(answer.others)}, biases" if answer.others else ""
    return Table("matmuls, forward", columns, tuple(cells), total, caption=caption)
