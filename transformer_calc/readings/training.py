"""What training keeps on one device: weights, gradients, the optimizer's states, and activations for the backward pass.

ZeRO (Rajbhandari et al. 2019, arXiv 1910.02054) divides over the data-parallel ranks the optimizer's states (stage 1),
gradients too (2), and weights too (3). A pipeline stage holds the activations of every micro-batch that is in flight: all of
them (GPipe, arXiv 1811.06965), or as many as there are stages from it on (1F1B, Megatron-LM, arXiv 2104.04473, §2.2).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from transformer_calc.errors import InputError
from transformer_calc.graph.core import Graph, Sizes, shape
from transformer_calc.readings import activations
from transformer_calc.readings.activations import Saved
from transformer_calc.readings.params import Component
from transformer_calc.readings.sharding import Mesh, Stage, divisor, parts_of, share
from transformer_calc.storage import STORAGE, optimizer, precision

SCHEDULES = ("1f1b", "gpipe")


class Training(NamedTuple):
    """How a model is trained."""

    precision: str = "bf16-mixed"
    optimizer: str = "adamw"
    zero: int = 0
    micro_batch: int | None = None  # sequences of one pass of a device; None: all it has, or one in a pipeline
    schedule: str = "1f1b"
    recompute: str = "none"
    every: int = 1  # with full recomputation: layers between kept inputs
    attention: str = "flash"
    kernels: str = "fused"
    mesh: Mesh = Mesh()


class Kept(NamedTuple):
    """Bytes on one device of a stage."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    in_flight: int  # micro-batches whose activations these are


def check(plan: Training, sizes: Sizes) -> None:
    """Refuse a plan that cannot be."""
    mesh, batch = plan.mesh, int(sizes["batch"])  # type: ignore[arg-type]
    for option, value, choices in (
        ("--schedule", plan.schedule, SCHEDULES),
        ("--recompute", plan.recompute, activations.RECOMPUTE),
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
    precision(plan.precision)
    optimizer(plan.optimizer)


def micro_batch(plan: Training, sizes: Sizes) -> int:
    """Sequences of one pass of a device."""
    local = int(sizes["batch"]) // plan.mesh.dp  # type: ignore[arg-type]
    return plan.micro_batch or (local if plan.mesh.pp == 1 else 1)


def kept(stage: Stage, graph: Graph, sizes: Sizes, plan: Training, family: str = "") -> Kept:
    """One device of a stage, when its activations are complete."""
    weights = gradients = states = 0
    for part, count in parts_of(stage, graph, sizes):
        w, g, s = state_bytes(part, sizes, plan)
        weights, gradients, states = weights + count * w, gradients + count * g, states + count * s
    running = in_flight(stage, sizes, plan)
    return Kept(weights, gradients, states, running * activation_bytes(stage, graph, sizes, plan, family), running)


def state_bytes(part: Component, sizes: Sizes, plan: Training) -> tuple[int, int, int]:
    """Bytes of (weights, gradients, master copy and optimizer states) of one device's share of a tensor."""
    recipe, mesh = precision(plan.precision), plan.mesh
    held = share(part, mesh, sizes)
    weight, gradient, master = recipe.bytes_per_parameter
    role = "embedding" if part.embedding else "hidden" if part.block.repeat else "head"
    whole: Any = optimizer(plan.optimizer).bytes_of(shape(part.dims, sizes), role, recipe.states)
    ranks = mesh.dp * mesh.cp // (mesh.ep if part.routed else 1)

    def over(stage: int) -> int:
        return ranks if plan.zero >= stage else 1

    return (
        math.ceil(held.entries * weight / over(3)),
        math.ceil(held.entries * gradient / over(2)),
        math.ceil((held.entries * master + whole / held.ways) / over(1)),
    )


def in_flight(stage: Stage, sizes: Sizes, plan: Training) -> int:
    """Micro-batches whose activations a stage holds at once."""
    local = int(sizes["batch"]) // plan.mesh.dp  # type: ignore[arg-type]
    passes = local // micro_batch(plan, sizes)
    return passes if plan.schedule == "gpipe" else min(passes, plan.mesh.pp - stage.number)


def activation_bytes(stage: Stage, graph: Graph, sizes: Sizes, plan: Training, family: str = "") -> int:
    """Bytes that one micro-batch keeps on one device of a stage, the loss included on the last one."""
    mesh = plan.mesh
    run: dict[str, Any] = {"cached": 0, "batch": micro_batch(plan, sizes)}
    run |= {name: int(sizes[name]) // mesh.cp for name in ("seq", "target") if name in graph.workload_axes}  # type: ignore[arg-type]
    local = graph.bind(run)
    how = activations.settings(
        graph,
        family=family,
        bytes=STORAGE[precision(plan.precision).activations].bytes,
        kernels=plan.kernels,
        attention=plan.attention,
        recompute=plan.recompute,
        every=plan.every,
    )
    rules: dict[str, Any] = {}
    for axis in graph.axes:
        dimension, ways = divisor(axis, mesh, sizes)
        if dimension == "tp" and ways > 1:
            rules[axis] = ways
    between: dict[str, Any] = {name: mesh.tp for name in ("seq", "target") if mesh.sp and name in graph.axes}
    counts = {(block.path, block.title): count for block, count in stage.blocks}
    total = 0
    for row in activations.saved(graph, how):
        count = counts.get((row.block.path, row.block.title), 0)
        if count and not row.given and (row.kept or row.role == "loss"):
            times = -(-count // row.every) if row.repeat or row.number is not None else 1
            total += times * math.ceil(int(row.size(local)) / _ways(row, rules, between))  # type: ignore[arg-type]
    return total


def _ways(row: Saved, rules: dict[str, Any], between: dict[str, Any]) -> int:
    """Devices that share a tensor: tensor parallelism splits it along one axis, not along two."""
    axes = [axis for dim in row.dims for axis in dim if axis in rules]
    if axes:
        return int(max(rules[axis] for axis in axes))
    return int(row.divisor({}, between))  # type: ignore[arg-type]
