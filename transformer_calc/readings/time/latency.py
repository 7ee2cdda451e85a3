"""How long inference takes: the prompt (time to first token), and each token after it (time per output token).

A decoding step reads every weight that a token meets and the whole cache, whatever the batch: it waits for memory until
the batch is as large as the device's FLOPs per byte (Pope et al. 2022, arXiv 2211.05102, §2; "How to Scale Your Model",
chapter 7). Kernels, collectives and what they reach are those of `roofline` and `communication`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from transformer_calc.facts import Device
from transformer_calc.graph.core import Block, Graph, Op, Sizes, plain, product
from transformer_calc.ops.core import FMA
from transformer_calc.plan import Serving
from transformer_calc.readings.count.flops import of_source_alone
from transformer_calc.readings.count.params import components
from transformer_calc.readings.memory.serving import rows_and_tensors, weight_type
from transformer_calc.readings.shard import content, stages
from transformer_calc.readings.time import communication, roofline
from transformer_calc.readings.time.communication import Link
from transformer_calc.readings.time.roofline import How, Rates
from transformer_calc.storage import storage
from transformer_calc.tuples import NamedTuple

WAITS = {
    "memory": "memory bandwidth",
    "compute": "compute",
    "network": "communication between devices",
    "launch": "starting kernels",
}


class Pass(NamedTuple):
    """One pass through the model: seconds by what it waits for."""

    compute: float = 0.0
    memory: float = 0.0
    launch: float = 0.0
    network: float = 0.0

    @property
    def seconds(self) -> float:
        """The whole."""
        return sum(self)

    @property
    def bound(self) -> str:
        """What it waits for the longest."""
        return max(self._fields, key=lambda name: getattr(self, name))

    @property
    def shares(self) -> tuple[tuple[str, float], ...]:
        """What it waits for, as shares of it, the most first; without what is next to nothing."""
        found = ((WAITS[name], getattr(self, name) / self.seconds) for name in self._fields)
        return tuple(sorted(((word, part) for word, part in found if part >= 0.005), key=lambda one: -one[1]))

    def plus(self, more: Pass, times: float = 1) -> Pass:
        """The sum with `times` more."""
        return Pass(*(a + times * b for a, b in zip(self, more, strict=True)))


def computes(plan: Serving, device: Device, compute: str | None) -> str:
    """The precision of the matmuls: fp8 weights where the device multiplies fp8, else that of the activations."""
    if compute is not None:
        return compute
    chosen = storage(plan.weights).name
    if chosen.startswith("fp8") and device.peak("fp8"):
        return "fp8"
    return plan.activations if device.peak(plan.activations) else "fp16"


class Server:
    """A model on its devices: what a pass takes, for any batch."""

    def __init__(
        self, graph: Graph, plan: Serving, device: Device, *, compute: str | None = None, ideal: bool = False
    ) -> None:
        if device.kind == "TPU":  # its compiler splits what lies between matmuls, and sends beside them
            plan = plan.changed(mesh=plan.mesh.changed(sp=plan.mesh.tp > 1))
        self.graph, self.plan, self.device = graph, plan, device
        self.compute = computes(plan, device, compute)
        self.rates: Rates = roofline.rates(device, self.compute, ideal=ideal)
        self.links: dict[str, Link] = {
            name: communication.link(plan.mesh, name, device, ideal=ideal) for name in ("tp", "pp", "ep", "cp")
        }
        self.entry = self._weights()

    def _weights(self) -> Callable[[Op, Block], float]:
        """Bytes of an entry of each weight, as it is stored."""
        sizes = self.graph.bind(dict.fromkeys(self.graph.workload_axes, 1))
        known: dict[str, float] = {}
        for part in components(self.graph):
            kind, entries = weight_type(part, self.plan), part.entries(sizes)
            rows, tensors = (product(dims, sizes) for dims in rows_and_tensors(part))
            known[part.path] = float(kind.of(entries, rows=rows, tensors=tensors) / entries)
        rest = float(storage(self.plan.rest).of(1))

        def entry(op: Op, block: Block) -> float:
            param = op.params[0]
            return known.get(param.tied or block.full(f"{op.path}.{param.name}"), rest)

        return entry

    def run(self, batch: int, *, tokens: int, cached: int, source: int | None = None) -> Pass:
        """One pass of `batch` sequences, of all copies together: so many new tokens each, after `cached` ones."""
        mesh, plan = self.plan.mesh, self.plan
        each = -(-batch // mesh.dp)
        groups = min(mesh.pp, each)  # that are under way at once, one on each stage
        each = -(-each // groups)
        decode = cached > 0
        # ranks that share a sequence divide its new tokens, or the keys that one new token looks at
        own = tokens if decode else -(-tokens // mesh.cp)
        held = -(-(cached + tokens) // mesh.cp) - tokens if decode else 0
        given = {"batch": each, "seq": own, "cached": max(held, 0), "target": own}
        if "target" in self.graph.workload_axes:
            given["seq"] = -(-(source or tokens) // mesh.cp)
        local = self.graph.bind({name: given[name] for name in self.graph.workload_axes})
        how = How(
            mesh=mesh,
            size=float(storage(plan.activations).of(1)),
            cache=float(storage(plan.kv_dtype).of(1)),
            kv_split=plan.kv_split == "batch",
            attention=plan.attention,
            training=False,
            near=self.links["ep"].near,
            keys=1 if decode else mesh.cp,
            weight=self.entry,
            tokens=each * own * mesh.ep,
            last_only=plan.logits == "last",
        )
        known: dict[Any, Pass] = {}  # of stages that hold the same
        total: Pass | None = None
        for stage in stages(self.graph, mesh):
            key = content(stage)
            if key not in known:
                known[key] = self._stage(stage.blocks, local, how, decode=decode)
            total = known[key] if total is None else total.plus(known[key])
        assert total is not None
        if mesh.pp > 1:
            width: Any = local[next(axis for axis in self.graph.axes if plain(axis) == "d_model")]
            whole = how.size * each * own * float(width)
            joined = self.links["pp"]
            hop = whole / joined.port + joined.hop
            total = total.plus(Pass(network=hop), mesh.pp - 1 if groups == 1 else mesh.pp)
        if (
            groups > 1 and not decode
        ):  # prompts that come at once: the last group's begin when the others' are under way
            total = total.plus(total, (groups - 1) / mesh.pp)
        return total

    def _stage(self, blocks: Any, local: Sizes, how: How, *, decode: bool) -> Pass:
        total = Pass()
        for block, count in blocks:
            if decode and block.stack == "encoder" and "decoder" in self.graph.orders:
                continue  # done before
            if decode:
                block = block._replace(ops=tuple(op for op in block.ops if not of_source_alone(op)))
            one, beside = Pass(), 0.0
            for kernel in roofline.kernels(block, local, how):
                spent = roofline.spent(kernel, self.rates, how.size)
                one = one.plus(Pass(*spent))
                if self.rates.kind == "ideal":
                    beside += sum(spent)
                elif kernel.kind == "matmul" and self.device.kind == "TPU":
                    beside += spent.compute  # a matmul that waits for memory leaves none of it to a collective
            sent = sum(
                communication.seconds(transfer.kind, transfer.bytes, self.links[transfer.over])
                for transfer in communication.transfers(block, local, how)[0]
            )
            sent = max(0.0, sent - beside)
            if how.mesh.cp > 1:
                sent += self._shared(block, local, how, sum(one), decode=decode)
            total = total.plus(one._replace(network=sent), count)
        return total

    def _shared(self, block: Block, local: Sizes, how: How, busy: float, *, decode: bool) -> float:
        """What ranks that share a sequence send: keys and values beside the kernels, or a new token's outputs."""
        joined = self.links["cp"]
        if decode:
            return communication.merged(block, local, how, joined)
        return communication.exposed(communication.ring(block, local, how, joined), busy, self.rates.kind)

    def turning(self, cached: int, most: int = 2**16) -> int | None:
        """The smallest batch whose decoding step waits for compute longer than for memory; None: none up to `most`."""
        return least(lambda n: (p := self.run(n, tokens=1, cached=cached)).compute >= p.memory, most)

    def critical(self) -> int:
        """The batch from which a large matmul with a weight computes longer than it reads the weight."""
        return math.ceil(self._critical())

    def critical_experts(self) -> int | None:
        """The same of the experts: each sees a part of the tokens, of all ranks among which they are divided."""
        sizes = self.graph.bind(dict.fromkeys(self.graph.workload_axes, 1))
        shares: list[Any] = [
            sizes[part.dims[0][0]] / sizes[part.routed]  # type: ignore[operator]
            for part in components(self.graph)
            if part.routed
        ]
        return math.ceil(self._critical() * max(shares) / self.plan.mesh.ep) if shares else None

    def _critical(self) -> float:
        entry = float(storage(self.plan.weights).of(1))
        groups = self.plan.mesh.dp * self.plan.mesh.pp  # of sequences that meet a weight at different times
        return groups * self.rates.matmul * entry / (FMA * self.rates.memory)


def least(turned: Callable[[int], bool], most: int) -> int | None:
    """The smallest n for which it holds, if it holds from some n on."""
    high = 1
    while not turned(high):
        high *= 2
        if high > most:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if turned(middle) else (middle, high)
    return high
