"""How much work: FLOPs of every operation, forward, backward and recomputed.

The rules stand in the records of `ops`. Matmuls and convolutions are the headline, and beside them recurrences in
their recurrent form; all else is counted apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from transformer_calc.errors import InputError, check_choice
from transformer_calc.graph.core import Block, Graph, Op, Sizes
from transformer_calc.ops import rules
from transformer_calc.ops.core import Work
from transformer_calc.readings.count.gradients import flow, learns
from transformer_calc.tuples import NamedTuple

if TYPE_CHECKING:
    from transformer_calc.expr import Size

RECOMPUTE = ("none", "selective", "full")
LATENT = ("naive", "absorbed")


def check_options(recompute: str, latent: str, *, decode: bool) -> None:
    """Refuse what no count can be of."""
    check_choice("recompute", recompute, RECOMPUTE)
    check_choice("latent", latent, LATENT)
    if decode and recompute != "none":
        raise InputError(
            f"`recompute` is {recompute}, but a step with a cache has no backward pass; it must be none",
            hint="leave out `context`",
        )


class Row(NamedTuple):
    """The work of one operation, once; it stands `repeat` times (an axis; empty: once)."""

    path: str
    op: Op
    block: Block
    forward: Work
    backward: Work
    recomputed: Work  # once more forward, during the backward pass

    def times(self, sizes: Sizes) -> Size:
        """How often it stands in the model."""
        return sizes[self.block.repeat] if self.block.repeat else 1


class Totals(NamedTuple):
    """The work of a batch: forward; backward; both (a training step's model FLOPs); and with what is recomputed."""

    forward: Work
    backward: Work
    train: Work
    hardware: Work


def rows(
    graph: Graph, sizes: Sizes, *, needed: bool = False, recompute: str = "none", decode: bool = False
) -> Iterator[Row]:
    """The work of every operation.

    needed:  of score matrices count only what the mask lets through
    recompute:  what the backward pass computes again: nothing, the attention core (selective: whatever works on a score
        matrix, Korthikanti et al. 2022, arXiv 2205.05198, §5), or every layer (full)
    decode:  tokens are in the cache, so an encoder's work, and what depends on it alone, was done before
    """
    for block in graph.blocks:
        if decode and _encodes(block, graph):
            continue
        flows = flow(block)
        for op in block.ops:
            if decode and of_source_alone(op):
                continue
            used, mask, kind = sizes, block.masks.get(op.scope), rules(op)
            if needed and op.on_scores and mask:
                used = {**sizes, **mean_keys(mask, sizes)}
            forward = Work(*map(_whole, kind.forward(op, used)))
            backward = kind.backward(op, forward, flows.of(op), learns(op))
            again = block.role == "layer" and (recompute == "full" or (recompute == "selective" and op.on_scores))
            yield Row(block.full(op.path), op, block, forward, backward, forward if again else Work())


def totals(found: list[Row], sizes: Sizes) -> Totals:
    """The sums over the whole model."""
    forward, backward, recomputed = Work(), Work(), Work()
    for row in found:
        times = row.times(sizes)
        forward = forward.plus(row.forward, times)
        backward = backward.plus(row.backward, times)
        recomputed = recomputed.plus(row.recomputed, times)
    train = forward.plus(backward)
    return Totals(forward, backward, train, train.plus(recomputed))


def scores(found: Iterable[Row], sizes: Sizes) -> Any:
    """Model FLOPs of scores and mixing: of what multiplies no parameters."""
    return sum(row.times(sizes) * row.forward.model for row in found if not row.op.params)


def _encodes(block: Block, graph: Graph) -> bool:
    return block.stack == "encoder" and "decoder" in graph.orders


def of_source_alone(op: Op) -> bool:
    """Keys and values of cross-attention: computed once for the source, then kept."""
    axes = {axis for dim in op.output.dims for axis in dim}
    return "source" in axes and "target" not in axes


def _whole(size: Any) -> Any:
    """A fraction that is a whole number as one."""
    return int(size) if getattr(size, "denominator", 0) == 1 and not isinstance(size, int) else size


def mean_keys(mask: Op, sizes: Sizes) -> dict[str, Any]:
    """The keys axis of a mask, as how many keys a query sees on average; empty where it sees all."""
    from transformer_calc.expr import Expr, divide, symbol

    (queries,), (keys,) = mask.output.dims[-2:]
    n, whole = sizes[queries], sizes[keys]
    if isinstance(n, Expr):  # no polynomial, but for the plain causal half: a derived size with a name of its own
        if mask.attrs["window"] or mask.attrs["chunk"]:
            return {keys: symbol(f"{whole}_seen")}
        return {keys: whole - n + divide(n + 1, 2)} if mask.attrs["causal"] else {}
    pairs = visible_pairs(mask, n, whole)
    return {} if pairs is None else {keys: _ratio(pairs, n)}


def _ratio(a: Any, b: Any) -> Any:
    from fractions import Fraction

    return Fraction(a, b) if isinstance(a, int) and isinstance(b, int) else a / b


def visible_pairs(mask: Op, queries: Any, keys: Any) -> Any:
    """Pairs of a query and a key that it may look at; None: all of them.

    Queries are the last of the keys. Causal: C_0·S + S·(S + 1)/2. A causal window W cuts each query's keys to W; a
    window to both sides reaches W/2 either way; a chunk of K holds the keys since its start.
    """
    from transformer_calc.expr import ceil_div, divide, maximum, minimum

    causal, window, chunk = (mask.attrs[name] for name in ("causal", "window", "chunk"))
    cached = keys - queries
    if chunk:

        def before(n: Any) -> Any:  # Σ (p mod K + 1) over positions p < n
            whole = ceil_div(n + 1, chunk) - 1
            rest = n - whole * chunk
            return whole * divide(chunk * (chunk + 1), 2) + divide(rest * (rest + 1), 2)

        return before(keys) - before(cached)
    if causal and window:
        short = minimum(maximum(window - cached, 0), queries)  # queries whose whole past is in the window
        return short * cached + divide(short * (short + 1), 2) + (queries - short) * window
    if causal:
        return cached * queries + divide(queries * (queries + 1), 2)
    if window:
        reach = window // 2
        inner = minimum(reach, queries - 1)
        one_side = divide(inner * (inner + 1), 2) + (queries - 1 - inner) * reach
        return queries + 2 * one_side
    return None
