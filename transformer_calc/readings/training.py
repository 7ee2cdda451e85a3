"""What training keeps on one device: weights, gradients, the optimizer's states, and activations for the backward pass.

ZeRO (Rajbhandari et al. 2019, arXiv 1910.02054) divides over the data-parallel ranks the optimizer's states (stage 1),
gradients too (2), and weights too (3). A pipeline stage holds the activations of every micro-batch that is in flight:
all of them (GPipe, arXiv 1811.06965), or as many as there are stages from it on (1F1B, Megatron-LM, arXiv 2104.04473,
§2.2), or, interleaved, somewhat more (Korthikanti et al. 2022, arXiv 2205.05198, §4.2.3: the first of p stages with v
groups of layers each holds 1 + (p - 1)/(p·v) times the activations of all layers of one micro-batch). What is
recomputed is there for one layer, or as many as lie between kept inputs, at a time. With adapters (LoRA), these alone
have gradients and states.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from transformer_calc.errors import InputError
from transformer_calc.graph.core import Graph, Sizes, shape
from transformer_calc.readings import activations, lora, serving
from transformer_calc.readings.activations import Saved
from transformer_calc.readings.flops import RECOMPUTE
from transformer_calc.readings.params import Component
from transformer_calc.readings.sharding import Mesh, Stage, divisor, parts_of, share
from transformer_calc.storage import STORAGE, optimizer, precision, storage

SCHEDULES = ("1f1b", "gpipe", "interleaved")
START = "start of the backward pass"
AGAIN = "recomputation of a layer in the backward pass"


class Training(NamedTuple):
    """How a model is trained."""

    precision: str = "bf16-mixed"
    optimizer: str = "adamw"
    zero: int = 0
    micro_batch: int | None = None  # sequences of one pass of a device; None: all it has, or one in a pipeline
    schedule: str = "1f1b"
    virtual: int = 1  # interleaved: groups of layers of a stage
    recompute: str = "none"
    every: int = 1  # with full recomputation: layers between kept inputs
    attention: str = "flash"
    kernels: str = "fused"
    mesh: Mesh = Mesh()
    lora: lora.Lora | None = None
    weights: str = "bf16"  # how frozen weights are stored, where there are adapters


class Kept(NamedTuple):
    """Bytes on one device of a stage."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    in_flight: int  # micro-batches whose activations these are; interleaved: of one group of layers each
    peak_at: str


