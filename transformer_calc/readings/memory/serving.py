"""What serving keeps on one device: weights as they are stored, the cache, and the activations of a pass.

Shares are those of `sharding`; bytes are exact, rounded up to whole ones where a storage type has blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from transformer_calc.errors import InputError
from transformer_calc.graph.core import Block, Dims, Graph, Sizes
from transformer_calc.ops import rules
from transformer_calc.ops.kind import OWN
from transformer_calc.plan import Mesh, Serving
from transformer_calc.readings.count.cache import Cached, cached
from transformer_calc.readings.count.params import Component, of_block
from transformer_calc.readings.shard import Stage, copies, divisor, parts_of, share
from transformer_calc.storage import Storage, storage

if TYPE_CHECKING:
    from transformer_calc.expr import Size

COPY = "dequantised_matrix"
PLAIN = ("fp64", "fp32", "tf32", "bf16", "fp16")  # types that everything is stored in


class Held(NamedTuple):
    """Bytes on one device of a stage."""

    weights: int
    kv_cache: int
    activations: int
    buffers: dict[str, int]  # a matrix that is computed with in a copy


def held(stage: Stage, graph: Graph, sizes: Sizes, plan: Serving, context: int) -> Held:
    """One device of a stage, with `context` tokens of each sequence in the cache."""
    mesh = plan.mesh
    weights = sum(count * weight_bytes(part, mesh, sizes, plan) for part, count in parts_of(stage, graph, sizes))
    kept = cache_of(stage, graph, sizes, plan, context)
    block = busiest([block for block, _ in stage.blocks], sizes, plan)
    copy = copied(block, sizes, plan)
    return Held(weights, kept, live(block, sizes, plan)[0], {COPY: copy.bytes} if copy else {})


class Copy(NamedTuple):
    """A quantised matrix in the type that is computed with: its path, and the bytes of a device's share."""

    path: str
    bytes: int
    size: Any  # the same, in letters if these are wanted


def copied(
    block: Block, sizes: Sizes, plan: Serving, letters: Sizes | None = None, *, backward: bool = False
) -> Copy | None:
    """The largest matrix of a block that is dequantised before it is multiplied with; one at a time is.

    A single row is multiplied with the stored matrix (bitsandbytes, gemv_4bit), but for the backward pass.
    letters:  see `share`
    """
    every = (part for part in of_block(block) if len(part.dims) > 1)
    kinds = ("always", "backward") if backward else ("always",) if rows(sizes, plan) > 1 else ()
    width = storage(plan.activations).bytes
    found = []
    for part in every:
        if weight_type(part, plan).copied in kinds:
            one = part._replace(dims=part.dims[1:]) if part.routed else part  # an expert is a matrix
            held, written = (share(one, plan.mesh, sizes, by).entries for by in (None, letters))
            found.append(Copy(part.path, width * held, width * written))
    return max(found, key=lambda copy: copy.bytes, default=None)


def rows(sizes: Sizes, plan: Serving) -> int:
    """Tokens that a device multiplies with a matrix at once, at most."""
    tokens: Any = max(int(sizes[name]) for name in ("seq", "target") if name in sizes)  # type: ignore[arg-type]
    batch: Any = sizes["batch"]
    return int(math.ceil(batch / plan.mesh.dp) * math.ceil(tokens / plan.mesh.cp))


