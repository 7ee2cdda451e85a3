"""What devices send each other: collectives derived from which axes are split, and how long they take.

A contraction over a split axis leaves each device a part of the sum: its output is all-reduced. A linear layer whose
output axis is split sums the gradient of its input likewise (Megatron-LM, arXiv 1909.08053, §3). With sequence
parallelism an all-reduce is a reduce-scatter and an all-gather on either side of what is split by tokens (Korthikanti
et al. 2022, arXiv 2205.05198, §4.2.2). Partial sums that are added are reduced once. Times are those of rings: w
devices pass on (w - 1)/w of the data, twice for an all-reduce (Thakur et al. 2005, doi 10.1177/1094342005051521).
"""

from __future__ import annotations

import math
from typing import Any

from transformer_calc.facts import Device
from transformer_calc.graph.core import Block, Op, Sizes
from transformer_calc.ops import rules
from transformer_calc.ops.kind import EXPERTS, GROWN, LINEAR, LINEAR_IN_FIRST, MATRIX, PRODUCT, ROUTES, ROWS, SENDS
from transformer_calc.plan import Mesh
from transformer_calc.readings.shard import divisor
from transformer_calc.readings.time.roofline import How, Reader, reached, unknown
from transformer_calc.tuples import NamedTuple

HOP, FAR_HOP, TORUS_HOP = 3e-6, 5e-6, 1e-6  # seconds of a step between devices of a node, of nodes, of a torus
ORDER = ("tp", "cp", "dp", "pp")  # neighbours in tp are neighbours in a node, as Megatron-LM places ranks

# of a collective beside kernels, what costs no time: on a GPU both want memory and multiprocessors
OVERLAP = {"GPU": 0.5, "TPU": 1.0}
USUAL_OVERLAP = 0.5

KINDS = {  # collective -> (times that (w - 1)/w of the data goes round a ring, times that w - 1 hops follow another)
    "all-reduce": 2,
    "all-gather": 1,
    "reduce-scatter": 1,
    "all-to-all": 1,
}


class Transfer(NamedTuple):
    """A collective on one device: of `bytes` whole (all-to-all: what a device has), over a dimension of the mesh."""

    path: str
    kind: str
    over: str
    bytes: float
    hidden: bool = False  # a matmul of the same layer runs at the same time


class Link(NamedTuple):
    """How a dimension of the mesh is joined, for one group of its ranks."""

    ranks: int
    near: int  # of them in one node
    rate: float  # bytes/s of the slowest part of a ring, one way
    hop: float
    port: float = math.inf  # bytes/s of one device to one of another node, or within the node where that holds them all


