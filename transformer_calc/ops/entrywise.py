"""Functions of entries, dropout, norms and softmax."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from transformer_calc.ops.core import Dims, Op
from transformer_calc.ops.kept import (
    FLOAT32,
    INT64,
    WEIGHT,
    How,
    Keeps,
    Needs,
    made,
    nothing,
    operands,
    own,
    taken,
    the_input,
    the_output,
)
from transformer_calc.ops.kind import (
    DROPS,
    END,
    ENTRYWISE,
    LINEAR,
    LINEAR_IN_FIRST,
    MAP,
    MOVED,
    NORMS,
    OWN,
    PASS,
    SAME,
    WEIGHS,
    WHOLE,
    Kind,
    Traffic,
    always,
    per_entry,
    twice,
)
from transformer_calc.ops.notation import KEPT, MATRICES, NEW, NORM, SCALES, Algebra, Written, by
from transformer_calc.tuples import NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from transformer_calc.ops.kind import Machine

    Array = np.ndarray[Any, np.dtype[Any]]
else:
    from transformer_calc.ops import arrays as np

AT_ONCE = 2**16  # entries


# --- functions ----------------------------------------------------------------------------------------------------


class Function(NamedTuple):
    """A function of entries.

    cost: operations of one entry, counted from the function's usual form
    linear: its derivative needs none of its inputs, and a sum of inputs is a sum of outputs
    copies: see `Kind`
    """

    cost: int
    fused: Keeps
    eager: Keeps
    line: Callable[[Op, Written], str]
    run: Callable[[Op, Sequence[Array], Machine], Array]
    linear: bool = False
    copies: float = 2.0


def _called(name: str) -> Callable[[Op, Written], str]:
    return lambda op, w: f"{name}({w.x})"


def _joined(sign: str) -> Callable[[Op, Written], str]:
    return lambda op, w: sign.join(w.inputs) + (f": {op.note}" if op.note != op.attrs["function"] else "")


def _of(function: Callable[[Array], Array]) -> Callable[[Op, Sequence[Array], Machine], Array]:
    return lambda op, inputs, machine: function(inputs[0])


def erf(x: Array) -> Array:
    """The error function, to full double precision, by the standard library's."""
    y = np.empty(x.size, x.dtype)
    each = np.frompyfunc(math.erf, 1, 1)
    for start in range(0, x.size, AT_ONCE):  # each entry is an object meanwhile, of four times the bytes
        y[start : start + AT_ONCE] = each(x.reshape(-1)[start : start + AT_ONCE])
    return y.reshape(x.shape)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    return 1 / (1 + np.exp(-np.clip(x, -700, 700)))


def _summed(op: Op, inputs: Sequence[Array], machine: Machine) -> Array:
    x, *others = inputs
    for other in others:
        x = x + other
    return x


def _multiplied(op: Op, inputs: Sequence[Array], machine: Machine) -> Array:
    x, *others = inputs
    for other in others:
        x = x * other
    return x


def _scaled(op: Op, inputs: Sequence[Array], machine: Machine) -> Array:
    x, attrs = inputs[0], op.attrs
    if "by_position" in attrs:  # Llama 4: log(1 + ⌊(position + 1) / floor⌋) · scale + 1
        floor, scale = attrs["by_position"]
        grown = np.log1p(np.floor((machine.positions(x.shape[-2]) + 1.0) / floor)) * scale + 1
        scaled: Array = x * grown[..., None]
        return scaled
    return x * attrs.get("factor", 1.0) + attrs.get("add", 0.0)


def _scale_line(op: Op, w: Written) -> str:
    attrs, width = op.attrs, op.inputs[0].dims[-1] if op.inputs[0].dims else ()
    if "by_position" in attrs:
        floor, scale = attrs["by_position"]
        return f"{w.x} · (1 + {scale:g} · log(1 + ⌊(p + 1) / {floor:g}⌋)), p the position"
    plus = f" + {attrs['add']:g}" if attrs.get("add") else ""
    return f"{w.x}{by(attrs.get('factor', 1.0), w.symbol(width), w.size(width))}{plus}"


def _scale_by_position(op: Op, how: How) -> Needs:
    """A number keeps nothing, a number for each position itself."""
    return (own(op, "of_position", op.output.dims[-2:-1], FLOAT32),) if op.attrs.get("by_position") else ()


