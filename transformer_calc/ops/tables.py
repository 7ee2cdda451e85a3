"""Rows of tables: looked up by ids, and made of sines and cosines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from transformer_calc.ops.core import Op
from transformer_calc.ops.kept import How, Needs, nothing, taken
from transformer_calc.ops.kind import (
    FREE,
    LOOKS_UP,
    MOVED,
    OWN,
    PASS,
    ROWS,
    SINES,
    WHOLE,
    Kind,
    Traffic,
    always,
    free,
    twice,
)
from transformer_calc.ops.notation import MATRICES, NEW, TABLE, Algebra, Written, note

if TYPE_CHECKING:
    import numpy as np

    from transformer_calc.ops.kind import Machine

    Array = np.ndarray[Any, np.dtype[Any]]
else:
    from transformer_calc.ops import arrays as np


def _ids(op: Op, how: How) -> Needs:
    """The ids, but of a table that is stored and never learns."""
    return () if op.attrs.get("fixed") else (taken(),)


def _run_lookup(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    rows = machine.counted(op, inputs[0]) if "counted" in op.attrs else inputs[0]
    return params[0][rows + op.attrs.get("offset", 0)]


LOOKUP = Kind(
    name="lookup",
    word="look up",
    forward=free,
    backward=twice,
    fused=_ids,
    eager=_ids,
    memory=OWN,
    kernel=PASS,
    traffic=always(Traffic("rows", "inputs")),
    algebra=Algebra(lambda op, w: f"{w.weights[0]}[{w.x}]{note(op)}", NEW, TABLE),
    mesh=always(ROWS),
    run=_run_lookup,
    copies=always(0.0),
    traits=frozenset({LOOKS_UP}),
)


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


def _sines_line(op: Op, w: Written) -> str:
    return f"PE[{w.x}]{note(op)}" if w.x else op.note


def _run_sinusoid(op: Op, inputs: Sequence[Array], params: Sequence[Array], machine: Machine) -> Array:
    """A row of sines and cosines for each position, or for each distance."""
    length, width = (machine.length_of(dim) for dim in op.output.dims[-2:])
    positions = machine.counted(op, inputs[0]) if inputs else np.arange(length)
    table = sinusoids(positions + op.attrs.get("offset", 0), width, op.attrs["order"], op.attrs["spread"])
    return np.where(positions[..., None] < 0, 0.0, table).astype(machine.dtype)  # padding has no place


SINUSOID = Kind(
    name="sinusoid",
    word="sine and cosine table",
    forward=free,
    backward=twice,
    fused=nothing,
    eager=nothing,
    memory=OWN,
    kernel=FREE,
    traffic=MOVED,
    algebra=Algebra(_sines_line, NEW, MATRICES),
    mesh=always(WHOLE),
    run=_run_sinusoid,
    copies=always(2.0),
    traits=frozenset({SINES}),
)
