"""What serving keeps on one device: weights as they are stored, the cache, and the activations of a pass.

Shares are those of `shard`; bytes are exact, rounded up to whole ones where a storage type has blocks. Where sizes are
pairs, so are bytes: numbers with their formulas.
"""

from __future__ import annotations

from typing import Any

from transformer_calc.errors import InputError
from transformer_calc.expr import ceil_div, ceil_to, largest, number_of
from transformer_calc.graph.core import Block, Dims, Graph, Sizes, axes_of, plain
from transformer_calc.ops import rules
from transformer_calc.ops.kind import OWN
from transformer_calc.plan import Mesh, Serving
from transformer_calc.readings.count.cache import Cached, cached
from transformer_calc.readings.count.params import Component, of_block
from transformer_calc.readings.memory.parts import Bytes, StageMemory
from transformer_calc.readings.shard import PADDED, Local, Stage, content, copies, key, layers_of, parts_of, share
from transformer_calc.storage import Storage, storage
from transformer_calc.tuples import NamedTuple

COPY = "dequantised_matrix"
PLAIN = ("fp64", "fp32", "tf32", "bf16", "fp16")  # types that everything is stored in


class Reading:
    """Serving of one model by one plan: what is the same on several of its stages is read once."""

    def __init__(self, graph: Graph, sizes: Sizes, plan: Serving) -> None:
        self.graph, self.sizes, self.plan = graph, sizes, plan
        self.local, self.context = local_of(sizes, plan), tokens_in_cache(graph, sizes)
        self._held: dict[Any, StageMemory] = {}  # by what stands on a stage

    def held(self, stage: Stage) -> StageMemory:
        """One device of a stage, at the end of a pass."""
        if (alike := content(stage)) not in self._held:
            self._held[alike] = self._of(stage)
        return self._held[alike]._replace(stage=stage.number)

    def _of(self, stage: Stage) -> StageMemory:
        graph, sizes, plan, counts = self.graph, self.sizes, self.plan, stage.counts
        parts = parts_of(stage, graph, sizes)
        weights = sum(count * weight_bytes(part, plan.mesh, sizes, plan) for part, count in parts)
        kept, context = ((part, counts.get(key(part.block), 0)) for part in cached(graph)), self.context
        cache = sum(count * cache_bytes(part, sizes, plan, self.local, context) for part, count in kept if count)
        found = [self._working(block) for block, _ in stage.blocks]
        working, copy = (
            max(found, key=sum) if any(copy for _, copy in found) else (largest(size for size, _ in found), 0)
        )
        size = Bytes(weights=weights, kv_cache=cache, activations=working)
        return StageMemory(stage.number, layers_of(stage), size, {}).beside(**{COPY: copy})

    def _working(self, block: Block) -> tuple[int, int]:
        """What a block takes at its peak: what operations read, write and still need; and a copy of a matrix."""
        copy = copied(block, self.sizes, self.plan)
        return live(block, self.local, self.plan), copy.bytes if copy else 0


class Copy(NamedTuple):
    """A quantised matrix in the type that is computed with: its path, and the bytes of a device's share."""

    path: str
    bytes: int


def copied(block: Block, sizes: Sizes, plan: Serving, *, backward: bool = False) -> Copy | None:
    """The largest matrix of a block that is dequantised before it is multiplied with; one at a time is.

    A single row is multiplied with the stored matrix (bitsandbytes, gemv_4bit), but for the backward pass.
    """
    width = storage(plan.activations).bytes
    found = []
    for part in of_block(block):
        when = weight_type(part, plan).copied if len(part.dims) > 1 else ""
        if when and (backward or (when == "always" and rows(sizes, plan) > 1)):
            one = part._replace(dims=part.dims[1:]) if part.routed else part  # an expert is a matrix
            found.append(Copy(part.path, width * share(one, plan.mesh, sizes).entries))
    return max(found, key=lambda copy: copy.bytes, default=None)


def local_of(sizes: Sizes, plan: Serving) -> Local:
    """One pass on one device: its sequences, and its part of each; keys and the cache are of whole sequences."""
    run = {name: ceil_div(sizes[name], plan.mesh.cp) for name in ("seq", "target") if name in sizes}
    batches = (name for name in ("batch", "batch_images") if name in sizes)
    run |= {name: ceil_div(sizes[name], plan.mesh.dp) for name in batches}
    return Local({**sizes, **run}, plan.mesh)


def rows(sizes: Sizes, plan: Serving) -> Any:
    """Tokens that a device multiplies with a matrix at once, at most."""
    own = local_of(sizes, plan).sizes
    return own["batch"] * largest(own[name] for name in ("seq", "target") if name in own)