def weight_bytes(part: Component, mesh: Mesh, sizes: Sizes, plan: Serving, letters: Sizes | None = None) -> Any:
    """Bytes of one device's share of a parameter tensor; `letters`: see `share`."""
    from transformer_calc.expr import ceil_div

    whole, rows, tensors = (
        share(part._replace(dims=dims), mesh, sizes, letters).entries for dims in (part.dims, *rows_and_tensors(part))
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
    linear = part.path.endswith(".weight") and len(part.dims) >= 2 and bool(part.block.repeat) and not part.embedding
    outputs = part.dims[part.out] if part.dims else ()
    routes = not part.routed and any(axis.startswith("experts") for axis in outputs)
    words = len(part.dims) >= 2 and any("vocab" in axis for dim in part.dims for axis in dim)
    joins = any(axis.startswith("d_pair") for dim in part.dims for axis in dim)  # kept in 16 bits, as DeepSeek-V3's
    if (linear and not (routes or words or joins)) or chosen.name in PLAIN:
        return chosen
    if words and chosen.table:
        return storage(chosen.table if part.embedding and not part.head else chosen.head)
    return storage(chosen.rest or plan.rest)


def beside(chosen: Storage, rest: str) -> dict[str, str]:
    """What a model with such weights stores otherwise, in words."""
    if chosen.table:
        return {"token table": chosen.table, "head": chosen.head, "norms, biases, routers": chosen.rest}
    return {"tables, norms, biases, routers, heads": rest}


def cache_of(stage: Stage, graph: Graph, sizes: Sizes, plan: Serving, context: int) -> int:
    """Bytes of one device's share of the cache."""
    counts = {(block.path, block.title): count for block, count in stage.blocks}
    total = 0
    for part in cached(graph):
        count = counts.get((part.block.path, part.block.title), 0)
        total += count * cache_bytes(part, sizes, plan, context) if count else 0
    return total


def cache_bytes(part: Cached, sizes: Sizes, plan: Serving, context: Size, letters: Sizes | None = None) -> Any:
    """Bytes of one device's share of one layer's cached tensor, in whole pages; `letters`: see `share`."""
    from transformer_calc.expr import ceil_div, ceil_to, minimum

    entries: Size = 1
    used = set[str]()
    for axis in (axis for dim in part.op.output.dims for axis in dim):
        size = (letters or sizes)[axis]
        if (axis,) == part.op.output.dims[-2]:
            size = size if part.once else minimum(context, part.window) if part.window else context
            size, ways = ceil_to(ceil_div(size, plan.mesh.cp), plan.block_size), 1  # each device's pages are its own
        else:
            dimension, ways = divisor(axis, plan.mesh, sizes)
            ways = 1 if dimension in used else ways
            used.add(dimension)
            if axis == "batch" and plan.kv_split == "batch":  # Pope et al. 2022, arXiv 2211.05102, section 3.3
                size, ways = ceil_div(size, ways), copies(part.op.output.dims, plan.mesh, sizes)
        entries = entries * ceil_div(size, ways)
    return ceil_div(storage(plan.kv_dtype).of(entries), 1)


def busiest(blocks: Sequence[Block], sizes: Sizes, plan: Serving) -> Block:
    """The block whose pass takes the most: what one operation reads and writes, what is needed later, and a copy."""

    def need(block: Block) -> int:
        copy = copied(block, sizes, plan)
        return live(block, sizes, plan)[0] + (copy.bytes if copy else 0)

    return max(blocks, key=need)


def live(block: Block, sizes: Sizes, plan: Serving) -> tuple[int, tuple[tuple[Dims, bool], ...]]:
    """The peak of one block, and which tensors are there then, and whether each is of the head's positions only.

    By the last use of each tensor; views and the like share their source's memory.
    """
    source = {op.path: op.inputs[0].name for op in block.ops if rules(op).memory != OWN and op.inputs}

    def root(name: str) -> str:
        while name in source:
            name = source[name]
        return name

    last = {root(t.name): i for i, op in enumerate(block.ops) for t in op.inputs}
    last[root(block.output)] = len(block.ops)
    there: dict[str, tuple[int, tuple[Dims, bool]]] = {}
    if block.ops[0].inputs:
        dims = block.ops[0].inputs[0].dims
        there["x"] = live_bytes(dims, sizes, plan), (dims, False)
    most, which = sum(size for size, _ in there.values()), tuple(dims for _, dims in there.values())
    for i, op in enumerate(block.ops):
        if op.path not in source and not (plan.attention == "flash" and op.output.scores):
            dims = op.output.dims
            head = block.role == "head"
            there[op.path] = live_bytes(dims, sizes, plan, head=head), (dims, head)
        now = sum(size for size, _ in there.values())
        if now > most:
            most, which = now, tuple(dims for _, dims in there.values())
        there = {name: held for name, held in there.items() if last.get(name, -1) > i}
    return most, which


def live_bytes(dims: Dims, sizes: Sizes, plan: Serving, *, head: bool = False, letters: Sizes | None = None) -> Any:
    """Bytes of one device's share of an activation; `letters`: see `share`."""
    from transformer_calc.expr import ceil_div

    entries: Size = 1
    used = set[str]()
    for dim in dims:
        for axis in dim:
            dimension, ways = divisor(axis, plan.mesh, sizes)
            ways = 1 if dimension in used else ways
            used.add(dimension)
            tokens = axis in ("seq", "target")
            size = 1 if tokens and head and plan.logits == "last" else (letters or sizes)[axis]
            entries = entries * ceil_div(size, plan.mesh.cp if tokens else ways)
    return ceil_div(storage(plan.activations).of(entries), 1)


def check(plan: Serving, sizes: Sizes) -> None:
    """Refuse a plan that does not fit the workload."""
    batch, dp = sizes["batch"], plan.mesh.dp
    if batch % dp:  # type: ignore[operator]
        raise InputError(f"--dp is {dp}; it must divide the batch of {batch:,}")
    for option, value, choices in (
        ("--attention", plan.attention, ("flash", "eager")),
        ("--logits", plan.logits, ("last", "all")),
        ("--kv-split", plan.kv_split, ("heads", "batch")),
    ):
        if value not in choices:
            raise InputError(f"{option} is {value!r}; it must be one of {', '.join(choices)}")
    for name in (plan.weights, plan.rest, plan.kv_dtype, plan.activations):
        storage(name)
