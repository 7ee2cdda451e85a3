"""The bytes of each part as a formula in the model's symbols, where that is the exact count."""

from __future__ import annotations

from typing import Any

from transformer_calc.plan import Training
from transformer_calc.readings.count.formulas import Identity, factored, symbols
from transformer_calc.readings.count.legend import Symbol, legend
from transformer_calc.readings.memory.held import Formulas, Held, of_stages
from transformer_calc.readings.memory.letters import letters_of

KINDS = ("weights", "gradients", "optimizer", "kv_cache", "activations")


def formulas(found: Held) -> Formulas:
    """Of everything that was counted: the same reading, of sizes that know their symbols."""
    graph, sizes, plan = found.graph, found.sizes, found.plan
    letters, groups = letters_of(graph, sizes, plan), plan.virtual if isinstance(plan, Training) else 1
    cut = [letters.stage(stage, plan.mesh, groups) for stage in found.cut]
    every: list[dict[str, Any]] = []
    used: list[Identity] = []
    omitted: tuple[str, ...] = ()
    for number, of in enumerate(of_stages(cut, graph, letters.sizes, plan)):
        layers = {f"activations of {path}": size for path, size in of.of_layers.items()}
        parts = {name: getattr(of.bytes, name) for name in KINDS} | layers | of.other_parts
        short, rules = letters.textbook({name: size for name, size in parts.items() if size or name in layers})
        every.append(short)
        used += [rule for rule in rules if rule not in used]
        if number == found.number:
            omitted = tuple(name for name, size in parts.items() if size and name not in short)
    names = {letter for of in every for size in of.values() for letter in symbols(size)}
    bound = {**sizes, "batch": letters.values[graph.axes["batch"].symbol]}
    known = legend(graph, bound, used=[name for name, axis in graph.axes.items() if axis.symbol in names])
    if "r" in names and isinstance(plan, Training) and plan.adapters:
        known = (*known, Symbol("r", "", plan.adapters.rank, "rank of the adapters"))
    texts = tuple({name: factored(size) for name, size in of.items()} for of in every)
    return Formulas(texts, tuple(used), known, omitted)