def weight_bytes(part: Component, mesh: Mesh, sizes: Sizes, plan: Serving) -> Any:
    """Bytes of one device's share of a parameter tensor."""
    whole, rows, tensors = (
        share(part._replace(dims=dims), mesh, sizes).entries for dims in (part.dims, *rows_and_tensors(part))
    )
    return ceil_div(weight_type(part, plan).of(whole, rows=rows, tensors=tensors), 1)


def rows_and_tensors(part: Component) -> tuple[Dims, Dims]:
    """The axes of a weight's output channels and, of stacked experts, those of the matrices themselves."""
    stacked = part.dims[:-2]
    return (*stacked, *part.dims[part.out : part.out + 1]), stacked  # a scalar has none


def weight_type(part: Component, plan: Serving) -> Storage:
    """How a tensor is stored: quantisation takes the matrices of the layers, but not their routers.

    Files of llama.cpp have types of their own for token table, head, and what is not quantised.
    """
    chosen = storage(plan.weights)
    if chosen.name in PLAIN:
        return chosen
    linear = part.path.endswith(".weight") and len(part.dims) >= 2 and bool(part.block.repeat) and not part.embedding
    outputs = part.dims[part.out] if part.dims else ()
    routes = not part.routed and any(plain(axis) == "experts" for axis in outputs)
    words = len(part.dims) >= 2 and any(plain(axis) in PADDED for axis in axes_of(part.dims))
    joins = any(plain(axis) == "d_pair" for axis in axes_of(part.dims))  # kept in 16 bits, as DeepSeek-V3's
    if linear and not (routes or words or joins):
        return chosen
    if words and chosen.table:
        return storage(chosen.table if part.embedding and not part.head else chosen.head)
    return storage(chosen.rest or plan.rest)


def beside(chosen: Storage, rest: str) -> dict[str, str]:
    """What a model with such weights stores otherwise, in words."""
    if chosen.table:
        return {"token table": chosen.table, "head": chosen.head, "norms, biases, routers": chosen.rest}
    return {"tables, norms, biases, routers, heads": rest}


def tokens_in_cache(graph: Graph, sizes: Sizes) -> Any:
    """Tokens of each sequence in the cache: those that are there, else those that the pass itself puts there."""
    if not cached(graph):
        return 0
    there: Any = sizes["cached"]
    return sizes.get("target", sizes["seq"]) if isinstance(there, int) and not there else there


def cache_bytes(part: Cached, sizes: Sizes, plan: Serving, local: Local, context: Any) -> Any:
    """Bytes of one device's share of one layer's cached tensor, in whole pages: each device's are its own."""
    dims = part.op.output.dims
    (keys,) = dims[-2]
    own = ceil_to(ceil_div(part.kept(sizes, context), plan.mesh.cp), plan.block_size)
    held = {**local.sizes, keys: own}
    if plan.kv_split == "batch":  # Pope et al. 2022, arXiv 2211.05102, section 3.3
        held["batch"] = ceil_div(held["batch"], copies(dims, plan.mesh, sizes))
    return ceil_div(storage(plan.kv_dtype).of(Local(held, local.mesh, local.between).entries(dims)), 1)


def live(block: Block, local: Local, plan: Serving) -> Any:
    """The peak of one block, in bytes.

    By the last use of each tensor; views and the like share their source's memory.
    """
    source = {op.path: op.inputs[0].name for op in block.ops if rules(op).memory != OWN and op.inputs}

    def root(name: str) -> str:
        while name in source:
            name = source[name]
        return name

    def size(dims: Dims, of: Local) -> Any:
        return ceil_div(storage(plan.activations).of(of.entries(dims)), 1)

    last = {root(t.name): i for i, op in enumerate(block.ops) for t in op.inputs}
    last[root(block.output)] = len(block.ops)
    made = local
    if block.role == "head" and plan.logits == "last":
        made = Local({**local.sizes, "seq": 1, "target": 1}, local.mesh, local.between)
    there = {"x": size(block.ops[0].inputs[0].dims, local)} if block.ops[0].inputs else {}
    found = [sum(there.values())]
    for i, op in enumerate(block.ops):
        if op.path not in source and not (plan.attention == "flash" and op.output.scores):
            there[op.path] = size(op.output.dims, made)
        found.append(sum(there.values()))
        there = {name: held for name, held in there.items() if last.get(name, -1) > i}
    return largest(found)


def check(plan: Serving, sizes: Sizes) -> None:
    """Refuse a plan that does not fit the workload."""
    batch, dp = number_of(sizes["batch"]), plan.mesh.dp
    if batch % dp:
        raise InputError(f"`dp` is {dp}; it must divide the batch of {batch:,}")
    for name in (plan.weights, plan.rest, plan.kv_dtype, plan.activations):
        storage(name)
