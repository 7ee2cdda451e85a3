"""The report of `tcalc memory`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from transformer_calc.errors import InputError
from transformer_calc.graph.core import Graph, Sizes
from transformer_calc.graph.model import build as build_graph
from transformer_calc.readings import lora
from transformer_calc.readings.cache import cached, elements, per_token
from transformer_calc.readings.serving import PLAIN, Plan, check, held
from transformer_calc.readings.sharding import Mesh, Stage, stages
from transformer_calc.readings.sharding import check as check_mesh
from transformer_calc.readings.training import Training, kept, micro_batch
from transformer_calc.readings.training import check as check_training
from transformer_calc.report import Column, Facts, Report, Table, Text
from transformer_calc.report.common import legend
from transformer_calc.storage import optimizer, precision, storage

if TYPE_CHECKING:
    from transformer_calc.api import Transformer
    from transformer_calc.spec import Device, Workload

PARTS = ("weights", "gradients", "optimizer", "activations", "kv_cache", "other")
COLUMNS = (Column("part", "per device", "text"), Column("bytes", "", "bytes"), Column("share", "share", "share"))
STAGES = (
    Column("stage", "stage", "text"),
    Column("weights", "weights", "bytes", 1),
    Column("gradients", "gradients", "bytes", 3),
    Column("optimizer", "optimizer", "bytes", 2),
    Column("kv_cache", "KV cache", "bytes", 1),
    Column("activations", "activations", "bytes", 2),
    Column("total", "total", "bytes"),
)


def plan(ways: Mapping[str, Any], **how: Any) -> Plan:
    """How a model is served: the ways of each kind of parallelism, and the other fields of a plan."""
    return Plan(mesh=Mesh(**ways), **how)


def training(
    ways: Mapping[str, Any], *, lora_rank: int | None = None, lora_targets: str | None = None, **how: Any
) -> Training:
    """How a model is trained, likewise; with a rank, by adapters of the targets, which commas separate."""
    adapters = None
    if lora_rank is not None:
        names = tuple(name.strip() for name in (lora_targets or "q,v").split(","))
        adapters = lora.Lora(lora_rank, tuple(dict.fromkeys(names)))
    elif lora_targets is not None:
        raise InputError("--lora-targets is given, but not --lora-rank")
    return Training(mesh=Mesh(**ways), lora=adapters, **how)


class Counted(NamedTuple):
    """What one device of each stage holds."""

    graph: Graph
    sizes: Sizes
    context: int  # tokens of each sequence in the cache
    stages: list[tuple[dict[str, int], str]]  # bytes of each kind, and when training needs them

    @property
    def fullest(self) -> tuple[dict[str, int], str]:
        """The stage that needs the largest device."""
        return max(self.stages, key=lambda stage: stage[0]["total"])


def count(model: Transformer, workload: Workload, plan: Plan | Training, overhead: int = 0) -> Counted:
    """Bytes of each kind on one device of each stage; `overhead` is added to each."""
    graph = build_graph(model.spec, absorbed=workload.context > 0)  # as latent attention is served
    sizes = graph.sizes(workload)
    check_mesh(plan.mesh, graph, sizes)
    context = 0 if isinstance(plan, Training) else cached_tokens(model, workload)
    filled = [_parts(model, graph, sizes, stage, plan, context, overhead) for stage in _stages(graph, sizes, plan)]
    return Counted(graph, sizes, context, filled)


def build(
    model: Transformer,
    workload: Workload,
    plan: Plan | Training,
    *,
    overhead: int = 0,
    device: Device | None = None,
    fit: bool = False,
    formula: bool = False,
) -> Report:
    """Memory of serving or of training, of each device, and whether a device holds it.

    overhead:  bytes of the framework, its context and the allocator's loss
    fit:  the answer is no if it does not fit
    formula:  each part as a formula, too
    """
    if formula and plan.mesh.devices > 1:
        raise InputError("--formula is of a model on one device", "leave out --dp, --tp, --pp and --cp")
    train = isinstance(plan, Training)
    graph, sizes, context, filled = counted = count(model, workload, plan, overhead)
    parts = [part for part, _ in filled]
    fullest, peak_at = counted.fullest
    kv_dtype = "bf16" if isinstance(plan, Training) else plan.kv_dtype
    kv = _kv(graph, sizes, kv_dtype, context)
    room = memory_of(device) if device else None
    fits = None if room is None else fullest["total"] <= room
    assumptions = _training(plan, sizes) if isinstance(plan, Training) else _serving(plan)
    assumptions["overhead"] = f"{overhead:,} bytes of framework and allocator (--overhead)"
    data: dict[str, Any] = {
        "memory": {"per_device": fullest, "peak_at": peak_at if train else _peak_at(workload)},
        "stages": [{"stage": number, **part} for number, part in enumerate(parts)],
        "kv_cache": kv,
        "mode": "train" if train else "infer",
        "devices": plan.mesh.devices,
        "fits": fits,
        "device": device and {"name": device.name, "memory_bytes": room},
        "lora": _lora(graph, sizes, plan),
        "assumptions": assumptions,
    }
    verb = "trained" if train else "served"
    of = f" of {device.title or device.name}" if device else ""
    title = f"{model.title}: {verb} on {plan.mesh.devices:,} {devices_of(plan.mesh)}{of}"
    table = _table(title, fullest, room)
    lines = _facts(kv, workload, context, fits, room, fullest["total"], data["memory"]["peak_at"])
    if data["lora"]:
        lines = (("parameters that learn", data["lora"]["trainable_params"], "count"), *lines)
    facts = Facts("", lines)
    sections: list[Any] = [table, facts]
    if plan.mesh.pp > 1:
        sections.append(Table("stages", STAGES, tuple({"stage": str(n), **part} for n, part in enumerate(parts))))
    if formula:
        found, shown = _formulas(model, graph, sizes, plan, fullest)
        data |= found
        sections += shown
    sections.append(Text("\n".join(f"{name}: {value}" for name, value in assumptions.items())))
    ok = not (fit and fits is False)
    return Report("memory", model.describe(), workload.to_dict(), data, tuple(sections), table, ok=ok)


def _stages(graph: Graph, sizes: Sizes, plan: Plan | Training) -> list[Stage]:
    """The stages of a plan that can be."""
    if isinstance(plan, Training):
        check_training(plan, sizes)
        if plan.lora:
            lora.check(graph, plan.lora)
    else:
        check(plan, sizes)
    return list(stages(graph, plan.mesh, plan.virtual if isinstance(plan, Training) else 1))


def _parts(
    model: Transformer,
    graph: Graph,
    sizes: Sizes,
    stage: Stage,
    plan: Plan | Training,
    context: int,
    overhead: int,
) -> tuple[dict[str, int], str]:
    """Bytes of each kind on one device of a stage, and when training needs them."""
    peak = ""
    if isinstance(plan, Training):
        of = kept(stage, graph, sizes, plan, model.spec.family)._asdict()
        peak = of["peak_at"]
    else:
        of = held(stage, graph, sizes, plan, context)._asdict()
    of["other"] = overhead
    parts: dict[str, int] = {name: of.get(name, 0) for name in PARTS}
    return parts | {"total": sum(parts.values())}, peak


def _formulas(
    model: Transformer, graph: Graph, sizes: Sizes, plan: Plan | Training, counted: Mapping[str, int]
) -> tuple[dict[str, Any], list[Any]]:
    """Each part in symbols, where that is the exact count."""
    from transformer_calc.readings import footprint
    from transformer_calc.readings.formulas import symbols, text

    letters = footprint.letters_of(graph, sizes)
    if isinstance(plan, Training):
        sought = footprint.of_training(graph, sizes, letters, plan, model.spec.family)
        sizes = {**lora.bound(sizes, plan.lora), "batch": micro_batch(plan, sizes)}  # B: sequences of one pass
    else:
        sought = footprint.of_serving(graph, sizes, letters, plan)
    short, used = footprint.formulas(graph, sizes, letters, sought)
    exact = {
        name: size
        for name, size in short.items()
        if counted.get(name, 0) == footprint.value(size, graph, sizes) or name.startswith(footprint.PER_LAYER)
    }
    exact = {name: size for name, size in exact.items() if name not in counted or counted[name]}
    texts = {name: footprint.factored(size) for name, size in exact.items()}
    where = [f"{text(rule.left)} = {text(rule.right)}" for rule in used]
    names = {letter for size in exact.values() for letter in symbols(size)}
    values, table = legend(graph, sizes, used=[name for name, axis in graph.axes.items() if axis.symbol in names])
    if "r" in names and isinstance(plan, Training) and plan.lora:
        values["r"] = plan.lora.rank
    lines: list[Any] = [(name.replace("_", " "), said, "formula") for name, said in texts.items()]
    if where:
        lines.append(("where", ", ".join(where), "text"))
    omitted = [name.replace("_", " ") for name in short if name not in exact and counted.get(name)]
    if omitted:
        lines.append(("without one", f"{', '.join(omitted)}: bytes are rounded up", "text"))
    return (
        {"formulas": texts, "identities": where, "symbols": values},
        [Facts("formulas, in bytes", tuple(lines)), table],
    )


def _lora(graph: Graph, sizes: Sizes, plan: Plan | Training) -> dict[str, Any] | None:
    """The adapters of a plan that has them."""
    if not isinstance(plan, Training) or plan.lora is None:
        return None
    rank, targets = plan.lora
    return {"rank": rank, "targets": list(targets), "trainable_params": lora.trainable(graph, sizes, plan.lora)}


def memory_of(device: Device) -> int:
    """Bytes of memory of a device of which that is known."""
    if device.memory_bytes is None:
        raise InputError(f"how much memory {device.name} has is unknown", hint="a TOML file of your own may say it")
    return device.memory_bytes


def _table(title: str, whole: dict[str, int], room: int | None) -> Table:
    """A row for each kind, as a share of the device, or of the total."""
    of = room or whole["total"] or 1
    rows = [
        {"part": name.replace("_", " "), "bytes": whole[name], "share": whole[name] / of}
        for name in PARTS
        if whole[name]
    ]
    total = {"part": "total", "bytes": whole["total"], "share": whole["total"] / of}
    if room:
        free = max(room - whole["total"], 0)
        rows.append({"part": "free", "bytes": free, "share": free / room})
    return Table(title, COLUMNS, tuple(rows), total)


def cached_tokens(model: Transformer, workload: Workload) -> int:
    """Tokens of each sequence in the cache: those given, else those that the pass itself puts there."""
    if not cached(model.graph):
        return 0
    return workload.context or (workload.target or workload.seq)


def _kv(graph: Graph, sizes: Sizes, kv_dtype: str, context: int) -> dict[str, Any]:
    """The whole model's cache for the whole batch."""
    kind = storage(kv_dtype)
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


