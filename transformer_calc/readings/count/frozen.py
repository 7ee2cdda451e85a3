"""Training with a part of the model frozen: which parameters learn, and where a gradient flows.

What is frozen keeps its weights alone. Where nothing before it learns either, the backward pass does not come: layers
below the first parameter that learns keep no activations. Above it a frozen matrix hands the gradient on and does not
keep its own input. Layers that differ in this become kinds of their own, so that the graph and all its readings stay
what they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import pairwise

from transformer_calc.errors import InputError, did_you_mean
from transformer_calc.graph.core import Block, Frozen, Graph, Op
from transformer_calc.graph.model import build
from transformer_calc.ops import rules
from transformer_calc.ops.kind import BIASES
from transformer_calc.readings.count.params import Component, components
from transformer_calc.spec import Layers, Model, Stack

RANGE = re.compile(r"(?:(\w+)\.)?(\d+)(?:-(\d+))?")
EMBEDDING = "embedding"  # a name for all that stands before the layers
BELOW, FIRST, FROZEN = "below", "first", "frozen"  # layers without a gradient; the first that has one; frozen ones

Runs = tuple[tuple[tuple[int, ...], int], ...]


def freeze(model: Model, graph: Graph, patterns: tuple[str, ...], *, eager: bool = False) -> tuple[Model, Graph]:
    """The model with kinds of layers as freezing tells them apart, and its graph, which says what is frozen in it.

    graph:  the model's as it is
    patterns:  names of parts (embedding, attn, ffn.gate, head …: words of the parameters' paths, which may have a *),
        and numbers of layers (0-11; with several stacks, encoder.0-11)
    eager:  tell the first layer that has a gradient apart even if all of it learns: its norm, if written out operator
        by operator, keeps less
    """
    ranges, names = _ranges(model, patterns), [p for p in patterns if not RANGE.fullmatch(p)]
    for name in names:
        if not any(_named(part, name) for part in components(graph)):
            words = sorted({word for part in components(graph) for word in _words(part)} | {EMBEDDING})
            hint = did_you_mean(name, words) or "tcalc params names the parts; layers are numbers, as in 0-11"
            raise InputError(f"`freeze` names {name!r}, which is no part of this model", hint)

    parts = {part.path: part for part in components(graph)}

    def learns(block: Block, *, bias: bool = False) -> list[bool]:
        """Of each parameter of a block, also those that are another's; `bias`: of tables that layers add to scores."""
        ops = (op for op in block.ops if (BIASES in rules(op).traits) == bias)
        of_block = (path for op in ops for path in _params(block, op) if path in parts)
        return [not any(_named(parts[path], name) for name in names) for path in of_block]

    stacks = list[Stack]()
    classes = dict[tuple[str, int], str]()
    inputs = dict[str, frozenset[str] | None]()
    flows = dict[str, bool]()  # whether a stack's output has a gradient
    for stack in model.stacks:
        blocks = [block for block in graph.blocks if block.stack in ("", stack.name)]
        of_kind = [learns(block) for block in blocks if block.role == "layer"]
        source = stack.name == "decoder" and flows.get("encoder", False)
        embeds = [block for block in blocks if block.role == "embed"]
        begun = any(any(learns(block)) for block in embeds)
        biased = any(any(learns(block, bias=True)) for block in embeds)
        frozen = ranges.get(stack.name, [])
        first = 0 if begun or biased else _first(stack, of_kind, frozen, source=source)
        stacks.append(replace(stack, layers=_split(stack, of_kind, frozen, classes, first, begun=begun, eager=eager)))
        flows[stack.name] = begun or first < stack.layers.n_layers
    model = replace(model, stacks=tuple(stacks))
    graph, still = build(model), frozenset(f"{name}.output" for name, flow in flows.items() if not flow)
    kinds: dict[str, int] = {}
    whole = set[str]()
    for block in graph.blocks:
        stack_name = block.stack or model.stacks[-1].name
        if block.role == "layer":
            number = kinds[stack_name] = kinds.get(stack_name, -1) + 1
            kind = classes.get((stack_name, number), "")
            if kind.startswith(BELOW):
                inputs[block.title] = None
            else:
                inputs[block.title] = still | ({"x"} if kind.startswith(FIRST) else set())
            whole |= {block.title} if kind.endswith((BELOW, FROZEN)) else set()
        elif block.role != "embed":
            inputs[block.title] = still | (set() if flows[stack_name] else {"x"})
    params = frozenset(
        part.path
        for part in components(graph)
        if part.block.title in whole or any(_named(part, name) for name in names)
    )
    if len(params) == len(components(graph)):
        raise InputError(f"`freeze={','.join(patterns)}` leaves nothing to train")
    return model, graph._replace(frozen=Frozen(params, frozenset(_ops(graph, params)), inputs))


def _ranges(model: Model, patterns: tuple[str, ...]) -> dict[str, list[tuple[int, int]]]:
    """Stack -> spans of frozen layers, each with its end excluded."""
    found: dict[str, list[tuple[int, int]]] = {}
    names = [stack.name for stack in model.stacks]
    for pattern in patterns:
        match = RANGE.fullmatch(pattern)
        if not match:
            continue
        if match[1] is None and len(names) > 1:
            raise InputError(f"`freeze={pattern}` names layers, but of which stack?", hint=f"{names[0]}.{pattern}")
        if match[1] is not None and match[1] not in names:
            raise InputError(f"`freeze={pattern}`: there is no {match[1]}", did_you_mean(match[1], names))
        stack = next(stack for stack in model.stacks if match[1] in (None, stack.name))
        low, high, layers = int(match[2]), int(match[3] or match[2]), stack.layers.n_layers
        if low > high or high >= layers:
            raise InputError(f"`freeze={pattern}`: the layers are 0 to {layers - 1:,}")
        if stack.share_layers:
            raise InputError(f"`freeze={pattern}`: layers that share their weights are frozen together", hint="layers")
        found.setdefault(stack.name, []).append((low, high + 1))
    return found


def _named(part: Component, name: str) -> bool:
    """Whether a name is a part of a parameter's path, word by word."""
    if name == EMBEDDING:
        return part.block.role == "embed"
    words, wanted = _words(part), name.split(".")
    places = range(len(words) - len(wanted) + 1)
    return any(all(map(fnmatchcase, words[i:], wanted)) for i in places)


def _words(part: Component) -> list[str]:
    """The words of a parameter's path, without the name of its kind of layers."""
    words = part.path.split(".")
    if part.block.role == "layer":
        kind = len(part.block.path.split("."))
        start = words.index("layers") + 1
        return words[:start] + words[kind:]
    return words


def _first(stack: Stack, learns: list[list[bool]], frozen: list[tuple[int, int]], *, source: bool) -> int:
    """The number of the first layer that a gradient comes to; that of all layers, if none does."""
    for number, kind in enumerate(stack.layers):
        inside = any(low <= number < high for low, high in frozen)
        if (any(learns[kind]) and not inside) or (source and stack.layers.kinds[kind].cross is not None):
            return number
    return stack.layers.n_layers


def _split(
    stack: Stack,
    learns: list[list[bool]],
    frozen: list[tuple[int, int]],
    classes: dict[tuple[str, int], str],
    first: int,
    *,
    begun: bool,
    eager: bool,
) -> Layers:
    """The layers with kinds of their own for those without gradient, the first with one, and frozen ones."""
    layers, total = stack.layers, stack.layers.n_layers
    cuts = {0, first, total} | {cut for span in frozen for cut in span}
    if not begun and first < total and not stack.share_layers:
        cuts.add(first + 1)
    edges = sorted(cuts)
    numbers: dict[tuple[int, str], int] = {}
    runs: list[tuple[tuple[int, ...], int]] = []
    for low, high in pairwise(edges):
        inside = any(a <= low and high <= b for a, b in frozen)
        for cycle, times in _section(layers.runs, low, high):
            kinds = []
            for kind in cycle:
                name = FROZEN if inside else ""
                if high <= first:
                    name = BELOW
                elif (
                    not begun and low == first and not stack.share_layers and (inside or eager or not all(learns[kind]))
                ):
                    name = "_".join(word for word in (FIRST, name) if word)
                kinds.append(numbers.setdefault((kind, name), len(numbers)))
            if runs and runs[-1][0] == tuple(kinds):
                times += runs.pop()[1]
            runs.append((tuple(kinds), times))
    if len(numbers) == len({kind for kind, _ in numbers}):  # each kind is all of one class
        classes |= {(stack.name, kind): name for kind, name in numbers}
        return layers
    several = len(layers.kinds) > 1
    named = []
    for kind, name in numbers:
        words = (layers.kinds[kind].name if several else "", name)
        named.append(replace(layers.kinds[kind], name="_".join(word for word in words if word) or "trained"))
    classes |= {(stack.name, number): name for (_, name), number in numbers.items()}
    return Layers(kinds=tuple(named), runs=tuple(runs))


def _section(runs: Runs, low: int, high: int) -> Iterator[tuple[tuple[int, ...], int]]:
    """The runs of the layers from one number up to another."""
    start = 0
    for cycle, times in runs:
        n = len(cycle)
        a, b = max(low - start, 0), min(high - start, n * times)
        start += n * times
        if a >= b:
            continue
        before, after = -(-a // n), b // n
        if before > after:  # within one turn of the cycle
            yield cycle[a % n : b % n], 1
            continue
        if a % n:
            yield cycle[a % n :], 1
        if after > before:
            yield cycle, after - before
        if b % n:
            yield cycle[: b % n], 1


def _ops(graph: Graph, params: frozenset[str]) -> Iterator[str]:
    """Operations whose weight, which may be another's, is frozen."""
    for block in graph.blocks:
        for op in block.ops:
            if any(path in params for path in [*_params(block, op)][:1]):
                yield block.full(op.path)


def _params(block: Block, op: Op) -> Iterator[str]:
    """Paths of an operation's parameters, of a tied one the path of what it is tied to."""
    for param in op.params:
        local = param.tied[1:] if param.tied.startswith("@") else "" if param.tied else f"{op.path}.{param.name}"
        yield block.full(local) if local else param.tied
