"""The forward pass by hand: one run of the graph, with every array that it meets.

Inputs and weights may be given; the others are seeded and small. Seeded numbers come from Python's generator and are
whole (or have two decimals), so that they are the same on every machine.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from transformer_calc.errors import InputError, did_you_mean, shown
from transformer_calc.graph.core import Block, Dim, Dims, Graph, Op, Param, Sizes, Tensor, shape
from transformer_calc.ops import rules
from transformer_calc.ops.frequencies import frequencies
from transformer_calc.ops.kind import CONTRACTIONS, CONVOLUTION, LOOKS_UP, MASKS, NORMS, ROTATES, WEIGHS, dims_of
from transformer_calc.ops.tables import sinusoids
from transformer_calc.readings.count import algebra
from transformer_calc.readings.count.legend import symbols_of
from transformer_calc.readings.count.shapes import expanded
from transformer_calc.readings.run.machine import Machine
from transformer_calc.spec import Audio, Averaging, Model, Patches, Stack, Tokens, Vectors

Array = np.ndarray[Any, np.dtype[Any]]

LOWEST = float(np.finfo(np.float64).min)  # what a mask writes: softmax makes 0 of it
WIDE = 8  # a weight matrix of more inputs has its entries halved, quartered …
UNSEEN = ("mask", "padding_mask")  # inputs that the run makes by itself


class Seen(NamedTuple):
    """An array with its letter and its axes; `given`: no operation made it."""

    name: str
    letter: str
    dims: Dims
    axes: list[str]
    symbols: list[str]
    values: Array
    given: bool = False
    key: tuple[str, int] = ("", 0)  # of a weight: its path and which copy
    head_width: int = 0  # where the last dimension holds heads side by side

    @property
    def shape(self) -> list[int]:
        """Its sizes."""
        return list(self.values.shape)


class Step(NamedTuple):
    """One operation of the run; `by_hand` is one entry worked out: (its row and column, pairs of factors, what comes
    of them).
    """

    path: str
    op: Op
    algebra: str
    inputs: list[Seen]
    weights: list[Seen]
    output: Seen
    by_hand: tuple[tuple[int, int], list[tuple[float, float]], list[float]] | None = None
    layer: int | None = None


class Given(NamedTuple):
    """What somebody's file says: inputs of the run by name, and weights by path and copy."""

    inputs: dict[str, Array]
    weights: dict[tuple[str, int], Array]


class _Stop(Exception):
    """The last step that was asked for is done."""


class Walker(Machine):
    """A machine that notes everything."""

    def __init__(self, graph: Graph, sizes: Sizes, weights: Any, inputs: Mapping[str, Array], last: str | None) -> None:
        super().__init__(graph, sizes, weights, inputs)
        self.steps: list[Step] = []
        self.last = last
        self.lines = algebra.lines(graph)
        self.made: set[int] = set()  # arrays that operations made: all of them are kept, so their ids stay

    def look(self, op: Op, inputs: Sequence[Array], params: Sequence[Array], y: Array) -> None:
        """Note one operation."""
        made, line = next(self.lines)
        assert made.path == op.path
        shown_in = [
            self._seen(t.name, letter, t.dims, v, given=id(v) not in self.made)
            for t, letter, v in zip(op.inputs, line.inputs, inputs, strict=True)
            if t.name not in UNSEEN
        ]
        shown_weights = [
            self._seen(p.name, w, p.dims, v, key=self._key(op, p))
            for p, w, v in zip(op.params, line.weights, params, strict=True)
        ]
        self.made.add(id(y))
        prefix = self.block.path
        if self.layer is not None:
            prefix = f"{self.block.stack}.layers.{self.layer}" if self.block.stack else f"layers.{self.layer}"
        path = f"{prefix}.{op.path}" if prefix else op.path
        output = self._seen(op.path, line.letter, op.output.dims, y)
        text = line.text + self._masked(op, y) + self._stretched(op, y)
        worked = _by_hand(op, inputs, params, y)
        self.steps.append(Step(path, op, text, shown_in, shown_weights, output, worked, self.layer))
        if path == self.last:
            raise _Stop

    def _masked(self, op: Op, y: Array) -> str:
        """What a mask's line does not say: that it hides nothing here, or padding, too."""
        if MASKS not in rules(op).traits:
            return ""
        if not (y == LOWEST).any():
            return ": none here"
        source = ("source",) in op.inputs[0].dims
        mask = self.inputs.get("encoder.attention_mask") if source else self._own("attention_mask")
        padded = mask is not None and not np.all(mask)
        return " and at padding" if padded and "padding" not in op.note else ""

    def _stretched(self, op: Op, y: Array) -> str:
        """What a rotation's line does not say: that it makes its pairs longer, and scores with them, as YaRN's does."""
        if ROTATES not in rules(op).traits:
            return ""
        _, factor = frequencies(op.attrs, int(self.positions(y.shape[-2])[-1]) + 1)
        return f", and multiply these with {factor:.4g}" if factor != 1 else ""

    def _seen(self, name: str, letter: str, dims: Dims, values: Array, **more: Any) -> Seen:
        axes = ["*".join(dim) or "1" for dim in dims]
        last = dims[-1] if dims else ()
        width = self.length_of(last[1:]) if len(last) == 2 and last[0].startswith(("heads", "kv_heads")) else 0
        return Seen(name, letter, dims, axes, symbols_of(dims, self.graph), values, head_width=width, **more)

    def _key(self, op: Op, param: Param) -> tuple[str, int]:
        if param.tied and not param.tied.startswith("@"):
            return param.tied, 0
        own = param.tied[1:] or f"{op.path}.{param.name}"
        return self.block.full(own), self.copy


