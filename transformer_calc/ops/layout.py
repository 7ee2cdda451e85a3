"""The same numbers in other places: views, parts, copies, what is cached, means, and stored tensors as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from transformer_calc.ops.core import Op
from transformer_calc.ops.kept import INT64, How, Needs, nothing, own
from transformer_calc.ops.kind import (
    FREE,
    GROWN,
    JOINS,
    LINEAR_IN_FIRST,
    MOVED,
    NONE,
    OWN,
    PART,
    PASS,
    SPREAD,
    STORED,
    VIEW,
    WHOLE,
    Kind,
    always,
    free,
    per_entry,
    twice,
)
from transformer_calc.ops.notation import KEPT, MATRICES, NAMED, NEW, Algebra, as_it_is, in_words, note

if TYPE_CHECKING:
    import numpy as np

    from transformer_calc.ops.kind import Machine

    Array = np.ndarray[Any, np.dtype[Any]]
else:
    from transformer_calc.ops import arrays as np


def _run_view(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    """Split, transpose and merge by axis names; the same number of dimensions with other names is the same array."""
    x, before, after = inputs[0], op.inputs[0].dims, op.output.dims
    flat, wanted = [a for d in before for a in d], [a for d in after for a in d]
    shape = [machine.length_of(dim) for dim in after]
    if sorted(flat) != sorted(wanted):
        return x.reshape(shape)
    x = x.reshape([machine.length_of((axis,)) for axis in flat])
    order, used = [], set[int]()
    for axis in wanted:
        at = next(i for i, a in enumerate(flat) if a == axis and i not in used)
        order.append(at)
        used.add(at)
    return x.transpose(order).reshape(shape)


# the same storage under another name; a merge of dimensions after a transposition is a copy, but nothing else keeps its
# source then: the matrix product before it does not need its own output, and flash attention writes it merged
SEEN_OTHERWISE = Kind(
    name="view",
    word="view",
    forward=free,
    backward=twice,
    fused=nothing,
    eager=nothing,
    memory=VIEW,
    kernel=FREE,
    traffic=MOVED,
    algebra=Algebra(as_it_is, KEPT, MATRICES),
    mesh=always(LINEAR_IN_FIRST),
    run=_run_view,
    copies=always(0.0),
    traits=NONE,
)


def _run_repeat(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    wanted = [machine.length_of(dim) for dim in op.output.dims]
    x = inputs[0]
    axis = next((i for i, length in enumerate(x.shape) if length != wanted[i]), 1)
    return np.repeat(x, wanted[axis] // x.shape[axis], axis=axis)


REPEAT = Kind(
    name="repeat",
    word="repeat",
    forward=free,
    backward=twice,
    fused=nothing,
    eager=nothing,
    memory=SPREAD,
    kernel=FREE,
    traffic=MOVED,
    algebra=Algebra(as_it_is, KEPT, MATRICES),
    mesh=always(WHOLE),
    run=_run_repeat,
    copies=always(2.0),
    traits=NONE,
)


CACHE = Kind(
    name="cache",
    word="append to cache",
    forward=free,
    backward=twice,
    fused=nothing,
    eager=nothing,
    memory=GROWN,
    kernel=FREE,
    traffic=MOVED,
    algebra=Algebra(as_it_is, KEPT, MATRICES),
    mesh=always(WHOLE),
    run=lambda op, inputs, params, machine: machine.remembered(inputs[0], machine.length_of(op.output.dims[-2])),
    copies=always(0.0),
    traits=NONE,
)


def _run_concat(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    """Along the one dimension that they do not share; learned tokens are the same for every image."""
    dims = op.output.dims
    axis = next(i for i, dim in enumerate(op.inputs[-1].dims) if dim != dims[i])
    parts = []
    for x in inputs:
        x = x.reshape([1] * (len(dims) - x.ndim) + list(x.shape))
        wanted = [x.shape[i] if i == axis else machine.length_of(dim) for i, dim in enumerate(dims)]
        parts.append(np.broadcast_to(x, wanted))
    return np.concatenate(parts, axis=axis)


CONCAT = Kind(
    name="concat",
    word="concatenate",
    forward=free,
    backward=twice,
    fused=nothing,
    eager=nothing,
    memory=OWN,
    kernel=PASS,
    traffic=MOVED,
    algebra=Algebra(as_it_is, NEW, MATRICES),
    mesh=always(WHOLE),
    run=_run_concat,
    copies=always(2.0),
    traits=frozenset({JOINS}),
)


def _rows_found(op: Op, how: How) -> Needs:
    """Rows that are found in each sequence: which sequence, and where."""
    return (own(op, "rows", op.output.dims[:1], INT64, "indices", 2),) if op.attrs["take"] == "end" else ()


def _run_slice(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    x, take = inputs[0], op.attrs["take"]
    if take == "rest":
        return x[:, op.attrs["after"] :]
    if x.ndim == len(op.output.dims):  # of the last dimension
        n = machine.length_of(op.output.dims[-1])
        return x[..., :n] if take == "first" else x[..., -n:]
    rows = np.arange(len(x))
    if take == "end":
        ids, token = inputs[1], op.attrs["token"]
        wanted = ids == ids.max(-1, keepdims=True) if token is None else ids == token
        at = wanted.shape[1] - 1 - wanted[:, ::-1].argmax(-1) if op.attrs["last"] else wanted.argmax(-1)
        return x[rows, at]
    if take == "last":
        if len(inputs) < 2:
            return x[:, -1]
        ids = inputs[1]
        return x[rows, (np.arange(ids.shape[1]) * (ids != op.attrs["pad"])).argmax(-1)]
    return x[:, {"first": 0, "second": 1}[take]]


SLICE = Kind(
    name="slice",
    word="take",
    forward=free,
    backward=twice,
    fused=nothing,
    eager=_rows_found,
    memory=PART,
    kernel=FREE,
    traffic=MOVED,
    algebra=Algebra(as_it_is, NEW, MATRICES),
    mesh=always(WHOLE),
    run=_run_slice,
    copies=always(0.0),
    traits=NONE,
)


def _run_mean(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    if len(inputs) < 2:
        mean: Array = inputs[0].mean(1)
        return mean
    kept = inputs[1][..., None]
    weighed: Array = (inputs[0] * kept).sum(1) / kept.sum(1)
    return weighed


MEAN = Kind(
    name="mean",
    word="mean",
    forward=per_entry(lambda op: 1, of_input=True),
    backward=twice,
    fused=nothing,
    eager=nothing,
    memory=OWN,
    kernel=PASS,
    traffic=MOVED,
    algebra=Algebra(in_words("mean"), NEW, MATRICES),
    mesh=always(WHOLE),
    run=_run_mean,
    copies=always(2.0),
    traits=NONE,
)


def _run_parameter(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    return params[0].reshape([machine.length_of(dim) for dim in op.output.dims])


PARAMETER = Kind(
    name="parameter",
    word="parameter",
    forward=free,
    backward=twice,
    fused=nothing,
    eager=nothing,
    memory=STORED,
    kernel=FREE,
    traffic=MOVED,
    algebra=Algebra(lambda op, w: f"{w.weights[0]}{note(op)}", NEW, NAMED),
    mesh=always(WHOLE),
    run=_run_parameter,
    copies=always(2.0),
    traits=NONE,
)
