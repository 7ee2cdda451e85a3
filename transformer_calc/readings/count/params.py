"""How many parameters, and where: the graph's parameter tensors, counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from transformer_calc.graph.core import Block, Dims, Graph, Sizes, product, shape
from transformer_calc.tuples import NamedTuple

if TYPE_CHECKING:
    from transformer_calc.expr import Size


class Component(NamedTuple):
    """One parameter tensor of the graph, standing `repeat` times (an axis; empty: once)."""

    path: str
    block: Block
    dims: Dims
    repeat: str
    embedding: bool
    routed: str
    out: int
    buffer: bool = False
    head: bool = False  # the head multiplies with it too

    def entries(self, sizes: Sizes) -> Size:
        """Entries of one of them."""
        return product(self.dims, sizes)

    def total(self, sizes: Sizes) -> Size:
        """Entries of all of them."""
        return self.entries(sizes) * (sizes[self.repeat] if self.repeat else 1)

    def active(self, sizes: Sizes) -> Size:
        """Entries of all of them that one token passes through: of stacked experts, its own."""
        if not self.routed:
            return self.total(sizes)
        return product(((self.routed,), *self.dims[1:]), sizes) * (sizes[self.repeat] if self.repeat else 1)


class Tensor(NamedTuple):
    """A stored tensor: its name (layer numbers as *; # where it is one tensor per entry of its first axis).

    Fused parts follow each other along their outputs; with `by`, within each entry of that axis (`heads`: the
    first head's q, k and v, then the second's; a number: within each of so many equal parts).
    `flat`: its first two dimensions are stored as one (`flat` after the name).
    """

    name: str
    parts: tuple[Component, ...]
    by: str = ""
    flat: bool = False

    def shape(self, sizes: Sizes) -> tuple[Size, ...]:
        """Sizes of its dimensions; fused parts are joined along their outputs."""
        first = self.parts[0]
        joined = list(shape(first.dims, sizes))
        for part in self.parts[1:]:
            joined[first.out] = joined[first.out] + shape(part.dims, sizes)[part.out]
        if self.flat:
            joined[:2] = [joined[0] * joined[1]]
        return tuple(joined[1:] if "#" in self.name else joined)

    def repeat(self, sizes: Sizes) -> Size:
        """How many of them there are."""
        first = self.parts[0]
        count = sizes[first.repeat] if first.repeat else 1
        return count * shape(first.dims, sizes)[0] if "#" in self.name else count

    def total(self, sizes: Sizes) -> Size:
        """Entries of all of them."""
        total: Size = 0
        for part in self.parts:
            total = total + part.total(sizes)
        return total


class Counts(NamedTuple):
    """Parameter counts: of everything, of what one token passes through, of embedding tables and of the rest."""

    total: int
    active: int
    embedding: int
    non_embedding: int


def components(graph: Graph, *, buffers: bool = False) -> list[Component]:
    """Every parameter tensor of the graph, a tied one once, in the order of the operations; `buffers`: those too."""
    tied = {p.tied for block in graph.blocks if block.role == "head" for op in block.ops for p in op.params}
    every = (part for block in graph.blocks for part in of_block(block, buffers=buffers))
    return [part._replace(head=True) if part.path in tied else part for part in every]


def of_block(block: Block, *, buffers: bool = False) -> Iterator[Component]:
    """The parameter tensors of one block."""
    for op in block.ops:
        embedding = bool(op.attrs.get("embedding"))
        for param in op.params:
            if param.counted or (buffers and param.buffer):
                path = block.full(f"{op.path}.{param.name}")
                yield Component(path, block, param.dims, block.copies, embedding, param.routed, param.out, param.buffer)


def params(graph: Graph, sizes: Sizes) -> Counts:
    """The four headline counts; exact ints where `sizes` are ints, expressions where they are."""
    total: Size = 0
    active: Size = 0
    embedding: Size = 0
    for part in components(graph):
        count = part.total(sizes)
        total = total + count
        active = active + part.active(sizes)
        embedding = embedding + (count if part.embedding else 0)
    return Counts(total, active, embedding, total - embedding)  # type: ignore[arg-type]


def tensors(graph: Graph, *, buffers: bool = False) -> list[Tensor]:
    """The tensors as they are stored: named as in Hugging Face where the model says so, fused ones as one."""
    names = dict(graph.tensor_names)
    fused = {key: name for key, name in names.items() if "+" in key}
    parts = components(graph, buffers=buffers)
    by_path = {part.path: part for part in parts}
    taken: set[str] = set()
    found = []
    for part in parts:
        if part.path in taken:
            continue
        for key, name in fused.items():
            joined, _, by = key.partition(" by ")
            group = [_sibling(part, member.strip()) for member in joined.split("+")]
            members = [by_path[p] for p in group if p in by_path]
            if members and part in members and len(members) == len(group):
                taken.update(group)
                found.append(Tensor(_in_layers(names, part, name + _suffix(joined, part)), tuple(members), by))
                break
        else:
            name, _, how = _name(names, part).partition(" ")
            found.append(Tensor(name, (part,), flat=how == "flat"))
    return found


def _local(part: Component) -> str:
    """A component's path within its block, with the parameter's name."""
    return part.path.removeprefix(f"{part.block.path}.") if part.block.path else part.path


def _sibling(part: Component, member: str) -> str:
    """The full path of a member of a fused group, seen from one of its parts."""
    name = "" if member.endswith((".weight", ".bias")) else part.path.rpartition(".")[2]
    return ".".join(word for word in (part.block.path, member, name) if word)


def _suffix(key: str, part: Component) -> str:
    return "" if key.endswith((".weight", ".bias")) else f".{part.path.rpartition('.')[2]}"


def _name(names: dict[str, str], part: Component) -> str:
    local = _local(part)
    op, _, param = local.rpartition(".")
    for prefix in _prefixes(part.block):
        if f"{prefix}{local}" in names:
            return _in_layers(names, part, names[f"{prefix}{local}"])
        if f"{prefix}{op}" in names:
            return _in_layers(names, part, f"{names[f'{prefix}{op}']}.{param}")
    return part.path if not part.repeat else part.path.replace("layers", "layers.*", 1)


def _prefixes(block: Block) -> Iterator[str]:
    """From the most particular to none: `decoder.layers.moe.`, `decoder.layers.`, `decoder.`, ``."""
    words = block.path.split(".") if block.path else []
    for n in range(len(words), -1, -1):
        yield "".join(f"{word}." for word in words[:n])


def _in_layers(names: dict[str, str], part: Component, name: str) -> str:
    if not part.repeat or name.startswith("/"):  # a layer's tensor that is stored outside of the layers
        return name.removeprefix("/")
    for prefix in _prefixes(part.block):
        if prefix and prefix[:-1] in names:
            return f"{names[prefix[:-1]]}.{name}"
    return f"{part.block.path}.*.{name}"
