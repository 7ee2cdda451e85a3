"""Mixtures of experts: choosing them, sending tokens to them, and adding up what they say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from transformer_calc.ops.core import FMA, Op
from transformer_calc.ops.entrywise import sigmoid
from transformer_calc.ops.kept import BOOL, FLOAT32, INT64, How, Needs, nothing, operands, own
from transformer_calc.ops.kind import (
    LINEAR_IN_FIRST,
    MOVED,
    NONE,
    OWN,
    PASS,
    ROUTES,
    SENDS,
    WHOLE,
    Kind,
    always,
    free,
    per_entry,
    twice,
)
from transformer_calc.ops.notation import MATRICES, NEW, Algebra, Written, in_words, note

if TYPE_CHECKING:
    import numpy as np

    from transformer_calc.ops.kind import Machine

    Array = np.ndarray[Any, np.dtype[Any]]
else:
    from transformer_calc.ops import arrays as np


# --- choosing -----------------------------------------------------------------------------------------------------


def _choice(op: Op, how: How) -> Needs:
    """Scores of all experts, and which were chosen."""
    chosen = own(op, "chosen", op.output.dims, INT64, "indices")
    return own(op, "probabilities", op.inputs[0].dims, FLOAT32), chosen


def _choice_eager(op: Op, how: How) -> Needs:
    """In float32 as nearly every class computes the scores."""
    scores, tokens, attrs, eager = op.inputs[0].dims, op.inputs[0].dims[:-1], op.attrs, how.eager
    chosen = own(op, "chosen", op.output.dims, INT64, "indices")
    each = how.bytes if eager.route_own else FLOAT32
    if attrs["scoring"] == "sparsemixer":  # twice: what is too far from the best is filled, then a softmax of the rest
        kept = [own(op, f"filled_{n}", scores, BOOL, "mask") for n in (1, 2)]
        kept += [own(op, f"probabilities_{n}", scores, how.bytes) for n in (1, 2)]
        kept += [own(op, f"best_{n}", tokens, INT64, "indices", 2) for n in (1, 2)]
        return (*kept, *(own(op, f"multiplier_{n}", tokens, how.bytes) for n in (1, 2)))
    if attrs["scoring"] == "softmax-topk":
        return own(op, "probabilities", op.output.dims, each), chosen
    found = [own(op, "probabilities", scores, each), chosen]
    if eager.grouped_choice or attrs["groups"] > 1:
        of_group = 1 if attrs["group_score"] == "max" else 2
        found += [
            own(op, "best_of_group", tokens, INT64, "indices", of_group * attrs["groups"]),
            own(op, "groups", tokens, INT64, "indices", attrs["top_groups"]),
            own(op, "allowed", scores, BOOL, "mask"),
        ]
    if attrs["normalize"]:
        found += [own(op, "weights", op.output.dims, each), own(op, "sum", tokens, each)]
        if attrs["least_sum"]:  # the sum before it was clamped, too
            found.append(own(op, "unclamped", tokens, FLOAT32))
    return tuple(found)


def best(scores: Array, k: int) -> Array:
    """Indices of the k largest of the last axis, the largest first; of equal ones the first."""
    return np.argsort(-scores, axis=-1, kind="stable")[..., :k]


def _run_route(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> tuple[Array, Array]:
    """(weights, chosen experts) of each token."""
    logits, attrs = inputs[0], op.attrs
    k, scoring = machine.length_of(op.output.dims[-1]), attrs["scoring"]
    if scoring == "sparsemixer":
        return _sparsemixer(logits, attrs["jitter"])
    if scoring == "softmax-topk":
        chosen = best(logits, k)
        scores = np.take_along_axis(logits, chosen, -1)
        e = np.exp(scores - scores.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True), machine.routed(op, chosen)
    if scoring == "softmax":
        e = np.exp(logits - logits.max(-1, keepdims=True))
        scores = e / e.sum(-1, keepdims=True)
    else:
        scores = sigmoid(logits)
    ranking = scores + params[0] if params else scores
    if attrs["groups"] > 1:
        groups = ranking.reshape(*ranking.shape[:-1], attrs["groups"], -1)
        ordered = np.sort(groups, axis=-1)
        worth = ordered[..., -1] if attrs["group_score"] == "max" else ordered[..., -2:].sum(-1)
        kept = np.zeros(worth.shape, bool)
        np.put_along_axis(kept, best(worth, attrs["top_groups"]), True, -1)
        ranking = np.where(kept[..., None], groups, -np.inf).reshape(ranking.shape)
    chosen = best(ranking, k)
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


ROUTE = Kind(
    name="route",
    word="choose experts",
    forward=per_entry(lambda op: 5, of_input=True),
    backward=twice,
    fused=_choice,
    eager=_choice_eager,
    memory=OWN,
    kernel=PASS,
    traffic=MOVED,
    algebra=Algebra(in_words("choose experts"), NEW, MATRICES),
    mesh=always(WHOLE),
    run=_run_route,
    copies=always(2.0),
    traits=frozenset({ROUTES}),
)


# --- sending ------------------------------------------------------------------------------------------------------


def _sorting(op: Op, how: How) -> Needs:
    """Tokens are sorted by expert: where each comes from, its place in that order, and the way back."""
    if how.eager.experts == "all":
        return ()
    pairs = op.inputs[1].dims
    if how.eager.experts == "loop":  # where a token and which of its experts, of each expert's tokens
        return (own(op, "tokens", pairs, INT64, "indices", 2),)
    return tuple(own(op, name, pairs, INT64, "indices") for name in ("tokens", "order", "back"))


DISPATCH = Kind(
    name="dispatch",
    word="send to experts",
    forward=free,
    backward=twice,
    fused=nothing,
    eager=_sorting,
    memory=OWN,
    kernel=PASS,
    traffic=MOVED,
    algebra=Algebra(in_words("send to experts"), NEW, MATRICES),
    mesh=always(SENDS),
    run=lambda op, inputs, params, machine: np.repeat(inputs[0][..., None, :], inputs[1].shape[-1], axis=-2),
    copies=always(2.0),
    traits=NONE,
)


# --- adding up ----------------------------------------------------------------------------------------------------


def _weights_and_outputs(op: Op, how: How) -> Needs:
    """A sum keeps nothing, a weighted one both."""
    return operands(op, how) if len(op.inputs) == 2 else ()


def _combined(op: Op, how: How) -> Needs:
    kept = _weights_and_outputs(op, how)
    if kept and how.eager.experts == "loop":  # index_add_ keeps what it adds
        return (*kept, own(op, "weighted", op.inputs[0].dims, how.bytes))
    return kept


def _combine_line(op: Op, w: Written) -> str:
    return f"Σ over {w.symbol(op.inputs[0].dims[-2])} of {' ⊙ '.join(w.inputs[::-1])}{note(op)}"


def _run_combine(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    weighed: Array = inputs[0] if len(inputs) == 1 else inputs[0] * inputs[1][..., None]
    summed: Array = weighed.sum(-2)
    return summed


COMBINE = Kind(
    name="combine",
    word="weighted sum",
    forward=per_entry(lambda op: FMA, of_input=True),
    backward=twice,
    fused=_weights_and_outputs,
    eager=_combined,
    memory=OWN,
    kernel=PASS,
    traffic=MOVED,
    algebra=Algebra(_combine_line, NEW, MATRICES),
    mesh=always(LINEAR_IN_FIRST),
    run=_run_combine,
    copies=always(2.0),
    traits=NONE,
)
