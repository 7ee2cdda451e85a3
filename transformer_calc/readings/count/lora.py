"""Low-rank adapters: frozen matrices of the layers, each with two thin ones beside it that learn.

LoRA (Hu et al. 2021, arXiv 2106.09685, section 4.1): Y = X·W + (X·A)·B, with A of [in, rank] and B of [rank, out], so
that rank · (in + out) parameters learn. QLoRA (Dettmers et al. 2023, arXiv 2305.14314) stores W in 4 bits. The backward
pass needs X, for A, and X·A, for B; the input of a matrix that has no adapter is not kept for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from transformer_calc.errors import InputError, did_you_mean
from transformer_calc.graph.core import Block, Graph, Op, Sizes
from transformer_calc.ops import rules
from transformer_calc.ops.kind import MATMUL, ROUTES
from transformer_calc.plan import Adapters
from transformer_calc.readings.count.params import Component, components

RANK = "lora_rank"  # the axis between A and B
ALL = "all"


def matrices(graph: Graph) -> Iterator[tuple[Block, Op]]:
    """The linear maps of the layers that may have an adapter: all but routers."""
    for block in graph.blocks:
        routers = {op.inputs[0].name for op in block.ops if ROUTES in rules(op).traits}
        for op in block.ops if block.role == "layer" else ():
            if rules(op).kernel == MATMUL and op.params[0].counted and op.output.name not in routers:
                yield block, op


def targets(graph: Graph, lora: Adapters) -> frozenset[str]:
    """Paths of the linear maps with an adapter."""
    return frozenset(block.full(op.path) for block, op in adapted(graph, lora))


def check(graph: Graph, lora: Adapters) -> None:
    """Refuse targets that the model lacks, and what is no probability."""
    if not 0 <= lora.dropout < 1:
        raise InputError(f"`lora_dropout` is {lora.dropout}; it must be at least 0 and less than 1")
    if lora.rank < 1:
        raise InputError(f"`lora_rank` is {lora.rank}; it must be at least 1")
    names = sorted({op.last for _, op in matrices(graph)})
    for target in lora.targets:
        if target not in (*names, ALL):
            hint = did_you_mean(target, [*names, ALL]) or f"this model's are {', '.join(names)}, or all of them: all"
            raise InputError(f"`lora_targets` names {target!r}, which is no projection of this model", hint)


def adapters(part: Component, paths: frozenset[str]) -> tuple[Component, ...]:
    """A and B of a parameter tensor, where it is a weight with an adapter; of stacked experts, each expert's."""
    path, _, name = part.path.rpartition(".")
    if name != "weight" or path not in paths:
        return ()
    stacked, pair = part.dims[:-2], part.dims[-2:]
    out = part.out - len(stacked)
    a, b = (*stacked, pair[1 - out], (RANK,)), (*stacked, (RANK,), pair[out])
    return tuple(part._replace(path=f"{path}.lora_{name}", dims=dims) for name, dims in (("a", a), ("b", b)))


def bound(sizes: Sizes, lora: Adapters | None) -> Sizes:
    """Sizes with the rank."""
    return {RANK: lora.rank, **sizes} if lora else sizes


def trainable(graph: Graph, sizes: Sizes, lora: Adapters) -> int:
    """How many parameters learn, in the whole model."""
    sizes, paths = bound(sizes, lora), targets(graph, lora)
    every = (adapter for part in components(graph) for adapter in adapters(part, paths))
    return sum(int(adapter.total(sizes)) for adapter in every)  # type: ignore[arg-type, misc]


def keeps_input(graph: Graph, lora: Adapters) -> frozenset[str]:
    """Paths of the linear maps whose input is kept as it is, for A: none with dropout, which makes another of it."""
    return frozenset() if lora.dropout else targets(graph, lora)


def adapted(graph: Graph, lora: Adapters) -> Iterator[tuple[Block, Op]]:
    """The linear maps that have one."""
    return ((block, op) for block, op in matrices(graph) if ALL in lora.targets or op.last in lora.targets)
