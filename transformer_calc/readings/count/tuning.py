"""FLOPs of training adapters beside frozen weights (LoRA, Hu et al. 2021, arXiv 2106.09685).

A frozen matrix needs no gradient of its own: its backward pass is one contraction instead of two, and none where its
input needs no gradient either, as in the first layer, before which nothing learns. An adapter is two thin matmuls
more, X·A and (X·A)·B, forward and backward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from transformer_calc.graph.core import Block, Graph, Sizes, product
from transformer_calc.graph.ops import CONTRACTIONS
from transformer_calc.plan import Adapters
from transformer_calc.readings.count.flops import WITHOUT_GRADIENT, Row, Totals, Work, rows
from transformer_calc.readings.count.lora import targets


def flops(graph: Graph, sizes: Sizes, adapters: Adapters, *, needed: bool = False, recompute: str = "none") -> Totals:
    """The work of a batch when only adapters learn; `needed`, `recompute`: see `flops.rows`."""
    paths = targets(graph, adapters)
    found = [
        (row, _thin(row, sizes, adapters.rank) if row.path in paths else None)
        for row in rows(graph, sizes, needed=needed, recompute=recompute)
    ]
    forward, backward, recomputed = Work(), Work(), Work()
    for row, thin in found:
        more = Work(sum(thin)) if thin else Work()
        forward = forward.plus(row.forward.plus(more), row.times(sizes))
        if row.recomputed.total:
            recomputed = recomputed.plus(row.recomputed.plus(more), row.times(sizes))
    learned: dict[str, bool] = {}  # stack -> whether a block of it so far has adapters
    for block in graph.blocks:
        own = [(row, thin) for row, thin in found if row.block is block]
        times: Any = sizes[block.repeat] if block.repeat else 1
        warm = learned.get(block.stack, False) or (block.role in ("final", "head") and any(learned.values()))
        if not warm and any(thin for _, thin in own):  # of its layers the first gets an input that needs no gradient
            backward = backward.plus(_backward(own, _outside(block, learned, False)))
            times, warm = times - 1, True
        backward = backward.plus(_backward(own, _outside(block, learned, warm)), times)
        learned[block.stack] = warm
    train = forward.plus(backward)
    return Totals(forward, backward, train, train.plus(recomputed))


def _thin(row: Row, sizes: Sizes, rank: int) -> tuple[Any, Any]:
    """Forward FLOPs of X·A and of (X·A)·B: those of X·W with the rank in place of its outputs, and of its inputs."""
    weight = row.op.params[0]
    out = weight.out - len(weight.dims) + 2
    pair: Any = [product((dim,), sizes) for dim in weight.dims[-2:]]
    return row.forward.matmul * rank // pair[out], row.forward.matmul * rank // pair[1 - out]


def _outside(block: Block, learned: dict[str, bool], warm: bool) -> Callable[[str], bool]:
    """Whether a tensor from outside the block needs a gradient."""

    def needs(name: str) -> bool:
        stack, _, last = name.rpartition(".")
        if last in WITHOUT_GRADIENT:
            return False
        return learned[stack] if stack != block.stack and stack in learned else warm

    return needs


def _backward(own: Iterable[tuple[Row, tuple[Any, Any] | None]], outside: Callable[[str], bool]) -> Work:
    """The backward pass of one repetition of a block."""
    gradient: dict[str, bool] = {}
    work = Work()
    for row, thin in own:
        op = row.op
        needs = [gradient[t.name] if t.name in gradient else outside(t.name) for t in op.inputs]
        gradient[op.path] = bool(thin) or (any(needs) and op.kind != "sinusoid")
        for extra in op.extra:
            gradient[extra.name] = False  # indices
        passes = sum(needs[:2]) if op.kind == "einsum" else int(needs[0]) if op.kind in CONTRACTIONS else 0
        other = 2 * row.forward.other if gradient[op.path] else 0
        work = work.plus(Work(passes * row.forward.matmul, other))
        if thin:
            a, b = thin
            work = work.plus(Work((1 + needs[0]) * a + 2 * b))
    return work
