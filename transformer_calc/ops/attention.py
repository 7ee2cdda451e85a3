"""What attention does beside its matmuls: masks, biases by distance, rotation, and choosing keys."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from transformer_calc.ops.core import Op
from transformer_calc.ops.experts import best
from transformer_calc.ops.frequencies import frequencies
from transformer_calc.ops.kept import BOOL, FLOAT32, INT64, How, Need, Needs, Storage, made, nothing, own, taken
from transformer_calc.ops.kind import (
    BIASES,
    MAP,
    MASKS,
    MOVED,
    NONE,
    OWN,
    PASS,
    ROTATES,
    SLOPES,
    UNREAD,
    WHOLE,
    Kind,
    always,
    free,
    per_entry,
    twice,
)
from transformer_calc.ops.notation import KEPT, MATRICES, NEW, Algebra, as_it_is, in_words

if TYPE_CHECKING:
    import numpy as np

    from transformer_calc.ops.kind import Machine

    Array = np.ndarray[Any, np.dtype[Any]]
else:
    from transformer_calc.ops import arrays as np


# --- masks --------------------------------------------------------------------------------------------------------


def _filled(op: Op, how: How) -> Needs:
    """A mask is added, which keeps nothing, where a class does not fill or clamp."""
    batch, _, queries, keys = op.output.dims
    if how.eager.scores_clamped:
        return made(), own(op, "least", (), FLOAT32)
    if how.eager.filled_mask == "once":
        mask = Storage("filled mask", (batch, queries, keys), BOOL, "mask", once=True)
        return (Need("own", storage=mask),)
    return (own(op, "filled", (batch, queries, keys), BOOL, "mask"),) if how.eager.filled_mask else ()


def _run_mask(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    """The lowest number where a query may not look; a row that may look nowhere looks everywhere alike."""
    scores = inputs[0]
    seen = machine.visible(op, scores.shape[-2], scores.shape[-1])
    return np.where(seen, scores, np.finfo(scores.dtype).min)


MASK = Kind(
    name="mask",
    word="mask",
    forward=per_entry(lambda op: 1),
    backward=twice,
    fused=nothing,
    eager=_filled,
    memory=OWN,
    kernel=MAP,
    traffic=UNREAD,
    algebra=Algebra(in_words("mask"), KEPT, MATRICES),
    mesh=always(WHOLE),
    run=_run_mask,
    copies=always(0.25),
    traits=frozenset({MASKS}),
)


def _chosen_keys(op: Op, how: How) -> Needs:
    return (own(op, "chosen", (op.output.dims[0], *op.output.dims[-2:]), BOOL, "mask"),)


def _run_keep_best(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    """The lowest number everywhere but at the keys that are worth the most."""
    scores, worth = inputs
    kept = np.zeros(worth.shape, bool)
    np.put_along_axis(kept, best(worth, min(op.attrs["top_k"], worth.shape[-1])), True, -1)
    return np.where(kept, scores, np.finfo(scores.dtype).min)


KEEP_BEST = Kind(
    name="keep_best",
    word="keep the best keys",
    forward=per_entry(lambda op: 1),
    backward=twice,
    fused=_chosen_keys,
    eager=nothing,  # a mask that is added
    memory=OWN,
    kernel=PASS,
    traffic=MOVED,
    algebra=Algebra(in_words("keep the best keys"), KEPT, MATRICES),
    mesh=always(WHOLE),
    run=_run_keep_best,
    copies=always(2.0),
    traits=NONE,
)


# --- rotation -----------------------------------------------------------------------------------------------------


def _tables(op: Op, how: How) -> Needs:
    """Tables of cosines and sines, for each token and rotated entry, made once for all layers."""
    given = (
        f"{key} {op.attrs[key]}" for key in ("interleaved", "over", "rotated", "scaling", "theta") if op.attrs[key]
    )
    name = f"cosines and sines ({', '.join(given)})"
    dims, eager = (op.output.dims[-2],), how.eager
    each = FLOAT32 if eager.tables_float32 else how.bytes
    width = op.attrs["rotated"] * (1 if eager.tables_half else 2)
    if eager.tables == "use":
        return (own(op, name, dims, each, "table", width),)
    return (Need("own", storage=Storage(name, dims, each, "table", once=eager.tables != "layer", factor=width)),)


def _run_rotary(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
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


ROTARY = Kind(
    name="rotary",
    word="rotate",
    forward=per_entry(lambda op: 3),  # two products and a sum for each rotated entry
    backward=twice,
    fused=_tables,
    eager=_tables,
    memory=OWN,
    kernel=PASS,
    traffic=MOVED,
    algebra=Algebra(as_it_is, KEPT, MATRICES),
    mesh=always(WHOLE),
    run=_run_rotary,
    copies=always(2.0),
    traits=frozenset({ROTATES}),
)


# --- by distance --------------------------------------------------------------------------------------------------


def alibi_slopes(heads: int) -> Array:
    """Geometric slopes; for other counts than powers of two, every other one of the next power (arXiv 2108.12409)."""
    power = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    slopes += [2 ** (-8 * (2 * i + 1) / (2 * power)) for i in range(heads - power)]
    return np.array(slopes)


def _run_distance_bias(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    scores = inputs[0]
    queries, keys = scores.shape[-2:]
    distance = machine.key_positions(op, queries, keys) - machine.positions(queries)[:, None]
    slopes = alibi_slopes(scores.shape[1]) * op.attrs.get("scale", 1.0)
    added: Array = scores + (slopes[:, None, None] * distance).astype(scores.dtype)
    return added


DISTANCE_BIAS = Kind(
    name="distance_bias",
    word="distance bias",
    forward=per_entry(lambda op: 2),
    backward=twice,
    fused=nothing,
    eager=nothing,
    memory=OWN,
    kernel=MAP,
    traffic=MOVED,
    algebra=Algebra(in_words("distance bias"), KEPT, MATRICES),
    mesh=always(WHOLE),
    run=_run_distance_bias,
    copies=always(2.0),
    traits=frozenset({SLOPES}),
)


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


def _buckets(op: Op, how: How) -> Needs:
    return (own(op, "buckets", op.output.dims[1:], INT64, "indices"),)


def _buckets_eager(op: Op, how: How) -> Needs:
    """Classes look it up in their first layer."""
    return () if how.recompute == "full" else _buckets(op, how)


def _run_relative_lookup(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    queries, keys = (machine.length_of(dim) for dim in op.output.dims[-2:])
    distance = machine.key_positions(op, queries, keys) - machine.positions(queries)[:, None]
    table = params[0]
    rows = relative_buckets(distance, len(table), op.attrs["max_distance"], bidirectional=op.attrs["bidirectional"])
    return np.moveaxis(table[rows], -1, 0)


RELATIVE_LOOKUP = Kind(
    name="relative_lookup",
    word="look up by distance",
    forward=free,
    backward=twice,
    fused=_buckets,
    eager=_buckets_eager,
    memory=OWN,
    kernel=PASS,
    traffic=MOVED,
    algebra=Algebra(in_words("look up by distance"), NEW, MATRICES),
    mesh=always(WHOLE),
    run=_run_relative_lookup,
    copies=always(2.0),
    traits=frozenset({BIASES}),
)


def log_distance(distance: Array, span: int, most: int) -> Array:
    """DeBERTa-v2's distances: exact up to half the span, then logarithmic (arXiv 2006.03654, implementation)."""
    middle = span // 2
    far = np.where((distance < middle) & (distance > -middle), middle - 1, np.abs(distance))
    ratio = np.log(far / middle) / math.log((most - 1) / middle)
    log = np.ceil(ratio * (middle - 1)) + middle
    return np.where(far <= middle, distance, log * np.sign(distance)).astype(np.int64)


def _distances(op: Op, how: How) -> Needs:
    return (own(op, "distances", op.output.dims[-2:], INT64, "indices"),)


def _gathered(op: Op, how: How) -> Needs:
    """torch.gather keeps its source."""
    return taken(), *_distances(op, how), own(op, "scale", (), how.bytes)


def _run_shift(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
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


SHIFT = Kind(
    name="shift",
    word="gather by distance",
    forward=free,
    backward=twice,
    fused=_distances,
    eager=_gathered,
    memory=OWN,
    kernel=PASS,
    traffic=MOVED,
    algebra=Algebra(in_words("gather by distance"), NEW, MATRICES),
    mesh=always(WHOLE),
    run=_run_shift,
    copies=always(2.0),
    traits=NONE,
)
