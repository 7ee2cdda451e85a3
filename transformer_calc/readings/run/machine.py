"""Runs a graph in NumPy, on real arrays, and observes what happens.

It predicts nothing: shapes, sizes and bytes are read off the arrays, multiply-adds are counted by the contraction that
does them, and the load of each expert by the router. `verify` holds them against the other readings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from transformer_calc.graph.core import Block, Dim, Graph, Op, Param, Sizes, Tensor, product, shape
from transformer_calc.ops import rules
from transformer_calc.tuples import NamedTuple

Array = np.ndarray[Any, np.dtype[Any]]
Weights = Callable[[str, int], Array]  # (path of a parameter, which of its copies) -> the array


class Observed(NamedTuple):
    """What one operation did, once."""

    block: str
    layer: int | None
    op: Op
    inputs: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]
    params: dict[str, tuple[int, ...]]
    multiply_adds: int
    nbytes: int  # of the output
    itemsize: int


class Outcome(NamedTuple):
    """A run's outputs: each stack's hidden states, each head's output, and what every operation did."""

    hidden: dict[str, list[Array]]
    outputs: dict[str, Array]
    observed: list[Observed]
    loads: dict[str, Array]  # path of a router -> tokens that went to each expert


class Machine:
    """Runs one graph on one set of weights and inputs.

    inputs: token_ids of each stack ("encoder.token_ids" where there are several), attention_mask, segment_ids, pixels,
    mel_spectrogram; what is missing and has a usual value (mask, segments) is filled in.
    """

    def __init__(
        self,
        graph: Graph,
        sizes: Sizes,
        weights: Weights,
        inputs: Mapping[str, Array],
        dtype: Any = np.float64,
        progress: Callable[[float], None] | None = None,
        untied: Mapping[str, Array] | None = None,
    ) -> None:
        self.graph, self.sizes, self.weights, self.dtype = graph, sizes, weights, dtype
        self.inputs = dict(inputs)
        self.untied = dict(untied or {})  # weights that are not the ones to which the graph ties them, by path
        self.known: dict[str, Array] = {}  # tensors that other blocks made, by full name
        self.hidden: dict[str, list[Array]] = {}  # of each stack: before each layer, and after the last
        self.stack = ""  # whose layers ran last
        self.multiply_adds = 0
        self.observed: list[Observed] = []
        self.loads: dict[str, Array] = {}
        self.block, self.copy = graph.blocks[0], 0
        self.layer: int | None = None
        self.running = ""  # the operation, for whoever has to say where a run broke off
        self.overflowed = ""  # the first operation whose output is not all finite numbers
        self.random = np.random.default_rng(0)  # for what is in a cache before the run
        self.entries: dict[tuple[str, int], int] = {}  # of every parameter tensor that was used
        self.progress = progress
        repeats = (int(b.times(sizes)) for b in graph.blocks)
        self.blocks_left = self.blocks_in_all = sum(repeats)

    # --- what kernels ask for ---------------------------------------------------------------------------

    def length_of(self, dim: Dim) -> int:
        """The size of a dimension."""
        sizes = self.sizes
        if self.block.stack == "vision" and "batch_images" in sizes:  # beside texts, there may be more or fewer images
            sizes = {**sizes, "batch": sizes["batch_images"]}
        return int(product((dim,), sizes))  # type: ignore[arg-type]

    def positions(self, tokens: int) -> Array:
        """The position of each token of the running stack: after those that are in its cache."""
        before = int(self.sizes.get("cached", 0)) if self.block.stack != "encoder" else 0  # type: ignore[arg-type]
        return np.arange(tokens) + before

    def key_positions(self, op: Op, queries: int, keys: int) -> Array:
        """The position of each key: the last is the last query's, but where a decoder looks at the source."""
        source = any(("source",) in t.dims for t in (*op.inputs, op.output))
        return np.arange(keys) + (0 if source else int(self.positions(queries)[-1]) + 1 - keys)

    def remembered(self, x: Array, tokens: int) -> Array:
        """What a cache of so many tokens holds, of which x, [..., tokens, width], is the end: before it random ones."""
        missing = tokens - x.shape[-2]
        if not missing:
            return x
        before = self.random.normal(size=(*x.shape[:-2], missing, x.shape[-1])).astype(x.dtype)
        return np.concatenate([before, x], axis=-2)

    def counted(self, op: Op, positions: Array) -> Array:
        """The positions, but -1 for padding and the others counted without it, where the operation asks for that.

        What is padding says the attention mask, or the tokens' ids.
        """
        kept = None
        if op.attrs.get("counted") == "kept":
            kept = self._own("attention_mask")
        elif op.attrs.get("counted") == "ids":
            ids = self._own("token_ids")
            kept = None if ids is None else np.asarray(ids) != op.attrs["pad"]
        if kept is None or np.all(kept):
            return positions
        kept = np.asarray(kept).astype(int)
        return np.cumsum(kept, -1) * kept - 1

    def visible(self, op: Op, queries: int, keys: int) -> Array:
        """Which key each query may look at: true or false, as [1 or B, 1, queries, keys]."""
        row, column = self.positions(queries)[:, None], self.key_positions(op, queries, keys)
        seen = np.ones((1, 1, queries, keys), bool)
        attrs = op.attrs
        source = ("source",) in op.inputs[0].dims
        mask = self.inputs.get("encoder.attention_mask") if source else self._own("attention_mask")
        kept = None if mask is None else np.asarray(mask) > 0
        if attrs["causal"]:
            seen &= column <= row
        if attrs["window"]:
            reach = attrs["window"] if attrs["causal"] else attrs["window"] // 2 + 1
            seen &= np.abs(row - column) < reach
        if attrs["chunk"]:
            # chunks are counted from each sequence's first token
            start = np.zeros((1, 1, 1, 1), int) if kept is None else kept.argmax(-1)[:, None, None, None]
            seen = seen & ((row - start) // attrs["chunk"] == (column - start) // attrs["chunk"])
        if kept is None:
            return seen
        both = seen & kept[:, None, None, :]
        return both & kept[:, None, :, None] if attrs["rows"] else both

    def routed(self, op: Op, chosen: Array) -> Array:
        """Note the load of each expert."""
        experts = self.length_of(op.inputs[0].dims[-1])
        path = self.block.full(op.path)
        self.loads[path] = self.loads.get(path, 0) + np.bincount(chosen.ravel(), minlength=experts)
        return chosen

    def look(self, op: Op, inputs: Sequence[Array], params: Sequence[Array], y: Array) -> None:
        """Called after each operation, for whoever wants to see its arrays."""

    # --- running ----------------------------------------------------------------------------------------

    def _own(self, name: str) -> Array | None:
        """An input of the running stack."""
        return self.inputs.get(self.block.in_stack(name))

    def _input(self, tensor: Tensor, local: Mapping[str, Array]) -> Array:
        """The array that an operation reads under a tensor's name."""
        name = tensor.name
        for found in (local.get(name), self.known.get(name), self._own(name), self.inputs.get(name)):
            if found is not None:
                return found
        if name == "position_ids":
            return self.positions(self.length_of(tensor.dims[-1]))
        if name == "segment_ids":
            return np.zeros([self.length_of(dim) for dim in tensor.dims], int)
        if name == "kept":
            mask = self._own("attention_mask")
            return np.ones([self.length_of(dim) for dim in tensor.dims]) if mask is None else np.asarray(mask)
        if name == "hidden_states":
            return np.stack(self.hidden[self.stack], axis=2)
        if name in ("mask", "padding_mask"):
            return np.empty(0)  # `visible` has it
        raise KeyError(f"the run has no {name}")

    def _param(self, op: Op, param: Param) -> Array:
        own = self.block.full(f"{op.path}.{param.name}")
        if own in self.untied:
            return self.untied[own]
        if param.tied.startswith("@"):  # in this block
            path = self.block.full(param.tied[1:])
        elif param.tied:
            path = param.tied
        else:
            path = own
        copy = 0 if param.tied and not param.tied.startswith("@") else self.copy
        array = self.weights(path, copy)
        if not param.buffer:
            self.entries[path, copy] = array.size
        return array

    def _run(self, block: Block, x: Array | None, *, copy: int = 0, layer: int | None = None) -> Array:
        """One block from x to its output."""
        self.block, self.copy, self.layer = block, copy, layer
        local: dict[str, Array] = {} if x is None else {"x": x}
        for op in block.ops:
            self.running = block.full(op.path)
            inputs = [self._input(t, local) for t in op.inputs]
            params = [self._param(op, p) for p in op.params]
            before = self.multiply_adds
            y = rules(op).run(op, inputs, params, self)
            if op.extra:
                y, *others = y
                for tensor, value in zip(op.extra, others, strict=True):
                    local[tensor.name] = value
            local[op.path] = y
            self.observed.append(
                Observed(
                    block.path,
                    layer,
                    op,
                    tuple(v.shape for v in inputs),
                    y.shape,
                    {p.name: v.shape for p, v in zip(op.params, params, strict=True)},
                    self.multiply_adds - before,
                    y.nbytes,
                    y.itemsize,
                )
            )
            if not self.overflowed and not np.isfinite(y).all():
                self.overflowed = self.running
            self.look(op, inputs, params, y)
        if not block.repeat:
            for name, value in local.items():
                self.known[block.in_stack(name)] = value
        self.blocks_left -= 1
        if self.progress:
            self.progress(1 - self.blocks_left / self.blocks_in_all)
        return local[block.output]

    def run(self) -> Outcome:
        """Every block in order, each layer in its turn; what overflows is for whoever looks at the outcome to say."""
        with np.errstate(all="ignore"):
            return self._every_block()

    def _every_block(self) -> Outcome:
        hidden = self.hidden
        outputs: dict[str, Array] = {}
        runs_of = {runs[0][0][0]: (stack, runs) for stack, runs in self.graph.orders.items()}
        by_path = {block.path: block for block in self.graph.blocks if block.repeat}
        x: Array | None = None
        stack = ""
        for block in self.graph.blocks:
            if block.repeat and block.path in runs_of:
                stack, runs = runs_of[block.path]
                self.stack = stack
                x, states = self._layers(by_path, runs, x)
                hidden[stack] = states
            elif not block.repeat and block.role == "head":
                start = self.known.get(block.in_stack("output"), x) if block.stack else x
                outputs[block.title] = self._run(block, start)
            elif block.role == "mtp":
                self._further(block, x)
            elif block.role == "embed":
                x = self._run(block, None)
                stack = ""
            elif block.role == "final":
                x = self._run(block, x)
                hidden[stack][-1] = x
            if stack and x is not None:
                self.known[f"{stack}.output"] = x
        return Outcome(hidden, outputs, self.observed, self.loads)

    def _further(self, block: Block, x: Array | None) -> None:
        """What predicts further tokens: each reads what the one before it made."""
        head = next(b for b in self.graph.blocks if b.role == "head" and b.repeat == block.repeat)
        for copy in range(int(self.sizes[block.repeat])):  # type: ignore[arg-type]
            x = self._run(block, x, copy=copy)
            self._run(head, x, copy=copy)

    def _layers(
        self, by_path: Mapping[str, Block], runs: Sequence[tuple[tuple[str, ...], int]], x: Array | None
    ) -> tuple[Array | None, list[Array]]:
        number, copies = 0, dict[str, int]()
        states = [] if x is None else [x]
        for cycle, times in runs:
            for path in cycle * times:
                block = by_path[path]
                copy = copies[path] = copies.get(path, -1) + 1
                x = self._run(block, x, copy=block.parameters_of(copy, self.sizes), layer=number)
                states.append(x)
                number += 1
        return x, states


def random_weights(graph: Graph, sizes: Sizes, seed: int, dtype: Any = np.float64) -> Weights:
    """Seeded random weights for every parameter of the graph, made when asked for."""
    dims = {}
    for block in graph.blocks:
        for op in block.ops:
            for param in op.params:
                if not param.tied:
                    dims[block.full(f"{op.path}.{param.name}")] = param.dims
    made: dict[tuple[str, int], Array] = {}

    def weight(path: str, copy: int) -> Array:
        if (path, copy) not in made:
            rng = np.random.default_rng([seed, copy, *path.encode()])
            wanted = shape(dims[path], sizes)
            made[path, copy] = rng.normal(0.0, 0.3, wanted).astype(dtype, copy=False)  # type: ignore[arg-type]
        return made[path, copy]

    return weight
