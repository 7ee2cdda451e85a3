"""Where a gradient flows in the backward pass: through what depends on something that learns."""

from __future__ import annotations

from collections.abc import Callable

from transformer_calc.graph.core import Block, Op, Tensor
from transformer_calc.tuples import NamedTuple


class Flow(NamedTuple):
    """The tensors of a block that need a gradient: those that it makes, by name, and those that come from outside."""

    made: dict[str, bool]
    outside: Callable[[Tensor], bool]

    def needs(self, tensor: Tensor) -> bool:
        """Whether a tensor needs a gradient."""
        found = self.made.get(tensor.name)
        return self.outside(tensor) if found is None else found

    def of(self, op: Op) -> list[bool]:
        """Which inputs of an operation need one."""
        return [self.needs(tensor) for tensor in op.inputs]


def learns(op: Op) -> bool:
    """Whether an operation has parameters."""
    return any(not param.buffer for param in op.params)


def computed(tensor: Tensor) -> bool:
    """Whether a tensor is neither ids nor a mask nor data that is handed in."""
    return not tensor.given


def flow(block: Block, learns: Callable[[Op], bool] = learns, outside: Callable[[Tensor], bool] = computed) -> Flow:
    """Where a gradient flows in a block.

    learns: whether an operation's weight does; outside: whether what comes from outside the block needs a gradient
    """
    found = Flow({}, outside)
    for op in block.ops:
        found.made[op.path] = learns(op) or any(found.of(op))
        found.made.update((extra.name, False) for extra in op.extra)  # indices
    return found
