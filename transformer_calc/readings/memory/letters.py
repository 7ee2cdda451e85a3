"""Sizes that know their symbols: with them, a reading of memory gives each number of bytes with its formula.

The ways of sharing are numbers. What is rounded up in this model, as where the vocabulary is padded or blocks of a
storage type are not full, is rounded up in the formula, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from transformer_calc.expr import divide, evaluate, formula_of, number_of, paired, settled, symbol
from transformer_calc.graph.core import Graph, Sizes, plain
from transformer_calc.plan import Mesh, Serving, Training
from transformer_calc.readings.count import lora
from transformer_calc.readings.count.formulas import Identity, identities, merged_layers, textbook
from transformer_calc.readings.memory import training
from transformer_calc.readings.shard import Stage
from transformer_calc.tuples import NamedTuple

if TYPE_CHECKING:
    from transformer_calc.expr import Size


class Letters(NamedTuple):
    """A graph's sizes as numbers with their symbols, and the values of these."""

    graph: Graph
    sizes: Sizes
    values: Mapping[str, Any]

    def stage(self, stage: Stage, mesh: Mesh, virtual: int = 1) -> Stage:
        """A stage with its layers as a share of all of their kind, where they are an equal one."""
        blocks = tuple((block, self._count(block.repeat, count, mesh, virtual)) for block, count in stage.blocks)
        return stage._replace(blocks=blocks, chunks=tuple(self.stage(chunk, mesh, virtual) for chunk in stage.chunks))

    def _count(self, axis: str, count: int, mesh: Mesh, virtual: int) -> Any:
        whole: Any = self.sizes[axis] if axis else 0
        ways = next((ways for ways in (1, mesh.pp, mesh.pp * virtual) if count * ways == whole), 0)
        return divide(whole, ways) if ways else count

    def textbook(self, sizes: Mapping[str, Any]) -> tuple[dict[str, Size], list[Identity]]:
        """Formulas of what was read, in textbook form, and the identities that took.

        Those that do not give the number are left out.
        """
        rules = identities(self.graph, {name: number_of(size) for name, size in self.sizes.items()})
        found, used = dict[str, Any](), list[Identity]()
        for name, size in sizes.items():
            formula = settled(formula_of(size), self.values)
            formula, needed = textbook(merged_layers(formula, self.graph), rules)
            if evaluate(formula, self.values) == number_of(size):
                found[name] = formula
                used += [rule for rule in needed if rule not in used]
        return found, used


def letters_of(graph: Graph, sizes: Sizes, plan: Serving | Training) -> Letters:
    """Every axis with its symbol; with nothing in the cache, keys are as many as the tokens that they come from.

    In training B are the sequences of one pass.
    """
    values: dict[str, Any] = {axis.symbol: sizes[name] for name, axis in graph.axes.items()}
    if isinstance(plan, Training):
        sizes = lora.bound(sizes, plan.adapters)
        values |= {graph.axes["batch"].symbol: training.micro_batch(plan, sizes), "r": sizes.get(lora.RANK, 0)}
    written: Any = graph.symbols() | {lora.RANK: symbol("r")}
    pairs: dict[str, Any] = {name: paired(size, written[name]) for name, size in sizes.items()}
    if not sizes.get("cached"):
        pairs["cached"] = 0
        for name, axis in graph.axes.items():
            if axis.rule and plain(name) == "context":
                pairs[name] = axis.rule(pairs)
    return Letters(graph, pairs, values)
