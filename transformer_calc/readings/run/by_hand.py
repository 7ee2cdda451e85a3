"""One entry of a step worked out with the numbers of the run: of a product, a table, a softmax or a norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from transformer_calc.graph.core import Dims, Op
from transformer_calc.ops import rules
from transformer_calc.ops.kind import MATMUL, NORMS, PRODUCT, SINES, WEIGHS, dims_of
from transformer_calc.ops.notation import by
from transformer_calc.tuples import NamedTuple
from transformer_calc.units import is_whole

Array = np.ndarray[Any, np.dtype[Any]]

LOWEST = float(np.finfo(np.float64).min)  # what a mask writes: softmax makes 0 of it
FACTORS = 6  # of an entry that is worked out


class Number(NamedTuple):
    """A number in a line of text.

    role: factor: in parentheses if negative; is: after = or, if it is rounded, ≈; result: after = where all numbers of
    the line are whole as they are shown, else ≈; about: after ≈
    """

    value: float
    role: Literal["", "factor", "is", "result", "about"] = ""


Line = tuple[str | Number, ...]


def worked_out(op: Op, layer: int | None, inputs: Sequence[Array], params: Sequence[Array], y: Array) -> Line:
    """What an operation made of its inputs and parameters, in one place; empty where that is no line."""
    traits = rules(op).traits
    if SINES in traits:
        return _sine(op, inputs, y)
    if traits & {WEIGHS, NORMS} and y.ndim > 1:
        return _row(op, inputs[0], params, y)
    return _product(op, layer, inputs, params, y)


def _product(op: Op, layer: int | None, inputs: Sequence[Array], params: Sequence[Array], y: Array) -> Line:
    """An entry of a product as its sum, in the second row where there is one."""
    if rules(op).kernel not in (MATMUL, PRODUCT) or y.ndim < 2 or len(inputs) + len(params) < 2:
        return ()
    a, b = inputs[0], params[0] if params else inputs[1]
    a_dims, b_dims, out = dims_of(op)
    inner = [dim for dim in a_dims if dim in b_dims and dim not in out]
    if len(inner) != 1 or not {*a_dims, *b_dims} <= {*out, *inner} or len(set(out)) < len(out):
        return ()
    row = min(1, y.shape[-2] - 1)
    at = dict.fromkeys(out, 0) | {out[-2]: row}

    def factors(v: Array, dims: Dims) -> list[float]:
        found: list[float] = v[tuple(slice(None) if dim == inner[0] else at[dim] for dim in dims)].tolist()
        return found

    pairs = list(zip(factors(a, a_dims), factors(b, b_dims), strict=True))
    if len(pairs) > FACTORS:
        return ()
    terms: list[Line] = [(Number(p, "factor"), "·", Number(q, "factor")) for p, q in pairs]
    if len(params) > 1:
        terms.append((Number(params[1].ravel()[0].item()),))
    scale = op.attrs.get("scale", 1.0)
    factor = by(scale, str(len(pairs)), len(pairs), stretched=op.attrs.get("stretched", False))
    root = "√" in factor and not is_whole(1 / scale)
    if op.attrs.get("by_layer") and layer:
        factor += f" / {layer + 1}"
    entry = Number(y[tuple(at[dim] for dim in out)].item(), "about" if root else "result")
    total = [piece for term in terms for piece in (" + ", *term)][1:]
    return (f"row {row + 1}, column 1: {'(' if factor else ''}", *total, f"){factor} " if factor else " ", entry)


def _sine(op: Op, inputs: Sequence[Array], y: Array) -> Line:
    """An entry of a table of sines and cosines: of the second position, and the second frequency."""
    if y.ndim != 2:
        return ()
    row, width = min(1, len(y) - 1), y.shape[-1]
    of = inputs[0].ravel()[row].item() + op.attrs.get("offset", 0) if inputs else row
    i = 1 if width > 2 else 0
    column = 2 * i if op.attrs["order"] == "alternating" else i
    spread = op.attrs["spread"]
    exponent = f"{i}/({width // 2} − {spread})" if spread else f"{2 * i}/{width}"
    sine = f"{'PE' if inputs else 'R'}[{of}, {column}] = sin({of} / 10000^({exponent})) "
    return (f"row {row + 1}, column {column + 1}: {sine}", Number(y[row, column].item(), "about"))


def _row(op: Op, x: Array, params: Sequence[Array], y: Array) -> Line:
    """What a norm divides the second row by, or the first entry of that row of a softmax."""
    row = min(1, y.shape[-2] - 1)
    given, made = (v.reshape(-1, v.shape[-1])[row].tolist() for v in (x, y))
    if NORMS in rules(op).traits:
        centred = op.attrs["norm"] == "layernorm"
        mean = sum(given) / len(given) if centred else 0.0
        spread = Number(sum((entry - mean) ** 2 for entry in given) / len(given), "is")
        if centred:
            return (f"row {row + 1}: μ ", Number(mean, "is"), ", σ² ", spread)
        return (f"row {row + 1}: mean of the squares ", spread)
    powers = [Number(entry, "factor") for entry in given if entry != LOWEST]
    if params or not 1 < len(powers) <= FACTORS or given[0] == LOWEST:
        return ()
    total = [piece for power in powers for piece in (" + e^", power)][1:]
    return (f"row {row + 1}, column 1: e^", powers[0], " / (e^", *total, ") ", Number(made[0], "about"))
