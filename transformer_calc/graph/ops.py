"""Every kind of operation, with its rules in one place.

A multiply-add is 2 FLOPs. Contractions and convolutions are matmul FLOPs; everything else counts one FLOP for
each arithmetic operation or elementary function of an entry, and is kept apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from transformer_calc.graph.core import Op, Sizes, product

if TYPE_CHECKING:
    from transformer_calc.expr import Size

FMA = 2  # a multiply-add is two FLOPs

# operations of one entry, counted from each function's usual form
FUNCTIONS = {
    "add": 1,
    "multiply": 1,
    "scale": 1,
    "clip": 2,
    "relu": 1,
    "relu2": 2,  # max(x, 0)²
    "silu": 4,  # x / (1 + exp(-x))
    "sigmoid": 3,
    "tanh": 1,
    "exp": 1,
    "softcap": 3,  # cap · tanh(x / cap)
    "gelu": 5,  # x/2 · (1 + erf(x / √2))
    "gelu_tanh": 9,  # x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))
    "quick_gelu": 5,  # x · sigmoid(1.702 x)
    "mask": 1,
    "identity": 0,
    "unit": 3,  # x / √Σx²
}


class Kind(NamedTuple):
    """A kind of operation: a word for people and its FLOPs as (matmul, other)."""

    word: str
    flops: Callable[[Op, Sizes], tuple[Size, Size]]


def _contraction(op: Op, sizes: Sizes) -> Size:
    """Two FLOPs for each point of the joint index space of the two operands."""
    a, b = op.inputs[0].dims, (op.params[0].dims if op.params else op.inputs[1].dims)
    joint = {axis: None for dims in (a, b) for dim in dims for axis in dim}
    if op.kind == "expert_linear":  # a token meets the experts that it chose, which its own axis top_k counts
        joint = {axis: None for axis in joint if not axis.startswith("experts")}
    return FMA * product((tuple(joint),), sizes)


def _linear(op: Op, sizes: Sizes) -> tuple[Size, Size]:
    return _contraction(op, sizes), _bias(op, sizes)


def _bias(op: Op, sizes: Sizes) -> Size:
    return product(op.output.dims, sizes) if len(op.params) > 1 else 0


def _convolution(op: Op, sizes: Sizes) -> tuple[Size, Size]:
    # every output entry is a dot product of one filter with its patch: weight dims are (out, in, kernel…)
    filters = product(op.params[0].dims[1:], sizes)
    return FMA * product(op.output.dims, sizes) * filters, _bias(op, sizes)


def _free(op: Op, sizes: Sizes) -> tuple[Size, Size]:
    return 0, 0


def _per_entry(cost: Callable[[Op], int], *, of_input: bool = False) -> Callable[[Op, Sizes], tuple[Size, Size]]:
    def flops(op: Op, sizes: Sizes) -> tuple[Size, Size]:
        return 0, cost(op) * product((op.inputs[0] if of_input else op.output).dims, sizes)

    return flops


def _norm_cost(op: Op) -> int:
    # layernorm: mean, subtract, square, sum, scale; rmsnorm: square, sum, scale; then weight and bias
    return (5 if op.attrs["norm"] == "layernorm" else 3) + len(op.params)


KINDS = {
    "lookup": Kind("look up", _free),
    "linear": Kind("matmul", _linear),
    "expert_linear": Kind("matmul of chosen experts", _linear),
    "einsum": Kind("matmul", lambda op, sizes: (_contraction(op, sizes), 0)),
    "convolution": Kind("convolution", _convolution),
    "norm": Kind("norm", _per_entry(_norm_cost)),
    "softmax": Kind("softmax", _per_entry(lambda op: 5)),  # max, subtract, exp, sum, divide
    "elementwise": Kind("elementwise", _per_entry(lambda op: FUNCTIONS[op.attrs["function"]])),
    "mask": Kind("mask", _per_entry(lambda op: 1)),
    "keep_best": Kind("keep the best keys", _per_entry(lambda op: 1)),
    "rotary": Kind("rotate", _per_entry(lambda op: 3)),  # two products and a sum for each rotated entry
    "distance_bias": Kind("distance bias", _per_entry(lambda op: 2)),
    "shift": Kind("gather by distance", _free),
    "dropout": Kind("dropout", _per_entry(lambda op: 0)),
    "view": Kind("view", _free),
    "repeat": Kind("repeat", _free),
    "cache": Kind("append to cache", _free),
    "concat": Kind("concatenate", _free),
    "slice": Kind("take", _free),
    "mean": Kind("mean", _per_entry(lambda op: 1, of_input=True)),
    "parameter": Kind("parameter", _free),
    "sinusoid": Kind("sine and cosine table", _free),
    "relative_lookup": Kind("look up by distance", _free),
    "route": Kind("choose experts", _per_entry(lambda op: 5, of_input=True)),
    "dispatch": Kind("send to experts", _free),
    "combine": Kind("weighted sum", _per_entry(lambda op: FMA, of_input=True)),
}

CONTRACTIONS = ("linear", "expert_linear", "convolution")  # of an input and a weight


def flops(op: Op, sizes: Sizes) -> tuple[Size, Size]:
    """FLOPs of one forward pass through the operation: (matmul, other)."""
    return KINDS[op.kind].flops(op, sizes)