def _clipped(op: Op, inputs: Sequence[Array], machine: Machine) -> Array:
    limit = op.attrs.get("limit")
    return np.clip(inputs[0], None if limit is None else -limit, op.attrs.get("high", limit))


def _clip_line(op: Op, w: Written) -> str:
    low, high = op.attrs.get("limit"), op.attrs.get("high", op.attrs.get("limit"))
    return f"min({w.x}, {high:g})" if low is None else f"max(−{low:g}, min({w.x}, {high:g}))"


# what chains of the tanh form keep beside x; gelu_fast has √(2/π)·x · (1 + 0.044715·x·x) for the tanh
CHAINS = {
    "gelu_new": ("half", "tanh", "one_plus_tanh"),
    "gelu_fast": ("half", "tanh", "one_plus_tanh", "scaled", "weighted", "one_plus_square"),
}


def _beside(*names: str) -> Keeps:
    """The input, and what the operators make on the way."""
    return lambda op, how: (taken(), *(own(op, name, op.output.dims, how.bytes) for name in names))


def _gelu_tanh_chain(op: Op, how: How) -> Needs:
    """x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³))), one operator or, written out, the steps whose products are taken."""
    return _beside(*CHAINS.get(op.attrs.get("written_out", ""), ()))(op, how)


def _gelu_chain(op: Op, how: How) -> Needs:
    """x/2 · (1 + erf(x/√2)), written out: all but x."""
    kept = _beside("half", "scaled", "one_plus_erf")(op, how)
    return kept[1:] if "written_out" in op.attrs else kept[:1]


def _unit_fused(op: Op, how: How) -> Needs:
    return taken(), made()


def _unit_eager(op: Op, how: How) -> Needs:
    return taken(), made(), own(op, "length", op.output.dims[:-1], how.bytes, "statistics", how.eager.lengths)


FUNCTIONS = {
    "add": Function(1, nothing, nothing, _joined(" + "), _summed, linear=True, copies=0.5),
    "multiply": Function(1, operands, operands, _joined(" ⊙ "), _multiplied, copies=0.5),
    "scale": Function(1, nothing, _scale_by_position, _scale_line, _scaled, linear=True, copies=0.5),
    "clip": Function(2, the_input, the_input, _clip_line, _clipped),
    "relu": Function(1, the_output, the_output, _called("ReLU"), _of(lambda x: np.maximum(x, 0))),
    "relu2": Function(  # max(x, 0)²
        2,
        the_input,
        lambda op, how: (own(op, "relu", op.output.dims, how.bytes),),
        _called("ReLU²"),
        _of(lambda x: np.maximum(x, 0) ** 2),
    ),
    "silu": Function(4, the_input, the_input, _called("SiLU"), _of(lambda x: x * sigmoid(x))),  # x / (1 + exp(-x))
    "sigmoid": Function(3, the_output, the_output, _called("σ"), _of(sigmoid)),
    "tanh": Function(1, the_output, the_output, _called("tanh"), _of(lambda x: np.tanh(x))),
    "exp": Function(1, the_output, the_output, _called("exp"), _of(lambda x: np.exp(x))),
    "softcap": Function(  # cap · tanh(x / cap)
        3,
        the_output,
        the_output,
        lambda op, w: f"{op.attrs['cap']:g} · tanh({w.x} / {op.attrs['cap']:g})",
        lambda op, inputs, machine: op.attrs["cap"] * np.tanh(inputs[0] / op.attrs["cap"]),
    ),
    "gelu": Function(  # x/2 · (1 + erf(x / √2))
        5, the_input, _gelu_chain, _called("GELU"), _of(lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))))
    ),
    "gelu_tanh": Function(  # x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))
        9,
        the_input,
        _gelu_tanh_chain,
        _called("GELU"),
        _of(lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
    ),
    "quick_gelu": Function(  # x · sigmoid(1.702 x)
        5, the_input, _beside("sigmoid"), _called("QuickGELU"), _of(lambda x: x * sigmoid(1.702 * x))
    ),
    "identity": Function(0, nothing, nothing, lambda op, w: w.x, _of(lambda x: x), linear=True),
    "unit": Function(  # x / √Σx²
        3,
        _unit_fused,
        _unit_eager,
        lambda op, w: f"{w.x} / |{w.x}|",
        _of(lambda x: x / np.sqrt((x * x).sum(-1, keepdims=True))),
    ),
}


