"""The numbers of a walk: inputs and weights that somebody gave, and small seeded ones in place of the others.

Seeded numbers come from Python's generator and are whole (or have two decimals), so that they are the same on every
machine.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from transformer_calc.errors import InputError, did_you_mean, shown
from transformer_calc.graph.core import Block, Dim, Dims, Graph, Op, Sizes, Tensor, join, shape
from transformer_calc.ops import rules
from transformer_calc.ops.kind import CONTRACTIONS, CONVOLUTION, LOOKS_UP, NORMS, WEIGHS
from transformer_calc.ops.tables import sinusoids
from transformer_calc.readings.count.legend import symbols_of
from transformer_calc.readings.count.shapes import expanded
from transformer_calc.spec import Audio, Averaging, Model, Patches, Stack, Tokens, Vectors
from transformer_calc.tuples import NamedTuple

Array = np.ndarray[Any, np.dtype[Any]]

WIDE = 8  # a weight matrix of more inputs has its entries halved, quartered …


class Given(NamedTuple):
    """What somebody's file says: inputs of the run by name, and weights by path and copy."""

    inputs: dict[str, Array]
    weights: dict[tuple[str, int], Array]


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
        join(block.path, op.path, param.name) for block in graph.blocks for op in block.ops for param in op.params
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
            _check(name, found, _whole(dims, sizes), graph, dims)
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
                path = join(block.path, op.path, param.name)
                dims: Dims | str = param.dims
                if param.tied:
                    dims = join(block.path, param.tied[1:]) if param.tied.startswith("@") else param.tied
                for name in {path, join(place.path, op.path, param.name)}:
                    found.setdefault(name, ([], dims))[0].append((path, copy))
    return found


def _whole(dims: Dims, sizes: Sizes) -> tuple[int, ...]:
    return tuple(int(n) for n in shape(dims, sizes))  # type: ignore[arg-type]


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
    wanted = _whole(dims, sizes)
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
        size = _whole(tensor.dims, sizes)
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
        join(b.path, op.path, p.name): (b, op, p) for b in graph.blocks for op in b.ops for p in op.params if not p.tied
    }
    made = dict(known)

    def fresh(path: str, copy: int) -> Array:
        block, op, param = ops[path]
        size, rng = _whole(param.dims, sizes), random.Random(f"{path}/{copy}/{seed}")
        if op.attrs.get("fixed"):  # a stored table of sines and cosines is no matter of choice
            table: Array = sinusoids(np.arange(size[0]), size[1], op.attrs["order"], op.attrs["spread"])
            return table
        if NORMS in rules(op).traits:
            one: Array = np.full(size, 1.0 - op.attrs["offset"] if param.name == "weight" else 0.0)
            if style == "random":
                one = (one + _small(rng, style, size, 0, 0) / 2).round(2)
            return one
        drawn = _small(rng, style, size, -1, 2 if LOOKS_UP in rules(op).traits else 1)
        if param.name == "weight":
            drawn /= 2 ** _halvings(op, block, graph, sizes)
            drawn = drawn.round(2) if style == "random" else drawn
        return drawn

    def weight(path: str, copy: int) -> Array:
        if (path, copy) not in made:
            made[path, copy] = fresh(path, copy)
        return made[path, copy]

    return weight


def _halvings(op: Op, block: Block, graph: Graph, sizes: Sizes) -> int:
    """How often the entries of a seeded weight are halved.

    A matrix of many rows: sums of as many of −1, 0 and 1 are √(2/3 of their number) in size. Queries whose scores are
    not divided by √E, as T5's initial weights are. A table whose rows are multiplied (√D), or that no norm follows.
    """

    def length(*dims: Dim) -> int:
        return math.prod(_whole(dims, sizes))

    if LOOKS_UP in rules(op).traits and op.path.endswith("embed.tokens"):
        factor = next((o.attrs["factor"] for o in block.ops if o.path == "embed.scale"), 1.0)
        layer = next((b for b in graph.blocks if b.repeat and b.stack == block.stack), block)
        bare = not any(NORMS in rules(o).traits for o in (layer.ops[0], *block.ops))
        halved = max(0, round(math.log2(factor))) if factor > 1 else 0
        return min(halved, 60) + (bare and any(WEIGHS in rules(o).traits for o in layer.ops))
    kernel = rules(op).kernel
    if kernel not in CONTRACTIONS or not op.params:
        return 0
    inner = length(*op.params[0].dims[1:]) if kernel == CONVOLUTION else length(op.inputs[0].dims[-1])
    times = max(0, round(math.log2(inner * 2 / 3) / 2)) if inner > WIDE else 0
    scores = next((o for o in block.ops if o.path == f"{op.scope}.scores" and not o.params), None)
    if scores and op.last in ("q", "q_up"):
        size = scores.attrs.get("scale", 1.0) * math.sqrt(length(scores.inputs[0].dims[-1]))
        times += min(max(0, round(math.log2(size))), 60) if size > 1 else 0
    return times
