"""Contractions: of an input and a weight, of two activations, with chosen experts' weights, and convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from transformer_calc.ops.core import FMA, Dim, Dims, Op, Sizes, Work, product
from transformer_calc.ops.kept import (
    INT32,
    INT64,
    WEIGHT,
    How,
    Need,
    Needs,
    Storage,
    for_the_weight,
    operands,
    own,
    taken,
)
from transformer_calc.ops.kind import (
    CONVOLUTION,
    EXPERTS,
    MATMUL,
    MATRIX,
    MOVED,
    NONE,
    OWN,
    PRODUCT,
    WHOLE,
    Kind,
    always,
    contraction,
    dims_of,
    each_operand,
)
from transformer_calc.ops.notation import MATRICES, NEW, Algebra, Written, by, note

if TYPE_CHECKING:
    import numpy as np

    from transformer_calc.ops.kind import Machine

    Array = np.ndarray[Any, np.dtype[Any]]
else:
    from transformer_calc.ops import arrays as np

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def contract(machine: Machine, a: Array, a_dims: Dims, b: Array, b_dims: Dims, out: Dims) -> Array:
    """Sum of products over the dimensions that `out` lacks; every point of the joint index space is a multiply-add."""
    letters: dict[Any, str] = {}

    def word(dims: Dims, which: str) -> str:
        # a dimension of 1 has no name; it is its operand's own
        keys = [dim or (which, i) for i, dim in enumerate(dims)]
        return "".join(letters.setdefault(key, LETTERS[len(letters)]) for key in keys)

    left, right = word(a_dims, "a"), word(b_dims, "b")
    lengths = dict(zip(left + right, a.shape + b.shape, strict=True))
    for letter, length in zip(left + right, a.shape + b.shape, strict=True):
        if lengths[letter] != length:
            raise ValueError(f"operands of {a.shape} and {b.shape} do not fit as {left},{right}")
    ones = iter([letters[key] for key in letters if key[0] in ("a", "b") and isinstance(key[-1], int)])
    result = "".join(letters[dim] if dim else next(ones, "") for dim in out)
    machine.multiply_adds += math.prod(lengths.values())
    product = np.einsum(f"{left},{right}->{result}", a, b, optimize=True)
    return product.reshape([*product.shape, *[1] * (len(out) - product.ndim)])


# --- an input and a weight ----------------------------------------------------------------------------------------


def head_part(op: Op) -> tuple[Dim, ...]:
    """Of a weight of which each head has its own part: that part's dimensions; empty: it is one matrix for all."""
    x, stored, out = dims_of(op)
    if x[-1] in stored and set(out) <= {*x, *stored}:
        return ()
    heads = x[1][0]
    return tuple(tuple(axis for axis in dim if axis != heads) for dim in stored)


def _linear_line(op: Op, w: Written) -> str:
    part = head_part(op)
    stored = part or op.params[0].dims
    across = stored[-1] == op.inputs[0].dims[-1] if part else op.params[0].out == 0
    each = f", each head with its own [{', '.join(map(w.symbol, part))}]" if part else ""
    return f"{w.x}·{w.weights[0]}{'ᵀ' if across else ''}{w.bias}{each}{note(op)}"


