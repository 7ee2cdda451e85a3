"""The report of `tcalc verify`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from transformer_calc.report import Column, Report, Table, Text

if TYPE_CHECKING:
    from transformer_calc.readings.run.verify import Verification

SHOWN = 40  # differences that are listed for people; JSON has all
COLUMNS = (
    Column("path", "block", "text"),
    Column("checks", "checks", "count"),
    Column("params", "parameters of one", "count", 1),
    Column("flops", "FLOPs of all", "count", 1),
    Column("ok", "", "text"),
)
FAILED = (
    Column("what", "what", "text"),
    Column("predicted", "predicted", "text"),
    Column("measured", "measured", "text"),
)


def build(answer: Verification) -> Report:
    """What was checked, and what differs."""
    data: dict[str, Any] = {"ok": answer.ok}
    if answer.weights is None:
        for name in ("size", "seed", "bytes_needed"):
            data[name] = getattr(answer, name)
        data |= {"run_on": answer.workload, "expert_loads": answer.expert_loads}
        what = "as it is" if answer.size == "full" else "a tiny model of the same structure"
        verdict = f"{len(answer.failed):,} differ" if answer.failed else "all that was predicted was measured"
        lines = [
            f"{answer.title}: {what}, run in NumPy on {answer.run_on} (seed {answer.seed})",
            f"{len(answer.checks):,} checks of shapes, parameters, FLOPs and bytes: {verdict}",
        ]
        main = Table("", COLUMNS, tuple(row._asdict() | {"ok": _ok(row.failed)} for row in answer.blocks))
    else:
        data |= {"tensors": answer.tensors, "files": list(answer.files)}
        if answer.reference:
            data |= {name: _finite(getattr(answer, name)) for name in ("max_abs_diff", "max_rel_diff", "rtol", "atol")}
        lines = _of_weights(answer)
        main = _differences(answer)
    data["checks"] = [check._asdict() | {"ok": check.ok} for check in answer.checks]
    sections: list[Any] = [Text("\n".join(lines))]
    sections += [_differences(answer)] if answer.failed else []
    sections += [main] if answer.weights is None else []
    return Report("verify", answer.model, answer.workload, data, tuple(sections), main, ok=answer.ok)


def _ok(failed: int) -> str:
    return f"{failed} differ" if failed else "ok"


def _finite(number: float | None) -> float | None:
    """The number, or None where JSON has none: the run gave what is not a number, or there was no run."""
    return number if number is not None and math.isfinite(number) else None


def _of_weights(answer: Verification) -> list[str]:
    verdict = "every tensor is there, with the shape that the graph predicts, and no other"
    if answer.misfits and any(answer.misfits):
        verdict = "{:,} missing, {:,} unexpected, {:,} of another shape".format(*answer.misfits)
    lines = [f"{answer.title}: {answer.tensors:,} tensors in {answer.weights}", verdict]
    lines += [f"{path} differs from the token table, and is not tied to it" for path in answer.untied]
    if answer.compared:
        agree = "agree" if answer.ok else "DIFFER"
        lines.append(
            f"{answer.compared} of {answer.reference} {agree}: largest difference {answer.max_abs_diff:.3g}, "
            f"relative {answer.max_rel_diff:.3g} (rtol {answer.rtol:g}, atol {answer.atol:g})"
        )
    return lines


def _differences(answer: Verification) -> Table:
    rows = tuple({name: str(value) for name, value in check._asdict().items()} for check in answer.failed[:SHOWN])
    more = len(answer.failed[SHOWN:])
    return Table("differences", FAILED, rows, caption=f"and {more:,} more" if more else "")
