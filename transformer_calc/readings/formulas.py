"""Formulas in a reader's form: the identities that a model's sizes satisfy are used to shorten them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from transformer_calc.expr import Expr, substitute, symbol, to_text
from transformer_calc.graph.core import Graph, Sizes
from transformer_calc.readings.params import params

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
    axes, letters = graph.axes, graph.symbols(derived=False)
    for heads in [a for a in axes if a.startswith("heads")]:
        suffix = heads.removeprefix("heads")
        widths = [a for a in (f"d_head{suffix}", "d_head") if a in axes and not axes[a].rule][:1]
        models = [a for a in (f"d_model{suffix}", "d_model") if a in axes][:1]
        for width, model in zip(widths, models, strict=False):
            if sizes[heads] * sizes[width] == sizes[model]:
                found.append(Identity(letters[heads] * letters[width], letters[model]))
    for inner in [a for a in axes if a.startswith("d_ff")]:
        suffix = inner.removeprefix("d_ff")
        model = f"d_model{suffix}" if f"d_model{suffix}" in axes else "d_model"
        found += [
            Identity(letters[inner], n * letters[model])
            for n in MULTIPLES
            if sizes[inner] == n * sizes[model]
        ]
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
    """Layer kinds whose parameters are the same are counted together: L_local·X + L_global·X is L·X."""
    for name, axis in graph.axes.items():
        base, _, kind = name.partition("_")
        if base != "layers" or not kind or axis.symbol not in symbols(size):
            continue
        stacks = [n for n in graph.axes if n == "layers" or (n.startswith("layers_") and name.startswith(f"{n}_"))]
        for whole in stacks:
            total = symbol(graph.axes[whole].symbol)
            siblings = [
                a.symbol
                for n, a in graph.axes.items()
                if n.startswith(f"{whole}_") and n != name and a.symbol in symbols(size)
            ]
            for sibling in siblings:
                merged = substitute(size, {axis.symbol: total - symbol(sibling)})
                if not {axis.symbol, sibling} & symbols(merged):
                    size = merged
                    break
    return size


def total_params(graph: Graph, sizes: Sizes) -> tuple[Size, Size, list[Identity]]:
    """The total's formula as the graph has it, in textbook form for these sizes, and the identities that took."""
    general = params(graph, graph.symbols(derived=False)).total
    short, used = textbook(merged_layers(general, graph), identities(graph, sizes))
    return general, short, used


def collect(size: Size) -> tuple[str, ...]:
    """The symbols by whose powers a formula reads best: layer counts and model widths."""
    return tuple(sorted(s for s in symbols(size) if s[0] in "LD" and (len(s) == 1 or s[1] == "_")))


def text(size: Size, style: str = "unicode") -> str:
    """A formula as people read it."""
    return to_text(size, style, collect(size)) if isinstance(size, Expr) else f"{size:,}"
