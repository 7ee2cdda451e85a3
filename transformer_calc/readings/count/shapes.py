"""What goes into every operation and what comes out, in axis names, symbols and numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, overload

from transformer_calc.answer import OfModel
from transformer_calc.errors import InputError, did_you_mean, shown
from transformer_calc.graph.core import Block, Dims, Graph, Op, Sizes, join, product, shape
from transformer_calc.ops import rules
from transformer_calc.readings.count.algebra import block_lines
from transformer_calc.readings.count.legend import Symbol, legend, symbols_of
from transformer_calc.readings.count.params import params
from transformer_calc.tuples import NamedTuple

LONGEST = 1000  # layers that are written out one by one


class Value(NamedTuple):
    """A tensor: axes `["batch", "heads*d_head"]`, symbols `["B", "H·E"]`, shape `[5, 512]`; "1" is a size of 1."""

    name: str
    axes: list[str]
    symbols: list[str]
    shape: list[int]
    tied: str | None = None  # of a weight: the parameter that it is


class Shaped(NamedTuple):
    """One operation, as it stands `repeat` times in the model; params, flops and other_flops are of one of them.

    `note` is its line of algebra, in which X is what comes in; flops are those of matmuls
    and recurrences.
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
    flops: int
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
        count = block.times(sizes)
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


def of_layer(graph: Graph, number: int) -> list[Place]:
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
    """The operations of one block, with their paths in it."""
    lines = block_lines(graph, place.block)
    return [_shaped(op, place, graph, sizes, lines[op.path].short) for op in place.block.ops]


def _shaped(op: Op, place: Place, graph: Graph, sizes: Sizes, line: str) -> Shaped:
    kind = rules(op)
    work = kind.forward(op, sizes)
    counts = [product(param.dims, sizes) for param in op.params if param.counted]
    return Shaped(
        path=op.path,
        op=op.kind,
        what=kind.word,
        note=line,
        inputs=[_value(t.name, t.dims, graph, sizes) for t in op.inputs],
        weights=[
            _value(p.name, p.dims, graph, sizes)._replace(tied=p.tied.removeprefix("@") or None) for p in op.params
        ],
        output=_value(op.output.name, op.output.dims, graph, sizes),
        repeat=place.repeat,
        params=sum(counts),  # type: ignore[arg-type]
        flops=work.model,  # type: ignore[arg-type]
        other_flops=work.other,  # type: ignore[arg-type]
    )


def _value(name: str, dims: Dims, graph: Graph, sizes: Sizes) -> Value:
    axes = ["*".join(dim) or "1" for dim in dims]
    return Value(name, axes, symbols_of(dims, graph), list(shape(dims, sizes)))  # type: ignore[arg-type]


class Part(NamedTuple):
    """A block where it stands: its operations, with paths within it, and the parameters of one such block.

    whose: whether so many parameters stand in each of several blocks, or are shared by them
    """

    path: str
    title: str
    ops: tuple[Shaped, ...]
    params: int
    whose: str


class Shapes(OfModel, Sequence[Shaped]):
    """Every operation in order, with what goes in and comes out; the answer itself is the sequence of them.

    ops: all of them; symbols: the letters; params: entries of all parameters; parts: the blocks in which they stand
    """

    ops: tuple[Shaped, ...]
    symbols: tuple[Symbol, ...]
    params: int
    parts: tuple[Part, ...]

    FIRST: ClassVar[Mapping[str, str]] = {"title": "text", "ops": "count", "params": "count"}

    @overload
    def __getitem__(self, index: int) -> Shaped: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Shaped]: ...
    def __getitem__(self, index: int | slice) -> Shaped | Sequence[Shaped]:
        return self.ops[index]

    def __len__(self) -> int:
        return len(self.ops)


def shapes(
    graph: Graph, sizes: Sizes, of: Mapping[str, Any], *, expand: bool = False, layer: int | str | None = None
) -> Shapes:
    """Every operation, repeated layers once with their count or, with `expand`, each; `layer`: only that one.

    of: what an answer says of the model itself
    """
    parts, known = [], dict[tuple[str, str], tuple[Shaped, ...]]()  # expanded, a block stands at many places
    for place in _chosen(graph, sizes, expand=expand, layer=layer):
        key = place.block.path, place.block.title
        ops = known[key] = known.get(key) or tuple(shaped(place, graph, sizes))
        whose = ("of one" if place.block.copies else "shared by all") if place.repeat > 1 else ""
        parts.append(Part(place.path, place.title, ops, sum(op.params for op in ops), whose))
    return Shapes(
        **of,
        ops=tuple(op._replace(path=join(part.path, op.path)) for part in parts for op in part.ops),
        symbols=legend(graph, sizes),
        params=params(graph, sizes).total,
        parts=tuple(parts),
    )


def _chosen(graph: Graph, sizes: Sizes, *, expand: bool, layer: int | str | None) -> list[Place]:
    """The blocks to show."""
    last = n_layers(graph) - 1
    if layer is None:
        if expand and last >= LONGEST:
            message = f"`expand` would write out {last + 1:,} layers, expected at most {LONGEST:,}"
            raise InputError(message, hint="`layer=N` shows one")
        return list(expanded(graph)) if expand else places(graph, sizes)
    layer = str(layer)
    if layer.isascii() and layer.isdigit():
        found = of_layer(graph, int(layer)) if len(layer) < 19 else []
        if not found:
            raise InputError(f"`layer` is {shown(layer)}; this model's layers are 0 to {last:,}")
        return found
    repeated = [place for place in places(graph, sizes) if place.block.repeat]
    names = [{place.path, place.path.rpartition(".")[2], place.block.stack} - {""} for place in repeated]
    found = [place for place, known in zip(repeated, names, strict=True) if layer in known]
    if not found:
        kinds = [place.path for place in repeated]
        right = f"a number from 0 to {last:,}" + (f" or one of {', '.join(kinds)}" if kinds[1:] else "")
        raise InputError(f"`layer` is {shown(layer)}; it must be {right}", did_you_mean(layer, kinds))
    return found