def devices_of(mesh: Mesh) -> str:
    """The word for its devices, with how many ways each dimension splits."""
    ways = [f"{name} {getattr(mesh, name)}" for name in ("dp", "tp", "pp", "cp", "ep") if getattr(mesh, name) > 1]
    return ("device" if mesh.devices == 1 else "devices") + (f" ({', '.join(ways)})" if ways else "")


def _facts(
    kv: dict[str, Any], workload: Workload, context: int, fits: bool | None, room: int | None, total: int, peak: str
) -> Any:
    lines: list[Any] = [("peak at", peak, "text")]
    if context:
        each = kv["bytes_per_token"]
        lines += [("cache of the batch", kv["bytes"], "bytes"), ("cache per token and sequence", each, "bytes")]
        lines += [("tokens in the cache", context, "count"), ("sequences", workload.batch, "count")]
    if room:
        lines += [("fits", "yes" if fits else f"no: {total - room:,} bytes too many", "text")]
    return tuple(lines)


def _serving(plan: Plan) -> dict[str, Any]:
    chosen, rest = storage(plan.weights).name, storage(plan.rest).name
    positions = "every position" if plan.logits == "all" else "the last position"
    said: dict[str, Any] = {"weights": chosen}
    if chosen not in PLAIN:
        said["tables, norms, biases, heads"] = rest
    said["cache"] = storage(plan.kv_dtype).name
    if plan.block_size > 1:
        said["pages"] = f"{plan.block_size} tokens each, the last one reserved whole"
    live = f"{plan.activations}, what is live at once in a pass"
    said["activations"] = f"{live}; {plan.attention} attention; logits of {positions}"
    return said


