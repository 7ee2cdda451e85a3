"""How long a training step takes: kernels and collectives of each pipeline stage, put together by the schedule.

One micro-batch takes a stage t = forward + backward (and what is computed again). Of m micro-batches, the slowest of p
stages works m·t; the others' share of one micro-batch is the time to fill and drain the pipeline, divided by the v
groups of layers of an interleaved one (Megatron-LM, arXiv 2104.04473, §2.2). Then gradients are summed over the
data-parallel ranks and the optimizer passes over its states.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from transformer_calc.facts import Device
from transformer_calc.graph.core import Block, Graph, Sizes
from transformer_calc.plan import Mesh, Training
from transformer_calc.readings.count import flops, lora, tuning
from transformer_calc.readings.memory.serving import PLAIN
from transformer_calc.readings.memory.training import Common, check, micro_batch, passes
from transformer_calc.readings.shard import Stage, content, stages
from transformer_calc.readings.shard import check as check_mesh
from transformer_calc.readings.time import communication, roofline
from transformer_calc.readings.time.communication import Link, Transfer
from transformer_calc.readings.time.roofline import How, Rates
from transformer_calc.storage import STORAGE, optimizer, precision, storage
from transformer_calc.tuples import NamedTuple

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


Content = tuple[bool, bool, tuple[tuple[str, str, int], ...]]  # of a stage: first, last, what stands on it


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
    flops: float = 0.0  # of matmuls of an update

    def plus(self, more: _Held, times: int = 1) -> _Held:
        """The sum with `times` more."""
        return _Held(*[a + times * b for a, b in zip(self, more, strict=True)])


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
        return Times(*[a + times * b for a, b in zip(self, more, strict=True)])


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


def timed(graph: Graph, sizes: Sizes, plan: Training, device: Device, *, ideal: bool = False) -> dict[str, float]:
    """Seconds of each part of a step on the slowest stage."""
    return Clock(graph, sizes, plan, device, ideal=ideal).step(plan, sizes)


def assumptions(device: Device, plan: Training) -> dict[str, str]:
    """What the time of a step rests on, beside the plan."""
    said = roofline.said(device)
    if plan.mesh.devices > 1:
        said |= communication.said(device)
    if plan.attention == "flash":
        said["flash attention"] = "of the scores what the mask lets through; shorter sequences reach less"
    said["optimizer"] = "a pass each to cast gradients, for their norm, to clip and to update"
    if optimizer(plan.optimizer).update:
        said["optimizer"] += "; matmuls of whole matrices, divided among the ranks that share them"
    return said


class Cut(NamedTuple):
    """A model in pipeline stages: those that take the same time, once each, and how many of each there are."""

    stages: list[Stage]
    alike: dict[Content, Stage]
    numbers: Counter[Content]


class _Run(NamedTuple):
    """A plan at work; what a layer's time depends on is neither how many copies there are nor how many stages."""

    plan: Training
    batch: int  # sequences of one pass of a device
    rates: Rates
    links: Mapping[str, Link]
    layer: tuple[int, ...]


class _Read(NamedTuple):
    """What a block costs on one device, whatever is computed again."""

    kernels: list[tuple[str, bool, float, float]]  # kind, whether it works on a score matrix, seconds there and back
    before: list[Transfer]
    after: list[Transfer]
    ring: float  # seconds in which keys and values go round once


