"""The report of `tcalc memory`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from transformer_calc.expr import formula as formula_text
from transformer_calc.plan import Mesh, Training
from transformer_calc.report import Column, Facts, Report, Table
from transformer_calc.report.common import device_data, legend, of_checkpoint, rests_on

if TYPE_CHECKING:
    from transformer_calc.readings.memory.held import Formulas, Memory
    from transformer_calc.readings.memory.parts import StageMemory

COLUMNS = (Column("part", "per device", "text"), Column("bytes", "", "bytes"), Column("share", "share", "share"))
STAGES = (
    Column("stage", "stage", "text"),
    Column("layers", "layers", "count", 4),
    Column("weights", "weights", "bytes", 1),
    Column("gradients", "gradients", "bytes", 3),
    Column("optimizer", "optimizer", "bytes", 2),
    Column("kv_cache", "KV cache", "bytes", 1),
    Column("activations", "activations", "bytes", 2),
    Column("other", "other", "bytes", 3),
    Column("total", "total", "bytes"),
)


def build(answer: Memory, *, check: bool = False) -> Report:
    """Memory of serving or of training, of each device, and whether a device holds it.

    check:  the answer is no if it does not fit
    """
    plan, fullest, device = answer.plan, answer.stages[answer.number], answer.device
    trains = isinstance(plan, Training)
    assumptions, basis = rests_on(answer.assumptions)
    data: dict[str, Any] = {
        "memory": {
            "per_device": answer.per_device.to_dict(),
            "peak_at": answer.peak_at,
            "logits_and_loss": fullest.logits_and_loss,
            "saved": fullest.saved if trains else None,
            "other_parts": fullest.other_parts,
            "all_devices": answer.all_devices,
        },
        "stages": [
            {"stage": of.stage, "layers": of.layers, **of.bytes.to_dict(), "other_parts": of.other_parts}
            for of in answer.stages
        ],
        "kv_cache": answer.kv_cache._asdict(),
        "mode": answer.mode,
        "devices": answer.devices,
        "fits": answer.fits,
        "device": device and device_data(device),
        "lora": _lora(answer),
        "freeze": _freeze(answer),
        "assumptions": assumptions,
    }
    verb = "trained" if trains else "served"
    of = f" of {device.title or device.name}" if device else ""
    title = f"{answer.title}: {verb} on {answer.devices:,} {devices_of(plan.mesh)}{of}"
    table = _table(title, fullest, answer.room, answer.free)
    lines: list[Any] = list(of_checkpoint(answer.assumptions))
    if answer.learning:
        lines.append(("parameters that learn", answer.learning.trainable_params, "count"))
    lines += _facts(answer)
    if device:
        lines.append(("device memory", device.memory_said, "text"))
    if answer.devices > 1:
        lines.append(("of all devices together", answer.all_devices, "bytes"))
    sections: list[Any] = [table, Facts("", tuple(lines))]
    if plan.mesh.pp > 1:
        rows = tuple({**row, "stage": str(row["stage"])} for row in data["stages"])
        columns = tuple(column for column in STAGES if any(row[column.key] for row in rows))
        sections.append(Table("stages", columns, rows))
    if answer.formulas:
        found, shown = _formulas(answer, answer.formulas)
        data |= found
        sections += shown
    ok = not (check and answer.fits is False)
    return Report("memory", answer.model, answer.workload, data, (*sections, basis), table, ok=ok)


def _formulas(answer: Memory, found: Formulas) -> tuple[dict[str, Any], list[Any]]:
    """Each part of each stage in symbols; shown is the fullest stage."""
    shown, where = found.stages[answer.number], [" = ".join(map(formula_text, rule)) for rule in found.identities]
    values, table = legend(found.symbols)
    lines: list[Any] = [(name.replace("_", " "), text, "formula") for name, text in shown.items()]
    if where:
        lines.append(("where", ", ".join(where), "text"))
    if found.omitted:
        names = ", ".join(name.replace("_", " ") for name in found.omitted)
        lines.append(("without one", f"{names}: rounded up", "text"))
    of_stage = f" of stage {answer.number}" if answer.plan.mesh.pp > 1 else ""
    return (
        {
            "formulas": shown,
            "stage_formulas": [{"stage": number, **of} for number, of in enumerate(found.stages)],
            "identities": where,
            "symbols": values,
        },
        [Facts(f"formulas{of_stage}, in bytes", tuple(lines)), table],
    )


def _lora(answer: Memory) -> dict[str, Any] | None:
    """The adapters of a plan that has them."""
    one = answer.plan.adapters if isinstance(answer.plan, Training) else None
    if one is None or answer.learning is None:
        return None
    found = {"rank": one.rank, "targets": list(one.targets), "trainable_params": answer.learning.trainable_params}
    return found | ({"dropout": one.dropout} if one.dropout else {})


def _freeze(answer: Memory) -> dict[str, Any] | None:
    """How much is frozen, where something is."""
    plan = answer.plan
    if not isinstance(plan, Training) or not plan.freeze or answer.learning is None:
        return None
    return {"parts": list(plan.freeze), **answer.learning._asdict()}


def _table(title: str, fullest: StageMemory, room: int | None, free: int | None) -> Table:
    """A row for each kind, and for each thing of the last one, as a share of the device, or of the total."""
    of = room or fullest.bytes.total or 1
    held = fullest.parts
    rows = [{"part": name.replace("_", " "), "bytes": size, "share": size / of} for name, size in held.items() if size]
    total = {"part": "total", "bytes": fullest.bytes.total, "share": fullest.bytes.total / of}
    if free is not None:
        rows.append({"part": "free", "bytes": free, "share": free / of})
    return Table(title, COLUMNS, tuple(rows), total)


def _facts(answer: Memory) -> list[Any]:
    lines: list[Any] = [("peak at", answer.peak_at, "text")]
    kv = answer.kv_cache
    if kv.context:
        lines += [
            ("cache of the batch", kv.bytes, "bytes"),
            ("cache per token and sequence", kv.bytes_per_token, "bytes"),
        ]
        lines += [("tokens in the cache", kv.context, "count"), ("sequences", answer.workload["batch"], "count")]
    if answer.room:
        lines += [("fits", "yes" if answer.fits else f"no: {answer.lacking:,} bytes too many", "text")]
    return lines


def devices_of(mesh: Mesh) -> str:
    """The word for its devices, with how many ways each dimension splits."""
    ways: Mapping[str, int] = {name: getattr(mesh, name) for name in ("dp", "tp", "pp", "cp", "ep")}
    listed = ", ".join(f"{name} {n}" for name, n in ways.items() if n > 1)
    return ("device" if mesh.devices == 1 else "devices") + (f" ({listed})" if listed else "")
