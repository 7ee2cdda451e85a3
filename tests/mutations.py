"""What tcalc makes of a config, in the form in which tests/oracle/mutate.py measures a class.

Tensors, FLOPs, cache and outputs; weights are drawn from names, so that PyTorch and NumPy have the same without a file.
"""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter
from typing import Any
from unittest import mock

import numpy as np
from tiny import drawn

from transformer_calc import InputError, Workload, load
from transformer_calc.readings.count import cache, flops
from transformer_calc.readings.count.params import params as counted
from transformer_calc.readings.count.params import tensors
from transformer_calc.readings.run import weights
from transformer_calc.readings.run.machine import Machine
from transformer_calc.readings.run.reference import Reference, as_shaped, outputs
from transformer_calc.readings.run.weights import Loaded, Stored, _computed, expected, match
from transformer_calc.spec import Model

UNSET = "…unset"  # a value that stands for: take the key out
NESTED = ("text_config", "vision_config", "attn_config", "ffn_config")


def changed(base: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The config with one key set, or taken out."""
    out = dict(base)
    head, _, rest = path.partition(".")
    if rest and head in NESTED:
        out[head] = changed(dict(base.get(head) or {}), rest, value)
    elif value == UNSET:
        out.pop(path, None)
    else:
        out[path] = value
    return out


def starred(name: str) -> str:
    """A tensor's name with layer and expert numbers as *."""
    return re.sub(r"(?<=[._])\d+(?=\.|$)", "*", name.replace("#", "*"))


def hashed(rows: Counter[tuple[str, tuple[int, ...]]]) -> str:
    """A short fingerprint of tensors."""
    text = json.dumps(sorted([n, list(s), c] for (n, s), c in rows.items()))
    return f"{zlib.crc32(text.encode()):08x}"


def sampled(array: Any) -> list[float]:
    """A few entries of an output, and what all of them come to."""
    flat = np.asarray(array, dtype=float).ravel()
    at = np.unique(np.linspace(0, flat.size - 1, 5).astype(int))
    return [float(f"{v:.7g}") for v in [*flat[at], np.abs(flat).mean()]]


class Drawn:
    """A checkpoint whose tensors are those that tcalc expects, drawn from their names."""

    def __init__(self, wanted: list[Stored]) -> None:
        self.shapes = {s.name: tuple(int(n) for n in s.shape) for s in wanted if not _computed(s.tensor.parts[0])}

    def array(self, name: str, dtype: Any = np.float64) -> Any:
        return drawn(name, self.shapes[name]).astype(dtype)


def ours(config: dict[str, Any], row: dict[str, Any], run: bool = True) -> dict[str, Any]:
    """What tcalc answers for a config, on the inputs that the class was given."""
    try:
        model = load(config=config)
        graph = model.graph
    except InputError as error:
        return {"refused": str(error), "hint": str(error.hint)}
    sizes = graph.sizes(Workload())
    params: Counter[Any] = Counter()
    for tensor in tensors(graph):
        params[starred(tensor.name), tuple(int(n) for n in tensor.shape(sizes))] += int(tensor.repeat(sizes))  # type: ignore[arg-type]
    got: dict[str, Any] = {"total": counted(graph, sizes).total, "hash": hashed(params)}
    got["params"] = sorted([n, list(s), k] for (n, s), k in params.items())
    got["notes"] = list(model.notes)
    if "inputs" not in row or not run:
        return got
    arrays = rebuilt(row)
    try:
        workload = model.workload(**(made := Made(model.spec, arrays)).sizes())
    except InputError as error:
        return got | {"no_run": str(error)}
    sizes = graph.sizes(workload)
    work = flops.totals(list(flops.rows(graph, sizes, decode=workload.context > 0)), sizes)
    got["flops"] = int(work.forward.matmul)  # type: ignore[arg-type]
    context = workload.target or workload.seq
    got["kv"] = int(cache.elements(graph, sizes, context))  # type: ignore[arg-type]
    wanted = expected(graph, sizes)
    checkpoint: Any = Drawn(wanted)
    with mock.patch.object(weights, "expected", return_value=wanted):  # which three ask for
        held = match(graph, sizes, checkpoint.shapes)
        if not held.ok:
            return got | {"no_run": f"names: {held.missing[:2]} {held.unexpected[:2]}"}
        loaded = Loaded(graph, sizes, checkpoint, held)
    try:
        outcome = Machine(graph, sizes, loaded, made.inputs()).run()
    except (ValueError, IndexError, TypeError) as error:
        return got | {"no_run": f"broke off: {error}"}
    got["out"] = {}
    for name, shape in row["shapes"].items():
        zeros = np.zeros(shape)
        their = "logits" if name == "prediction_logits" else name
        fitting = [g for g in (as_shaped(g, zeros) for g in outputs(their, outcome)) if g is not None]
        got["out"][name] = [sampled(g) for g in fitting]
    return got


class Made(Reference):
    """Arrays as those of a reference, which need not be read or checked."""

    def __init__(self, spec: Model, arrays: dict[str, Any]) -> None:
        self.spec, self.arrays = spec, arrays


def rebuilt(row: dict[str, Any]) -> dict[str, np.ndarray]:
    """The inputs of a row again."""
    rng = np.random.default_rng(7)
    arrays: dict[str, np.ndarray] = {}
    for key, (shape, _) in row["inputs"].items():
        arrays[key] = np.asarray(row["arrays"][key]) if key in row["arrays"] else rng.normal(size=shape)
    return arrays