def check(plan: Training, sizes: Sizes) -> None:
    """Refuse a plan that cannot be."""
    mesh, batch = plan.mesh, int(sizes["batch"])  # type: ignore[arg-type]
    for option, value, choices in (
        ("--schedule", plan.schedule, SCHEDULES),
        ("--recompute", plan.recompute, RECOMPUTE),
        ("--attention", plan.attention, activations.ATTENTION),
        ("--kernels", plan.kernels, activations.KERNELS),
        ("--zero", plan.zero, (0, 1, 2, 3)),
    ):
        if value not in choices:
            raise InputError(f"{option} is {value!r}; it must be one of {', '.join(map(str, choices))}")
    if batch % mesh.dp:
        raise InputError(f"--dp is {mesh.dp}; it must divide the batch of {batch:,}")
    if (batch // mesh.dp) % micro_batch(plan, sizes):
        raise InputError(
            f"--micro-batch is {plan.micro_batch}; it must divide the {batch // mesh.dp:,} sequences of a rank"
        )
    if mesh.cp > 1 and plan.attention == "eager":
        raise InputError("--cp splits each sequence, for which --attention must be flash")
    for name in ("seq", "target"):
        if mesh.cp > 1 and name in sizes and sizes[name] % mesh.cp:  # type: ignore[operator]
            raise InputError(f"--cp is {mesh.cp}; it must divide the {sizes[name]:,} tokens of a sequence")
    if plan.every < 1:
        raise InputError(f"--recompute-every is {plan.every}; it must be at least 1")
    if plan.every > 1 and plan.recompute != "full":
        raise InputError("--recompute-every is of full recomputation", "--recompute full")
    _check_interleaved(plan, sizes)
    precision(plan.precision)
    optimizer(plan.optimizer)
    storage(plan.weights)


def _check_interleaved(plan: Training, sizes: Sizes) -> None:
    mesh = plan.mesh
    if plan.schedule != "interleaved":
        if plan.virtual != 1:
            raise InputError(
                f"--virtual is {plan.virtual}, but the schedule is {plan.schedule}", "--schedule interleaved"
            )
        return
    if mesh.pp == 1:
        raise InputError("--schedule is interleaved, but --pp is 1: there is no pipeline")
    if plan.virtual < 2:
        raise InputError(
            f"--virtual is {plan.virtual}; an interleaved stage has at least 2 groups of layers", "--virtual 2"
        )
    if passes(plan, sizes) % mesh.pp:
        raise InputError(f"an interleaved pipeline takes micro-batches by --pp {mesh.pp}, not {passes(plan, sizes):,}")


def micro_batch(plan: Training, sizes: Sizes) -> int:
    """Sequences of one pass of a device."""
    local = int(sizes["batch"]) // plan.mesh.dp  # type: ignore[arg-type]
    return plan.micro_batch or (local if plan.mesh.pp == 1 else 1)


def kept(stage: Stage, graph: Graph, sizes: Sizes, plan: Training, family: str = "") -> Kept:
    """One device of a stage, when its activations are complete."""
    weights = gradients = states = 0
    paths = lora.targets(graph, plan.lora) if plan.lora else frozenset[str]()
    bound = lora.bound(sizes, plan.lora)
    for part, count in parts_of(stage, graph, sizes):
        weights += count * frozen_bytes(part, sizes, plan) if plan.lora else 0
        for learning in lora.adapters(part, paths) if plan.lora else (part,):
            w, g, s = state_bytes(learning, bound, plan)
            weights, gradients, states = weights + count * w, gradients + count * g, states + count * s
    running = in_flight(stage, sizes, plan)
    at_once, peak = _activations(stage, graph, sizes, plan, family)
    return Kept(weights, gradients, states, at_once, running, peak)


def frozen_bytes(part: Component, sizes: Sizes, plan: Training) -> int:
    """Bytes of one device's share of a tensor that does not learn."""
    stored = serving.Plan(weights=plan.weights, mesh=plan.mesh)
    whole = serving.weight_bytes(part, 1, plan.mesh, sizes, stored)
    return -(-whole // ranks_of(part, plan.mesh)) if plan.zero >= 3 else whole


def ranks_of(part: Component, mesh: Mesh) -> int:
    """Devices that hold the same share, over which ZeRO divides it."""
    return mesh.dp * mesh.cp // (mesh.ep if part.routed else 1)


def state_bytes(part: Component, sizes: Sizes, plan: Training) -> tuple[int, int, int]:
    """Bytes of (weights, gradients, master copy and optimizer states) of one device's share of a tensor."""
    recipe, mesh = precision(plan.precision), plan.mesh
    held = share(part, mesh, sizes)
    weight, gradient, master = recipe.bytes_per_parameter
    role = "embedding" if part.embedding else "hidden" if part.block.repeat else "head"
    whole: Any = optimizer(plan.optimizer).bytes_of(shape(part.dims, sizes), role, recipe.states)
    ranks = ranks_of(part, mesh)

    def over(stage: int) -> int:
        return ranks if plan.zero >= stage else 1

    return (
        math.ceil(held.entries * weight / over(3)),
        math.ceil(held.entries * gradient / over(2)),
        math.ceil((held.entries * master + whole / held.ways) / over(1)),
    )


def passes(plan: Training, sizes: Sizes) -> int:
    """Micro-batches of a step."""
    return int(sizes["batch"]) // plan.mesh.dp // micro_batch(plan, sizes)  # type: ignore[arg-type]


def in_flight(stage: Stage, sizes: Sizes, plan: Training) -> int:
    """Micro-batches whose activations a stage holds at once; interleaved: each of one of its groups of layers."""
    every, after = passes(plan, sizes), plan.mesh.pp - stage.number
    if plan.schedule == "interleaved":  # as Megatron-LM warms up: 2·(stages after it) + (v - 1)·p, and the next
        return min(every * plan.virtual, 2 * (after - 1) + (plan.virtual - 1) * plan.mesh.pp + 1)
    return every if plan.schedule == "gpipe" else min(every, after)


class Pass(NamedTuple):
    """Bytes of one micro-batch on one device of a stage, or of a group of its layers."""

    kept: int  # until its backward pass, those of the loss included
    loss: int  # of them the loss's
    moment: int  # around the loss only
    working: int  # while a layer, or a segment of them, is computed again


def _activations(stage: Stage, graph: Graph, sizes: Sizes, plan: Training, family: str) -> tuple[int, str]:
    """The most that the micro-batches in flight take at once, and when."""
    running = in_flight(stage, sizes, plan)
    if stage.chunks:
        groups = [one_pass(chunk, graph, sizes, plan, family) for chunk in stage.chunks]
        kept = _interleaved([group.kept for group in groups], running, passes(plan, sizes), plan.mesh.pp)
        last = groups[-1]._replace(working=max(group.working for group in groups))
    else:
        last = one_pass(stage, graph, sizes, plan, family)
        kept = running * last.kept
    again = last.working - last.loss  # the loss of that micro-batch is no longer needed
    return kept + max(last.moment, again), AGAIN if again > last.moment else START


def _interleaved(kept: list[int], running: int, passes: int, pp: int) -> int:
    """The most that groups of layers keep at once: forward in the order of Megatron-LM, backward from the last group.

    Each group takes `pp` micro-batches, then the next group the same ones.
    """
    total, turn = len(kept) * passes, pp * len(kept)
    forward = [kept[k % turn // pp] for k in range(total)]
    held = most = sum(forward[:running])
    for k in range(total - running):
        held += forward[running + k] - kept[-1 - k % turn // pp]
        most = max(most, held)
    return most


def one_pass(stage: Stage, graph: Graph, sizes: Sizes, plan: Training, family: str = "") -> Pass:
    """What one micro-batch takes on one device of a stage."""
    mesh = plan.mesh
    run: dict[str, Any] = {"cached": 0, "batch": micro_batch(plan, sizes)}
    run |= {name: int(sizes[name]) // mesh.cp for name in ("seq", "target") if name in graph.workload_axes}  # type: ignore[arg-type]
    local = lora.bound(graph.bind(run), plan.lora)
    how = how_of(plan, graph, family, sizes)
    rules: dict[str, Any] = {}
    for axis in graph.axes:
        dimension, ways = divisor(axis, mesh, sizes)
        if dimension == "tp" and ways > 1:
            rules[axis] = ways
    between: dict[str, Any] = {name: mesh.tp for name in ("seq", "target") if mesh.sp and name in graph.axes}
    counts = {(block.path, block.title): count for block, count in stage.blocks}
    kept = loss = moment = 0
    of_layer: dict[str, int] = {}  # block -> bytes of one of its layers that are kept

    def each(row: Saved) -> int:
        return math.ceil(int(row.size(local)) / _ways(row, rules, between))  # type: ignore[arg-type]

    for row in rows_of(graph, how, plan):
        count = counts.get((row.block.path, row.block.title), 0)
        if not count or row.given:
            continue
        if row.kept:
            kept += _times(row, count, local) * each(row)
            loss += each(row) if row.role == "loss" else 0
            if row.repeat:
                of_layer[row.block.path] = of_layer.get(row.block.path, 0) + each(row)
        elif row.role == "loss":
            moment += each(row)
    if plan.recompute == "none":
        return Pass(kept, loss, moment, 0)
    whole: dict[str, int] = {}
    for row in rows_of(graph, how._replace(recompute="none", every=1), plan):
        if row.repeat and (row.block.path, row.block.title) in counts:
            whole[row.block.path] = whole.get(row.block.path, 0) + each(row)
    segment = min(plan.every, sum(count for block, count in stage.blocks if block.repeat))
    working = max((segment * size - of_layer.get(path, 0) for path, size in whole.items()), default=0)
    return Pass(kept, loss, moment, working)


def _times(row: Saved, count: int, sizes: Sizes) -> int:
    """How often a tensor stands on a stage with so many layers of its block."""
    if row.number is not None:  # of layers that differ, those whose turn it is: the stage's part of them
        return -(-row.number * count // int(sizes[row.block.repeat]))  # type: ignore[arg-type]
    return -(-count // row.every) if row.repeat else 1


def how_of(plan: Training, graph: Graph, family: str, sizes: Sizes) -> activations.How:
    """How a model is run by this plan."""
    return activations.settings(
        graph,
        family=family,
        bytes=STORAGE[precision(plan.precision).activations].bytes,
        kernels=plan.kernels,
        attention=plan.attention,
        recompute=plan.recompute,
        every=plan.every,
        tokens=int(sizes["seq"]) if "seq" in graph.workload_axes else None,  # type: ignore[arg-type]
        alone=micro_batch(plan, sizes) == 1,
    )


def rows_of(graph: Graph, how: activations.How, plan: Training) -> list[Saved]:
    """What the backward pass keeps, of adapters too."""
    if plan.lora is None:
        return activations.saved(graph, how)
    learning = lora.targets(graph, plan.lora)
    return activations.saved(graph, how, trainable=learning.__contains__) + lora.saved(graph, how, plan.lora)


def _ways(row: Saved, rules: dict[str, Any], between: dict[str, Any]) -> int:
    """Devices that share a tensor: tensor parallelism splits it along one axis, not along two."""
    axes = [axis for dim in row.dims for axis in dim if axis in rules]
    if axes:
        return int(max(rules[axis] for axis in axes))
    return int(row.divisor({}, between))  # type: ignore[arg-type]
