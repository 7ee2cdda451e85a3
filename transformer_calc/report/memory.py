"""The report of `tcalc memory`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from transformer_calc.errors import InputError
from transformer_calc.graph.core import Graph, Sizes
from transformer_calc.graph.model import build as build_graph
from transformer_calc.readings.cache import cached, elements, per_token
from transformer_calc.readings.serving import Held, Plan, check, held
from transformer_calc.readings.sharding import Mesh, stages
from transformer_calc.readings.sharding import check as check_mesh
from transformer_calc.report import Column, Facts, Report, Table, Text
from transformer_calc.storage import storage

if TYPE_CHECKING:
    from transformer_calc.api import Transformer
    from transformer_calc.spec import Device, Workload

PARTS = ("weights", "gradients", "optimizer", "activations", "kv_cache", "other")
COLUMNS = (Column("part", "per device", "text"), Column("bytes", "", "bytes"), Column("share", "share", "share"))
STAGES = (
    Column("stage", "stage", "text"),
    Column("weights", "weights", "bytes", 1),
    Column("kv_cache", "KV cache", "bytes", 1),
    Column("activations", "activations", "bytes", 2),
    Column("total", "total", "bytes"),
)


def plan(ways: Mapping[str, int], **how: Any) -> Plan:
    """How a model is served: the ways of each kind of parallelism, and the other fields of a plan."""
    mesh: dict[str, Any] = dict(ways)
    return Plan(mesh=Mesh(**mesh), **how)


def build(
    model: Transformer,
    workload: Workload,
    plan: Plan,
    *,
    overhead: int = 0,
    device: Device | None = None,
    fit: bool = False,
) -> Report:
    """Memory of serving: each device's weights, cache and activations, and whether a device holds them.

    `overhead`: bytes of the framework, its context and the allocator's loss; `fit`: the answer is no if it does not fit.
    """
    graph = build_graph(model.spec, absorbed=workload.context > 0)  # as latent attention is served
    sizes = graph.sizes(workload)
    check_mesh(plan.mesh, graph, sizes)
    check(plan, sizes)
    context = cached_tokens(model, workload)
    found = [held(stage, graph, sizes, plan, context) for stage in stages(graph, plan.mesh)]
    parts = [_parts(one, overhead) for one in found]
    fullest = max(range(len(parts)), key=lambda i: parts[i]["total"])
    kv = _kv(graph, sizes, plan, context)
    room = device.memory_bytes if device else None
    fits = None if room is None else parts[fullest]["total"] <= room
    assumptions = _assumptions(plan, overhead, device)
    data: dict[str, Any] = {
        "memory": {"per_device": parts[fullest], "peak_at": _peak_at(workload)},
        "stages": [{"stage": i, **part} for i, part in enumerate(parts)],
        "kv_cache": kv,
        "devices": plan.mesh.devices,
        "fits": fits,
        "device": device and {"name": device.name, "memory_bytes": room},
        "assumptions": assumptions,
    }
    whole = parts[fullest]
    rows: list[dict[str, Any]] = [
        {"part": name.replace("_", " "), "bytes": whole[name], "share": whole[name] / (room or whole["total"])}
        for name in PARTS
        if whole[name]
    ]
    total = {"part": "total", "bytes": whole["total"], "share": whole["total"] / (room or whole["total"])}
    if room:
        rows.append(
            {"part": "free", "bytes": max(room - whole["total"], 0), "share": max(room - whole["total"], 0) / room}
        )
    of = f" of {device.title}" if device else ""
    table = Table(f"{model.title}: served on {plan.mesh.devices} {_devices(plan)}{of}", COLUMNS, tuple(rows), total)
    facts = Facts("", _facts(kv, workload, context, fits, room, whole["total"]))
    sections: list[Any] = [table, facts]
    if plan.mesh.pp > 1:
        lines = tuple({"stage": str(i), **part} for i, part in enumerate(parts))
        sections.append(Table("stages", STAGES, lines))
    sections.append(Text("\n".join(f"{name}: {value}" for name, value in assumptions.items())))
    return Report(
        "memory", model.describe(), workload.to_dict(), data, tuple(sections), table, ok=not (fit and fits is False)
    )


def cached_tokens(model: Transformer, workload: Workload) -> int:
    """Tokens of each sequence in the cache: those given, else those that the pass itself puts there."""
    if not cached(model.graph):
        return 0
    return workload.context or (workload.target or workload.seq)


def _parts(one: Held, overhead: int) -> dict[str, int]:
    parts = dict.fromkeys(PARTS, 0) | one._asdict() | {"other": overhead}
    return {name: parts[name] for name in PARTS} | {"total": sum(parts.values())}


def _kv(graph: Graph, sizes: Sizes, plan: Plan, context: int) -> dict[str, Any]:
    """The whole model's cache for the whole batch."""
    kind = storage(plan.kv_dtype)
    count, one = elements(graph, sizes, context), per_token(graph, sizes)
    batch: Any = sizes["batch"]
    return {
        "elements": count,
        "state_elements": 0,
        "bytes": _whole(kind.of(count)),
        "bytes_per_token": _whole(kind.of(one) / batch if one % batch else kind.of(one // batch)),
        "context": context,
    }


def _whole(value: Any) -> int | float:
    return int(value) if value == int(value) else float(value)


def _peak_at(workload: Workload) -> str:
    return "decoding a token" if workload.context else "prefill"


def _devices(plan: Plan) -> str:
    ways = [
        f"{name} {getattr(plan.mesh, name)}" for name in ("dp", "tp", "pp", "cp", "ep") if getattr(plan.mesh, name) > 1
    ]
    return ("device" if plan.mesh.devices == 1 else "devices") + (f" ({', '.join(ways)})" if ways else "")


def _facts(
    kv: dict[str, Any], workload: Workload, context: int, fits: bool | None, room: int | None, total: int
) -> Any:
    lines: list[Any] = []
    if context:
        lines += [
            ("cache of the batch", kv["bytes"], "bytes"),
            ("cache per token and sequence", kv["bytes_per_token"], "bytes"),
        ]
        lines += [("tokens in the cache", context, "count"), ("sequences", workload.batch, "count")]
    if room:
        lines += [("fits", "yes" if fits else f"no: {total - room:,} bytes too many", "text")]
    return tuple(lines)


def _assumptions(plan: Plan, overhead: int, device: Device | None) -> dict[str, Any]:
    said: dict[str, Any] = {
        "weights": storage(plan.weights).name,
        "other tensors": plan.weights if storage(plan.weights).name in ("fp32", "bf16", "fp16") else plan.rest,
        "cache": storage(plan.kv_dtype).name,
        "activations": f"{plan.activations}, what is live at once; {plan.attention} attention; logits of {_positions(plan)}",
        "overhead": f"{overhead:,} bytes of framework and allocator (--overhead)",
    }
    if plan.block_size > 1:
        said["pages"] = f"{plan.block_size} tokens each, the last one reserved whole"
    if device and device.memory_bytes is None:
        raise InputError(f"how much memory {device.name} has is unknown", hint="a TOML file of your own may say it")
    return said


def _positions(plan: Plan) -> str:
    return "every position" if plan.logits == "all" else "the last position"