def _by_hand(op: Op, inputs: Sequence[Array], params: Sequence[Array], y: Array) -> Any:
    """An entry of a product as its sum, in the second row where there is one."""
    if rules(op).kernel not in CONTRACTIONS or y.ndim < 2 or len(inputs) + len(params) < 2:
        return None
    a, b = inputs[0], params[0] if params else inputs[1]
    a_dims, b_dims, out = dims_of(op)
    inner = [dim for dim in a_dims if dim in b_dims and dim not in out]
    if len(inner) != 1 or not {*a_dims, *b_dims} <= {*out, *inner} or len(set(out)) < len(out):
        return None
    row = min(1, y.shape[-2] - 1)
    at = dict.fromkeys(out, 0) | {out[-2]: row}

    def factors(v: Array, dims: Dims) -> list[float]:
        found: list[float] = v[tuple(slice(None) if dim == inner[0] else at[dim] for dim in dims)].tolist()
        return found

    entry = y[tuple(at[dim] for dim in out)].item()
    added = [params[1].ravel()[0].item()] if len(params) > 1 else []
    return (row + 1, 1), list(zip(factors(a, a_dims), factors(b, b_dims), strict=True)), [*added, entry]


def walk(graph: Graph, sizes: Sizes, weights: Any, inputs: Mapping[str, Array], last: str | None = None) -> list[Step]:
    """Every step of the run, up to the one at the path `last`."""
    walker = Walker(graph, sizes, weights, inputs, last)
    with suppress(_Stop):
        walker.run()
    if walker.overflowed:
        raise InputError(
            f"{walker.overflowed} comes out as what is no finite number; the numbers that are given grow too large"
        )
    return walker.steps


# --- which steps --------------------------------------------------------------------------------------------------


def paths(graph: Graph) -> list[tuple[str, str]]:
    """Every step's path with its layer's number, and without."""
    return [
        (_join(place.path, op.path), _join(place.block.path, op.path))
        for place in expanded(graph)
        for op in place.block.ops
    ]


