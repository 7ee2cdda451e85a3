"""How long a training step takes: kernels and collectives of each pipeline stage, put together by the schedule.

One micro-batch takes a stage t = forward + backward (and what is computed again). Of m micro-batches, the slowest of p
stages works m·t; the others' share of one micro-batch is the time to fill and drain the pipeline, divided by the v
groups of layers of an interleaved one (Megatron-LM, arXiv 2104.04473, §2.2). Then gradients are summed over the
data-parallel ranks and the optimizer passes over its states.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from transformer_calc.errors import InputError
from transformer_calc.graph.core import Block, Graph, Sizes
from transformer_calc.readings import communication, flops, lora, roofline
from transformer_calc.readings.communication import Link, Unknown
from transformer_calc.readings.roofline import How, Rates
from transformer_calc.readings.sharding import Stage, parts_of, stages
from transformer_calc.readings.sharding import check as check_mesh
from transformer_calc.readings.training import Training, check, micro_batch, passes, ranks_of, state_bytes
from transformer_calc.spec import Device
from transformer_calc.storage import STORAGE, precision

# of a collective beside kernels, what costs no time: on a GPU both want memory and multiprocessors
OVERLAP = {"GPU": 0.5, "TPU": 1.0}
USUAL_OVERLAP = 0.5
NARROW = {"fp8": 1.0, "fp4": 0.5}  # bytes of an operand of a matmul that is cast down for it
PARTS = {
    "matmul": "matmuls",
    "attention": "attention",
    "memory": "norms, activations and other passes over memory",
    "again": "recomputation",
    "tp": "tensor-parallel collectives",
    "ep": "sending tokens to experts and back",
    "cp": "passing keys and values round",
    "zero": "gathering weights that ZeRO divides",
    "send": "sending between pipeline stages",
    "bubble": "pipeline bubble",
    "dp": "summing gradients",
    "optimizer": "optimizer",
}


class Estimate(NamedTuple):
    """A training step: seconds, and what they are made of (the sum, on the slowest pipeline stage)."""

    seconds: float
    parts: tuple[tuple[str, float], ...]
    flops: int  # model FLOPs: matmuls, forward and backward
    hardware_flops: int  # with what is computed again
    mfu: float
    hfu: float
    bound: str
    assumptions: dict[str, str]


class Times(NamedTuple):
    """Seconds of one micro-batch, or of one layer of it."""

    matmul: float = 0.0
    attention: float = 0.0
    memory: float = 0.0
    again: float = 0.0
    tp: float = 0.0
    ep: float = 0.0
    cp: float = 0.0
    zero: float = 0.0
    send: float = 0.0

    def plus(self, more: Times, times: int = 1) -> Times:
        """The sum with `times` more."""
        return Times(*(a + times * b for a, b in zip(self, more, strict=True)))


def estimate(
    graph: Graph, sizes: Sizes, plan: Training, device: Device, family: str = "", *, ideal: bool = False
) -> Estimate:
    """A training step of the whole batch. sizes: with `batch` sequences over all devices.

    ideal:  peaks without any loss, hops without latency
    Raises InputError where the device's file does not say what it needs.
    """
    check_mesh(plan.mesh, graph, sizes)
    check(plan, sizes)
    recipe, mesh = precision(plan.precision), plan.mesh
    rates = roofline.rates(device, recipe.compute, ideal=ideal)
    links = {name: _link(plan, name, device, ideal=ideal) for name in ("tp", "cp", "dp", "pp", "ep")}
    run: dict[str, Any] = {"cached": 0, "batch": micro_batch(plan, sizes)}
    run |= {name: int(sizes[name]) // mesh.cp for name in ("seq", "target") if name in graph.workload_axes}  # type: ignore[arg-type]
    local = graph.bind(run)
    adapted = lora.targets(graph, plan.lora) if plan.lora else frozenset[str]()
    size = STORAGE[recipe.activations].bytes
    narrow = NARROW.get(recipe.compute)
    how = How(mesh=mesh, size=size, attention=plan.attention, keys=mesh.cp, narrow=narrow, near=links["ep"].near)
    if plan.lora:
        how = how._replace(trainable=lambda path: False)
    del adapted
    reader = _Reader(graph, local, how, plan, rates, links)
    every = [reader.stage(stage) for stage in stages(graph, mesh, plan.virtual)]
    micro = passes(plan, sizes)
    totals = [sum(times) for times in every]
    slowest = max(range(len(every)), key=lambda i: totals[i])
    parts = {name: micro * value for name, value in every[slowest]._asdict().items()}
    parts["bubble"] = (sum(totals) - totals[slowest]) / plan.virtual
    last = max(
        (reader.after(stage, sizes, last=totals[stage.number]) for stage in stages(graph, mesh, plan.virtual)),
        key=sum,
    )
    parts["dp"], parts["optimizer"] = last
    whole = flops.totals(list(flops.rows(graph, sizes, recompute=plan.recompute)), sizes)
    seconds = sum(parts.values())
    peak: Any = device.peak(recipe.compute)
    rate = mesh.devices * peak * seconds
    model, hardware = int(whole.train.matmul), int(whole.hardware.matmul)  # type: ignore[arg-type]
    shown = tuple((name, value) for name, value in parts.items() if value)
    bound = max(shown, key=lambda part: part[1])[0]
    return Estimate(seconds, shown, model, hardware, model / rate, hardware / rate, bound, assumptions(device, plan))


def assumptions(device: Device, plan: Training) -> dict[str, str]:
    """What the time of a step rests on, beside the plan."""
    parts = {what: roofline.reached(device, what) for what in roofline.REACHED}
    measured = f"tcalc hardware show {device.name}" if device.efficiency else "usual parts: none was measured"
    said = {
        "matmuls": f"{parts['matmul']:.0%} of the peak, less what whole tiles and waves lose ({measured})",
        "memory bandwidth": f"{parts['memory']:.0%} of the peak",
    }
    if plan.mesh.devices > 1:
        said["interconnect"] = f"{parts['interconnect']:.0%} of its rate, {device.node or 1} devices a node"
        said["network"] = f"{parts['network']:.0%} of its rate between nodes"
        said["overlap"] = (
            "collectives of the backward pass run beside matmuls, which then take twice as long; others wait"
        )
    if plan.attention == "flash":
        said["flash attention"] = (
            f"{parts['attention']:.0%} of the peak for long sequences, of what the mask lets through"
        )
    return said


def _link(plan: Training, name: str, device: Device, *, ideal: bool) -> Link:
    found = communication.link(plan.mesh, name, device, ideal=ideal)
    if isinstance(found, Unknown):
        raise InputError(f"{found.what} is unknown: {device.name}", hint="a TOML file of your own may say it")
    return found


class _Reader:
    """Times of a plan's blocks, each read once."""

    def __init__(
        self, graph: Graph, local: Sizes, how: How, plan: Training, rates: Rates, links: dict[str, Link]
    ) -> None:
        self.graph, self.local, self.how, self.plan, self.rates, self.links = graph, local, how, plan, rates, links
        self.known: dict[tuple[str, str], Times] = {}

    def exposed(self, sent: float, busy: float) -> float:
        """Seconds that a collective costs beside kernels of so many seconds."""
        return sent - min(sent, busy) * OVERLAP.get(self.rates.kind, USUAL_OVERLAP)

    def block(self, block: Block) -> Times:
        """One layer, or what stands before or after them, forward and backward."""
        key = (block.path, block.title)
        if key not in self.known:
            self.known[key] = self._block(block)
        return self.known[key]

    def _block(self, block: Block) -> Times:
        plan, times = self.plan, Times()
        recompute = plan.recompute if block.repeat else "none"
        wide = 0.0  # matmuls of the backward pass, beside which collectives may run
        for kernel in roofline.kernels(block, self.local, self.how):
            forward = sum(roofline.spent(kernel, self.rates, self.how.size))
            backward = roofline.backward(kernel, self.rates, self.how.size)
            again = recompute == "full" or (recompute == "selective" and kernel.core and kernel.kind != "attention")
            times = times._replace(
                **{kernel.kind: getattr(times, kernel.kind) + forward + backward},
                again=times.again + (forward if again else 0.0),
            )
            wide += backward if kernel.kind == "matmul" else 0.0
        before, after = communication.transfers(block, self.local, self.how)
        spent = {"tp": 0.0, "ep": 0.0}
        for transfer in before:
            one = communication.seconds(transfer.kind, transfer.bytes, self.links[transfer.over])
            spent[transfer.over] += one * (2 if recompute == "full" else 1)
        if self.rates.kind == "TPU":  # its compiler sends a part while it multiplies another
            spent["tp"] = self.exposed(spent["tp"], times.matmul)
        beside = 0.0
        for transfer in after:
            one = communication.seconds(transfer.kind, transfer.bytes, self.links[transfer.over])
            if transfer.hidden:
                beside += one
            else:
                spent[transfer.over] += one
        spent["tp"] += self.exposed(beside, wide)
        return times._replace(**spent, cp=self._ring(block, times))

    def _ring(self, block: Block, times: Times) -> float:
        """Keys and values go round the context-parallel ranks, beside attention; gradients too."""
        cp = self.plan.mesh.cp
        if cp == 1:
            return 0.0
        reader = roofline.reader(block, self.local, self.how)
        kept = [op for op in block.ops if op.kind == "cache" and not op.attrs.get("once")]
        size = sum(reader.bytes(op.inputs[0]) for op in kept)
        one = (cp - 1) * size / self.links["cp"].rate
        return self.exposed(3 * one, times.attention)

    def stage(self, stage: Stage) -> Times:
        """One micro-batch on one device of a stage."""
        total = Times()
        for block, count in stage.blocks:
            total = total.plus(self.block(block), count)
        mesh = self.plan.mesh
        if mesh.pp > 1:
            total = total._replace(send=self._send(stage))
        if self.plan.zero >= 3:
            total = total._replace(zero=self._gather(stage, total))
        return total

    def _send(self, stage: Stage) -> float:
        """Activations to the next stage, gradients to the one before: each group of layers does."""
        held = [block for block, _ in stage.blocks]
        mesh, block = self.plan.mesh, next(b for b in (*held, *self.graph.blocks) if b.repeat)  # an end may stand alone
        reader = roofline.reader(block, self.local, self.how)
        made = {op.path: op for op in block.ops}[block.output]
        whole = self.how.size * reader.entries(made.output.dims, whole=True)
        # each tensor-parallel rank sends its part, and the parts are gathered in the node (2104.04473, section 4.1)
        one = whole / mesh.tp / (self.links["pp"].rate / self.links["pp"].near) + self.links["pp"].hop
        if mesh.tp > 1 and not mesh.sp:
            one += communication.seconds("all-gather", whole, self.links["tp"])
        ends = (0 if stage.first else 1) + (0 if stage.last else 1)
        return one * (2 * (self.plan.virtual - 1) + ends)

    def _gather(self, stage: Stage, busy: Times) -> float:
        """ZeRO 3: weights are gathered before each use, and gradients scattered, beside the layers' kernels."""
        weights, gradients, units = 0.0, 0.0, sum(count for _, count in stage.blocks)
        plain = self.plan._replace(zero=0)
        for part, count in parts_of(stage, self.graph, self.local):
            w, g, _ = state_bytes(part, self.local, plain)
            weights, gradients = weights + count * w, gradients + count * g
        joined = self.links["dp"]
        spent = 2 * communication.seconds("all-gather", weights / units, joined)  # a layer at a time
        spent += communication.seconds("reduce-scatter", gradients / units, joined)
        spent *= units
        return self.exposed(spent, sum(busy))

    def after(self, stage: Stage, sizes: Sizes, last: float) -> tuple[float, float]:
        """(gradients' collectives, optimizer) once a step, on one device of a stage; last: seconds of a micro-batch."""
        weights, gradients, moved = 0.0, 0.0, 0.0
        plain = self.plan._replace(zero=0)
        paths = lora.targets(self.graph, self.plan.lora) if self.plan.lora else frozenset[str]()
        bound = lora.bound(sizes, self.plan.lora)
        for part, count in parts_of(stage, self.graph, sizes):
            for learning in lora.adapters(part, paths) if self.plan.lora else (part,):
                w, g, s = state_bytes(learning, bound, plain)
                weights, gradients = weights + count * w, gradients + count * g
                ways = ranks_of(part, self.plan.mesh) if self.plan.zero >= 1 else 1
                moved += count * traffic(self.plan, w, g, s) / ways
        joined = self.links["dp"]
        if self.plan.zero == 0:
            spent = communication.seconds("all-reduce", gradients, joined)
        elif self.plan.zero < 3:
            spent = communication.seconds("reduce-scatter", gradients, joined)
            spent += communication.seconds("all-gather", weights, joined)
        else:
            spent = 0.0
        return self.exposed(spent, last / 2), moved / self.rates.memory


def traffic(plan: Training, weights: float, gradients: float, states: float) -> float:
    """Bytes that an update moves for a tensor with so many bytes of each.

    As mixed-precision optimizers go about it, one pass after the other: gradients to the master copy's type, their
    norm, their clipping, the update, the weights in their own type, gradients to zero.
    """
    weight, _, master = precision(plan.precision).bytes_per_parameter
    wide = weights / weight * (master or weight)  # gradients in the master copy's type
    cast = gradients + wide if master else 0.0
    back = wide + weights if master else 0.0
    return cast + wide + 2 * wide + wide + 2 * states + (0.0 if master else 2 * weights) + back + gradients


def describe(parts: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    """The parts with names for people."""
    return [(PARTS[name], value) for name, value in parts]
