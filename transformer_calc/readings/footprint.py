"""The bytes on one device as formulas: weights, states, cache and activations of an unsharded model, in symbols.

Each is the reading of bytes with letters for sizes. A formula that does not give the exact count at the model's sizes,
as where blocks of a storage type are rounded up, is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import gcd
from typing import TYPE_CHECKING, Any

from transformer_calc.expr import Expr, evaluate, substitute, symbol
from transformer_calc.graph.core import Graph, Sizes, product, shape
from transformer_calc.readings import activations, lora, serving, training
from transformer_calc.readings.cache import elements
from transformer_calc.readings.formulas import Identity, identities, merged_layers, symbols, text, textbook
from transformer_calc.readings.params import components
from transformer_calc.storage import optimizer, precision, storage

if TYPE_CHECKING:
    from transformer_calc.expr import Size

PER_LAYER = "activations of "  # and a kind of layer


def letters_of(graph: Graph, sizes: Sizes) -> dict[str, Size]:
    """Every axis as its symbol; with nothing in the cache, keys are as many as the tokens that they come from."""
    letters = graph.symbols() | {lora.RANK: symbol("r")}
    if not sizes.get("cached"):
        letters["cached"] = 0
        for name, axis in graph.axes.items():
            if axis.rule and name.startswith("context"):
                letters[name] = axis.rule(letters)
    return letters


def formulas(
    graph: Graph, sizes: Sizes, letters: Sizes, sought: Mapping[str, Size]
) -> tuple[dict[str, Size], list[Identity]]:
    """The formulas in textbook form for these sizes, and the identities that took."""
    rules, found, used = identities(graph, sizes), {}, list[Identity]()
    for name, size in sought.items():
        found[name], needed = textbook(merged_layers(size, graph), rules)
        used += [rule for rule in needed if rule not in used]
    return found, used


def value(size: Size, graph: Graph, sizes: Sizes) -> Any:
    """What a formula gives at these sizes."""
    values: dict[str, Any] = {axis.symbol: sizes[name] for name, axis in graph.axes.items()}
    return evaluate(size, values | {"r": sizes.get(lora.RANK, 0)})


def of_serving(graph: Graph, sizes: Sizes, letters: Sizes, plan: serving.Plan) -> dict[str, Size]:
    """Weights, cache, and what is live at the peak of a pass."""
    kept: Size = letters["cached"] if sizes.get("cached") else letters.get("target", letters.get("seq", 1))
    block = max(graph.blocks, key=lambda tried: serving.live(tried, sizes, plan)[0])
    _, which = serving.live(block, sizes, plan)
    head: Sizes = {"seq": 1, "target": 1} if block.role == "head" and plan.logits == "last" else {}
    entries: Size = 0
    for dims in which:
        entries = entries + product(dims, {**letters, **head})
    return {
        "weights": _frozen(graph, letters, plan),
        "kv_cache": storage(plan.kv_dtype).of(elements(graph, letters, kept)),
        "activations": storage(plan.activations).of(entries),
    }


def _frozen(graph: Graph, letters: Sizes, plan: serving.Plan) -> Size:
    total: Size = 0
    for part in components(graph):
        kind = serving.weight_type(part, plan)
        each = kind.of(part.entries(letters), rows=product(part.dims[:-1], letters), tensors=1)
        total = total + each * (letters[part.repeat] if part.repeat else 1)
    return total


def of_training(graph: Graph, sizes: Sizes, letters: Sizes, plan: training.Training, family: str) -> dict[str, Size]:
    """States, activations, and those of one layer of each kind."""
    recipe = precision(plan.precision)
    weight, gradient, master = recipe.bytes_per_parameter
    paths = lora.targets(graph, plan.lora) if plan.lora else frozenset[str]()
    weights: Size = _frozen(graph, letters, serving.Plan(weights=plan.weights)) if plan.lora else 0
    gradients: Size = 0
    states: Size = 0
    for part in components(graph):
        role = "embedding" if part.embedding else "hidden" if part.block.repeat else "head"
        for learning in lora.adapters(part, paths) if plan.lora else (part,):
            count, entries = learning.total(letters), learning.entries(letters)
            weights, gradients = weights + weight * count, gradients + gradient * count
            each = optimizer(plan.optimizer).bytes_of(shape(learning.dims, letters), role, recipe.states)
            repeat = letters[learning.repeat] if learning.repeat else 1
            states = states + (master * entries + each) * repeat
    found = {"weights": weights, "gradients": gradients, "optimizer": states}
    return found | _activations(graph, sizes, letters, plan, family)


def _activations(graph: Graph, sizes: Sizes, letters: Sizes, plan: training.Training, family: str) -> dict[str, Size]:
    how = training.how_of(plan, graph, family, sizes)  # the formula is of sequences like these
    rows = training.rows_of(graph, how, plan)
    whole = training.rows_of(graph, how._replace(recompute="none", every=1), plan)
    kept: Size = 0
    moment: Size = 0
    loss: Size = 0
    for row in rows:
        size = row.size(letters)
        if row.kept and not row.given:
            kept = kept + size * row.times(letters)
            loss = loss + (size if row.role == "loss" else 0)
        elif not row.given:
            moment = moment + size
    layers: dict[str, Size] = {}
    again: list[Size] = []
    for block in graph.blocks:
        if block.repeat:
            one = activations.of_one(rows, block)
            layers[f"{PER_LAYER}{block.path}"] = _sum(one, letters)
            again.append(plan.every * _sum(activations.of_one(whole, block), letters) - _sum(one, letters))
    peaks: list[Size] = [moment, *(size - loss for size in again)] if plan.recompute != "none" else [moment]
    running = training.passes(plan, sizes) if plan.schedule == "gpipe" else 1
    one_pass: Sizes = {**sizes, "batch": training.micro_batch(plan, sizes)}
    most = max(peaks, key=lambda size: value(size, graph, one_pass))
    return {"activations": running * kept + most, **layers}


def _sum(rows: list[activations.Saved], letters: Sizes) -> Size:
    total: Size = 0
    for row in rows:
        if row.kept and not row.given:
            total = total + row.size(letters)
    return total


def factored(size: Size, style: str = "unicode") -> str:
    """A formula with what all of its terms have in common before a bracket: 2·B·S·(17·D + …)."""
    if not isinstance(size, Expr):
        return text(size, style)
    terms = size.terms()
    numbers = [number for number, _ in terms]
    common = gcd(*(n for n in numbers if isinstance(n, int))) if all(isinstance(n, int) for n in numbers) else 1
    if len(terms) < 2:
        return text(size, style)
    factor: Size = common
    rest = size / common
    for name in sorted(symbols(rest)):
        while (less := _without(rest, name)) is not None:
            rest, factor = less, factor * symbol(name)
    if factor == 1 or not isinstance(rest, Expr):
        return text(size, style)
    sign = {"unicode": "·", "ascii": "*", "latex": " "}[style]
    return f"{text(factor, style)}{sign}({text(rest, style)})"


def _without(size: Size, name: str) -> Size | None:
    """A polynomial divided by a symbol that is a factor of each of its terms."""
    total: Size = 0
    for number, monomial in size.terms() if isinstance(size, Expr) else []:
        try:
            power = monomial.degree(name) if isinstance(monomial, Expr) else 0
        except ValueError:  # it stands inside a function
            return None
        if not power:
            return None
        rest = substitute(monomial, {name: 1})
        total = total + number * rest * symbol(name) ** (power - 1)
    return total if isinstance(size, Expr) else None
