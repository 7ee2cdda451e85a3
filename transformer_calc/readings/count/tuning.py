"""FLOPs of training adapters beside frozen weights (LoRA, Hu et al. 2021, arXiv 2106.09685).

A frozen matrix needs no gradient of its own: its backward pass is one contraction instead of two, and none where its
input needs no gradient either, as in the first layer, before which nothing learns. An adapter is two thin matmuls
more, X·A and (X·A)·B, forward and backward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from transformer_calc.graph.core import Block, Graph, Sizes, Tensor, product
from transformer_calc.ops import rules
from transformer_calc.ops.core import Work
from transformer_calc.plan import Adapters
from transformer_calc.readings.count.flops import Row, Totals, rows
from transformer_calc.readings.count.gradients import flow
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
        times: Any = block.times(sizes)
        warm = learned.get(block.stack, False) or (block.role in ("final", "head") and any(learned.values()))
        if not warm and any(thin for _, thin in own):  # of its layers the first gets an input that needs no gradient
            backward = backward.plus(_backward(block, own, _outside(block, learned, False)))
            times, warm = times - 1, True
        backward = backward.plus(_backward(block, own, _outside(block, learned, warm)), times)
        learned[block.stack] = warm
    train = forward.plus(backward)
    return Totals(forward, backward, train, train.plus(recomputed))


def _thin(row: Row, sizes: Sizes, rank: int) -> tuple[Any, Any]:
    """Forward FLOPs of X·A and of (X·A)·B: those of X·W with the rank in place of its outputs, and of its inputs."""
    weight = row.op.params[0]
    out = weight.out - len(weight.dims) + 2
    pair: Any = [product((dim,), sizes) for dim in weight.dims[-2:]]
    return row.forward.matmul * rank // pair[out], row.forward.matmul * rank // pair[1 - out]


def _outside(block: Block, learned: dict[str, bool], warm: bool) -> Callable[[Tensor], bool]:
    """Whether a tensor from outside the block needs a gradient."""

    def needs(tensor: Tensor) -> bool:
        stack, _, _ = tensor.name.rpartition(".")
        return not tensor.given and (learned[stack] if stack != block.stack and stack in learned else warm)

    return needs


def _backward(
    block: Block, own: Iterable[tuple[Row, tuple[Any, Any] | None]], outside: Callable[[Tensor], bool]
) -> Work:
    """The backward pass of one repetition of a block."""
    found = list(own)
    adapted = {row.op.path for row, thin in found if thin}
    flows = flow(block, lambda op: op.path in adapted, outside)
    work = Work()
    for row, thin in found:
        needs = flows.of(row.op)
        work = work.plus(rules(row.op).backward(row.op, row.forward, needs, False))
        if thin:
            a, b = thin
            work = work.plus(Work((1 + needs[0]) * a + 2 * b))
    return work
