"""One NumPy kernel for each kind of operation: what the operation does, on real arrays.

A kernel gets the operation, its input arrays, its parameter arrays and the machine that runs it, and returns the
output. Multiply-adds are counted where they happen, from the operands that reach a contraction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from transformer_calc.graph.core import Dims, Op
from transformer_calc.readings.run.rotary import frequencies

if TYPE_CHECKING:
    from transformer_calc.readings.run.machine import Machine

Array = np.ndarray[Any, np.dtype[Any]]
Kernel = Callable[[Op, Sequence[Array], Sequence[Array], "Machine"], Any]

_AT_ONCE = 2**16  # entries
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


# --- contractions -------------------------------------------------------------------------------------------


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


def _linear(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    x, x_dims, w, w_dims = inputs[0], op.inputs[0].dims, params[0], op.params[0].dims
    if x_dims[-1] not in w_dims or not set(op.output.dims) <= {*x_dims, *w_dims}:  # each head has its part of it
        w = w.reshape([machine.length_of((axis,)) for dim in w_dims for axis in dim])
        w_dims = tuple((axis,) for dim in w_dims for axis in dim)
    y = contract(machine, x, x_dims, w, w_dims, op.output.dims)
    return y + params[1] if len(params) > 1 else y


def _einsum(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    (a, b), (da, db) = inputs, (t.dims for t in op.inputs)
    y = contract(machine, a, da, b, db, op.output.dims)
    scale: float = op.attrs.get("scale", 1.0)
    if op.attrs.get("by_layer"):
        scale /= (machine.layer or 0) + 1
    return y * scale if scale != 1.0 else y


def _expert_linear(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    x, chosen = inputs
    weight, transposed = params[0], op.params[0].out == 1  # stored [experts, out, in]
    y = np.zeros((*x.shape[:-1], weight.shape[1 if transposed else 2]), x.dtype)
    for expert in np.unique(chosen):
        mine = chosen == expert
        w = weight[expert].T if transposed else weight[expert]
        y[mine] = x[mine] @ w + (params[1][expert] if len(params) > 1 else 0)
        machine.multiply_adds += int(mine.sum()) * w.shape[0] * w.shape[1]
    return y


def _convolution(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
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


# --- norms, softmax, elementwise ----------------------------------------------------------------------------


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


def _norm(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    x, eps = inputs[0], op.attrs["eps"]
    if op.attrs["norm"] == "layernorm":
        x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
    if params:
        x = x * (aligned(params[0], op.params[0].dims, op.output.dims) + op.attrs["offset"])
    return x + aligned(params[1], op.params[1].dims, op.output.dims) if len(params) > 1 else x


def _softmax(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
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


def erf(x: Array) -> Array:
    """The error function, to full double precision, by the standard library's."""
    y = np.empty(x.size, x.dtype)
    each = np.frompyfunc(math.erf, 1, 1)
    for start in range(0, x.size, _AT_ONCE):  # each entry is an object meanwhile, of four times the bytes
        y[start : start + _AT_ONCE] = each(x.reshape(-1)[start : start + _AT_ONCE])
    return y.reshape(x.shape)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-np.clip(x, -700, 700)))


FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.maximum(x, 0),
    "relu2": lambda x: np.maximum(x, 0) ** 2,
    "silu": lambda x: x * _sigmoid(x),
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "exp": np.exp,
    "gelu": lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "quick_gelu": lambda x: x * _sigmoid(1.702 * x),
    "identity": lambda x: x,
    "unit": lambda x: x / np.sqrt((x * x).sum(-1, keepdims=True)),
}