class Clock:
    """Times steps of one model on one device: what plans of a precision, an optimizer … have in common is read once."""

    def __init__(self, graph: Graph, sizes: Sizes, plan: Training, device: Device, *, ideal: bool = False) -> None:
        recipe = precision(plan.precision)
        self.graph, self.sizes, self.device, self.ideal = graph, sizes, device, ideal
        self.compute = recipe.compute
        self.common = Common(graph, sizes, plan)
        self.per_parameter = recipe.bytes_per_parameter
        narrow = NARROW.get(recipe.compute)
        self.how = How(size=STORAGE[recipe.activations].bytes, attention=plan.attention, narrow=narrow)
        if plan.adapters:
            self.how = self.how._replace(
                trainable=lambda path: False,
                adapted=lora.targets(graph, plan.adapters),
                rank=plan.adapters.rank,
                stored=float(storage(plan.weights).of(1)) if plan.weights not in PLAIN else None,
            )
        self._links: dict[Mesh, dict[str, Link]] = {}
        self._cuts: dict[tuple[int, int], Cut] = {}
        self._reads: dict[Any, _Read] = {}
        self._blocks: dict[Any, Times] = {}
        self._handed: dict[Any, float] = {}
        self._kept: dict[Any, dict[str, _Held]] = {}

    @cached_property
    def rates(self) -> Rates:
        """What the device reaches."""
        return roofline.rates(self.device, self.compute, ideal=self.ideal)

    def step(self, plan: Training, sizes: Sizes) -> dict[str, float]:
        """Seconds of each part of a step on the slowest stage."""
        mesh = plan.mesh
        check_mesh(mesh, self.graph, sizes)
        check(plan, sizes)
        batch = micro_batch(plan, sizes)
        run = _Run(plan, batch, self.rates, self._joined(mesh), (mesh.tp, mesh.cp, mesh.ep, mesh.sp, batch))
        cut = self.cut(mesh.pp, plan.virtual)
        times = {key: self._stage(run, stage) for key, stage in cut.alike.items()}
        totals = {key: sum(one) for key, one in times.items()}
        slowest = max(totals, key=totals.__getitem__)
        micro = passes(plan, sizes)
        parts = {name: micro * value for name, value in zip(Times._fields, times[slowest], strict=True)}
        every = sum([n * totals[key] for key, n in cut.numbers.items()])
        parts["bubble"] = (every - totals[slowest]) / plan.virtual
        after = [self._after(run, stage, last=totals[key]) for key, stage in cut.alike.items()]
        parts["dp"], parts["optimizer"] = max(after, key=sum)
        return parts

    def cut(self, pp: int, virtual: int) -> Cut:
        """The stages of a pipeline."""
        if (pp, virtual) not in self._cuts:
            every = list(stages(self.graph, Mesh(pp=pp), virtual))
            keys = [(stage.first, stage.last, content(stage)) for stage in every]
            self._cuts[pp, virtual] = Cut(every, dict(zip(keys, every, strict=True)), Counter(keys))
        return self._cuts[pp, virtual]

    def _joined(self, mesh: Mesh) -> dict[str, Link]:
        """How the ranks of each dimension reach each other."""
        if mesh not in self._links:
            names = ("tp", "cp", "pp", "ep", "copies", "expert_copies")
            self._links[mesh] = {name: communication.link(mesh, name, self.device, ideal=self.ideal) for name in names}
        return self._links[mesh]

    def _exposed(self, sent: float, busy: float) -> float:
        """Seconds that a collective costs beside kernels of so many seconds."""
        return communication.exposed(sent, busy, self.rates.kind)

    def _one_pass(self, run: _Run) -> tuple[Sizes, How]:
        """The sizes of one micro-batch on one device, and how it is run."""
        mesh, graph = run.plan.mesh, self.graph
        given: dict[str, Any] = {"cached": 0, "batch": run.batch}
        given |= {name: self.sizes[name] // mesh.cp for name in ("seq", "target") if name in graph.workload_axes}  # type: ignore[operator]
        return graph.bind(given), self.how._replace(mesh=mesh, keys=mesh.cp, near=run.links["ep"].near)

    def _read(self, run: _Run, block: Block) -> _Read:
        """A block on one device."""
        key = block.path, block.title, run.layer
        if key not in self._reads:
            local, how = self._one_pass(run)
            kernels = [
                (
                    kernel.kind,
                    kernel.core,
                    sum(roofline.spent(kernel, self.rates, how.size)),
                    roofline.backward(kernel, self.rates, how.size),
                )
                for kernel in roofline.kernels(block, local, how)
            ]
            ring = communication.ring(block, local, how, run.links["cp"]) if how.keys > 1 else 0.0
            self._reads[key] = _Read(kernels, *communication.transfers(block, local, how), ring)
        return self._reads[key]

    def _block(self, run: _Run, block: Block) -> Times:
        """One layer, or what stands before or after them, forward and backward."""
        recompute = run.plan.recompute if block.role == "layer" else "none"
        key = block.path, block.title, run.layer, recompute
        if key not in self._blocks:
            self._blocks[key] = self._timed(self._read(run, block), run.links, recompute)
        return self._blocks[key]

    def _timed(self, read: _Read, links: Mapping[str, Link], recompute: str) -> Times:
        spent = dict.fromkeys(Times._fields, 0.0)
        wide = 0.0  # matmuls of the backward pass, beside which collectives may run
        for kind, core, forward, backward in read.kernels:
            spent[kind] += forward + backward
            again = recompute == "full" or (recompute == "selective" and core and kind != "attention")
            spent["again"] += forward if again else 0.0
            wide += backward if kind == "matmul" else 0.0
        for transfer in read.before:
            one = communication.seconds(transfer.kind, transfer.bytes, links[transfer.over])
            spent[transfer.over] += one * (2 if recompute == "full" else 1)
        if self.rates.kind == "TPU":  # its compiler sends a part while it multiplies another
            spent["tp"] = self._exposed(spent["tp"], spent["matmul"])
        beside = 0.0
        for transfer in read.after:
            one = communication.seconds(transfer.kind, transfer.bytes, links[transfer.over])
            if transfer.hidden:
                beside += one
            else:
                spent[transfer.over] += one
        spent["tp"] += self._exposed(beside, wide)
        # keys and values go round the context-parallel ranks, beside attention; gradients too
        spent["cp"] = self._exposed(3 * read.ring, spent["attention"])
        return Times(**spent)

    def _stage(self, run: _Run, stage: Stage) -> Times:
        """One micro-batch on one device of a stage."""
        total = Times()
        for block, count in stage.blocks:
            total = total.plus(self._block(run, block), count)
        if run.plan.mesh.pp > 1:
            total = total._replace(send=self._send(run, stage))
        if run.plan.zero >= 3:
            total = total._replace(zero=self._gather(run, stage, total))
        return total

    def _send(self, run: _Run, stage: Stage) -> float:
        """Activations to the next stage, gradients to the one before: each group of layers does."""
        mesh, layers = run.plan.mesh, [block for block, _ in stage.blocks if block.repeat]
        block = (layers or [block for block in self.graph.blocks if block.repeat])[0]  # a stage may be but an end
        key = block.path, block.title, run.layer
        if key not in self._handed:
            local, how = self._one_pass(run)
            made = {op.path: op for op in block.ops}[block.output]
            self._handed[key] = how.size * roofline.Reader(block, local, how).entries(made.output.dims, whole=True)
        whole = self._handed[key]
        # each tensor-parallel rank sends its part, and the parts are gathered in the node (2104.04473, section 4.1)
        one = whole / mesh.tp / run.links["pp"].port + run.links["pp"].hop
        if mesh.tp > 1 and not mesh.sp:
            one += communication.seconds("all-gather", whole, run.links["tp"])
        ends = (0 if stage.first else 1) + (0 if stage.last else 1)
        return one * (2 * (run.plan.virtual - 1) + ends)

    def _gather(self, run: _Run, stage: Stage, busy: Times) -> float:
        """ZeRO 3: weights are gathered before each use, and gradients scattered, beside the layers' kernels."""
        spent, units = 0.0, sum([count for _, count in stage.blocks])
        for group, held in self._held(stage, run.plan.mesh).items():  # a layer at a time
            spent += 2 * communication.seconds("all-gather", held.weights / units, run.links[group])
            spent += communication.seconds("reduce-scatter", held.gradients / units, run.links[group])
        return self._exposed(spent * units, sum(busy))

    def _after(self, run: _Run, stage: Stage, last: float) -> tuple[float, float]:
        """(gradients' collectives, optimizer) once a step, on one device of a stage; last: seconds of a micro-batch."""
        spent, moved, computed, zero = 0.0, 0.0, 0.0, run.plan.zero
        for group, held in self._held(stage, run.plan.mesh).items():
            joined = run.links[group]
            moved += held.traffic / (joined.ranks if zero >= 1 else 1)
            computed += held.flops / (joined.ranks if zero >= 1 else 1)
            if zero == 0:
                spent += communication.seconds("all-reduce", held.gradients, joined)
            elif zero < 3:
                spent += communication.seconds("reduce-scatter", held.gradients, joined)
                spent += communication.seconds("all-gather", held.learning, joined)
        update = moved / self.rates.memory + computed / self.rates.matmul
        return self._exposed(spent, last / 2) + self._tied(run, stage), update

    def _tied(self, run: _Run, stage: Stage) -> float:
        """The first and the last stage of a pipeline sum the gradients of a token table that is the head, too."""
        if run.plan.mesh.pp == 1 or not (stage.first or stage.last):
            return 0.0
        tables = [part for part, *_ in self.common.on(stage) if part.path in self.common.tied]
        size = sum([self.common.bytes(part, run.plan.mesh, 0)[1] for part in tables])
        joined = run.links["pp"]
        return size / joined.port + 2 * joined.hop if size else 0.0

    def _held(self, stage: Stage, mesh: Mesh) -> dict[str, _Held]:
        """Bytes of a device's parameters before ZeRO divides them, by the group of ranks that hold the same ones."""
        key = content(stage), mesh.tp, mesh.ep
        if key not in self._kept:
            groups: dict[str, _Held] = {}
            for part, number, count in self.common.on(stage):
                group = "expert_copies" if part.routed else "copies"
                weights, gradients, states = self.common.bytes(part, mesh, 0)
                learning = weights - self.common.frozen(part, mesh)
                moved = traffic(self.per_parameter, learning, gradients, states)
                one = _Held(weights, learning, gradients, moved, self.common.update_flops(part, mesh))
                groups[group] = groups.get(group, _Held()).plus(one, number * count)
            self._kept[key] = groups
        return self._kept[key]


def traffic(per_parameter: tuple[int, int, int], weights: float, gradients: float, states: float) -> float:
    """Bytes that an update moves for a tensor with so many bytes of each.

    As mixed-precision optimizers go about it, one pass after the other: gradients to the master copy's type, their
    norm, their clipping, the update, the weights in their own type, gradients to zero.
    """
    weight, _, master = per_parameter
    wide = weights / weight * (master or weight)  # gradients in the master copy's type
    cast = gradients + wide if master else 0.0
    back = wide + weights if master else 0.0
    return cast + wide + 2 * wide + wide + 2 * states + (0.0 if master else 2 * weights) + back + gradients


def describe(parts: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    """The parts with names for people."""
    return [(PARTS[name], value) for name, value in parts]
