"""What the rules of `ops` say that the backward pass keeps, and what they are told of how a model is run."""

from __future__ import annotations

from collections.abc import Callable

from transformer_calc.ops.core import Dims, Op
from transformer_calc.spec import Execution
from transformer_calc.tuples import NamedTuple

BOOL, FLOAT32, INT32, INT64 = 1, 4, 4, 8  # bytes
WEIGHT = -1  # in place of an input's number: the weight


class How(NamedTuple):
    """How a model is run."""

    bytes: int = 2  # of an entry of an activation
    kernels: str = "fused"
    attention: str = "flash"
    mask_bytes: int = BOOL  # of an entry of a dropout mask; PyTorch's CPU kernels keep it in the activations' type
    recompute: str = "none"
    every: int = 1  # with full recomputation: the input of every n-th layer is kept
    float32_softmax: bool = True  # eager: the class computes the softmax in float32 and casts it back
    norm_keeps_input: bool = False  # eager: RMSNorm multiplies its input as it came, not its float32 copy (T5)
    float32_loss: bool = True  # logits are cast to float32 before the loss
    eager: Execution = Execution()  # what else the class does, where operators run one by one
    tokens: int | None = None  # of a sequence, where that is known: a window that holds them all needs no mask
    alone: bool = False  # it is the only sequence: matrix products take views of it, where they copy several


class Storage(NamedTuple):
    """Memory that one tensor, or several views of it, stand in."""

    name: str
    dims: Dims
    bytes: int
    role: str = "value"  # value, statistics, mask, indices, table, loss, weight
    once: bool = False  # made outside of the layers, which share it
    given: bool = False  # handed in by the caller: ids, labels, images
    parameter: bool = False
    factor: int = 1  # so many of these dims

    def in_float32(self) -> Storage:
        """Its copy in float32: itself where it is that already."""
        return self if self.bytes == FLOAT32 else self._replace(name=f"{self.name} in float32", bytes=FLOAT32)


class Need(NamedTuple):
    """A tensor that an operation keeps: one of its inputs, its output, or one of its own.

    of: whose gradient it is kept for, an input's or the weight's; without that gradient it is not kept. None: any.
    """

    which: str  # input, output, own
    place: int = 0  # of the input
    storage: Storage | None = None
    float32: bool = False  # a copy in float32
    of: int | None = None


Needs = tuple[Need, ...]
Keeps = Callable[[Op, How], Needs]


def taken(place: int = 0, *, float32: bool = False, of: int | None = None) -> Need:
    """An input is kept."""
    return Need("input", place, float32=float32, of=of)


def made(*, float32: bool = False) -> Need:
    """The output is kept."""
    return Need("output", float32=float32)


def own(
    op: Op, name: str, dims: Dims, each: int, role: str = "value", factor: int = 1, *, of: int | None = None
) -> Need:
    """A tensor that the operation makes for itself, of entries of so many bytes."""
    return Need("own", storage=Storage(f"{op.path}.{name}", dims, each, role, factor=factor), of=of)


def nothing(op: Op, how: How) -> Needs:
    """Its derivative is the same everywhere."""
    return ()


def the_input(op: Op, how: How) -> Needs:
    """Its derivative is a function of its input."""
    return (taken(),)


def the_output(op: Op, how: How) -> Needs:
    """Its derivative is a function of its output."""
    return (made(),)


def for_the_weight(op: Op, how: How) -> Needs:
    """The weight's gradient is made of the input."""
    return (taken(of=WEIGHT),)


def operands(op: Op, how: How) -> Needs:
    """The gradient of each of two operands is made of the other one."""
    if len(op.inputs) == 2:
        return taken(0, of=1), taken(1, of=0)
    return tuple(taken(i) for i in range(len(op.inputs)))
