"""How to spread a training run over devices, where that is not given: the fastest plan found that memory holds.

Tensor parallelism stays inside a node, pipelines are as short as memory allows, and what is left are copies, whose
optimizer states are divided (ZeRO 1) or whose weights are too (ZeRO 3): the usual order (Megatron-LM, arXiv 2104.04473,
§3: takeaways 1 to 3). From the fastest of these the search goes on to whatever next to it is faster: longer and shorter
pipelines, other widths, micro-batches, recomputation, groups of layers, until nothing next to it is. Each candidate is
timed as a whole; not every plan there is is tried.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from transformer_calc.errors import InputError
from transformer_calc.facts import Device
from transformer_calc.graph.core import Graph, Sizes, plain
from transformer_calc.plan import Mesh, Training
from transformer_calc.readings.memory import training
from transformer_calc.readings.memory.spread import divisors
from transformer_calc.readings.shard import Stage, check, content
from transformer_calc.readings.time import step
from transformer_calc.tuples import NamedTuple

MICRO_BATCHES = (1, 2, 4, 8, 16)
GROUPS = (1, 2, 4)  # of layers of a stage, where an interleaved schedule is left to choose
UNEVEN = 0.05  # of the layers, by which the stages of a pipeline may differ together
IDLE = 0.02  # of the devices, that a mesh may leave out


class Choice(NamedTuple):
    """A plan, the batch that it takes (rounded up to whole micro-batches on each copy), and its step."""

    plan: Training
    batch: int
    estimate: step.Estimate
    fits: bool  # False where the mesh is given and memory does not hold it: it is timed all the same
    tried: tuple[Training, ...]  # plans that were timed
    fitting: int  # of those whose memory was counted, how many fit


def choose(graph: Graph, sizes: Sizes, device: Device, devices: int, plan: Training, fixed: frozenset[str]) -> Choice:
    """The fastest plan on so many devices.

    plan:  what is given, and the defaults of the rest
    fixed:  names of the fields of the plan and of its mesh that are given: tp, pp, micro_batch, zero, recompute …
    Raises InputError where nothing fits, or the device's file does not say enough.
    """
    search = _Search(graph, sizes, device, devices, plan, fixed)
    best: Candidate | None = None
    for found in search.plans():
        for micro in search.micro_batches:
            tried = search.timed(found.changed(micro_batch=micro), best.seconds if best else math.inf)
            if tried is None:
                break
            if best is not None and tried.seconds > 1.2 * best.seconds:
                break  # larger micro-batches seldom turn it round
            if best is None or tried.seconds < best.seconds:
                best = tried
    fits = best is not None
    if best is None and {"tp", "pp"} <= fixed:
        best = search.smallest()
    elif best is not None:
        best = search.climbed(best)
    if best is None:
        raise InputError(
            f"`devices` is {devices:,}, but no way to spread the model over them fits {device.name}",
            hint="more devices, or tcalc fit `mode=train`",
        )
    estimate = step.estimate(graph, {**sizes, "batch": best.batch}, best.plan, device)
    held = sum(search.fitting.values())
    return Choice(best.plan, best.batch, estimate, fits, tuple(search.seconds), held)


class Candidate(NamedTuple):
    """A plan, the batch that it takes, and the seconds of its step."""

    plan: Training
    batch: int
    seconds: float


class _Search:
    """Plans of one model on one kind of device, and what they have in common, worked out once."""

    def __init__(
        self,
        graph: Graph,
        sizes: Sizes,
        device: Device,
        devices: int,
        plan: Training,
        fixed: frozenset[str],
    ) -> None:
        self.graph, self.sizes, self.device, self.devices = graph, sizes, device, devices
        self.plan, self.fixed = plan, fixed
        self.layers = layers = graph.n_layers
        self.divisors = divisors(layers)
        self.clock = step.Clock(graph, sizes, plan, device)
        self.seconds: dict[Training, float] = {}  # of the plans that were timed
        self.fitting: dict[tuple[Training, int], bool] = {}
        self.stages: dict[tuple[int, int], list[Stage]] = {}

    def plans(self) -> Iterator[Training]:
        """Plans for each width of tensor parallelism: the shortest pipeline that fits, with each way to save memory.

        Where that leaves devices over, the shortest that leaves none, too.
        """
        plan, mesh, fixed = self.plan, self.plan.mesh, self.fixed
        widths = (mesh.tp,) if "tp" in fixed else _powers(min(self.device.node or 1, self.devices))
        zeros = (plan.zero,) if "zero" in fixed else (1, 3)
        again = (plan.recompute,) if "recompute" in fixed else ("none", "full")
        for tp in widths:
            for zero in zeros:
                for recompute in again:
                    first = True
                    for pp in self.lengths:
                        found = self._plan(tp, pp, zero, recompute)
                        if found is None:
                            continue
                        whole = found.mesh.devices == self.devices
                        if not (first or whole):
                            continue
                        least = self._least(found.changed(micro_batch=self.micro_batches[0]))
                        if self._may_fit(least) and self._valid(least) and self._fits(least):
                            yield found
                            first = False
                            if whole:
                                break

    @cached_property
    def lengths(self) -> list[int]:
        """Pipelines that divide the layers, or nearly."""
        if "pp" in self.fixed:
            return [self.plan.mesh.pp]
        if len(self.graph.orders) > 1:
            return [1]
        return [n for n in range(1, self.layers + 1) if -self.layers % n <= UNEVEN * self.layers]

    def _plan(self, tp: int, pp: int, zero: int, recompute: str) -> Training | None:
        """The plan with as many copies as there are devices for; None where too many are left over."""
        if zero >= 2 and pp > 1 and "zero" not in self.fixed:
            return None  # frameworks do not scatter gradients, or gather weights, for each micro-batch of a pipeline
        mesh, fixed = self.plan.mesh, self.fixed
        one = tp * pp * mesh.cp
        dp = mesh.dp if "dp" in fixed else self.devices // one
        if not dp or dp * one > self.devices or (dp * one < (1 - IDLE) * self.devices and "dp" not in fixed):
            return None
        tried = mesh.changed(tp=tp, pp=pp, dp=dp, sp=mesh.sp or (tp > 1 and "sp" not in fixed))
        if tried.ep == 1 and "ep" not in fixed and "experts" in self.graph.axes:
            tried = tried.changed(ep=self._experts(tried))
        return self.plan.changed(mesh=tried, zero=zero if dp * mesh.cp > 1 else 0, recompute=recompute)

    def _experts(self, mesh: Mesh) -> int:
        """Experts are split over the copies of a node, or over as many as there are experts."""
        axes = (axis for axis in self.graph.axes if plain(axis) == "experts")
        count: Any = min(int(self.sizes[axis]) for axis in axes)  # type: ignore[arg-type]
        most = max(1, (self.device.node or 1) // (mesh.tp * mesh.cp))
        return max(n for n in range(1, most + 1) if count % n == 0 and (mesh.dp * mesh.cp) % n == 0)

    def _padded(self, plan: Training) -> dict[str, Any]:
        """The batch rounded up to whole micro-batches on every copy."""
        batch, unit = int(self.sizes["batch"]), plan.mesh.dp * (plan.micro_batch or 1)  # type: ignore[arg-type]
        whole = -(-batch // unit)
        if plan.schedule == "interleaved":  # which takes micro-batches by as many as there are stages
            whole = -(-whole // plan.mesh.pp) * plan.mesh.pp
        return {**self.sizes, "batch": whole * unit}

    def _valid(self, plan: Training) -> bool:
        try:
            check(plan.mesh, self.graph, self.sizes)
            training.check(plan, self._padded(plan))
            self._stages(plan)
        except InputError:
            return False
        return True

    def _fits(self, plan: Training) -> bool:
        """Whether memory holds every stage; where it is unknown, it does."""
        room = self.device.memory_bytes
        if room is None:
            return True
        padded = self._padded(plan)
        key = plan, padded["batch"]
        if key not in self.fitting:
            those = self._stages(plan)
            if may := all(self._at_least(stage, plan) <= room for stage in those):
                reading = training.Reading(self.graph, padded, plan, self.clock.common)
                may = all(reading.held(stage).bytes.total <= room for stage in those)
            self.fitting[key] = may
        return self.fitting[key]

    def _may_fit(self, plan: Training) -> bool:
        """Whether memory holds an equal part of what all stages hold at the least: then one holds no less than that.

        Of thousands of layers there are as many pipelines, and this looks at none of their stages.
        """
        room = self.device.memory_bytes
        if room is None or plan.mesh.pp == 1:
            return True
        (whole,) = self.clock.cut(1, 1).stages
        return self._at_least(whole, plan) <= room * plan.mesh.pp

    def _stages(self, plan: Training) -> list[Stage]:
        """The stages of which one is the fullest."""
        key = plan.mesh.pp, plan.virtual
        if key not in self.stages:
            self.stages[key] = list(fullest(self.clock.cut(*key).stages))
        return self.stages[key]

    def _at_least(self, stage: Stage, plan: Training) -> int:
        """What a stage holds at the least, which is quickly said: what learns has weights, gradients and states."""
        if plan.adapters:
            return 0
        total, kept = 0, self.clock.common
        for part, number, count in kept.on(stage):
            total += number * count * sum(kept.bytes(part, plan.mesh, plan.zero))
        return total

    @property
    def micro_batches(self) -> tuple[int | None, ...]:
        """Those that are tried."""
        return (self.plan.micro_batch,) if "micro_batch" in self.fixed else MICRO_BATCHES

    def climbed(self, best: Candidate) -> Candidate:
        """The fastest plan that is reached by steps to what is next to a plan, each of them faster."""
        seen = set[Training]()
        while True:
            start = best
            for plan in self._near(start.plan):
                key = plan.changed(virtual=1, schedule="1f1b")
                if key in seen:
                    continue
                seen.add(key)
                groups = tuple([n for n in self.divisors if self.layers % (n * plan.mesh.pp) == 0])
                tried = self.timed(plan, best.seconds, groups or GROUPS) if self._valid(self._least(plan)) else None
                if tried is not None and tried.seconds < best.seconds and self._fits(tried.plan):
                    best = tried
            if best is start:
                return best

    def _near(self, plan: Training) -> Iterator[Training]:
        """Plans that differ in one way, exchange tensor parallelism for stages, or what ZeRO frees for sequences.

        Stages have equally many layers, or embedding and head stand for one each.
        """
        mesh, fixed = plan.mesh, self.fixed
        widths = (mesh.tp,) if "tp" in fixed else _powers(min(self.device.node or 1, self.devices))
        meshes: list[tuple[int, int]] = []
        equal = [pp for pp in self.lengths if pp == mesh.pp or not self.layers % pp or not (self.layers + 2) % pp]
        lengths = [pp for pp in equal if self.devices % (mesh.tp * pp * mesh.cp) == 0]
        if mesh.pp in lengths:
            at = lengths.index(mesh.pp)
            meshes += [(mesh.tp, pp) for pp in lengths[max(at - 2, 0) : at + 3]]
        for tp in [tp for tp in (mesh.tp // 2, 2 * mesh.tp) if tp in widths]:
            meshes += [(tp, mesh.pp), *[(tp, pp) for pp in lengths if pp * tp == mesh.pp * mesh.tp]]
        base = plan.changed(virtual=self.plan.virtual, schedule=self.plan.schedule)
        again = (plan.recompute,) if "recompute" in fixed else ("none", "full")
        zeros = (plan.zero,) if "zero" in fixed else (0, 1, 2, 3)
        micros = [n for n in self.micro_batches if plan.micro_batch is None or n in _beside(plan.micro_batch)]
        ways = [(tp, pp, plan.zero, plan.recompute, plan.micro_batch) for tp, pp in meshes]
        ways += [(mesh.tp, mesh.pp, zero, plan.recompute, n) for zero in zeros for n in (plan.micro_batch, *micros)]
        ways += [(mesh.tp, mesh.pp, plan.zero, recompute, plan.micro_batch) for recompute in again]
        for tp, pp, zero, recompute, micro in ways:
            found = self._plan(tp, pp, zero, recompute)
            if found is not None:
                yield base.changed(mesh=found.mesh, zero=found.zero, recompute=recompute, micro_batch=micro)

    def _least(self, plan: Training) -> Training:
        """The plan with the fewest groups of layers that its schedule takes."""
        several = plan.schedule == "interleaved" and "virtual" not in self.fixed
        return plan.changed(virtual=GROUPS[1]) if several else plan

    def smallest(self) -> Candidate | None:
        """Of the plans on the mesh that is given, none of which fits, the one that needs the least memory."""
        mesh, best = self.plan.mesh, None
        least = math.inf
        for zero in (self.plan.zero,) if "zero" in self.fixed else (1, 3):
            for recompute in (self.plan.recompute,) if "recompute" in self.fixed else ("none", "full"):
                found = self._plan(mesh.tp, mesh.pp, zero, recompute)
                if found is None:
                    continue
                plan = self._least(found.changed(micro_batch=self.micro_batches[0]))
                if not self._valid(plan):
                    continue
                padded = self._padded(plan)
                reading = training.Reading(self.graph, padded, plan, self.clock.common)
                needs = max(reading.held(stage).bytes.total for stage in self._stages(plan))
                if needs < least:
                    seconds = sum(self.clock.step(plan, padded).values())
                    self.seconds[plan] = seconds
                    best, least = Candidate(plan, padded["batch"], seconds), needs
        return best

    def timed(self, plan: Training, best: float, groups: tuple[int, ...] = GROUPS) -> Candidate | None:
        """The plan with the best number of groups of layers; None where it does not fit.

        best:  seconds of the best plan so far; whether slower ones fit is not looked at
        groups:  those to try where they are not given, from one on
        """
        free = plan.mesh.pp > 1 and "schedule" not in self.fixed
        if plan.schedule == "interleaved" and "virtual" not in self.fixed:
            groups = groups[1:] or GROUPS[1:]
        elif not free:
            groups = (plan.virtual,)
        fastest: Candidate | None = None
        for virtual in groups:
            how = plan.changed(virtual=virtual, schedule="interleaved" if virtual > 1 else plan.schedule)
            if virtual > 1 and not self._valid(how):
                continue
            padded = self._padded(how)
            if how not in self.seconds:
                parts = self.clock.step(how, padded)
                self.seconds[how] = sum(parts.values())
            seconds = self.seconds[how]
            if seconds < best and (fastest is None or seconds < fastest.seconds) and not self._fits(how):
                continue  # of more groups, fewer activations are held than of two
            if fastest is None or seconds < fastest.seconds:
                fastest = Candidate(how, padded["batch"], seconds)
        return fastest


def fullest(every: Iterable[Stage]) -> Iterator[Stage]:
    """Stages of which none before holds the same or more: the earlier, the more micro-batches at once."""
    before: list[dict[tuple[str, str], int]] = []
    seen = set[Any]()
    for stage in every:
        if (what := content(stage)) in seen:
            continue
        seen.add(what)
        held = stage.counts
        if not any(_holds(other, held) for other in before):
            before.append(held)
            yield stage


def _beside(micro: int) -> tuple[int, int]:
    return micro // 2, 2 * micro


def _powers(most: int) -> list[int]:
    return [2**i for i in range(int(math.log2(most)) + 1)]


def _holds(stage: Mapping[Any, int], other: Mapping[Any, int]) -> bool:
    """Whether a stage has all that another one has."""
    return all(stage.get(block, 0) >= count for block, count in other.items())
