"""What a decoder keeps of the tokens that it has seen: keys and values, or the latent that they are made from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transformer_calc.graph.core import Block, Graph, Op, Sizes, product
from transformer_calc.ops import rules
from transformer_calc.ops.kind import GROWN
from transformer_calc.tuples import NamedTuple

if TYPE_CHECKING:
    from transformer_calc.expr import Size


class Cached(NamedTuple):
    """One cached tensor of a block; it stands `repeat` times (an axis), and grows with the context unless `once`."""

    path: str
    op: Op
    block: Block
    window: int | None
    once: bool

    def kept(self, sizes: Sizes, context: Size) -> Size:
        """Tokens of each sequence in it, of `context` that were seen."""
        from transformer_calc.expr import minimum

        (keys,) = self.op.output.dims[-2]
        seen: Size = sizes[keys] if self.once else minimum(context, self.window) if self.window else context
        return seen

    def elements(self, sizes: Sizes, context: Size) -> Size:
        """Entries of all of them, with `context` tokens in the cache."""
        (keys,), kept = self.op.output.dims[-2], self.kept(sizes, context)
        repeat = sizes[self.block.repeat] if self.block.repeat else 1
        return repeat * product(self.op.output.dims, {**sizes, keys: kept})


def cached(graph: Graph) -> list[Cached]:
    """Every tensor that is kept from one token to the next."""
    found = []
    for block in graph.blocks:
        for op in block.ops:
            if rules(op).memory == GROWN:
                window, once = op.attrs.get("window"), bool(op.attrs.get("once"))
                found.append(Cached(block.full(op.path), op, block, window, once))
    return found


def elements(graph: Graph, sizes: Sizes, context: Size) -> Size:
    """Entries of a whole model's cache with `context` tokens in it; cross-attention's are the source's."""
    total: Size = 0
    for part in cached(graph):
        total = total + part.elements(sizes, context)
    return total


def per_token(graph: Graph, sizes: Sizes) -> Size:
    """Entries that one more token adds, while no window is full."""
    total: Size = 0
    for part in cached(graph):
        if not part.once:
            total = total + part.elements(sizes, 1)
    return total
