"""How to spread a training run over devices, where that is not given: the fastest plan that memory holds.

Tensor parallelism stays inside a node, pipelines are as short as memory allows, and what is left are copies, whose
optimizer states are divided (ZeRO 1) or whose weights are too (ZeRO 3): the usual order (Megatron-LM, arXiv 2104.04473,
§3: takeaways 1 to 3). Each candidate is timed as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from transformer_calc.errors import InputError
from transformer_calc.graph.core import Graph, Sizes
from transformer_calc.readings import step, training
from transformer_calc.readings.sharding import Mesh, check, stages
from transformer_calc.readings.training import Training
from transformer_calc.spec import Device

MICRO_BATCHES = (1, 2, 4, 8, 16)
GROUPS = (1, 2, 4)  # of layers of a stage, where an interleaved schedule is left to choose
UNEVEN = 0.05  # of the layers, by which the stages of a pipeline may differ together
IDLE = 0.02  # of the devices, that a mesh may leave out


class Choice(NamedTuple):
    """A plan, the batch that it takes (rounded up to whole micro-batches on each copy), and its step."""

    plan: Training
    batch: int
    estimate: step.Estimate


def choose(
    graph: Graph, sizes: Sizes, device: Device, devices: int, plan: Training, fixed: frozenset[str], family: str = ""
) -> Choice:
    """The fastest plan on so many devices.

    plan:  what is given, and the defaults of the rest
    fixed:  names of the fields of the plan and of its mesh that are given: tp, pp, micro_batch, zero, recompute …
    Raises InputError where nothing fits, or the device's file does not say enough.
    """
    best: Choice | None = None
    room = device.memory_bytes
    for found in _meshes(graph, sizes, device, devices, plan, fixed, family, room):
        for micro in (plan.micro_batch,) if "micro_batch" in fixed else MICRO_BATCHES:
            tried = _timed(graph, sizes, device, found._replace(micro_batch=micro), fixed, family, room)
            if tried is None:
                break
            if best is not None and tried.estimate.seconds > 1.2 * best.estimate.seconds:
                break  # larger micro-batches seldom turn it round
            if best is None or tried.estimate.seconds < best.estimate.seconds:
                best = tried
    if best is None:
        raise InputError(
            f"--devices is {devices:,}, but no way to spread the model over them fits {device.name}",
            hint="more devices, or tcalc fit --mode train",
        )
    return best


def _meshes(
    graph: Graph,
    sizes: Sizes,
    device: Device,
    devices: int,
    plan: Training,
    fixed: frozenset[str],
    family: str,
    room: int | None,
) -> Iterator[Training]:
    """Plans for each width of tensor parallelism: the shortest pipeline that fits, with each way to save memory."""
    layers = sum(len(cycle) * times for runs in graph.orders.values() for cycle, times in runs)
    mesh = plan.mesh
    widths = (mesh.tp,) if "tp" in fixed else _powers(min(device.node or 1, devices))
    lengths = (mesh.pp,) if "pp" in fixed else [n for n in range(1, layers + 1) if -layers % n <= UNEVEN * layers]
    if len(graph.orders) > 1 and "pp" not in fixed:
        lengths = (1,)
    zeros = (plan.zero,) if "zero" in fixed else (1, 3)
    again = (plan.recompute,) if "recompute" in fixed else ("none", "full")
    for tp in widths:
        for zero in zeros:
            for recompute in again:
                for pp in lengths:
                    if zero == 3 and pp > 1 and "zero" not in fixed:
                        continue  # frameworks do not gather weights for each micro-batch of a pipeline
                    one = tp * pp * mesh.cp
                    dp = mesh.dp if "dp" in fixed else devices // one
                    if not dp or dp * one > devices or (dp * one < (1 - IDLE) * devices and "dp" not in fixed):
                        continue
                    tried = mesh._replace(tp=tp, pp=pp, dp=dp, sp=mesh.sp or (tp > 1 and "sp" not in fixed))
                    if tried.ep == 1 and "ep" not in fixed and "experts" in graph.axes:
                        tried = tried._replace(ep=_experts(graph, sizes, tried, device))
                    found = plan._replace(mesh=tried, zero=zero if dp > 1 else 0, recompute=recompute)
                    least = found._replace(micro_batch=plan.micro_batch if "micro_batch" in fixed else 1)
                    if plan.schedule == "interleaved" and "virtual" not in fixed:
                        least = least._replace(virtual=GROUPS[1])
                    if _valid(graph, sizes, least) and _fits(graph, sizes, least, family, room):
                        yield found
                        break


def _powers(most: int) -> list[int]:
    return [2**i for i in range(int(math.log2(most)) + 1)]


def _experts(graph: Graph, sizes: Sizes, mesh: Mesh, device: Device) -> int:
    """Experts are split over the copies of a node, or over as many as there are experts."""
    count: Any = min(int(sizes[a]) for a in graph.axes if a == "experts" or a.startswith("experts_"))  # type: ignore[arg-type]
    most = max(1, (device.node or 1) // (mesh.tp * mesh.cp))
    return max(n for n in range(1, most + 1) if count % n == 0 and (mesh.dp * mesh.cp) % n == 0)


def _padded(sizes: Sizes, plan: Training) -> dict[str, Any]:
    """The batch rounded up to whole micro-batches on every copy."""
    batch, unit = int(sizes["batch"]), plan.mesh.dp * (plan.micro_batch or 1)  # type: ignore[arg-type]
    whole = -(-batch // unit)
    if plan.schedule == "interleaved":  # which takes micro-batches by as many as there are stages
        whole = -(-whole // plan.mesh.pp) * plan.mesh.pp
    return {**sizes, "batch": whole * unit}


def _valid(graph: Graph, sizes: Sizes, plan: Training) -> bool:
    try:
        check(plan.mesh, graph, sizes)
        training.check(plan, _padded(sizes, plan))
        list(stages(graph, plan.mesh, plan.virtual))
    except InputError:
        return False
    return True


def _fits(graph: Graph, sizes: Sizes, plan: Training, family: str, room: int | None) -> bool:
    """Whether memory holds the first, a middle and the last stage; where it is unknown, it does."""
    if room is None:
        return True
    padded = _padded(sizes, plan)
    every = list(stages(graph, plan.mesh, plan.virtual))
    some = {every[0].number: every[0], len(every) // 2: every[len(every) // 2], -1: every[-1]}.values()
    return all(training.kept(stage, graph, padded, plan, family).total <= room for stage in some)


def _timed(
    graph: Graph, sizes: Sizes, device: Device, plan: Training, fixed: frozenset[str], family: str, room: int | None
) -> Choice | None:
    """The plan with the best number of groups of layers; None where it does not fit."""
    groups: tuple[int, ...] = (plan.virtual,)
    if (plan.mesh.pp > 1 and "schedule" not in fixed) or (plan.schedule == "interleaved" and "virtual" not in fixed):
        groups = GROUPS if plan.schedule != "interleaved" else GROUPS[1:]
    best: Choice | None = None
    for virtual in groups:
        how = plan._replace(virtual=virtual, schedule="interleaved" if virtual > 1 else plan.schedule)
        if virtual > 1 and not _valid(graph, sizes, how):
            continue
        if not _fits(graph, sizes, how, family, room):
            break
        padded = _padded(sizes, how)
        found = Choice(how, padded["batch"], step.estimate(graph, padded, how, device, family))
        if best is None or found.estimate.seconds < best.estimate.seconds:
            best = found
    return best
