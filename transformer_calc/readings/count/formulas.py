"""Formulas in a reader's form: the identities that a model's sizes satisfy are used to shorten them."""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING, Any

from transformer_calc.expr import Expr, substitute, symbol, to_text
from transformer_calc.expr import formula as text
from transformer_calc.graph.core import Graph, Sizes, plain
from transformer_calc.readings.count.params import params
from transformer_calc.tuples import NamedTuple

if TYPE_CHECKING:
    from transformer_calc.expr import Size

MULTIPLES = range(1, 17)  # of d_model, that a feed-forward width may be


class Identity(NamedTuple):
    """`left` equals `right` in this model, though not in every model of its structure."""

    left: Size
    right: Size

    def __str__(self) -> str:
        return f"{to_text(self.left)} = {to_text(self.right)}"


def symbols(size: Size) -> frozenset[str]:
    """The symbols in a size; a number has none."""
    return size.symbols() if isinstance(size, Expr) else frozenset()


def identities(graph: Graph, sizes: Sizes) -> list[Identity]:
    """What textbook formulas take for granted and this model satisfies: H·E = D, F = 4·D."""
    found = []
    axes, letters = graph.axes, graph.symbols()
    for heads in [a for a in axes if plain(a) == "heads"]:
        suffix = heads.removeprefix("heads")
        widths = [a for a in (f"d_head{suffix}", "d_head") if a in axes and not axes[a].rule][:1]
        models = [a for a in (f"d_model{suffix}", "d_model") if a in axes][:1]
        for width, model in zip(widths, models, strict=False):
            if sizes[heads] * sizes[width] == sizes[model]:
                found.append(Identity(letters[heads] * letters[width], letters[model]))
    for inner in [a for a in axes if plain(a) == "d_ff"]:
        suffix = inner.removeprefix("d_ff")
        model = f"d_model{suffix}" if f"d_model{suffix}" in axes else "d_model"
        found += [Identity(letters[inner], n * letters[model]) for n in MULTIPLES if sizes[inner] == n * sizes[model]]
    return found


def textbook(size: Size, rules: list[Identity]) -> tuple[Size, list[Identity]]:
    """The formula with the identities put in, and those that it needed."""
    used: list[Identity] = []
    for rule in rules:
        shorter = substitute(size, {rule.left: rule.right})
        if shorter != size:
            size, used = shorter, [*used, rule]
    return size, used


def merged_layers(size: Size, graph: Graph) -> Size:
    """What all kinds of a stack's layers have in common is counted over all its layers.

    L_dense·X + L_dense·Y + L_moe·X + L_moe·Z becomes L·X + L_dense·Y + L_moe·Z.
    """
    wholes = [name for name in graph.axes if name == "layers" or name in {f"layers_{s}" for s in graph.orders}]
    for whole in wholes:
        kinds = [a.symbol for name, a in graph.axes.items() if name.startswith(f"{whole}_") and name not in wholes]
        parts = [_over(size, kind) for kind in kinds]
        if len(parts) < 2:
            continue
        total, letters = symbol(graph.axes[whole].symbol), [symbol(kind) for kind in kinds]
        for product, coefficient in parts[0].items():
            if all(part.get(product) == coefficient for part in parts):
                for letter in letters:
                    size = size - coefficient * product * letter
                size = size + coefficient * product * total
    return size


def _over(size: Size, letter: str) -> dict[Size, Any]:
    """The terms with a symbol in the first power, without it: product -> coefficient."""
    found: dict[Size, Any] = {}
    for coefficient, product in size.terms() if isinstance(size, Expr) else []:
        if letter in symbols(product):
            found[substitute(product, {letter: 1})] = coefficient
    return found


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


def total_params(graph: Graph, sizes: Sizes) -> tuple[Size, Size, list[Identity]]:
    """The total's formula as the graph has it, in textbook form for these sizes, and the identities that took."""
    general = params(graph, graph.symbols()).total
    short, used = textbook(merged_layers(general, graph), identities(graph, sizes))
    return general, short, used
