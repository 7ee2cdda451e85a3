"""The bytes on one device as formulas: weights, states, cache and activations of each stage's share, in symbols.

Each is the reading of bytes with letters for sizes; the ways of sharing are numbers. What is rounded up in this model,
as where the vocabulary is padded or blocks of a storage type are not full, is rounded up in the formula, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import gcd
from typing import TYPE_CHECKING, Any, NamedTuple

from transformer_calc.expr import Expr, ceil_div, divide, evaluate, settled, substitute, symbol
from transformer_calc.expr import formula as text
from transformer_calc.graph.core import Block, Graph, Sizes
from transformer_calc.ops.kept import How
from transformer_calc.plan import Mesh, Serving, Training
from transformer_calc.readings.count import lora
from transformer_calc.readings.count.cache import cached
from transformer_calc.readings.count.formulas import Identity, identities, merged_layers, symbols, textbook
from transformer_calc.readings.memory import activations, buffers, serving, training
from transformer_calc.readings.shard import Local, Stage, parts_of
from transformer_calc.storage import STORAGE, precision

if TYPE_CHECKING:
    from transformer_calc.expr import Size

PER_LAYER = "activations of "  # and a kind of layer


class Letters(NamedTuple):
    """A graph's sizes as numbers, which decide, and as symbols, which are written down."""

    graph: Graph
    sizes: Sizes
    written: Sizes
    values: Mapping[str, Any]  # of the symbols

    def settled(self, size: Size) -> Size:
        """A size without roundings that are exact in this model."""
        return settled(size, self.values)

    def times(self, axis: str, count: int, mesh: Mesh, virtual: int = 1) -> Size:
        """How many stand on a stage: all of an axis, its equal share of them, or a number."""
        if not axis:
            return count
        whole: Any = self.sizes[axis]
        ways = next((ways for ways in (1, mesh.pp, mesh.pp * virtual) if count * ways == whole), 0)
        share: Size = divide(self.written[axis], ways) if ways else count
        return share


def letters_of(graph: Graph, sizes: Sizes, plan: Serving | Training) -> Letters:
    """Every axis as its symbol; with nothing in the cache, keys are as many as the tokens that they come from.

    In training B are the sequences of one pass, and S is split where devices share a sequence.
    """
    cp = plan.mesh.cp if isinstance(plan, Training) else 1
    values: dict[str, Any] = {axis.symbol: sizes[name] for name, axis in graph.axes.items()}
    if isinstance(plan, Training):
        sizes = lora.bound(sizes, plan.adapters)
        values |= {graph.axes["batch"].symbol: training.micro_batch(plan, sizes), "r": sizes.get(lora.RANK, 0)}
    written = graph.symbols() | {lora.RANK: symbol("r")}
    if not sizes.get("cached"):
        written["cached"] = 0
        for name in ("seq", "target"):
            if name in graph.workload_axes and cp > 1:
                written[name] = divide(written[name], cp)
        for name, axis in graph.axes.items():
            if axis.rule and name.startswith(("context", "keys", "source") if cp > 1 else "context"):
                written[name] = axis.rule(written)
    return Letters(graph, sizes, written, values)


def formulas(letters: Letters, sought: Mapping[str, Size]) -> tuple[dict[str, Size], list[Identity]]:
    """The formulas in textbook form for these sizes, and the identities that took."""
    rules, found, used = identities(letters.graph, letters.sizes), {}, list[Identity]()
    for name, size in sought.items():
        found[name], needed = textbook(merged_layers(size, letters.graph), rules)
        used += [rule for rule in needed if rule not in used]
    return found, used


def value(size: Size, letters: Letters) -> Any:
    """What a formula gives at these sizes."""
    return evaluate(size, letters.values)


def of_serving(stage: Stage, letters: Letters, plan: Serving, context: int) -> dict[str, Size]:
    """Weights, cache, and what is live at the peak of a pass, of one device of a stage."""
    graph, sizes, written, _ = letters
    mesh = plan.mesh
    counts = {(block.path, block.title): count for block, count in stage.blocks}
    weights: Size = 0
    for part, count in parts_of(stage, graph, sizes):
        each = serving.weight_bytes(part, mesh, sizes, plan, written)
        weights = weights + letters.times(part.repeat, count, mesh) * each
    kept: Size = written["cached"] if sizes.get("cached") else written.get("target", written.get("seq", 1))
    cache: Size = 0
    for row in cached(graph):
        count = counts.get((row.block.path, row.block.title), 0)
        if count and context:
            each = serving.cache_bytes(row, sizes, plan, kept, written)
            cache = cache + letters.times(row.block.repeat, count, mesh) * each
    live: Size = 0
    block = serving.busiest([block for block, _ in stage.blocks], sizes, plan)
    for dims, head in serving.live(block, sizes, plan)[1]:
        live = live + serving.live_bytes(dims, sizes, plan, head=head, letters=written)
    found = {"weights": weights, "kv_cache": cache, "activations": live}
    if copy := serving.copied(block, sizes, plan, written):
        found[serving.COPY] = copy.size
    return {name: letters.settled(size) for name, size in found.items()}