def _join(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def chosen(graph: Graph, wanted: str, option: str) -> list[str]:
    """The paths that a path or the beginning of one stands for, in order."""
    known = paths(graph)
    found = [path for path, bare in known if any(f"{p}.".startswith(f"{wanted.strip()}.") for p in (path, bare))]
    if not found or not wanted.strip():
        words = {path.rsplit(".", cut)[0] for path, _ in known for cut in range(path.count(".") + 1)}
        some = f"steps are {known[0][0]}, {known[len(known) // 2][0]} … {known[-1][0]}"
        hint = did_you_mean(wanted, [*(path for path, _ in known), *sorted(words)]) or some
        raise InputError(f"{option} is {shown(wanted, 60)}, which is no step of this walk", hint=hint)
    return found


def last_of(graph: Graph, wanted: str, option: str) -> str:
    """Where a walk until `wanted` stops: after the first unbroken row of the steps that it stands for."""
    found, order = set(chosen(graph, wanted, option)), [path for path, _ in paths(graph)]
    first = next(i for i, path in enumerate(order) if path in found)
    end = first
    while end + 1 < len(order) and order[end + 1] in found:
        end += 1
    return order[end]


# --- what is given ------------------------------------------------------------------------------------------------


def array(name: str, value: Any) -> Array:
    """A matrix of a file, as lists of rows, as an array of numbers."""

    def shape_of(value: Any, at: str) -> tuple[int, ...]:
        if isinstance(value, list):
            if not value:
                raise InputError(f"{at} is empty; it must hold numbers")
            shapes = [shape_of(item, f"{at}[{i + 1}]") for i, item in enumerate(value)]
            for i, other in enumerate(shapes):
                if other != shapes[0]:
                    raise InputError(f"{at}[{i + 1}] has {_entries(other)}, but {at}[1] has {_entries(shapes[0])}")
            return (len(value), *shapes[0])
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
            text = shown(value) if isinstance(value, str) else str(value)[:40]
            raise InputError(f"{at} is {text}; it must be a number")
        return ()

    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "iuf" or not np.isfinite(value).all():
            raise InputError(f"{name} holds {value.dtype}; it must hold finite numbers")
        return value
    shape_of(value, name)
    return np.array(value)


def _entries(shape: tuple[int, ...]) -> str:
    return f"{' × '.join(map(str, shape))} entries" if shape != (1,) and shape else "1 entry"


def input_names(model: Model) -> dict[str, tuple[str, Stack | None]]:
    """What a file may call an input -> (the run's name for it, the stack that takes it)."""
    found: dict[str, tuple[str, Stack | None]] = {}
    for stack in model.stacks:
        prefix = f"{stack.name}." if len(model.stacks) > 1 else ""
        if isinstance(stack.embedding, Patches | Audio):
            own = "pixels" if isinstance(stack.embedding, Patches) else "mel_spectrogram"
            found[prefix + own] = (prefix + own, stack)
            continue
        if isinstance(stack.embedding, Tokens):
            found[f"{prefix}token_ids"] = (f"{prefix}token_ids", stack)
        found[f"{prefix}x"] = (f"{prefix}vectors", stack)
        found[f"{prefix}attention_mask"] = (f"{prefix}attention_mask", stack)
    if any(isinstance(layer.mixer, Averaging) for stack in model.stacks for layer in stack.layers.kinds):
        found["A"] = ("A", None)
    return found


def tokens_of(model: Model, values: Mapping[str, Any]) -> dict[str, int]:
    """The sizes of the workload that the given inputs have: batch, seq, target."""
    sizes: dict[str, tuple[int, str]] = {}
    names = input_names(model)
    for name, value in values.items():
        if name not in names or name == "A":
            continue
        run_name, stack = names[name]
        rank = 3 if run_name.endswith("vectors") else 2
        dims = array(name, value).shape
        if len(dims) not in (rank, rank - 1) or isinstance(getattr(stack, "embedding", None), Patches | Audio):
            continue  # the check of its shape says what is wrong
        dims = dims if len(dims) == rank else (1, *dims)
        decoding = stack is not None and stack.name == "decoder" and len(model.stacks) > 1
        for size, key in zip(dims, ("batch", "target" if decoding else "seq"), strict=False):
            if key in sizes and sizes[key][0] != size:
                raise InputError(f"{name} and {sizes[key][1]} do not fit: {key} is {size} and {sizes[key][0]}")
            sizes[key] = (size, name)
    return {key: size for key, (size, _) in sizes.items()}


def given(model: Model, graph: Graph, sizes: Sizes, values: Mapping[str, Any]) -> Given:
    """The arrays of a file, each checked: `x`, `token_ids`, `A`, and weights by their paths."""
    names, inputs, weights = input_names(model), dict[str, Array](), dict[tuple[str, int], Array]()
    parameters = _parameters(graph, sizes)
    of_all = {
        _join(block.path, op.path, param.name) for block in graph.blocks for op in block.ops for param in op.params
    }
    for name in sorted(values, key=lambda name: name not in of_all):  # one layer's own come after those of all layers
        value = values[name]
        if name in names:
            run_name, stack = names[name]
            inputs[run_name] = _input(name, array(name, value), run_name, stack, graph, sizes)
        elif name in parameters:
            targets, dims = parameters[name]
            if isinstance(dims, str):
                raise InputError(f"{name} is tied: it is {dims}", hint=f"give {dims} instead")
            found = array(name, value).astype(float)
            _check(name, found, tuple(shape(dims, sizes)), graph, dims)  # type: ignore[arg-type]
            weights |= dict.fromkeys(targets, found)
        else:
            right = [*names, *parameters]
            hint = did_you_mean(name, right) or f"there are {', '.join([*names, *list(parameters)[:6]])} …"
            raise InputError(f"{shown(name, 60)} is neither an input nor a weight of this model", hint=hint)
    return Given(inputs, weights)


def _parameters(graph: Graph, sizes: Sizes) -> dict[str, tuple[list[tuple[str, int]], Dims | str]]:
    """Name of a parameter, for all layers or with a layer's number -> (path and copy of each, its dimensions).

    A tied one has the name of the parameter that it is in place of dimensions.
    """
    found: dict[str, tuple[list[tuple[str, int]], Dims | str]] = {}
    copies: dict[str, int] = {}
    for place in expanded(graph):
        block = place.block
        number = copies[block.path] = copies.get(block.path, -1) + 1
        copy = block.parameters_of(number, sizes) if block.repeat else 0
        for op in block.ops:
            for param in op.params:
                path = _join(block.path, op.path, param.name)
                dims: Dims | str = param.dims
                if param.tied:
                    dims = _join(block.path, param.tied[1:]) if param.tied.startswith("@") else param.tied
                for name in {path, _join(place.path, op.path, param.name)}:
                    found.setdefault(name, ([], dims))[0].append((path, copy))
    return found


def _check(name: str, found: Array, wanted: tuple[int, ...], graph: Graph, dims: Dims) -> None:
    if found.shape != wanted:
        symbols = ", ".join(symbols_of(dims, graph))
        raise InputError(f"{name} has the shape {list(found.shape)}; it must be {list(wanted)}, as [{symbols}]")


def _input(name: str, found: Array, run_name: str, stack: Stack | None, graph: Graph, sizes: Sizes) -> Array:
    """An input with its batch, checked."""
    dims = next((t.dims for b in graph.blocks for op in b.ops for t in op.inputs if _is(t, b.stack, run_name)), None)
    own = run_name.rpartition(".")[2]
    if dims is None:
        ids = next(b.ops[0] for b in graph.blocks if b.role == "embed" and (not stack or b.stack in ("", stack.name)))
        dims = ids.output.dims if own == "vectors" else ids.output.dims[:2]
    wanted: tuple[int, ...] = tuple(int(n) for n in shape(dims, sizes))  # type: ignore[arg-type]
    if name != "A" and found.ndim == len(wanted) - 1:
        found = found[None]
    if name != "A" and found.ndim == len(wanted) and len(found) == 1:
        found = np.repeat(found, wanted[0], axis=0)
    _check(name, found, wanted, graph, dims)
    if own in ("token_ids", "attention_mask"):
        most = stack.embedding.vocab if own == "token_ids" and stack and isinstance(stack.embedding, Tokens) else 2
        bad = found[(found < 0) | (found >= most) | (found != np.floor(found))]
        if bad.size:
            raise InputError(
                f"{name} holds {bad.ravel()[0]:g}; its entries must be whole numbers from 0 to {most - 1:,}"
            )
        return found.astype(int)
    return found.astype(float)


def _is(tensor: Tensor, stack: str, run_name: str) -> bool:
    return run_name in (tensor.name, f"{stack}.{tensor.name}")


def with_vectors(graph: Graph, inputs: Mapping[str, Array]) -> Graph:
    """The graph with a given matrix in place of the token embedding, where one is given."""
    blocks = []
    for block in graph.blocks:
        name = f"{block.stack}.vectors" if block.stack else "vectors"
        ops = block.ops
        if block.role == "embed" and name in inputs and block.output != "embed.vectors":
            out = next(op.output for op in ops if op.path == block.output)
            given = Op(out.name, "view", (Tensor("vectors", out.dims),), out, note="given, in place of the embedding")
            ops = (given, *(op for op in ops if not op.path.startswith("embed.")))
        blocks.append(block._replace(ops=ops))
    return graph._replace(blocks=tuple(blocks))


# --- what is not --------------------------------------------------------------------------------------------------


def _small(rng: random.Random, style: str, size: tuple[int, ...], low: int, high: int) -> Array:
    n = math.prod(size)
    if style == "integers":
        return np.array([float(rng.randint(low, high)) for _ in range(n)]).reshape(size)
    return np.array([rng.randint(-100, 100) / 100 for _ in range(n)]).reshape(size)


def seeded_inputs(model: Model, graph: Graph, sizes: Sizes, known: Mapping[str, Array], seed: int) -> dict[str, Array]:
    """The given inputs, and small ones in place of those that are missing."""
    inputs = dict(known)
    for name, (run_name, stack) in input_names(model).items():
        prefix, _, own = run_name.rpartition(".")
        vectors = f"{prefix}.vectors" if prefix else "vectors"
        if run_name in inputs or own == "attention_mask" or (own == "token_ids" and vectors in inputs):
            continue
        if own == "vectors" and stack and not isinstance(stack.embedding, Vectors):
            continue
        tensor = next(t for b in graph.blocks for op in b.ops for t in op.inputs if _is(t, b.stack, run_name))
        size = tuple(int(n) for n in shape(tensor.dims, sizes))  # type: ignore[arg-type]
        rng = random.Random(f"{name}/{seed}")
        if own == "token_ids" and stack and isinstance(stack.embedding, Tokens):
            vocab, tokens = stack.embedding.vocab, size[-1]
            draw = rng.sample if tokens <= vocab else rng.choices  # tokens that differ, where there are enough
            rows = [draw(range(vocab), k=tokens) for _ in range(size[0])]
            inputs[run_name] = np.array(rows)
        elif own == "A":  # each position is the mean of itself and those before it
            inputs[run_name] = np.tril(np.ones(size)) / np.arange(1, size[0] + 1)[:, None]
        else:
            inputs[run_name] = _small(rng, "integers" if own == "vectors" else "random", size, -1, 2)
    return inputs


def seeded_weights(
    graph: Graph, sizes: Sizes, known: Mapping[tuple[str, int], Array], seed: int, style: str
) -> Callable[[str, int], Array]:
    """The given weights, and small ones in place of those that are missing.

    integers: tables of −1 … 2, matrices and biases of −1, 0 and 1; norms leave what they scale as it is. random:
    everything in −1 … 1, with two decimals. Both are halved as often as keeps what flows near 1 in size, so that a
    softmax has something to choose from (`_halvings`).
    """
    ops = {
        _join(b.path, op.path, p.name): (b, op, p)
        for b in graph.blocks
        for op in b.ops
        for p in op.params
        if not p.tied
    }
    made = dict(known)

    def weight(path: str, copy: int) -> Array:
        if (path, copy) not in made:
            block, op, param = ops[path]
            size = tuple(int(n) for n in shape(param.dims, sizes))  # type: ignore[arg-type]
            rng = random.Random(f"{path}/{copy}/{seed}")
            if op.attrs.get("fixed"):  # a stored table of sines and cosines is no matter of choice
                made[path, copy] = sinusoids(np.arange(size[0]), size[1], op.attrs["order"], op.attrs["spread"])
                return made[path, copy]
            traits = rules(op).traits
            if NORMS in traits:
                first = 1.0 - op.attrs["offset"] if param.name == "weight" else 0.0
                fresh = np.full(size, first)
                if style == "random":
                    fresh = (fresh + _small(rng, style, size, 0, 0) / 2).round(2)
            else:
                fresh = _small(rng, style, size, -1, 2 if LOOKS_UP in traits else 1)
                if param.name == "weight":
                    fresh = fresh / 2 ** _halvings(op, block, graph, sizes)
                    fresh = fresh.round(2) if style == "random" else fresh
            made[path, copy] = fresh
        return made[path, copy]

    return weight


def _halvings(op: Op, block: Block, graph: Graph, sizes: Sizes) -> int:
    """How often the entries of a seeded weight are halved.

    A matrix of many rows: sums of as many of −1, 0 and 1 are √(2/3 of their number) in size. Queries whose scores are
    not divided by √E, as T5's initial weights are. A table whose rows are multiplied (√D), or that no norm follows.
    """

    def length(*dims: Dim) -> int:
        return math.prod(int(n) for n in shape(dims, sizes))  # type: ignore[arg-type, misc]

    if LOOKS_UP in rules(op).traits and op.path == "embed.tokens":
        factor = next((o.attrs["factor"] for o in block.ops if o.path == "embed.scale"), 1.0)
        layer = next((b for b in graph.blocks if b.repeat and b.stack == block.stack), block)
        bare = not any(NORMS in rules(o).traits for o in (layer.ops[0], *block.ops))
        halved = max(0, round(math.log2(factor))) if factor > 1 else 0
        return min(halved, 60) + (bare and any(WEIGHS in rules(o).traits for o in layer.ops))
    kernel = rules(op).kernel
    if kernel not in CONTRACTIONS:
        return 0
    inner = length(*op.params[0].dims[1:]) if kernel == CONVOLUTION else length(op.inputs[0].dims[-1])
    times = max(0, round(math.log2(inner * 2 / 3) / 2)) if inner > WIDE else 0
    scores = next((o for o in block.ops if o.path == f"{op.scope}.scores" and not o.params), None)
    if scores and op.last in ("q", "q_up"):
        size = scores.attrs.get("scale", 1.0) * math.sqrt(length(scores.inputs[0].dims[-1]))
        times += min(max(0, round(math.log2(size))), 60) if size > 1 else 0
    return times
