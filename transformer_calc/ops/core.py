"""What a graph is written in: tensors of named axes, parameters, and operations.

A tensor's dimension is a tuple of axis names, mostly one; `("heads", "d_head")` is one dimension of H·E
entries. Sizes come in last: `product` is all the arithmetic that shapes and counts need.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from transformer_calc.tuples import NamedTuple

if TYPE_CHECKING:
    from transformer_calc.expr import Size

Dim = tuple[str, ...]
Dims = tuple[Dim, ...]
Sizes = Mapping[str, "Size"]

FMA = 2  # a multiply-add is two FLOPs

# what is handed to a model, through which no gradient flows: ids of tokens, positions, segments; where a query may
# look; other arrays; and the padding mask in the activations' type, which is multiplied with them
IDS, POSITIONS, SEGMENTS, MASK, DATA, KEPT = "ids", "positions", "segments", "mask", "data", "kept"


class Tensor(NamedTuple):
    """A value that flows between operations. `scores`: a row for each query, of a number for each key.

    `given`: empty for what is computed, else what it is of all that is handed in; `handed`: by another stack's layers
    """

    name: str
    dims: Dims
    scores: bool = False
    given: str = ""
    handed: bool = False


class Param(NamedTuple):
    """A parameter tensor, as stored. `routed`: the axis of a token's experts, where it passes only through their share.

    `out` is the dimension along which fused checkpoints join it with its neighbours.
    """

    name: str
    dims: Dims
    out: int = 0
    routed: str = ""
    tied: str = ""  # full path of the parameter that this one is
    buffer: bool = False  # stored beside the weights, but no parameter: not counted

    @property
    def counted(self) -> bool:
        """Whether it is a parameter of its own."""
        return not (self.tied or self.buffer)


class Op(NamedTuple):
    """One operation. `kind` names the record in `ops` that has its rules; `attrs` are what the rules need."""

    path: str
    kind: str
    inputs: tuple[Tensor, ...]
    output: Tensor
    params: tuple[Param, ...] = ()
    attrs: Mapping[str, Any] = {}
    extra: tuple[Tensor, ...] = ()  # further outputs: indices
    note: str = ""  # the line of algebra

    @property
    def scope(self) -> str:
        """The part of the layer that it belongs to: its path without its own name."""
        return self.path.rpartition(".")[0]

    @property
    def last(self) -> str:
        """Its own name."""
        return self.path.rpartition(".")[2]

    @property
    def on_scores(self) -> bool:
        """Whether it makes or takes a score matrix."""
        return self.output.scores or bool(self.inputs and self.inputs[0].scores)


class Work(NamedTuple):
    """FLOPs of matmuls (and convolutions); of recurrences, in their recurrent form; and of everything else."""

    matmul: Size = 0
    scan: Size = 0
    other: Size = 0

    @property
    def model(self) -> Size:
        """Model FLOPs, on which MFU is built: matmuls and recurrences."""
        return self.matmul + self.scan

    @property
    def total(self) -> Size:
        """All of them."""
        return self.matmul + self.scan + self.other

    def plus(self, more: Work, times: Size = 1) -> Work:
        """The sum with `times` more."""
        return Work(*(a + times * b for a, b in zip(self, more, strict=True)))


def product(dims: Dims, sizes: Sizes) -> Size:
    """Entries of a tensor: the product of its axes, whatever the sizes are."""
    total: Size = 1
    for dim in dims:
        for axis in dim:
            total = total * sizes[axis]
    return total


def shape(dims: Dims, sizes: Sizes) -> tuple[Size, ...]:
    """The size of each dimension."""
    return tuple(product((dim,), sizes) for dim in dims)


def axes_of(*dims: Dims) -> dict[str, None]:
    """The axes of some tensors, each once, in order."""
    return {axis: None for each in dims for dim in each for axis in dim}