def _function(op: Op) -> Function:
    return FUNCTIONS[op.attrs["function"]]


def aligned(x: Array, dims: Dims, to: Dims) -> Array:
    """The array with its dimensions where `to` has them, 1 elsewhere, so that it broadcasts."""
    if x.ndim == len(to) or not dims:
        return x
    places, shape = list(to), [1] * len(to)
    start = 0
    for dim, length in zip(dims, x.shape, strict=True):
        if not dim:  # of size 1
            continue
        at = places.index(dim, start)
        shape[at], start = length, at + 1
    return x.reshape(shape)


def _run_function(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    made_alike = [aligned(x, t.dims, op.output.dims) for x, t in zip(inputs, op.inputs, strict=True)]
    return _function(op).run(op, made_alike, machine)


ELEMENTWISE = Kind(
    name="elementwise",
    word="elementwise",
    forward=per_entry(lambda op: _function(op).cost),
    backward=twice,
    fused=lambda op, how: _function(op).fused(op, how),
    eager=lambda op, how: _function(op).eager(op, how),
    memory=OWN,
    kernel=MAP,
    traffic=lambda op: Traffic("inputs", "nothing" if _function(op).linear else "inputs"),
    algebra=Algebra(lambda op, w: _function(op).line(op, w), NEW, MATRICES),
    mesh=lambda op: LINEAR if _function(op).linear else WHOLE,
    run=_run_function,
    copies=lambda op: _function(op).copies,
    traits=frozenset({ENTRYWISE}),
)


# --- dropout ------------------------------------------------------------------------------------------------------


def _dropout_mask(op: Op, how: How) -> Needs:
    return (own(op, "mask", op.output.dims, how.mask_bytes, "mask"),)


def dropped(op: Op, *, cached: bool) -> str:
    """What dropout does; `cached`: see `Written`."""
    there = "" if cached else f" (there, what is kept is ÷ {1 - op.attrs['rate']:g})"
    return f"{op.note}: in training only{there}"


DROPOUT = Kind(
    name="dropout",
    word="dropout",
    forward=per_entry(lambda op: 0),
    backward=twice,
    fused=_dropout_mask,
    eager=_dropout_mask,
    memory=SAME,
    kernel=MAP,
    traffic=always(Traffic("inputs", "mask")),
    algebra=Algebra(lambda op, w: f"{w.x}, {dropped(op, cached=w.cached)}", KEPT, MATRICES),
    mesh=always(LINEAR_IN_FIRST),
    run=lambda op, inputs, params, machine: inputs[0],
    copies=always(0.0),
    traits=frozenset({DROPS}),
)


# --- norms --------------------------------------------------------------------------------------------------------


def _norm_cost(op: Op) -> int:
    # layernorm: mean, subtract, square, sum, scale; rmsnorm: square, sum, scale; then weight and bias
    return (5 if op.attrs["norm"] == "layernorm" else 3) + len(op.params)


def _statistics(op: Op, each: int, *names: str) -> Needs:
    return tuple(own(op, name, op.output.dims[:-1], each, "statistics") for name in names)


def _norm_fused(op: Op, how: How) -> Needs:
    names = ("mean", "rstd") if op.attrs["norm"] == "layernorm" else ("rstd",)
    return taken(), *_statistics(op, FLOAT32, *names)


def _norm_eager(op: Op, how: How) -> Needs:
    """LayerNorm is one operator, unless a class writes it out; RMSNorm is a chain of them.

    Of that the gradient of the weight needs the normalised input, and that of the input all else.
    """
    form, dims = how.eager.norm, op.output.dims
    one_plus = "1 + weight"
    if op.attrs["norm"] == "layernorm":
        if form == "chain":
            return _written_out(op, how)
        wide = form == "input_float32"
        kept: Needs = (taken(float32=wide), *_statistics(op, FLOAT32 if wide else how.bytes, "mean", "rstd"))
        return (*kept, own(op, one_plus, op.params[0].dims, how.bytes, "weight")) if op.attrs["offset"] else kept
    kept = taken(float32=True, of=0), *(need._replace(of=0) for need in _statistics(op, FLOAT32, "rstd"))
    if how.norm_keeps_input:
        kept += (taken(of=0),)
    if not op.params:
        return tuple(need._replace(of=None) for need in kept)
    offset = op.attrs["offset"]  # Gemma multiplies by 1 + weight in float32
    each = FLOAT32 if offset or form in ("product_float32", "weight_float32") else how.bytes
    kept += (own(op, "normalised", dims, each, of=WEIGHT),)
    if offset:
        return (*kept, own(op, one_plus, op.params[0].dims, FLOAT32, "weight", of=0))
    cast = _cast_weight(op, how) if form == "weight_float32" else ()
    return (*kept, *(need._replace(of=0) for need in cast))


def _written_out(op: Op, how: How) -> Needs:
    """(x - mean) / √variance · weight in float32: the difference, taken twice, its quotient, and 1/√variance."""
    steps = (own(op, name, op.output.dims, FLOAT32) for name in ("squared", "centred", "normalised"))
    return *steps, *_statistics(op, FLOAT32, "rstd"), *_cast_weight(op, how)


def _cast_weight(op: Op, how: How) -> Needs:
    """The weight in float32, where it is not that already."""
    return () if how.bytes == FLOAT32 else (own(op, "weight in float32", op.params[0].dims, FLOAT32, "weight"),)


def _norm_line(op: Op, w: Written) -> str:
    gamma = w.weights[0] if w.weights else ""
    name = "LayerNorm" if op.attrs["norm"] == "layernorm" else "RMSNorm"
    if w.short:
        return f"{name}({w.x})"
    if op.attrs["offset"] and gamma:
        gamma = f"({op.attrs['offset']:g} + {gamma})"
    scaled = (f" · {gamma}" if gamma else "") + w.bias
    if name == "LayerNorm":
        return f"{name}({w.x}) = ({w.x} − μ) / √(σ² + ε){scaled}"
    return f"{name}({w.x}) = {w.x} / √(mean of {w.x}² + ε){scaled}"


def _run_norm(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    x, eps = inputs[0], op.attrs["eps"]
    if op.attrs["norm"] == "layernorm":
        x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
    if params:
        x = x * (aligned(params[0], op.params[0].dims, op.output.dims) + op.attrs["offset"])
    return x + aligned(params[1], op.params[1].dims, op.output.dims) if len(params) > 1 else x


NORMALISE = Kind(
    name="norm",
    word="norm",
    forward=per_entry(_norm_cost),
    backward=twice,
    fused=_norm_fused,
    eager=_norm_eager,
    memory=OWN,
    kernel=PASS,
    traffic=MOVED,
    algebra=Algebra(_norm_line, NORM, SCALES),
    mesh=always(WHOLE),
    run=_run_norm,
    copies=always(2.0),
    traits=frozenset({NORMS}),
)


# --- softmax ------------------------------------------------------------------------------------------------------


def _softmax_eager(op: Op, how: How) -> Needs:
    if op.params:  # a column of sinks, and the rows' largest scores are subtracted before
        columns = own(op, "sinks", op.output.dims[:-1], how.bytes)
        return made(), columns, own(op, "largest", op.output.dims[:-1], INT64, "indices")
    return (made(float32=how.float32_softmax),)


def _run_softmax(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    x = inputs[0]
    top = x.max(-1, keepdims=True)
    if not params:
        e = x - top
        np.exp(e, out=e)  # in place: of logits, each copy is as large as all the rest
        e /= e.sum(-1, keepdims=True)
        return e
    sink = aligned(params[0], op.params[0].dims, op.output.dims[:-1])[..., None]  # takes part, and is dropped
    top = np.maximum(top, sink)
    e = x - top
    np.exp(e, out=e)
    e /= e.sum(-1, keepdims=True) + np.exp(sink - top)
    return e


SOFTMAX = Kind(
    name="softmax",
    word="softmax",
    forward=per_entry(lambda op: 5),  # max, subtract, exp, sum, divide
    backward=twice,
    fused=the_output,
    eager=_softmax_eager,
    memory=OWN,
    kernel=END,
    traffic=always(Traffic("inputs", "output")),
    algebra=Algebra(lambda op, w: f"softmax({w.x}), {op.note}", NEW, MATRICES),
    mesh=always(WHOLE),
    run=_run_softmax,
    copies=always(0.0),
    traits=frozenset({WEIGHS}),
)
