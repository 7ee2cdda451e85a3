"""What is to be said of a kind of operation: one record, of which every field is required.

A module of this package that holds such records is all that a kind needs: whoever reads a graph asks the record. What
is left out is refused when the module is imported, by name: nothing is ever guessed for a kind.

A multiply-add is 2 FLOPs. Contractions and convolutions are matmul FLOPs; recurrences are `scan`; everything else
counts one FLOP for each arithmetic operation or elementary function of an entry, and is kept apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from transformer_calc.ops.core import FMA, Dim, Dims, Op, Sizes, Work, axes_of, product
from transformer_calc.ops.kept import Keeps
from transformer_calc.tuples import NamedTuple

if TYPE_CHECKING:
    from typing import Protocol

    import numpy as np

    from transformer_calc.ops.notation import Algebra

    Array = np.ndarray[Any, np.dtype[Any]]

    class Machine(Protocol):
        """What a kernel may ask of the machine that runs it."""

        multiply_adds: int
        layer: int | None
        dtype: Any

        def length_of(self, dim: Dim) -> int:
            """The size of a dimension."""
            ...

        def positions(self, tokens: int) -> Array:
            """The position of each of so many tokens."""
            ...

        def key_positions(self, op: Op, queries: int, keys: int) -> Array:
            """The position of each key."""
            ...

        def remembered(self, x: Array, tokens: int) -> Array:
            """What a cache of so many tokens holds, of which x is the end."""
            ...

        def counted(self, op: Op, positions: Array) -> Array:
            """The positions as the operation counts them."""
            ...

        def visible(self, op: Op, queries: int, keys: int) -> Array:
            """Which key each query may look at."""
            ...

        def routed(self, op: Op, chosen: Array) -> Array:
            """The chosen experts, whose load is noted."""
            ...

    Kernel = Callable[[Op, Sequence[Array], Sequence[Array], Machine], Any]

# what runs on a device: matmuls with a weight, of which those of one input are one; matmuls of two activations;
# convolutions; passes over tensors that are fused with each other; one that ends such a row; one on its own; nothing
MATMUL, PRODUCT, CONVOLUTION, MAP, END, PASS, FREE = "matmul", "product", "convolution", "map", "end", "pass", "free"
CONTRACTIONS = (MATMUL, PRODUCT, CONVOLUTION)

# where the output stands: in memory of its own; where the input does, as other dimensions of it, as a part of it,
# read more than once, behind what is cached, or untouched but in training; where the weight does
OWN, VIEW, PART, SPREAD, GROWN, SAME, STORED = "own", "view", "part", "spread", "grown", "same", "stored"

# how a mesh divides it: its matrix by columns or rows; the same of experts, to which tokens were sent; its table's
# rows; a sum with what others hold goes through it, of all its inputs or its first; it sends tokens to experts; not
MATRIX, EXPERTS, ROWS, LINEAR, LINEAR_IN_FIRST, SENDS, WHOLE = (
    "matrix",
    "experts",
    "rows",
    "linear",
    "linear in first",
    "sends",
    "whole",
)

# what is true of few kinds, and asked of all
MASKS = "hides keys from queries"
SLOPES = "adds a bias by distance"
BIASES = "looks a bias up by distance"
ROTATES = "rotates queries and keys"
NORMS = "normalises rows"
WEIGHS = "weighs what each row adds up to 1"
DROPS = "drops entries in training"
ROUTES = "chooses experts"
JOINS = "puts tensors one behind the other"
LOOKS_UP = "looks rows up by ids"
SINES = "is a table of sines and cosines"
ENTRYWISE = "is a function of entries alone, which a fused kernel makes again"


class Traffic(NamedTuple):
    """What a pass over tensors moves beside its output.

    reads: its inputs, or rows, as many entries as it makes
    again: what the backward pass reads beside the output's gradient: nothing, a mask, the inputs, or the output
    """

    reads: str
    again: str


class Kind(NamedTuple):
    """A kind of operation. Rules get the operation; sizes are bound to axes when they are asked.

    backward: of the forward work, which inputs need a gradient, and whether the weight does
    fused, eager: what backward keeps, where norms and functions are one kernel each, and operator by operator
    kernel, traffic: its class of kernel on a device, and what a pass moves
    copies: entries that the NumPy kernel holds meanwhile, as a part of those of its inputs and output
    """

    name: str
    word: str
    forward: Callable[[Op, Sizes], Work]
    backward: Callable[[Op, Work, Sequence[bool], bool], Work]
    fused: Keeps
    eager: Keeps
    memory: str
    kernel: str
    traffic: Callable[[Op], Traffic]
    algebra: Algebra
    mesh: Callable[[Op], str]
    run: Kernel
    copies: Callable[[Op], float]
    traits: frozenset[str]


# --- rules that many kinds share ----------------------------------------------------------------------------------


def free(op: Op, sizes: Sizes) -> Work:
    """It computes nothing."""
    return Work()


def per_entry(cost: Callable[[Op], int], *, of_input: bool = False) -> Callable[[Op, Sizes], Work]:
    """So many FLOPs for each entry of the output, or of the first input."""

    def forward(op: Op, sizes: Sizes) -> Work:
        return Work(other=cost(op) * product((op.inputs[0] if of_input else op.output).dims, sizes))

    return forward


def twice(op: Op, forward: Work, needs: Sequence[bool], learns: bool) -> Work:
    """The backward pass of what is no contraction counts twice its forward."""
    return Work(scan=2 * forward.scan, other=2 * forward.other) if learns or any(needs) else Work()


def each_operand(op: Op, forward: Work, needs: Sequence[bool], learns: bool) -> Work:
    """One contraction for each of two operands that needs a gradient: an input and the weight, or two inputs.

    Two for a linear layer on activations (Kaplan et al. 2020, arXiv 2001.08361, §2.1), one for a convolution of the
    input image.
    """
    passes = int(needs[0]) + int(learns) if op.params else sum(needs[:2])
    return Work(passes * forward.matmul, other=2 * forward.other if learns or any(needs) else 0)


def always(what: Any) -> Callable[[Op], Any]:
    """The same for every operation of the kind."""
    return lambda op: what


NONE: frozenset[str] = frozenset()
MOVED = always(Traffic("inputs", "inputs"))  # inputs come and the output goes; backward reads the inputs again
UNREAD = always(Traffic("inputs", "nothing"))


def contraction(op: Op, sizes: Sizes, *, without: str = "") -> Work:
    """Two FLOPs for each point of the joint index space of the two operands, but for an axis."""
    joint = axes_of(op.inputs[0].dims, op.params[0].dims if op.params else op.inputs[1].dims)
    joint.pop(without, None)
    bias = product(op.output.dims, sizes) if len(op.params) > 1 else 0
    return Work(FMA * product((tuple(joint),), sizes), other=bias)


def dims_of(op: Op) -> tuple[Dims, Dims, Dims]:
    """The dimensions of both operands of a contraction, and of what it makes."""
    return op.inputs[0].dims, op.params[0].dims if op.params else op.inputs[1].dims, op.output.dims
