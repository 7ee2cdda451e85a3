"""The report of `tcalc fit`: the largest batch, the longest context or the fewest devices that memory allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from transformer_calc.errors import InputError
from transformer_calc.graph.core import Graph, Sizes
from transformer_calc.readings.cache import cached
from transformer_calc.readings.params import Component
from transformer_calc.readings.serving import Plan, weight_bytes
from transformer_calc.readings.sharding import Mesh, check, parts_of, stages
from transformer_calc.readings.training import Training, state_bytes
from transformer_calc.report import Facts, Report, Text
from transformer_calc.report.memory import PARTS, count, devices_of, memory_of
from transformer_calc.spec import Patches

if TYPE_CHECKING:
    from transformer_calc.api import Transformer
    from transformer_calc.spec import Device, Workload

SOLVE = ("batch", "context", "devices")
MOST = 2**40  # of a batch or a context: beyond it, nothing is searched
MOST_DEVICES = 4096
WAYS = ("dp", "tp", "pp", "cp", "ep")


def build(
    model: Transformer,
    workload: Workload,
    plan: Plan | Training,
    *,
    device: Device,
    solve: str = "batch",
    overhead: int = 0,
) -> Report:
    """What fits on a device, by search over the exact count; the answer fits, and one more does not.

    The context is that of the cache in serving; it is the sequence in training, and where nothing is cached.
    """
    if solve not in SOLVE:
        raise InputError(f"--solve is {solve!r}; it must be one of {', '.join(SOLVE)}")
    first = model.spec.stacks[0].embedding
    if solve == "context" and isinstance(first, Patches):
        raise InputError(f"--solve is context, but images of {model.spec.name} are always {workload.seq:,} tokens")
    asked = workload.context or workload.seq
    new = (workload.seq, workload.target) if workload.context else (workload.seq if workload.target else None, None)
    notes = list(model.notes)

    def parts(batch: int, tokens: int, mesh: Mesh) -> dict[str, int]:
        if isinstance(plan, Training) or not cached(model.graph):
            run = model.workload(batch=batch, seq=tokens, target_seq=workload.target)
        else:
            run = model.workload(batch=batch, context=tokens, seq=new[0], target_seq=new[1])
        model.notes[:] = notes  # what is only tried is nothing to remark on
        return count(model, run, plan._replace(mesh=mesh), overhead).fullest[0]

    room = memory_of(device)
    batch: int | None = workload.batch
    context: int | None = asked
    mesh, step = plan.mesh, _step(plan, solve)
    tried: dict[str, int] = {}  # the parts of what does not fit
    if solve == "batch":
        batch = _most(lambda n: parts(n, asked, mesh)["total"] <= room, step)
        tried = parts(step, asked, mesh)
    elif solve == "context":
        context = _most(lambda n: parts(workload.batch, n, mesh)["total"] <= room, step)
        tried = parts(workload.batch, step, mesh)
    else:
        meshes = _meshes(model, workload, plan, device)
        mesh, tried = _fewest(meshes, lambda tried: parts(workload.batch, asked, tried), room, _states(model, plan))
    fits = batch != 0 and context != 0 and (solve != "devices" or tried["total"] <= room)
    ends = {"batch": batch, "context": context}
    least = {"batch": batch or step, "context": context or (MOST * step if context is None else step)}
    now = parts(least["batch"], least["context"], mesh) if fits else tried
    more = now
    if fits and ends.get(solve):
        further = least | {solve: least[solve] + step}
        more = parts(further["batch"], further["context"], mesh)
    found = {
        "fits": fits,
        "batch": batch,
        "context": context,
        "devices": mesh.devices if fits else None,
        "limit": max(PARTS, key=lambda name: (more[name] - now[name], now[name])),  # what grows most, else the largest
        "mesh": {name: getattr(mesh, name) for name in WAYS},
    }
    data = {"fit": found, "solved_for": solve, "device": {"name": device.name, "memory_bytes": room}}
    lines: list[Any] = [("fits", "yes" if fits else "no", "text")]
    if fits:
        lines += [(name, found[name], "count") for name in SOLVE if found[name] is not None]
        every = f"a multiple of {step}: " if step > 1 else ""
        if batch is None:
            lines.append(("batch", f"any, {every}a device holds passes of one micro-batch", "text"))
        if context is None:
            lines.append(("context", f"any, {every}no more tokens are kept than a window holds", "text"))
        if mesh.devices > 1:
            lines.append(("mesh", devices_of(mesh).partition("(")[2].rstrip(")"), "text"))
        lines += [("per device", now["total"], "bytes"), ("of", room, "bytes")]
    else:
        lines += [("per device, at least", now["total"], "bytes"), ("of", room, "bytes")]
    lines.append(("limit", str(found["limit"]).replace("_", " "), "text"))
    facts = Facts(f"{model.title} on {device.title or device.name}: {_answer(solve)}", tuple(lines))
    kept = (
        f"weights {plan.weights}, cache {plan.kv_dtype}" if isinstance(plan, Plan) else f"trained in {plan.precision}"
    )
    said = [f"searched over the exact count of tcalc memory; {kept}"]
    if solve == "devices":
        node = f"within a node of {device.node}" if device.node else "of any width"
        copies = f", copies with ZeRO {plan.zero}" if isinstance(plan, Training) else ""
        said.append(
            f"tried: tensor parallelism {node}, pipelines of equal stages{copies}; what is given as more than 1 stays"
        )
    decodes = isinstance(plan, Plan) and bool(cached(model.graph))
    positions = model.max_target_positions if decodes else model.max_positions
    if solve == "context" and positions and fits and least["context"] > positions:
        said.append(f"of memory alone: the model has {positions:,} positions")
    return Report("fit", model.describe(), workload.to_dict(), data, (facts, Text("\n".join(said))), ok=fits)


def _answer(solve: str) -> str:
    return {"batch": "the largest batch", "context": "the longest context", "devices": "the fewest devices"}[solve]


def _step(plan: Plan | Training, solve: str) -> int:
    """Sequences by which a batch grows: a micro-batch on each copy, in an interleaved pipeline as many as stages.

    Of a context, in training, as many tokens as there are devices that share a sequence.
    """
    if solve == "context":
        return plan.mesh.cp if isinstance(plan, Training) else 1
    if isinstance(plan, Plan):
        return plan.mesh.dp
    return plan.mesh.dp * (plan.micro_batch or 1) * (plan.mesh.pp if plan.schedule == "interleaved" else 1)


def _meshes(model: Transformer, workload: Workload, plan: Plan | Training, device: Device) -> list[Mesh]:
    """Ways to spread a model: tensor parallelism within a node, pipelines, in training copies; fewest devices first.

    What the plan gives as more than 1 stays. Of as many devices the shortest pipeline comes first, then, where copies
    share states, the most copies, else the widest tensor parallelism.
    """
    graph, mesh = model.graph, plan.mesh
    sizes = graph.sizes(workload)
    train = isinstance(plan, Training)
    widths = (mesh.tp,) if mesh.tp > 1 else range(1, (device.node or MOST_DEVICES) + 1)
    layers = sum(len(cycle) * times for of in graph.orders.values() for cycle, times in of)
    lengths = (mesh.pp,) if mesh.pp > 1 else [n for n in range(1, min(layers, MOST_DEVICES) + 1) if layers % n == 0]
    batch = workload.batch
    most = min(batch, MOST_DEVICES)
    copies = (mesh.dp,) if mesh.dp > 1 or not train else [n for n in range(1, most + 1) if batch % n == 0]
    found = []
    for tp in widths:
        if not _divides(mesh._replace(tp=tp, dp=max(mesh.dp, mesh.ep), sp=False), graph, sizes):
            continue
        every = (mesh._replace(tp=tp, pp=pp, dp=dp) for pp in lengths for dp in copies)
        found += [tried for tried in every if tried.devices <= MOST_DEVICES]
    shared = train and plan.zero > 0  # type: ignore[union-attr]
    return sorted(found, key=lambda m: (m.devices, m.pp, -m.dp if shared else -m.tp))


def _divides(mesh: Mesh, graph: Graph, sizes: Sizes) -> bool:
    try:
        check(mesh, graph, sizes)
    except InputError:
        return False
    return True


def _states(model: Transformer, plan: Plan | Training) -> int:
    """Bytes of weights, gradients and states that all devices together hold at least, each once."""
    if isinstance(plan, Training) and (plan.lora or plan.freeze):
        return 0
    (stage,), sizes = stages(model.graph, Mesh()), model.graph.sizes(model.workload())

    def of(part: Component) -> int:
        if isinstance(plan, Plan):
            return int(weight_bytes(part, Mesh(), sizes, plan))
        return sum(state_bytes(part, sizes, plan._replace(mesh=Mesh())))

    return sum(count * of(part) for part, count in parts_of(stage, model.graph, sizes))


def _fewest(
    meshes: list[Mesh], parts: Callable[[Mesh], dict[str, int]], room: int, states: int
) -> tuple[Mesh, dict[str, int]]:
    """The first mesh that fits, else that which needs least, with what a device then holds.

    states:  bytes that all devices share at best; meshes on which their parts alone do not fit come last
    """
    best: tuple[Mesh, dict[str, int]] | None = None
    refused: InputError | None = None
    for mesh in sorted(meshes, key=lambda mesh: states > room * mesh.devices):
        try:
            held = parts(mesh)
        except InputError as error:
            refused = error
            continue
        if held["total"] <= room:
            return mesh, held
        if best is None or held["total"] < best[1]["total"]:
            best = mesh, held
    if best is None:
        raise refused or InputError("--solve devices finds no mesh that divides the model")
    return best


def _most(fits: Callable[[int], bool], step: int) -> int | None:
    """The largest multiple of a step that fits; None where there is none that does not."""
    return None if fits(MOST * step) else step * largest(lambda n: fits(n * step))


def largest(fits: Callable[[int], bool]) -> int:
    """The largest n from 0 that fits, for a need that grows with n."""
    if not fits(1):
        return 0
    low = 1
    while low < MOST and fits(2 * low):
        low *= 2
    high = 2 * low
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
