"""The report of `tcalc memory`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from transformer_calc.errors import InputError
from transformer_calc.graph.core import Graph, Sizes
from transformer_calc.plan import Adapters, Mesh, Serving, Training
from transformer_calc.readings.count import lora
from transformer_calc.readings.count.cache import cached, elements, per_token
from transformer_calc.readings.count.frozen import freeze as find_frozen
from transformer_calc.readings.count.params import components
from transformer_calc.readings.memory import serving
from transformer_calc.readings.memory.buffers import BUFFERS
from transformer_calc.readings.memory.serving import PLAIN, beside, check, of_stages
from transformer_calc.readings.memory.training import Reading, copied, idle_selective, micro_batch
from transformer_calc.readings.memory.training import check as check_training
from transformer_calc.readings.shard import PADDED, Stage, layers_of, stages
from transformer_calc.readings.shard import check as check_mesh
from transformer_calc.report import Column, Facts, Report, Table
from transformer_calc.report.common import (
    assumed,
    device_data,
    legend,
    memory_said,
    said_of,
    stored_beside,
    too_long,
)
from transformer_calc.storage import optimizer, precision, storage

if TYPE_CHECKING:
    from transformer_calc.api import Transformer
    from transformer_calc.facts import Device
    from transformer_calc.spec import Workload

CROSS_ENTROPY = "log-probabilities, their gradient and the logits', whole (PyTorch, cross_entropy)"
PARTS = ("weights", "gradients", "optimizer", "activations", "kv_cache", "other")
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


def plan(ways: Mapping[str, Any], **how: Any) -> Serving:
    """How a model is served: the ways of each kind of parallelism, and the other fields of a plan."""
    return Serving(mesh=Mesh(**ways), **how)


def training(
    ways: Mapping[str, Any],
    *,
    lora_rank: int | None = None,
    lora_targets: str | None = None,
    lora_dropout: float = 0.0,
    freeze: str = "",
    buffers: Mapping[str, int] | None = None,
    **how: Any,
) -> Training:
    """How a model is trained, likewise; with a rank, by adapters of the targets, which commas separate.

    freeze:  what does not learn: names of parts and numbers of layers, which commas separate
    buffers:  bytes of buffers that are not to follow their convention, by name
    """
    adapters = None
    if lora_rank is not None:
        names = tuple(name.strip() for name in ("q,v" if lora_targets is None else lora_targets).split(","))
        adapters = Adapters(rank=lora_rank, targets=tuple(dict.fromkeys(names)), dropout=lora_dropout)
    elif lora_targets is not None or lora_dropout:
        raise InputError(f"--lora-{'targets' if lora_targets else 'dropout'} is given, but not --lora-rank")
    still = tuple(dict.fromkeys(name.strip() for name in freeze.split(","))) if freeze else ()
    set_sizes = tuple((buffers or {}).items())
    return Training(mesh=Mesh(**ways), adapters=adapters, freeze=still, buffers=set_sizes, **how)


class Counted(NamedTuple):
    """What one device of each stage holds."""

    graph: Graph
    sizes: Sizes
    context: int  # tokens of each sequence in the cache
    stages: list[tuple[dict[str, int], str]]  # bytes of each kind, and when training needs them
    others: list[dict[str, int]]  # what `other` is made of, on each stage
    losses: list[int]  # of the activations, those of logits and loss, on each stage
    saved: list[int]  # what autograd keeps of the forward pass, the loss apart, on each stage
    plan: Serving | Training  # with what is frozen as it was found

    @property
    def fullest(self) -> tuple[dict[str, int], str]:
        """The stage that needs the largest device."""
        return self.stages[self.number]

    @property
    def number(self) -> int:
        """Its number."""
        return max(range(len(self.stages)), key=lambda number: self.stages[number][0]["total"])


def count(model: Transformer, workload: Workload, plan: Serving | Training, overhead: int = 0) -> Counted:
    """Bytes of each kind on one device of each stage; `overhead` is added to each."""
    if isinstance(plan, Training) and plan.freeze:
        _, graph, frozen = find_frozen(model.spec, model.graph, plan.freeze, eager=plan.kernels == "eager")
        plan = plan._replace(frozen=frozen)
    else:
        graph = model.absorbed if workload.context else model.graph
    sizes = graph.sizes(workload)
    check_mesh(plan.mesh, graph, sizes)
    context = 0 if isinstance(plan, Training) else cached_tokens(model, workload)
    every = _parts(graph, sizes, _stages(graph, sizes, plan), plan, overhead)
    parts = [(of, peak) for of, peak, *_ in every]
    others, (losses, saved) = [of for *_, of, _ in every], zip(*(kept for *_, kept in every), strict=True)
    return Counted(graph, sizes, context, parts, others, list(losses), list(saved), plan)


def build(
    model: Transformer,
    workload: Workload,
    plan: Serving | Training,
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
    train = isinstance(plan, Training)
    if train and workload.context:
        raise InputError(f"--context is {workload.context:,}, but --mode is train: it keeps no cache", "--seq N")
    counted = count(model, workload, plan, overhead)
    graph, sizes, context, plan = counted.graph, counted.sizes, counted.context, counted.plan
    parts = [part for part, _ in counted.stages]
    fullest, peak_at = counted.fullest
    others, loss = counted.others[counted.number], counted.losses[counted.number]
    kv_dtype = "bf16" if isinstance(plan, Training) else plan.kv_dtype
    kv = _kv(graph, sizes, kv_dtype, context)
    room = memory_of(device) if device else None
    fits = None if room is None else fullest["total"] <= room
    assumptions = _training(plan, sizes) if isinstance(plan, Training) else _serving(plan)
    assumptions |= _loss(plan) if isinstance(plan, Training) and loss else {}
    assumptions |= _copies(counted, plan) | _uneven(graph, sizes, plan.mesh)
    assumptions |= _buffers(counted.others, plan) if isinstance(plan, Training) else {}
    layers_each = [layers_of(stage) for stage in _stages(graph, sizes, plan)]
    if len(set(layers_each)) > 1:
        few, many = min(layers_each), max(layers_each)
        fewer = max(layers_each[0], layers_each[-1]) < min(layers_each[1:-1], default=0)
        ends = "; the first and the last have fewer" if fewer else ""
        assumptions["stages"] = f"{few} to {many} layers each: they do not divide{ends}"
    assumptions = (stored := stored_beside(model, plan)) | assumptions | too_long(model, workload)
    if why := idle(plan):
        assumptions["selective recomputation"] = why
        model.remark(f"selective recomputation {why}")
    assumptions["overhead"] = f"{overhead:,} bytes of framework and allocator (--overhead)"
    if device and device.memory_note:
        assumptions["device memory"] = device.memory_note
    data: dict[str, Any] = {
        "memory": {
            "per_device": fullest,
            "peak_at": peak_at if train else _peak_at(workload),
            "logits_and_loss": loss,
            "saved": counted.saved[counted.number] if train else None,
            "other": others,
            "all_devices": sum(part["total"] for part in parts) * (plan.mesh.devices // plan.mesh.pp),
        },
        "stages": [
            {"stage": number, "layers": layers, **part}
            for number, (layers, part) in enumerate(zip(layers_each, parts, strict=True))
        ],
        "other": [{"stage": number, **named} for number, named in enumerate(counted.others)],
        "kv_cache": kv,
        "mode": "train" if train else "infer",
        "devices": plan.mesh.devices,
        "fits": fits,
        "device": device and device_data(device),
        "lora": _lora(graph, sizes, plan),
        "freeze": _freeze(graph, sizes, plan),
        "assumptions": assumptions,
    }
    verb = "trained" if train else "served"
    of = f" of {device.title or device.name}" if device else ""
    title = f"{model.title}: {verb} on {plan.mesh.devices:,} {devices_of(plan.mesh)}{of}"
    table = _table(title, fullest, others, loss, room)
    lines = _facts(kv, workload, context, fits, room, fullest["total"], data["memory"]["peak_at"])
    if device:
        lines = (*lines, ("device memory", memory_said(device), "text"))
    if plan.mesh.devices > 1:
        lines = (*lines, ("of all devices together", data["memory"]["all_devices"], "bytes"))
    if part := data["lora"] or data["freeze"]:
        lines = (("parameters that learn", part["trainable_params"], "count"), *lines)
    facts = Facts("", (*said_of(stored), *lines))
    sections: list[Any] = [table, facts]
    if plan.mesh.pp > 1:
        rows = tuple({**row, "stage": str(row["stage"])} for row in data["stages"])
        columns = tuple(column for column in STAGES if any(row[column.key] for row in rows))
        sections.append(Table("stages", columns, rows))
    if formula:
        found, shown = _formulas(model, counted, plan)
        data |= found
        sections += shown
    sections.append(assumed(assumptions))
    ok = not (fit and fits is False)
    return Report("memory", model.describe(), workload.to_dict(), data, tuple(sections), table, ok=ok)


def idle(plan: Serving | Training) -> str:
    """That recomputation saves no memory, where it does not: operator by operator more of attention is kept."""
    return idle_selective(plan) if isinstance(plan, Training) and plan.kernels == "fused" else ""


def _stages(graph: Graph, sizes: Sizes, plan: Serving | Training) -> list[Stage]:
    """The stages of a plan that can be."""
    if isinstance(plan, Training):
        check_training(plan, sizes)
        if plan.adapters:
            lora.check(graph, plan.adapters)
    else:
        check(plan, sizes)
    return list(stages(graph, plan.mesh, plan.virtual if isinstance(plan, Training) else 1))


def _parts(graph: Graph, sizes: Sizes, cut: list[Stage], plan: Serving | Training, overhead: int) -> list[Any]:
    """Of a device of each stage: bytes of each kind, when training needs them, and what `other` is made of.

    And of the activations, those of logits and loss, and what autograd keeps but for the loss; and one layer's.
    """
    if isinstance(plan, Training):
        trained = Reading(graph, sizes, plan)
        every = [trained.kept(stage)._asdict() for stage in cut]
    else:
        every = [of._asdict() for of in of_stages(cut, graph, sizes, plan)]
    found = []
    for of in every:
        others = of["buffers"] | ({"overhead": overhead} if overhead else {})
        parts: dict[str, int] = {name: of.get(name, 0) for name in PARTS} | {"other": sum(others.values())}
        parts |= {"total": sum(parts.values())}
        layers = {f"activations of {path}": size for path, size in of.get("layers", {}).items()}
        found.append((parts, of.get("peak_at", ""), layers, others, (of.get("loss", 0), of.get("saved", 0))))
    return found


def _formulas(model: Transformer, counted: Counted, plan: Serving | Training) -> tuple[dict[str, Any], list[Any]]:
    """Each part of each stage in symbols, where that is the exact count; shown is the fullest stage."""
    from transformer_calc.expr import formula as text
    from transformer_calc.readings.count.formulas import factored, symbols
    from transformer_calc.readings.count.legend import legend as letters_of
    from transformer_calc.readings.memory.letters import letters_of as sizes_with_letters

    graph, sizes = counted.graph, counted.sizes
    letters = sizes_with_letters(graph, sizes, plan)
    cut = [
        letters.stage(stage, plan.mesh, plan.virtual if isinstance(plan, Training) else 1)
        for stage in _stages(graph, sizes, plan)
    ]
    every: list[dict[str, Any]] = []
    used: list[Any] = []
    omitted: list[str] = []
    for number, (held_parts, _, layers, others, _) in enumerate(_parts(graph, letters.sizes, cut, plan, 0)):
        kinds = ("weights", "gradients", "optimizer", "kv_cache", "activations")
        parts = {name: held_parts[name] for name in kinds} | layers | others
        short, rules = letters.textbook({name: size for name, size in parts.items() if size or name in layers})
        every.append(short)
        used += [rule for rule in rules if rule not in used]
        if number == counted.number:
            omitted = [name for name, size in parts.items() if size and name not in short]
    texts = [{name: factored(size) for name, size in of.items()} for of in every]
    where = [f"{text(rule.left)} = {text(rule.right)}" for rule in used]
    names = {letter for of in every for size in of.values() for letter in symbols(size)}
    bound = {**sizes, "batch": letters.values[graph.axes["batch"].symbol]}
    values, table = legend(
        letters_of(graph, bound, used=[name for name, axis in graph.axes.items() if axis.symbol in names])
    )
    if "r" in names and isinstance(plan, Training) and plan.adapters:
        values["r"] = plan.adapters.rank
    lines: list[Any] = [(name.replace("_", " "), said, "formula") for name, said in texts[counted.number].items()]
    if where:
        lines.append(("where", ", ".join(where), "text"))
    if omitted:
        lines.append(("without one", f"{', '.join(name.replace('_', ' ') for name in omitted)}: rounded up", "text"))
    of_stage = f" of stage {counted.number}" if plan.mesh.pp > 1 else ""
    return (
        {
            "formulas": texts[counted.number],
            "stage_formulas": [{"stage": number, **of} for number, of in enumerate(texts)],
            "identities": where,
            "symbols": values,
        },
        [Facts(f"formulas{of_stage}, in bytes", tuple(lines)), table],
    )


def _lora(graph: Graph, sizes: Sizes, plan: Serving | Training) -> dict[str, Any] | None:
    """The adapters of a plan that has them."""
    if not isinstance(plan, Training) or plan.adapters is None:
        return None
    one = plan.adapters
    found = {
        "rank": one.rank,
        "targets": list(one.targets),
        "trainable_params": lora.trainable(graph, sizes, plan.adapters),
    }
    return found | ({"dropout": one.dropout} if one.dropout else {})


def _freeze(graph: Graph, sizes: Sizes, plan: Serving | Training) -> dict[str, Any] | None:
    """How much is frozen, where something is."""
    if not isinstance(plan, Training) or plan.frozen is None:
        return None
    counts: dict[bool, int] = {True: 0, False: 0}
    for part in components(graph):
        counts[part.path in plan.frozen.params] += int(part.total(sizes))  # type: ignore[arg-type]
    return {"parts": list(plan.freeze), "trainable_params": counts[False], "frozen_params": counts[True]}


def memory_of(device: Device) -> int:
    """Bytes of memory of a device of which that is known."""
    if device.memory_bytes is None:
        raise InputError(f"how much memory {device.name} has is unknown", hint="a TOML file of your own may say it")
    return device.memory_bytes


def _table(title: str, whole: dict[str, int], others: Mapping[str, int], loss: int, room: int | None) -> Table:
    """A row for each kind, and for each thing of the last one, as a share of the device, or of the total."""
    of = room or whole["total"] or 1
    held = {name: whole[name] for name in PARTS if name != "other"} | {"logits_and_loss": loss} | dict(others)
    held["activations"] -= loss
    rows = [{"part": name.replace("_", " "), "bytes": size, "share": size / of} for name, size in held.items() if size]
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


def _serving(plan: Serving) -> dict[str, Any]:
    chosen, rest = storage(plan.weights).name, storage(plan.rest).name
    positions = "every position" if plan.logits == "all" else "the last position"
    said: dict[str, Any] = {"weights": chosen}
    if chosen not in PLAIN:
        said |= beside(storage(chosen), rest)
    split = ", its batch split over ranks beyond the heads" if plan.kv_split == "batch" else ""
    cache = storage(plan.kv_dtype)
    scales = ", without scales of rows or tensors" if cache.row_bytes or cache.tensor_bytes else ""
    said["cache"] = cache.name + scales + split
    if plan.block_size > 1:
        said["pages"] = f"{plan.block_size} tokens each, the last one reserved whole"
    live = f"{plan.activations}, what is live at once in a pass"
    said["activations"] = f"{live}; {plan.attention} attention; logits of {positions}"
    return said


def _training(plan: Training, sizes: Sizes) -> dict[str, Any]:
    recipe, passes = precision(plan.precision), micro_batch(plan, sizes)
    weight, gradient, master = recipe.bytes_per_parameter
    of_each = f"{weight} {'byte' if weight == 1 else 'bytes'} a weight, {gradient} a gradient" + (
        f", {master} a master copy" if master else ""
    )
    every = f", every {plan.recompute_every} layers" if plan.recompute == "full" and plan.recompute_every > 1 else ""
    run = f"{plan.kernels} kernels"
    run += " (operator by operator, as transformers 5.24)" if plan.kernels == "eager" else ""
    groups = f", {plan.virtual} groups of layers a stage" if plan.virtual > 1 else ""
    adapters = {}
    if plan.adapters:
        one = plan.adapters
        drops = f"dropout {one.dropout}, each its own" if one.dropout else "without dropout"
        adapters["adapters"] = (
            f"LoRA of rank {one.rank} on {', '.join(one.targets)}, {drops}; each matrix its own A and B"
        )
        adapters["frozen weights"] = _frozen(plan)
    if plan.freeze:
        adapters["frozen"] = f"{', '.join(plan.freeze)}: {weight} bytes a weight, no gradients, no states"
    return adapters | {
        "precision": f"{recipe.name}: {of_each} ({recipe.source})"
        + ("" if recipe.weights in PLAIN else f"; tables, norms, biases, routers, heads {recipe.activations}"),
        "optimizer": f"{optimizer(plan.optimizer).name} ({optimizer(plan.optimizer).source})",
        "ZeRO stage": plan.zero,
        "micro-batch": f"{passes:,} {'sequence' if passes == 1 else 'sequences'}, schedule {plan.schedule}{groups}",
        "activations": f"{plan.attention} attention, {run}, recomputation {plan.recompute}{every}",
    }


def _loss(plan: Training) -> dict[str, str]:
    """How the loss is computed, and whether its logits are there all the time."""
    split = ""
    if plan.mesh.tp > 1:
        split = (
            "; of a rank's part of the vocabulary, in the same steps (vocabulary-parallel, arXiv 1909.08053, section 3)"
        )
    output = "held through the backward pass" if plan.outputs == "held" else "released before the backward pass"
    return {"logits and loss": f"{CROSS_ENTROPY}{split}; the model's output is {output} (--outputs)"}


def _buffers(others: list[dict[str, int]], plan: Training) -> dict[str, str]:
    """What each buffer is, and whose convention that is."""
    given = dict(plan.buffers)
    names = [name for name in BUFFERS if any(name in of for of in others)]
    said = {}
    for name in names:
        what, source = BUFFERS[name]
        said[name.replace("_", " ")] = f"{what} ({'as given by --buffer' if name in given else source})"
    if plan.zero in (1, 2) and "gradient_bucket" in names:
        said["gradient bucket"] += f"; {plan.bucket_size:,} elements (--bucket-size)"
    if plan.zero == 3 and "gathered_parameters" in names:
        said["gathered parameters"] += f"; {plan.prefetch} ahead (--prefetch)"
    in_place = ["tensor parallelism reduces in place"] if plan.mesh.tp > 1 and not plan.mesh.sp else []
    if plan.mesh.dp * plan.mesh.cp > 1 and plan.zero == 0 and plan.ddp_buckets == "views":
        in_place.append("gradients are views of their buckets (Megatron-LM; PyTorch DDP, gradient_as_bucket_view=True)")
    return said | ({"without buffers": "; ".join(in_place)} if in_place else {})


def _uneven(graph: Graph, sizes: Sizes, mesh: Mesh) -> dict[str, str]:
    """What ranks hold of a vocabulary that they do not divide."""
    axes = (axis for name, axis in graph.axes.items() if name.startswith(PADDED))
    counts: Any = sorted({int(sizes[axis.name]) for axis in axes})  # type: ignore[arg-type]
    uneven = [
        f"{count:,} over {mesh.tp} ranks, {-(-count // mesh.tp):,} on most" for count in counts if count % mesh.tp
    ]
    if not uneven:
        return {}
    return {"vocabulary": f"{'; '.join(uneven)}, not padded to a multiple of 128 times --tp as Megatron-LM would"}


def _frozen(plan: Training) -> str:
    chosen = storage(plan.weights)
    if chosen.name in PLAIN:
        return chosen.name
    others = ", ".join(f"{name} {kind}" for name, kind in beside(chosen, Serving().rest).items())
    return f"{chosen.name} ({chosen.source}); {others}"


def _copies(counted: Counted, plan: Serving | Training) -> dict[str, str]:
    """Whether quantised matrices are computed with in copies, and the largest of these."""
    chosen = storage(plan.weights)
    if chosen.name in PLAIN or (isinstance(plan, Training) and not plan.adapters):
        return {}
    graph, sizes = counted.graph, counted.sizes
    stage = _stages(graph, sizes, plan)[counted.number]
    if isinstance(plan, Training):
        copy, width = copied(stage, sizes, plan), precision(plan.precision).activations
    else:
        found = (serving.copied(block, sizes, plan) for block, _ in stage.blocks)
        copy, width = max((one for one in found if one), key=lambda one: one.bytes, default=None), plan.activations
    if copy:
        when = " in the backward pass" if chosen.copied == "backward" else ""
        said = f"one at a time is computed with in {width}{when}, at most {copy.path} (bitsandbytes)"
    elif chosen.copied == "always":
        said = "none: a single row is multiplied with the matrix as it is stored (bitsandbytes)"
    else:
        said = "none: kernels take matrices as they are stored"
    return {"dequantised matrix": said}