def of_training(stage: Stage, letters: Letters, plan: Training, peak_at: str) -> dict[str, Size]:
    """States, activations at the peak, and those of one layer of each kind, of one device of a stage."""
    graph, sizes, written, _ = letters
    paths = lora.targets(graph, plan.adapters) if plan.adapters else frozenset[str]()
    weights: Size = 0
    gradients: Size = 0
    states: Size = 0
    for part, count in parts_of(stage, graph, sizes):
        times = letters.times(part.repeat, count, plan.mesh)
        w, g, s = training.part_bytes(part, sizes, plan, paths, written)
        weights, gradients, states = weights + times * w, gradients + times * g, states + times * s
    found = {"weights": weights, "gradients": gradients, "optimizer": states}
    found |= _activations(stage, letters, plan, peak_at) | _buffers(stage, letters, plan, paths, peak_at)
    return {name: letters.settled(size) for name, size in found.items()}


def _buffers(stage: Stage, letters: Letters, plan: Training, paths: frozenset[str], peak_at: str) -> dict[str, Size]:
    """What is there for communication at the peak."""
    graph, sizes, written, _ = letters
    local = training.local_of(graph, sizes, plan)._replace(sizes=written)
    units = [
        training.unit_of(
            part, letters.times(part.repeat, count, plan.mesh, plan.virtual), stage, sizes, plan, paths, written
        )
        for part, count in training.shared(stage, graph, sizes, plan)
    ]
    each = STORAGE[precision(plan.precision).activations].bytes
    found = buffers.of_stage(stage, graph, local, units, plan, each, lambda size: value(size, letters))
    if copy := training.copied(stage, sizes, plan, written):
        found.in_layer[serving.COPY] = copy.size
    return found.at_start if peak_at == training.START else found.in_layer


class _Pass(NamedTuple):
    """One micro-batch on a stage, as `training.Pass`, with what one layer of each kind keeps."""

    kept: Size
    loss: Size  # with what the head keeps of the logits
    output: Size
    moment: Size
    layers: dict[str, Size]


def _activations(stage: Stage, letters: Letters, plan: Training, peak_at: str) -> dict[str, Size]:
    graph, sizes, written, _ = letters
    numbers = training.local_of(graph, sizes, plan)
    local = numbers._replace(sizes=written)
    how = training.how_of(plan, graph, sizes)  # the formula is of sequences like these
    groups = [_pass(chunk, letters, local, plan, how) for chunk in stage.chunks or (stage,)]
    running = training.in_flight(stage, sizes, plan)
    counts = [running]
    if stage.chunks:
        each = [training.one_pass(chunk, graph, sizes, plan).held for chunk in stage.chunks]
        counts = training.interleaved(each, running, training.passes(plan, sizes), plan.mesh.pp)
    total: Size = 0
    for times, group in zip(counts, groups, strict=True):
        total = total + times * group.kept
    layers = groups[-1].layers
    total = total + counts[-1] * groups[-1].output
    if peak_at == training.START:
        total = total + groups[-1].moment
    else:
        total = total - groups[-1].loss
        if plan.recompute != "none":
            total = total + _again(stage, letters, numbers, local, plan, how)
    return {"activations": total, **{f"{PER_LAYER}{path}": size for path, size in layers.items()}}


def _pass(stage: Stage, letters: Letters, local: Local, plan: Training, how: How) -> _Pass:
    kept: Size = 0
    loss: Size = 0
    output: Size = 0
    moment: Size = 0
    layers: dict[str, Size] = {block.path: 0 for block, _ in stage.blocks if block.repeat}
    counts = {(block.path, block.title): count for block, count in stage.blocks}
    for row in training.rows_of(stage, letters.graph, how, plan):
        count = counts.get((row.block.path, row.block.title), 0)
        if not count or row.given:
            continue
        each = local.bytes(row.dims, row.bytes * row.factor)
        if row.kept:
            times: Size = 1
            if row.number is not None:
                times = training.times(row, count, letters.sizes)
            elif row.repeat:
                times = ceil_div(letters.times(row.repeat, count, plan.mesh, plan.virtual), row.every)
            kept = kept + times * each
            loss = loss + (each if row.role in training.LOSS or activations.of_logits(row) else 0)
            moment = moment - (each if row.role == "targets" else 0)
            if row.repeat:
                layers[row.block.path] = layers[row.block.path] + each
        elif row.role == "loss":
            moment = moment + each
        elif plan.outputs == "held":
            output = output + each
    return _Pass(kept, loss, output, moment, layers)


def _again(
    stage: Stage,
    letters: Letters,
    numbers: Local,
    local: Local,
    plan: Training,
    how: How,
) -> Size:
    """The activations of the layers that are computed again, without those that were kept."""
    best: tuple[int, Size] = (0, 0)
    for chunk in stage.chunks or (stage,):
        segment = min(plan.recompute_every, sum(count for block, count in chunk.blocks if block.repeat))
        rows = training.rows_of(chunk, letters.graph, how, plan)
        whole = training.rows_of(chunk, letters.graph, how._replace(recompute="none", every=1), plan)
        for block in (block for block, _ in chunk.blocks if block.repeat):
            number, size = (
                segment * _of_layer(whole, block, held) - _of_layer(rows, block, held) for held in (numbers, local)
            )
            best = max(best, (int(number), size), key=lambda pair: pair[0])  # type: ignore[arg-type]
    return best[1]


def _of_layer(rows: list[activations.Saved], block: Block, local: Local) -> Size:
    """What one layer of a block keeps."""
    total: Size = 0
    for row in rows:
        if row.block is block and row.repeat and row.kept and not row.given:
            total = total + local.bytes(row.dims, row.bytes * row.factor)
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