def _run_linear(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    x, w, w_dims = inputs[0], params[0], op.params[0].dims
    if head_part(op):
        w = w.reshape([machine.length_of((axis,)) for dim in w_dims for axis in dim])
        w_dims = tuple((axis,) for dim in w_dims for axis in dim)
    y = contract(machine, x, op.inputs[0].dims, w, w_dims, op.output.dims)
    return y + params[1] if len(params) > 1 else y


LINEAR = Kind(
    name="linear",
    word="matmul",
    forward=contraction,
    backward=each_operand,
    fused=for_the_weight,
    eager=for_the_weight,
    memory=OWN,
    kernel=MATMUL,
    traffic=MOVED,
    algebra=Algebra(_linear_line, NEW, MATRICES),
    mesh=always(MATRIX),
    run=_run_linear,
    copies=always(1.0),
    traits=NONE,
)


# --- chosen experts' weights --------------------------------------------------------------------------------------


def _by_experts(op: Op, sizes: Sizes) -> Work:
    """A token meets the experts that it chose, which its own axis top_k counts."""
    return contraction(op, sizes, without=op.params[0].dims[0][0])


def _sorted_by_expert(op: Op, how: How) -> Needs:
    """Its input, and where each expert's tokens end; biases are looked up by expert."""
    if how.eager.experts != "grouped":
        return for_the_weight(op, how)
    ends = Storage(f"{op.scope}.ends", op.params[0].dims[:1], INT32, "indices")
    experts = Storage(f"{op.scope}.sorted_experts", op.inputs[1].dims, INT64, "indices")
    sorting = (Need("own", storage=storage, of=WEIGHT) for storage in (ends, experts)[: len(op.params)])
    return *for_the_weight(op, how), *sorting


def _run_experts(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    x, chosen = inputs
    weight, transposed = params[0], op.params[0].out == 1  # stored [experts, out, in]
    y = np.zeros((*x.shape[:-1], weight.shape[1 if transposed else 2]), x.dtype)
    for expert in np.unique(chosen):
        mine = chosen == expert
        w = weight[expert].T if transposed else weight[expert]
        y[mine] = x[mine] @ w + (params[1][expert] if len(params) > 1 else 0)
        machine.multiply_adds += int(mine.sum()) * w.shape[0] * w.shape[1]
    return y


EXPERT_LINEAR = Kind(
    name="expert_linear",
    word="matmul of chosen experts",
    forward=_by_experts,
    backward=each_operand,
    fused=for_the_weight,
    eager=_sorted_by_expert,
    memory=OWN,
    kernel=MATMUL,
    traffic=MOVED,
    algebra=Algebra(
        lambda op, w: f"{w.x}·{w.weights[0]}{'ᵀ' if op.params[0].out == 1 else ''}{w.bias} of its experts",
        NEW,
        MATRICES,
    ),
    mesh=always(EXPERTS),
    run=_run_experts,
    copies=always(2.0),
    traits=NONE,
)


# --- two activations ----------------------------------------------------------------------------------------------


def _matmul_operands(op: Op, how: How) -> Needs:
    """Both operands; torch.matmul repeats one that all sequences share, and DeBERTa scales a copy of its keys."""
    _, second = op.inputs
    if len(second.dims) == 3 and len(op.output.dims) == 4:
        return taken(of=1), own(op, "repeated", (op.output.dims[0], *second.dims), how.bytes)
    if how.eager.keys_scaled and op.output.scores:
        return taken(of=1), own(op, "scaled_keys", second.dims, how.bytes), own(op, "scale", (), how.bytes)
    return operands(op, how)


def _product_line(op: Op, w: Written) -> str:
    """A·B or A·Bᵀ; or, where it is not the last two dimensions that are multiplied, the sum that it is."""
    (a, b), out = (tensor.dims for tensor in op.inputs), op.output.dims
    summed = [dim for dim in a if dim in b and dim not in out]
    over = summed[0] if summed else a[-1]
    scale = by(op.attrs.get("scale", 1.0), w.symbol(over), w.size(over), stretched=op.attrs.get("stretched", False))
    scale += " / (layer + 1)" if op.attrs.get("by_layer") else ""
    rows = len(a) > 1 and len(b) > 1 and summed == [a[-1]] and a[-2] == out[-2]
    if rows and b[-2:] == (over, out[-1]):
        return f"{w.inputs[0]}·{w.inputs[1]}{scale}{note(op)}"
    if rows and b[-2:] == (out[-1], over):
        return f"{w.inputs[0]}·{w.inputs[1]}ᵀ{scale}{note(op)}"
    return f"Σ over {w.symbol(over)} of {w.inputs[0]} ⊙ {w.inputs[1]}{scale}{note(op)}"


def _run_einsum(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    (a, b), (da, db) = inputs, (t.dims for t in op.inputs)
    y = contract(machine, a, da, b, db, op.output.dims)
    scale: float = op.attrs.get("scale", 1.0)
    if op.attrs.get("by_layer"):
        scale /= (machine.layer or 0) + 1
    return y * scale if scale != 1.0 else y


EINSUM = Kind(
    name="einsum",
    word="matmul",
    forward=contraction,
    backward=each_operand,
    fused=operands,
    eager=_matmul_operands,
    memory=OWN,
    kernel=PRODUCT,
    traffic=MOVED,
    algebra=Algebra(_product_line, NEW, MATRICES),
    mesh=always(WHOLE),
    run=_run_einsum,
    copies=always(1.0),
    traits=NONE,
)


# --- convolutions -------------------------------------------------------------------------------------------------


def _convolve(op: Op, sizes: Sizes) -> Work:
    """Every output entry is a dot product of one filter with its patch; filters are [out, in, kernel…]."""
    filters, entries = product(op.params[0].dims[1:], sizes), product(op.output.dims, sizes)
    return Work(FMA * entries * filters, other=entries if len(op.params) > 1 else 0)


def _convolution_line(op: Op, w: Written) -> str:
    stride = op.attrs["stride"][0]
    return f"{w.weights[0]} ∗ {w.x}{w.bias}" + (f", stride {stride}" if stride > 1 else "") + note(op)


def _run_convolution(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    """A convolution over the last axes of [B, C, …]; filters are [out, in, …]."""
    x, filters = inputs[0], params[0]
    strides, pad, groups = op.attrs["stride"], op.attrs["padding"], op.attrs.get("groups", 1)
    n = filters.ndim - 2
    x = np.pad(x, [(0, 0), (0, 0), *[(pad, pad)] * n])
    windows = np.lib.stride_tricks.sliding_window_view(x, filters.shape[2:], axis=tuple(range(2, 2 + n)))
    windows = windows[(slice(None), slice(None), *(slice(None, None, s) for s in strides))]
    out = []
    for mine, patches in zip(
        np.split(filters, groups), np.split(windows, groups, axis=1), strict=True
    ):  # patches: [B, C, positions…, kernel…]
        axes = (1, *range(2 + n, 2 + 2 * n)), (1, *range(2, 2 + n))
        part = np.moveaxis(np.tensordot(patches, mine, axes), -1, 1)
        machine.multiply_adds += part.size * math.prod(mine.shape[1:])
        out.append(part)
    y = np.concatenate(out, axis=1)
    return y + params[1].reshape(-1, *[1] * n) if len(params) > 1 else y


CONVOLVE = Kind(
    name="convolution",
    word="convolution",
    forward=_convolve,
    backward=each_operand,
    fused=for_the_weight,
    eager=for_the_weight,
    memory=OWN,
    kernel=CONVOLUTION,
    traffic=MOVED,
    algebra=Algebra(_convolution_line, NEW, MATRICES),
    mesh=always(WHOLE),
    run=_run_convolution,
    copies=always(2.0),
    traits=NONE,
)
