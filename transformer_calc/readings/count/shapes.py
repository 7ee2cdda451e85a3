"""What goes into every operation and what comes out, in axis names, symbols and numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from transformer_calc.graph.core import Block, Dims, Graph, Op, Sizes, product, shape
from transformer_calc.graph.ops import KINDS, flops
from transformer_calc.readings.count.algebra import block_lines


class Value(NamedTuple):
    """A tensor: axes `["batch", "heads*d_head"]`, symbols `["B", "H·E"]`, shape `[5, 512]`; "1" is a size of 1."""

    name: str
    axes: list[str]
    symbols: list[str]
    shape: list[int]
    tied: str | None = None  # of a weight: the parameter that it is


class Shaped(NamedTuple):
    """One operation, as it stands `repeat` times in the model; params, flops and other_flops are of one of them.

    `note` is its line of algebra, in which X is what comes in.
    """

    path: str
    op: str
    what: str
    note: str
    inputs: list[Value]
    weights: list[Value]
    output: Value
    repeat: int
    params: int
    flops: int  # of matmuls
    other_flops: int


class Place(NamedTuple):
    """Where a block stands: its path there, a title, and how often."""

    block: Block
    path: str
    title: str
    repeat: int


def places(graph: Graph, sizes: Sizes) -> list[Place]:
    """Every block once, with its count."""
    found = []
    for block in graph.blocks:
        count = sizes[block.repeat] if block.repeat else 1
        assert isinstance(count, int)
        found.append(Place(block, block.path, _title(block, count), count))
    return found


def _title(block: Block, count: int) -> str:
    if not block.repeat:
        return block.title
    return f"{block.title} ({f'layer {block.where}' if count == 1 else f'× {count:,}, layers {block.where}'})"


def expanded(graph: Graph) -> Iterator[Place]:
    """Every block as often as it stands there, in order: layer 0, layer 1 and so on."""
    by_path = {block.path: block for block in graph.blocks}
    runs_of = {by_path[runs[0][0][0]].stack: runs for runs in graph.orders.values()}
    for block in graph.blocks:
        if not block.repeat:
            yield Place(block, block.path, block.title, 1)
        elif block.stack in runs_of:  # the stack's first kind of layer: all of its layers follow
            number = 0
            for cycle, times in runs_of.pop(block.stack):
                for path in cycle * times:
                    yield _layer(by_path[path], number)
                    number += 1
        elif block.role == "mtp":
            pair = [block, next(b for b in graph.blocks if b.role == "head" and b.repeat == block.repeat)]
            for copy in range(graph.axes[block.repeat].size or 1):
                yield from (Place(of, f"{of.path}.{copy}", f"{of.title} {copy}", 1) for of in pair)


def layer(graph: Graph, number: int) -> list[Place]:
    """The layer with this number, in each stack that has one."""
    by_path = {block.path: block for block in graph.blocks}
    found = []
    for runs in graph.orders.values():
        start = 0
        for cycle, times in runs:
            if start <= number < start + len(cycle) * times:
                found.append(_layer(by_path[cycle[(number - start) % len(cycle)]], number))
            start += len(cycle) * times
    return found


def _layer(block: Block, number: int) -> Place:
    path = f"{block.stack}.layers.{number}" if block.stack else f"layers.{number}"
    return Place(block, path, f"{block.title} {number}", 1)


def n_layers(graph: Graph) -> int:
    """Layers of the deepest stack."""
    return max(sum(len(cycle) * times for cycle, times in runs) for runs in graph.orders.values())


def shaped(place: Place, graph: Graph, sizes: Sizes) -> list[Shaped]:
    """The operations of one block."""
    lines = block_lines(graph, place.block)
    return [_shaped(op, place, graph, sizes, lines[op.path].short) for op in place.block.ops]


def _shaped(op: Op, place: Place, graph: Graph, sizes: Sizes, line: str) -> Shaped:
    matmul, other = flops(op, sizes)
    counts = [product(param.dims, sizes) for param in op.params if param.counted]
    return Shaped(
        path=f"{place.path}.{op.path}" if place.path else op.path,
        op=op.kind,
        what=KINDS[op.kind].word,
        note=line,
        inputs=[_value(t.name, t.dims, graph, sizes) for t in op.inputs],
        weights=[
            _value(p.name, p.dims, graph, sizes)._replace(tied=p.tied.removeprefix("@") or None) for p in op.params
        ],
        output=_value(op.output.name, op.output.dims, graph, sizes),
        repeat=place.repeat,
        params=sum(counts),  # type: ignore[arg-type]
        flops=matmul,  # type: ignore[arg-type]
        other_flops=other,  # type: ignore[arg-type]
    )


def _value(name: str, dims: Dims, graph: Graph, sizes: Sizes) -> Value:
    axes = ["*".join(dim) or "1" for dim in dims]
    return Value(name, axes, symbols_of(dims, graph), list(shape(dims, sizes)))  # type: ignore[arg-type]


def symbols_of(dims: Dims, graph: Graph) -> list[str]:
    """A shape in symbols: `["B", "S", "H·E"]`; a dimension without axes is 1."""
    return ["·".join(graph.axes[axis].symbol for axis in dim) or "1" for dim in dims]


def shapes(graph: Graph, sizes: Sizes) -> list[Shaped]:
    """Every operation in order, repeated layers once with their count."""
    return [op for place in places(graph, sizes) for op in shaped(place, graph, sizes)]