def _elementwise(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    function, attrs = op.attrs["function"], op.attrs
    x, *others = (aligned(x, t.dims, op.output.dims) for x, t in zip(inputs, op.inputs, strict=True))
    if function in ("add", "multiply"):
        for other in others:
            x = x + other if function == "add" else x * other
        return x
    if function == "scale":
        if "by_position" in attrs:  # Llama 4: log(1 + ⌊(position + 1) / floor⌋) · scale + 1
            floor, scale = attrs["by_position"]
            grown = np.log1p(np.floor((machine.positions(x.shape[-2]) + 1.0) / floor)) * scale + 1
            return x * grown[..., None]
        return x * attrs.get("factor", 1.0) + attrs.get("add", 0.0)
    if function == "clip":
        limit = attrs.get("limit")
        return np.clip(x, None if limit is None else -limit, attrs.get("high", limit))
    if function == "softcap":
        return attrs["cap"] * np.tanh(x / attrs["cap"])
    return FUNCTIONS[function](x)


# --- attention's own ----------------------------------------------------------------------------------------


def _mask(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    """The lowest number where a query may not look; a row that may look nowhere looks everywhere alike."""
    scores = inputs[0]
    seen = machine.visible(op, scores.shape[-2], scores.shape[-1])
    return np.where(seen, scores, np.finfo(scores.dtype).min)


def _keep_best(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    """The lowest number everywhere but at the keys that are worth the most."""
    scores, worth = inputs
    kept = np.zeros(worth.shape, bool)
    np.put_along_axis(kept, _best(worth, min(op.attrs["top_k"], worth.shape[-1])), True, -1)
    return np.where(kept, scores, np.finfo(scores.dtype).min)


def _rotary(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    """Each pair of a head's first `rotated` entries turns by position times its frequency."""
    x, attrs = inputs[0], op.attrs
    n = attrs["rotated"]
    positions = machine.positions(x.shape[-2])
    inverse, factor = frequencies(attrs, int(positions[-1]) + 1)
    angles = positions[:, None] * inverse
    cos, sin = np.cos(angles) * factor, np.sin(angles) * factor
    turned, rest = x[..., :n], x[..., n:]
    y = np.empty_like(turned)
    if attrs["interleaved"]:
        a, b = turned[..., 0::2], turned[..., 1::2]
        y[..., 0::2], y[..., 1::2] = a * cos - b * sin, b * cos + a * sin
    else:
        a, b = turned[..., : n // 2], turned[..., n // 2 :]
        y[..., : n // 2], y[..., n // 2 :] = a * cos - b * sin, b * cos + a * sin
    return np.concatenate([y, rest], axis=-1)


def alibi_slopes(heads: int) -> Array:
    """Geometric slopes; for other counts than powers of two, every other one of the next power (arXiv 2108.12409)."""
    power = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    slopes += [2 ** (-8 * (2 * i + 1) / (2 * power)) for i in range(heads - power)]
    return np.array(slopes)


def _distance_bias(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    scores = inputs[0]
    queries, keys = scores.shape[-2:]
    distance = machine.key_positions(op, queries, keys) - machine.positions(queries)[:, None]
    slopes = alibi_slopes(scores.shape[1]) * op.attrs.get("scale", 1.0)
    return scores + (slopes[:, None, None] * distance).astype(scores.dtype)


def relative_buckets(distance: Array, buckets: int, most: int, *, bidirectional: bool) -> Array:
    """T5's buckets of key minus query position: exact when near, logarithmic when far (arXiv 1910.10683, §2.1)."""
    result = np.zeros_like(distance)
    if bidirectional:
        buckets //= 2
        result += (distance > 0) * buckets
        distance = np.abs(distance)
    else:
        distance = -np.minimum(distance, 0)
    exact = buckets // 2
    with np.errstate(divide="ignore"):
        # float32, as the reference computes it: the borders between buckets depend on it
        ratio = np.log(distance.astype(np.float32) / exact) / math.log(most / exact)
    far = exact + np.where(distance > 0, ratio * (buckets - exact), 0).astype(np.int64)
    return result + np.where(distance < exact, distance, np.minimum(far, buckets - 1))


def _relative_lookup(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    queries, keys = (machine.length_of(dim) for dim in op.output.dims[-2:])
    distance = machine.key_positions(op, queries, keys) - machine.positions(queries)[:, None]
    table = params[0]
    rows = relative_buckets(distance, len(table), op.attrs["max_distance"], bidirectional=op.attrs["bidirectional"])
    return np.moveaxis(table[rows], -1, 0)


def _shift(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    """Scores against distances, gathered for each pair of query and key."""
    part = inputs[0]
    queries, keys = (machine.length_of(dim) for dim in op.output.dims[-2:])
    if "by" not in op.attrs:  # Transformer-XL: column d is distance d, query behind key
        behind = machine.positions(queries)[:, None] - machine.key_positions(op, queries, keys)
        column = np.clip(behind, 0, keys - 1)
        return np.take_along_axis(part, np.broadcast_to(column, part.shape), axis=-1)
    span = part.shape[-1] // 2
    distance = machine.positions(queries)[:, None] - machine.key_positions(op, queries, keys)
    most = op.attrs["log_distance"]
    if most:
        distance = log_distance(distance, span, most)
    if op.attrs["by"] == "query":  # content to position: [B, H, S, 2·span]
        column = np.clip(distance + span, 0, 2 * span - 1)
        return np.take_along_axis(part, np.broadcast_to(column, (*part.shape[:2], queries, keys)), axis=-1)
    column = np.clip(distance.T + span, 0, 2 * span - 1)  # position to content: rows are keys
    found = np.take_along_axis(part, np.broadcast_to(column, (*part.shape[:2], keys, queries)), axis=-1)
    return np.swapaxes(found, -1, -2)


def log_distance(distance: Array, span: int, most: int) -> Array:
    """DeBERTa-v2's distances: exact up to half the span, then logarithmic (arXiv 2006.03654, implementation)."""
    middle = span // 2
    far = np.where((distance < middle) & (distance > -middle), middle - 1, np.abs(distance))
    ratio = np.log(far / middle) / math.log((most - 1) / middle)
    log = np.ceil(ratio * (middle - 1)) + middle
    return np.where(far <= middle, distance, log * np.sign(distance)).astype(np.int64)


def _cache(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    return machine.remembered(inputs[0], machine.length_of(op.output.dims[-2]))


# --- lookups, views, parts ----------------------------------------------------------------------------------


def _lookup(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    rows = machine.counted(op, inputs[0]) if "counted" in op.attrs else inputs[0]
    return params[0][rows + op.attrs.get("offset", 0)]


def _sinusoid(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    """A row of sines and cosines for each position, or for each distance."""
    length, width = (machine.length_of(dim) for dim in op.output.dims[-2:])
    positions = machine.counted(op, inputs[0]) if inputs else np.arange(length)
    table = sinusoids(positions + op.attrs.get("offset", 0), width, op.attrs["order"], op.attrs["spread"])
    return np.where(positions[..., None] < 0, 0.0, table).astype(machine.dtype)  # padding has no place


def sinusoids(positions: Array, width: int, order: str, spread: int = 0) -> Array:
    """A row of so many sines and cosines for each position, of frequencies from 1 to 1/10000.

    alternating: sin, cos, sin … as in Vaswani et al. 2017, §3.5. halves: the sines, then the cosines, as fairseq
    (spread 1: the last frequency is 1/10000) and Marian have them. An odd width ends with a sine of its own, or in
    fairseq's layout with a 0.
    """
    sines, cosines = (width // 2, width // 2) if spread else ((width + 1) // 2, width // 2)
    angles = positions[..., None] / 10000.0 ** (np.arange(sines) / (width // 2 - spread if spread else width / 2))
    table = np.zeros((*positions.shape, width))
    if order == "alternating":
        table[..., 0 : 2 * sines : 2], table[..., 1 : 2 * cosines : 2] = np.sin(angles), np.cos(angles[..., :cosines])
    else:
        table[..., :sines] = np.sin(angles)
        table[..., sines : sines + cosines] = np.cos(angles[..., :cosines])
    return table


def _parameter(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    return params[0].reshape([machine.length_of(dim) for dim in op.output.dims])


def _view(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
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


def _repeat(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    wanted = [machine.length_of(dim) for dim in op.output.dims]
    x = inputs[0]
    axis = next((i for i, length in enumerate(x.shape) if length != wanted[i]), 1)
    return np.repeat(x, wanted[axis] // x.shape[axis], axis=axis)


def _concat(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    """Along the one dimension that they do not share; learned tokens are the same for every image."""
    dims = op.output.dims
    axis = next(i for i, dim in enumerate(op.inputs[-1].dims) if dim != dims[i])
    parts = []
    for x in inputs:
        x = x.reshape([1] * (len(dims) - x.ndim) + list(x.shape))
        wanted = [x.shape[i] if i == axis else machine.length_of(dim) for i, dim in enumerate(dims)]
        parts.append(np.broadcast_to(x, wanted))
    return np.concatenate(parts, axis=axis)


def _slice(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
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


def _mean(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    if len(inputs) < 2:
        return inputs[0].mean(1)
    kept = inputs[1][..., None]
    return (inputs[0] * kept).sum(1) / kept.sum(1)


# --- mixtures of experts ------------------------------------------------------------------------------------


def _best(scores: Array, k: int) -> Array:
    """Indices of the k largest of the last axis, the largest first; of equal ones the first."""
    return np.argsort(-scores, axis=-1, kind="stable")[..., :k]


def _route(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> tuple[Array, Array]:
    """(weights, chosen experts) of each token."""
    logits, attrs = inputs[0], op.attrs
    k, scoring = machine.length_of(op.output.dims[-1]), attrs["scoring"]
    if scoring == "sparsemixer":
        return _sparsemixer(logits, attrs["jitter"])
    if scoring == "softmax-topk":
        chosen = _best(logits, k)
        scores = np.take_along_axis(logits, chosen, -1)
        e = np.exp(scores - scores.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True), machine.routed(op, chosen)
    if scoring == "softmax":
        e = np.exp(logits - logits.max(-1, keepdims=True))
        scores = e / e.sum(-1, keepdims=True)
    else:
        scores = _sigmoid(logits)
    ranking = scores + params[0] if params else scores
    if attrs["groups"] > 1:
        groups = ranking.reshape(*ranking.shape[:-1], attrs["groups"], -1)
        best = np.sort(groups, axis=-1)
        worth = best[..., -1] if attrs["group_score"] == "max" else best[..., -2:].sum(-1)
        kept = np.zeros(worth.shape, bool)
        np.put_along_axis(kept, _best(worth, attrs["top_groups"]), True, -1)
        ranking = np.where(kept[..., None], groups, -np.inf).reshape(ranking.shape)
    chosen = _best(ranking, k)
    weights = np.take_along_axis(scores, chosen, -1)
    if attrs["normalize"]:
        total = weights.sum(-1, keepdims=True) + (1e-20 if scoring == "sigmoid" else 0)
        weights = weights / np.maximum(total, attrs["least_sum"])
    return weights * attrs["scaling"], machine.routed(op, chosen)


def _sparsemixer(logits: Array, jitter: float) -> tuple[Array, Array]:
    """Two experts in turn, each weighed by a softmax over those near enough to it (arXiv 2409.12136, appendix)."""
    weights, chosen, left = [], [], logits
    for _ in range(2):
        top = left.max(-1, keepdims=True)
        at = left.argmax(-1)[..., None]
        scale = np.maximum(np.abs(logits), top)
        near = np.where((top - logits) / scale > 2 * jitter, -np.inf, left)
        e = np.exp(near - near.max(-1, keepdims=True))
        weights.append(np.take_along_axis(e / e.sum(-1, keepdims=True), at, -1))
        chosen.append(at)
        left = left.copy()
        np.put_along_axis(left, at, -np.inf, -1)
    return np.concatenate(weights, -1), np.concatenate(chosen, -1)


def _dispatch(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    return np.repeat(inputs[0][..., None, :], inputs[1].shape[-1], axis=-2)


def _combine(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    if len(inputs) == 1:
        return inputs[0].sum(-2)
    return (inputs[0] * inputs[1][..., None]).sum(-2)


KERNELS: dict[str, Kernel] = {
    "lookup": _lookup,
    "linear": _linear,
    "expert_linear": _expert_linear,
    "einsum": _einsum,
    "convolution": _convolution,
    "norm": _norm,
    "softmax": _softmax,
    "elementwise": _elementwise,
    "mask": _mask,
    "keep_best": _keep_best,
    "rotary": _rotary,
    "distance_bias": _distance_bias,
    "shift": _shift,
    "dropout": lambda op, inputs, params, machine: inputs[0],
    "view": _view,
    "repeat": _repeat,
    "cache": _cache,
    "concat": _concat,
    "slice": _slice,
    "mean": _mean,
    "parameter": _parameter,
    "sinusoid": _sinusoid,
    "relative_lookup": _relative_lookup,
    "route": _route,
    "dispatch": _dispatch,
    "combine": _combine,
}