def _training(plan: Training, sizes: Sizes) -> dict[str, Any]:
    recipe = precision(plan.precision)
    weight, gradient, master = recipe.bytes_per_parameter
    of_each = f"{weight} bytes a weight, {gradient} a gradient" + (f", {master} a master copy" if master else "")
    every = f", every {plan.every} layers" if plan.recompute == "full" and plan.every > 1 else ""
    run = f"{plan.kernels} kernels"
    run += " (operator by operator, as transformers 5.23)" if plan.kernels == "eager" else ""
    groups = f", {plan.virtual} groups of layers a stage" if plan.virtual > 1 else ""
    adapters = {}
    if plan.lora:
        rank, names = plan.lora
        adapters["adapters"] = (
            f"LoRA of rank {rank} on {', '.join(names)}, without dropout; each matrix its own A and B"
        )
        adapters["frozen weights"] = _frozen(plan)
    return adapters | {
        "precision": f"{recipe.name}: {of_each} ({recipe.source})",
        "optimizer": f"{optimizer(plan.optimizer).name} ({optimizer(plan.optimizer).source})",
        "ZeRO stage": plan.zero,
        "micro-batch": f"{micro_batch(plan, sizes):,} sequences, schedule {plan.schedule}{groups}",
        "activations": f"{plan.attention} attention, {run}, recomputation {plan.recompute}{every}",
        "communication buffers": "not counted",
    }


def _frozen(plan: Training) -> str:
    chosen = storage(plan.weights)
    if chosen.name in PLAIN:
        return chosen.name
    kept = f"{chosen.name} ({chosen.source}); tables, norms, biases, heads {Plan().rest}"
    return f"{kept}; copies that are computed with are not counted"
