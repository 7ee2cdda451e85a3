"""How long a training step takes: kernels and collectives of each pipeline stage, put together by the schedule.

One micro-batch takes a stage t = forward + backward (and what is computed again). Of m micro-batches, the slowest of p
stages works m·t; the others' share of one micro-batch is the time to fill and drain the pipeline, divided by the v
groups of layers of an interleaved one (Megatron-LM, arXiv 2104.04473, §2.2). Then gradients are summed over the
data-parallel ranks and the optimizer passes over its states.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from transformer_calc.facts import Device
from transformer_calc.graph.core import Block, Graph, Sizes
from transformer_calc.plan import Training
from transformer_calc.readings.count import flops, lora, tuning
from transformer_calc.readings.count.params import Component
from transformer_calc.readings.memory.serving import PLAIN
from transformer_calc.readings.memory.training import check, frozen_bytes, micro_batch, passes, state_bytes
from transformer_calc.readings.shard import Stage, parts_of, stages
from transformer_calc.readings.shard import check as check_mesh
from transformer_calc.readings.time import communication, roofline
from transformer_calc.readings.time.communication import Link
from transformer_calc.readings.time.roofline import How, Rates
from transformer_calc.storage import STORAGE, precision, storage

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


class _Held(NamedTuple):
    """Bytes of parameters on one device."""

    weights: float = 0.0
    learning: float = 0.0  # those of them that learn
    gradients: float = 0.0
    traffic: float = 0.0  # of an update, see `traffic`

    def plus(self, more: _Held, times: int = 1) -> _Held:
        """The sum with `times` more."""
        return _Held(*(a + times * b for a, b in zip(self, more, strict=True)))


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


def estimate(graph: Graph, sizes: Sizes, plan: Training, device: Device, *, ideal: bool = False) -> Estimate:
    """A training step of the whole batch. sizes: with `batch` sequences over all devices.

    ideal:  peaks without any loss, hops without latency
    Raises InputError where the device's file does not say what it needs.
    """
    parts = timed(graph, sizes, plan, device, ideal=ideal)
    if plan.adapters:
        whole = tuning.flops(graph, sizes, plan.adapters, recompute=plan.recompute)
    else:
        whole = flops.totals(list(flops.rows(graph, sizes, recompute=plan.recompute)), sizes)
    seconds = sum(parts.values())
    peak: Any = device.peak(precision(plan.precision).compute)
    rate = plan.mesh.devices * peak * seconds
    model, hardware = int(whole.train.matmul), int(whole.hardware.matmul)  # type: ignore[arg-type]
    shown = tuple((name, value) for name, value in parts.items() if value)
    bound = max(shown, key=lambda part: part[1])[0]
    return Estimate(seconds, shown, model, hardware, model / rate, hardware / rate, bound, assumptions(device, plan))


def timed(
    graph: Graph,
    sizes: Sizes,
    plan: Training,
    device: Device,
    *,
    ideal: bool = False,
    known: dict[Any, Any] | None = None,
) -> dict[str, float]:
    """Seconds of each part of a step on the slowest stage; `known` keeps what plans of one search have in common."""
    check_mesh(plan.mesh, graph, sizes)
    check(plan, sizes)
    recipe, mesh = precision(plan.precision), plan.mesh
    rates = roofline.rates(device, recipe.compute, ideal=ideal)
    names = ("tp", "cp", "pp", "ep", "copies", "expert_copies")
    links = {name: communication.link(mesh, name, device, ideal=ideal) for name in names}
    run: dict[str, Any] = {"cached": 0, "batch": micro_batch(plan, sizes)}
    run |= {name: int(sizes[name]) // mesh.cp for name in ("seq", "target") if name in graph.workload_axes}  # type: ignore[arg-type]
    local = graph.bind(run)
    size = STORAGE[recipe.activations].bytes
    narrow = NARROW.get(recipe.compute)
    how = How(mesh=mesh, size=size, attention=plan.attention, keys=mesh.cp, narrow=narrow, near=links["ep"].near)
    if plan.adapters:
        stored = float(storage(plan.weights).of(1)) if plan.weights not in PLAIN else None
        how = how._replace(
            trainable=lambda path: False,
            adapted=lora.targets(graph, plan.adapters),
            rank=plan.adapters.rank,
            stored=stored,
        )
    reader = _Reader(graph, local, how, plan, rates, links, {} if known is None else known)
    cut = "stages", mesh.pp, plan.virtual
    if cut not in reader.known:
        reader.known[cut] = list(stages(graph, mesh, plan.virtual))
    numbers = Counter(map(_same, reader.known[cut]))
    alike = {_same(stage): stage for stage in reader.known[cut]}
    times = {key: reader.stage(stage) for key, stage in alike.items()}
    totals = {key: sum(one) for key, one in times.items()}
    slowest = max(totals, key=totals.__getitem__)
    micro = passes(plan, sizes)
    parts = {name: micro * value for name, value in times[slowest]._asdict().items()}
    parts["bubble"] = (sum(n * totals[key] for key, n in numbers.items()) - totals[slowest]) / plan.virtual
    after = (reader.after(stage, sizes, last=totals[key]) for key, stage in alike.items())
    parts["dp"], parts["optimizer"] = max(after, key=sum)
    return parts


def _same(stage: Stage) -> tuple[Any, ...]:
    """What stages have in common that take the same time."""
    return stage.first, stage.last, *((block.path, block.title, count) for block, count in stage.blocks)


def assumptions(device: Device, plan: Training) -> dict[str, str]:
    """What the time of a step rests on, beside the plan."""
    said = roofline.said(device)
    if plan.mesh.devices > 1:
        said |= communication.said(device)
    if plan.attention == "flash":
        said["flash attention"] = "of the scores what the mask lets through; shorter sequences reach less"
    said["optimizer"] = "a pass each to cast gradients, for their norm, to clip and to update"
    return said


class _Reader:
    """Times of a plan's blocks, each read once; those in `known` are of the same model, device and precision."""

    def __init__(
        self,
        graph: Graph,
        local: Sizes,
        how: How,
        plan: Training,
        rates: Rates,
        links: dict[str, Link],
        known: dict[Any, Any],
    ) -> None:
        self.graph, self.local, self.how, self.plan, self.rates, self.links = graph, local, how, plan, rates, links
        self.known = known
        # what a layer's time depends on: not how many copies or stages there are
        self.key = plan.mesh._replace(dp=1, pp=1), local["batch"], plan.recompute, plan.attention, plan.kernels

    def exposed(self, sent: float, busy: float) -> float:
        """Seconds that a collective costs beside kernels of so many seconds."""
        return communication.exposed(sent, busy, self.rates.kind)

    def block(self, block: Block) -> Times:
        """One layer, or what stands before or after them, forward and backward."""
        key = (block.path, block.title, *self.key)
        if key not in self.known:
            self.known[key] = self._block(block)
        times: Times = self.known[key]
        return times

    def _block(self, block: Block) -> Times:
        plan, times = self.plan, Times()
        recompute = plan.recompute if block.role == "layer" else "none"
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
        if self.plan.mesh.cp == 1:
            return 0.0
        once = communication.ring(block, self.local, self.how, self.links["cp"])
        return self.exposed(3 * once, times.attention)

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
        mesh, layers = self.plan.mesh, [block for block, _ in stage.blocks if block.repeat]
        block = (layers or [block for block in self.graph.blocks if block.repeat])[0]  # a stage may be but an end
        reader = roofline.Reader(block, self.local, self.how)
        made = {op.path: op for op in block.ops}[block.output]
        whole = self.how.size * reader.entries(made.output.dims, whole=True)
        # each tensor-parallel rank sends its part, and the parts are gathered in the node (2104.04473, section 4.1)
        one = whole / mesh.tp / self.links["pp"].port + self.links["pp"].hop
        if mesh.tp > 1 and not mesh.sp:
            one += communication.seconds("all-gather", whole, self.links["tp"])
        ends = (0 if stage.first else 1) + (0 if stage.last else 1)
        return one * (2 * (self.plan.virtual - 1) + ends)

    def _gather(self, stage: Stage, busy: Times) -> float:
        """ZeRO 3: weights are gathered before each use, and gradients scattered, beside the layers' kernels."""
        spent, units = 0.0, sum(count for _, count in stage.blocks)
        for group, held in self._held(stage, self.local).items():  # a layer at a time
            spent += 2 * communication.seconds("all-gather", held.weights / units, self.links[group])
            spent += communication.seconds("reduce-scatter", held.gradients / units, self.links[group])
        return self.exposed(spent * units, sum(busy))

    def after(self, stage: Stage, sizes: Sizes, last: float) -> tuple[float, float]:
        """(gradients' collectives, optimizer) once a step, on one device of a stage; last: seconds of a micro-batch."""
        spent, moved = 0.0, 0.0
        for group, held in self._held(stage, sizes).items():
            joined = self.links[group]
            moved += held.traffic / (joined.ranks if self.plan.zero >= 1 else 1)
            if self.plan.zero == 0:
                spent += communication.seconds("all-reduce", held.gradients, joined)
            elif self.plan.zero < 3:
                spent += communication.seconds("reduce-scatter", held.gradients, joined)
                spent += communication.seconds("all-gather", held.learning, joined)
        return self.exposed(spent, last / 2) + self._tied(stage), moved / self.rates.memory

    def _tied(self, stage: Stage) -> float:
        """The first and the last stage of a pipeline sum the gradients of a token table that is the head, too."""
        if self.plan.mesh.pp == 1 or not (stage.first or stage.last):
            return 0.0
        paths = {param.tied for block in self.graph.blocks for op in block.ops for param in op.params}
        size = sum(
            self.known["held", part.path, self.plan.mesh.tp, self.plan.mesh.ep].gradients
            for part, _ in self.known["parts", *_same(stage)]
            if part.path in paths
        )
        joined = self.links["pp"]
        return size / joined.port + 2 * joined.hop if size else 0.0

    def _held(self, stage: Stage, sizes: Sizes) -> dict[str, _Held]:
        """Bytes of a device's parameters before ZeRO divides them, by the group of ranks that hold the same ones."""
        groups: dict[str, _Held] = {}
        cut = ("parts", *_same(stage))
        if cut not in self.known:
            self.known[cut] = list(parts_of(stage, self.graph, sizes))
        for part, count in self.known[cut]:
            key = ("held", part.path, self.plan.mesh.tp, self.plan.mesh.ep)
            if key not in self.known:
                self.known[key] = self._part(part, sizes)
            group = "expert_copies" if part.routed else "copies"
            groups[group] = groups.get(group, _Held()).plus(self.known[key], count)
        return groups

    def _part(self, part: Component, sizes: Sizes) -> _Held:
        plain, found = self.plan._replace(zero=0), _Held()
        if plain.adapters is None:
            weights, gradients, states = state_bytes(part, sizes, plain)
            return _Held(weights, weights, gradients, traffic(plain, weights, gradients, states))
        bound = lora.bound(sizes, plain.adapters)
        for learning in lora.adapters(part, self.how.adapted):
            weights, gradients, states = state_bytes(learning, bound, plain)
            found = found.plus(_Held(weights, weights, gradients, traffic(plain, weights, gradients, states)))
        return found.plus(_Held(weights=frozen_bytes(part, sizes, plain)))


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