def link(mesh: Mesh, dimension: str, device: Device, *, ideal: bool = False) -> Link:
    """How the ranks of one dimension reach each other; `copies` and `expert_copies`: those that sum gradients.

    Raises InputError where the device's file does not say.
    """
    ranks, stride = _group(mesh, dimension)
    if ranks == 1:
        return Link(1, 1, math.inf, 0.0)
    node = device.node or 1
    near = max(1, min(ranks, node // stride))
    whole = ranks * stride <= node
    if (whole or near > 1) and device.interconnect_each_way is None:
        raise unknown(device, "its interconnect")
    inside = math.inf
    if near > 1 and device.interconnect_each_way is not None:
        inside = device.interconnect_each_way * (1.0 if ideal else reached(device, "interconnect"))
    if whole:
        return Link(ranks, near, inside, 0.0 if ideal else TORUS_HOP if device.kind == "TPU" else HOP, inside)
    if device.network_each_way is None:
        raise unknown(device, "its network between nodes")
    # each of a node's members of the group brings its own port
    port = device.network_each_way * (1.0 if ideal else reached(device, "network"))
    return Link(ranks, near, min(inside, near * port), 0.0 if ideal else FAR_HOP, port)


def _group(mesh: Mesh, dimension: str) -> tuple[int, int]:
    """(ranks, distance from one to the next) of a dimension. Experts are split over the ranks of cp and dp together."""
    if dimension == "ep":
        return mesh.ep, mesh.tp
    if dimension == "copies":  # what shares a sequence holds the same weights, too
        return mesh.dp * mesh.cp, mesh.tp
    if dimension == "expert_copies":
        return mesh.dp * mesh.cp // mesh.ep, mesh.tp * mesh.ep
    return getattr(mesh, dimension), math.prod(getattr(mesh, name) for name in ORDER[: ORDER.index(dimension)])


def said(device: Device) -> dict[str, str]:
    """What times of collectives rest on, in words."""
    near = TORUS_HOP if device.kind == "TPU" else HOP
    hidden = OVERLAP.get(device.kind, USUAL_OVERLAP)
    return {
        "collectives": f"rings and trees; {near * 1e6:g} µs a step in a node of {device.node or 1}, "
        f"{FAR_HOP * 1e6:g} µs between nodes; {hidden:.0%} of one that may run beside kernels costs no time"
    }


def seconds(kind: str, size: float, joined: Link) -> float:
    """A collective of `size` bytes in a group."""
    w = joined.ranks
    if w == 1 or size == 0:
        return 0.0
    rounds = KINDS[kind]
    # in a node, and in sums, as many steps as a tree has levels; between nodes NCCL gathers and scatters by rings only
    far = -(-w // joined.near) - 1
    hops = rounds * (math.ceil(math.log2(joined.near)) + (math.ceil(math.log2(far + 1)) if rounds == 2 else far))
    if kind == "all-to-all" and joined.near < w:  # what leaves the node goes over each device's own port
        return size / joined.port + hops * joined.hop
    return rounds * (w - 1) / w * size / joined.rate + hops * joined.hop


def exposed(sent: float, busy: float, kind: str) -> float:
    """Seconds that a collective costs beside kernels of so many seconds, on this kind of device."""
    return sent - min(sent, busy) * OVERLAP.get(kind, USUAL_OVERLAP)


def ring(block: Block, sizes: Sizes, how: How, joined: Link) -> float:
    """Seconds in which keys and values go once round the ranks that share a sequence."""
    reader = Reader(block, sizes, how)
    kept = [op for op in block.ops if rules(op).memory == GROWN and not op.attrs.get("once")]
    return (joined.ranks - 1) * sum(reader.bytes(op.inputs[0]) for op in kept) / joined.rate


def merged(block: Block, sizes: Sizes, how: How, joined: Link) -> float:
    """Seconds in which ranks that each looked at a part of the keys put their outputs together."""
    reader = Reader(block, sizes, how)
    found = (op for op in block.ops if _mixes(op))
    return sum(seconds("all-reduce", reader.bytes(op.output), joined) for op in found)


def _mixes(op: Op) -> bool:
    """Whether it multiplies a score matrix with values."""
    return rules(op).kernel == PRODUCT and op.inputs[0].scores and not op.output.scores


def transfers(block: Block, sizes: Sizes, how: How) -> tuple[list[Transfer], list[Transfer]]:
    """(forward, backward) collectives of one block on one device."""
    mesh = how.mesh
    if mesh.tp == mesh.ep == 1:
        return [], []
    reader = Reader(block, sizes, how)
    forward: list[Transfer] = []
    backward: list[Transfer] = []
    partial: set[str] = set()
    gathered: set[str] = set()
    for op in block.ops:
        contracted = _split(op, sizes, mesh)
        divides = rules(op).mesh(op)
        if mesh.tp > 1:
            x = op.inputs[0] if op.inputs else None
            if contracted == "inner":
                partial.add(op.path)
            elif contracted == "outer" and x is not None and reader.root(x).name not in gathered:
                source = reader.root(x)
                gathered.add(source.name)
                size = how.size * reader.entries(source.dims, whole=True)
                if mesh.sp and divides != EXPERTS:
                    forward.append(Transfer(op.path, "all-gather", "tp", size))
                    if how.training:
                        backward.append(Transfer(op.path, "all-gather", "tp", size, hidden=True))
                        backward.append(Transfer(op.path, "reduce-scatter", "tp", size, hidden=True))
                elif how.training:
                    backward.append(Transfer(op.path, "all-reduce", "tp", size, hidden=True))
            if divides in (LINEAR, LINEAR_IN_FIRST):
                inputs = [t.name for t in (op.inputs if divides == LINEAR else op.inputs[:1])]
                if all(name in partial for name in inputs):
                    partial.add(op.path)
                    partial -= set(inputs)
        if how.kv_split and rules(op).kernel == PRODUCT and op.inputs[0].scores and mesh.tp > 1:
            # queries go to the ranks that have their sequences' caches, and what attention says comes back
            forward += [Transfer(op.path, "all-to-all", "tp", how.size * reader.entries(op.output.dims))] * 2
        if divides == SENDS and mesh.ep > 1:
            both = [Transfer(op.path, "all-to-all", "ep", how.size * _sent(op, block, reader, sizes, how))] * 2
            forward += both  # there and back
            backward += both if how.training else []
    for name in partial:
        size = how.size * reader.entries(reader.made[name].output.dims, whole=True)
        forward.append(Transfer(name, "reduce-scatter" if mesh.sp else "all-reduce", "tp", size))
        if mesh.sp and how.training:
            backward.append(Transfer(name, "all-gather", "tp", size))
    return forward, backward


def _sent(op: Op, block: Block, reader: Reader, sizes: Sizes, how: How) -> float:
    """Entries that a device sends to the experts of other nodes, or where there are none, of other devices.

    A token crosses the network once for each node that it goes to, and is copied there (DeepSeek-V3, arXiv 2412.19437,
    §3.2.2); groups of experts that the router keeps together stand for nodes.
    """
    entries = reader.entries(op.output.dims)
    near = how.near
    if near >= how.mesh.ep:
        return entries
    top_k: Any = next(sizes[axis] for axis in op.inputs[1].dims[-1])
    nodes = how.mesh.ep / near
    router: Any = next((other.attrs for other in block.ops if ROUTES in rules(other).traits), {})
    reached_nodes = nodes * (1 - (1 - 1 / nodes) ** top_k)
    if router.get("groups", 1) > 1:
        reached_nodes = min(reached_nodes, router["top_groups"])
    return float(entries * reached_nodes * (nodes - 1) / nodes / top_k)


def _split(op: Op, sizes: Sizes, mesh: Mesh) -> str:
    """Where tensor parallelism splits an operation's weight: its inner axes, its outer ones, or nowhere."""
    divides = rules(op).mesh(op)
    if divides not in (MATRIX, EXPERTS, ROWS):
        return ""
    inputs = {axis for dim in op.inputs[0].dims for axis in dim}
    outputs = {axis for dim in op.output.dims for axis in dim}
    for axis in (axis for dim in op.params[0].dims for axis in dim):
        dimension, ways = divisor(axis, mesh, sizes)
        if dimension == "tp" and ways > 1:
            if axis in outputs:
                return "outer"
            if axis in inputs or divides == ROWS:
                return "inner"
    return ""
