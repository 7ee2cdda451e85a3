"""Many devices: which axis is split over which dimension of the mesh, and what one device then holds.

Tensor parallelism splits heads, feed-forward widths and the vocabulary (Megatron-LM, arXiv 1909.08053, §3); expert
parallelism the experts (GShard, arXiv 2006.16668); pipeline parallelism the layers; data and context parallelism the
batch and the sequence. A device's share is division by the rule; where that leaves a rest, by which shares differ, what
counts is the largest one, in entries, whatever they are stored in.

Experts alone are divided by expert parallelism. Each rank routes its own tokens, to all experts: the router, its bias
and the correction of its scores are whole on each, as are shared experts, which tensor parallelism splits, and their
gate (Megatron-LM, megatron/core/transformer/moe/router.py and shared_experts.py; theoretical_memory_usage.py counts
them so).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate, chain, islice
from typing import TYPE_CHECKING, Any

from transformer_calc.errors import InputError
from transformer_calc.expr import number_of
from transformer_calc.graph.core import Block, Dims, Graph, Sizes, plain, product
from transformer_calc.plan import Mesh
from transformer_calc.readings.count.params import Component, components
from transformer_calc.tuples import NamedTuple

if TYPE_CHECKING:
    from transformer_calc.expr import Size

# axis -> the mesh dimension that splits it
RULES = {
    "heads": "tp",
    "kv_heads": "tp",
    "index_heads": "tp",
    "d_ff": "tp",
    "d_shared": "tp",
    "d_expert": "tp",
    "vocab": "tp",
    "padded_vocab": "tp",
    "experts": "ep",
    "batch": "dp",
    "batch_images": "dp",
}
PADDED = ("vocab", "padded_vocab")  # rounded up to a multiple of the ranks, as Megatron-LM pads the vocabulary
REPLICATED = ("kv_heads",)  # kept whole where there are fewer than ranks
WHOLE = ("", 1)  # split by no dimension
ROUTED = ("experts",)  # split where they are matrices that a token is sent to, not numbers of a router


class Stage(NamedTuple):
    """A pipeline stage: how often each block of the graph stands on it."""

    number: int
    blocks: tuple[tuple[Block, int], ...]
    first: bool
    last: bool
    chunks: tuple[Stage, ...] = ()  # if interleaved: its groups of layers, which follow other stages' groups

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        """How often each block stands here, by what `key` makes of it."""
        return {(block.path, block.title): count for block, count in self.blocks}


def key(block: Block) -> tuple[str, str]:
    """What tells a graph's blocks apart."""
    return block.path, block.title


class Local:
    """One pass on one device: its sizes, and the mesh dimensions that split tensors further."""

    def __init__(self, sizes: Sizes, mesh: Mesh, between: tuple[str, ...] = ()) -> None:
        """between: axes that tp splits in tensors where it splits no other (sequence parallelism)."""
        self.sizes, self.mesh, self.between = sizes, mesh, between
        self._entries: dict[Dims, Any] = {}

    def entries(self, dims: Dims) -> Any:
        """Entries of one device's share of a tensor, the largest one."""
        if dims not in self._entries:
            self._entries[dims] = self._counted(dims)
        return self._entries[dims]

    def _counted(self, dims: Dims) -> Any:
        if self.mesh.tp == 1:
            return product(dims, self.sizes)
        split = splits(dims, self.mesh, self.sizes, local=True)
        if self.between and not any(dimension for dimension, _ in split):
            split = tuple(("tp", self.mesh.tp) if axis in self.between else WHOLE for dim in dims for axis in dim)
        return _entries(dims, self.sizes, split)

    def bytes(self, dims: Dims, each: int) -> Any:
        """Bytes of them, so many an entry."""
        return each * self.entries(dims)

    def divides(self, dims: Dims) -> bool:
        """Whether tensor parallelism gives ranks heads or columns of a tensor, not a part of the sequence."""
        return any(dimension for dimension, _ in splits(dims, self.mesh, self.sizes, local=True))


def content(stage: Stage) -> tuple[tuple[str, str, int], ...]:
    """What is alike in stages that hold the same: of a long pipeline nearly all of them do."""
    return tuple([(block.path, block.title, count) for block, count in stage.blocks])


def layers_of(stage: Stage) -> int:
    """How many layers stand on a stage."""
    return sum(count for block, count in stage.blocks if block.role == "layer")


def check(mesh: Mesh, graph: Graph, sizes: Sizes) -> None:
    """Refuse a mesh that does not divide the model."""
    if mesh.sp and mesh.tp == 1:
        raise InputError("`sp` splits the sequence over the tensor-parallel ranks, but `tp` is 1")
    if mesh.dp * mesh.cp % mesh.ep:
        raise InputError(f"`ep` is {mesh.ep}; it must divide `dp` times `cp` ({mesh.dp * mesh.cp})")
    if mesh.ep > 1 and "experts" not in graph.axes:
        raise InputError(f"`ep` is {mesh.ep}, but the model has no experts")
    for axis, dimension in RULES.items():
        ways = getattr(mesh, dimension)
        if ways == 1 or dimension == "dp" or axis in PADDED:
            continue
        for name in [name for name in graph.axes if plain(name) == axis]:
            size = sizes[name]
            if axis in REPLICATED and isinstance(size, int) and size < ways and ways % size == 0:
                continue
            if size % ways:
                what = graph.axes[name].meaning
                raise InputError(f"`{dimension}` is {ways}; it must divide the {size:,} {what}")


def divisor(axis: str, mesh: Mesh, sizes: Sizes, *, routed: bool = False) -> tuple[str, int]:
    """(mesh dimension, ways) that split an axis; ways is 1 where it is kept whole.

    routed:  it is an axis of the experts' own weights
    """
    base = plain(axis)
    if base not in RULES or (base in ROUTED and not routed):
        return WHOLE
    ways = getattr(mesh, RULES[base])
    return RULES[base], min(number_of(sizes[axis]), ways) if base in REPLICATED else ways


def splits(
    dims: Dims, mesh: Mesh, sizes: Sizes, *, routed: bool = False, local: bool = False
) -> tuple[tuple[str, int], ...]:
    """(mesh dimension, ways) of each axis of a tensor, as `divisor`: a mesh dimension splits a tensor once.

    routed:  it is of the experts' own weights; local:  sizes are those of one copy of the model, its batch one's part
    """
    found, used = list[tuple[str, int]](), {"dp"} if local else set[str]()
    for dim in dims:
        for axis in dim:
            split = divisor(axis, mesh, sizes, routed=routed)
            if split[0]:
                split = WHOLE if split[0] in used else split
                used.add(split[0])
            found.append(split)
    return tuple(found)


def copies(dims: Dims, mesh: Mesh, sizes: Sizes) -> int:
    """Tensor-parallel ranks that hold the same share of a tensor: fewer heads than ranks, or none, leave some over."""
    return mesh.tp // math.prod(ways for _, ways in splits(dims, mesh, sizes, local=True))


def _entries(dims: Dims, sizes: Sizes, split: Iterable[tuple[str, int]]) -> Any:
    """Entries of the largest share, each axis being split so."""
    from transformer_calc.expr import ceil_div

    entries: Size = 1
    for axis, (_, ways) in zip(chain.from_iterable(dims), split, strict=True):
        entries = entries * (sizes[axis] if ways == 1 else ceil_div(sizes[axis], ways))
    return entries


class Share(NamedTuple):
    """What one device holds of a parameter tensor, and over how many devices the tensor is spread."""

    shape: tuple[Any, ...]  # sizes
    ways: int

    @property
    def entries(self) -> Any:
        """How many it holds."""
        return math.prod(self.shape)


def share(part: Component, mesh: Mesh, sizes: Sizes) -> Share:
    """One device's share of a parameter tensor."""
    split = splits(part.dims, mesh, sizes, routed=bool(part.routed))
    axes = iter(split)
    shape = [_entries((dim,), sizes, islice(axes, len(dim))) for dim in part.dims]
    return Share(tuple(shape), math.prod([ways for _, ways in split]))


def stages(graph: Graph, mesh: Mesh, virtual: int = 1) -> Iterator[Stage]:
    """The layers of each pipeline stage; a stack's first has its embedding, the last of all the head.

    They are equally many, or as `_bounds` has them where they do not divide.

    virtual:  groups of layers of a stage, in an interleaved pipeline: stage 0 has the groups 0, p, 2·p …
    """
    groups = list(_groups(graph, mesh.pp, virtual))
    for number in range(mesh.pp):
        chunks = tuple(groups[number :: mesh.pp])
        if virtual == 1:
            yield chunks[0]
            continue
        held: dict[tuple[str, str], tuple[Block, int]] = {}
        for block, count in chain.from_iterable([chunk.blocks for chunk in chunks]):
            one = block.path, block.title
            held[one] = block, held[one][1] + count if one in held else count
        first, last = chunks[0].first, chunks[-1].last
        yield Stage(number, tuple(held.values()), first, last, chunks)


def _bounds(layers: int, wanted: int) -> list[int]:
    """Where groups of layers begin and end. Embedding and head stand for a layer each (arXiv 2407.21783, §3.3.2).

    What then does not divide goes to groups in the middle, one layer each. Where there are two groups more than layers,
    embedding and head are groups by themselves (the same section: 126 layers in 16 stages of 8 groups each).
    """
    if wanted == layers + 2:
        return [0, *range(layers + 1), layers]
    short = 1 if wanted > 2 and layers % wanted and layers + 2 >= 2 * wanted else 0  # never none
    each, more = divmod(layers + 2 * short, wanted)
    sizes = [each - short, *([each] * (wanted - 2)), each - short] if wanted > 1 else [each]
    middle = wanted // 2 - more // 2
    for number in range(middle, middle + more):
        sizes[number] += 1
    return [0, *accumulate(sizes)]


def _groups(graph: Graph, pp: int, virtual: int) -> Iterator[Stage]:
    """The layers in groups, one after the other; of several stacks, each group is of one (as in Megatron-LM)."""
    wanted = pp * virtual
    repeated = {block.path: block for block in graph.blocks if block.role == "layer"}
    runs = [run for runs in graph.orders.values() for run in runs]
    layers = sum(len(cycle) * times for cycle, times in runs)
    stacks = {name: sum(len(cycle) * times for cycle, times in of) for name, of in graph.orders.items()}
    what = f"`pp` is {pp}" if virtual == 1 else f"`pp` times `virtual` is {wanted}"
    several = len(stacks) > 1 and wanted > 1
    if several and layers % wanted:
        raise InputError(f"{what}; it must divide the {layers:,} layers", _dividing(stacks))
    apart = virtual > 1 and wanted == layers + 2 and len(stacks) == 1  # embedding and head
    if wanted > layers and not apart:
        most = f", or {layers + 2:,}, with embedding and head apart" if virtual > 1 else ""
        raise InputError(f"{what}, but there are {layers:,} layers; it must be at most that{most}")
    each = layers // wanted or 1
    if several and any(count % each for count in stacks.values()):
        those = " and ".join(f"{count:,} of the {name}" for name, count in stacks.items())
        raise InputError(f"{what}; {each:,} layers a stage do not divide the {those}", _dividing(stacks))
    bounds = _bounds(layers, wanted)
    before_all = {name: _in_roles(graph, ("", name), "embed") for name in stacks}
    after_all = {name: _in_roles(graph, ("", name), "final") for name in stacks}
    ends = _in_roles(graph, ("", *stacks), "mtp", "head")  # with what predicts further tokens, as Megatron-LM has it
    for number in range(wanted):
        low, high, start = bounds[number], bounds[number + 1], 0
        held: dict[str, int] = {}
        for cycle, times in runs:
            for place, path in enumerate(cycle):
                # layers start + place + i · len(cycle), i < times, that are in [low, high)
                before = min(max(-(-(low - start - place) // len(cycle)), 0), times)
                here = min(max(-(-(high - start - place) // len(cycle)), 0), times) - before
                held[path] = held.get(path, 0) + here
            start += len(cycle) * times
        first, last = number == 0, number == wanted - 1
        blocks = [(repeated[path], count) for path, count in held.items() if count]
        start = 0
        for name, count in stacks.items():
            end = start + count
            if first if not start else low <= start < high:
                blocks += before_all[name]
            if last if end == layers else low < end <= high:
                blocks += after_all[name]
            start += count
        blocks += ends if last else []
        yield Stage(number, tuple(blocks), first, last)


def _in_roles(graph: Graph, stacks: tuple[str, ...], *roles: str) -> list[tuple[Block, int]]:
    """The blocks of some stacks in these roles, and how often each stands there."""
    found = [block for block in graph.blocks if block.role in roles and block.stack in stacks]
    return [(block, graph.axes[block.repeat].size or 1 if block.repeat else 1) for block in found]


def _dividing(stacks: Mapping[str, int]) -> str:
    """Which `pp` divides the layers of each stack, for a hint."""
    layers, common = sum(stacks.values()), math.gcd(*stacks.values())
    ways = [layers // each for each in range(common, 0, -1) if common % each == 0]
    return f"`pp={', '.join(map(str, ways))}`"


def parts_of(
    stage: Stage, graph: Graph, sizes: Sizes, every: list[Component] | None = None
) -> Iterator[tuple[Component, int]]:
    """(parameter tensor, how many of it) on a stage; every: the graph's, where they have been found.

    A tied table that stands on another stage stands here once more: the head's, the decoder's.
    """
    every, counts = every or components(graph), stage.counts
    for part in every:
        count: Any = counts.get((part.block.path, part.block.title), 0)
        if part.block.copies != part.block.repeat:  # layers that share their parameters
            count = min(sizes[part.block.copies], count)
        if count:
            yield part, count
    shared = tied(stage)
    yield from [(part, 1) for part in every if part.path in shared and key(part.block) not in counts]


def tied(stage: Stage, *roles: str) -> frozenset[str]:
    """Paths of parameters that the stage's operations, or those of blocks in these roles, share with others."""
    blocks = [block for block, _ in stage.blocks if not roles or block.role in roles]
    return frozenset([param.tied for block in blocks for op in block.ops for param in op.params])


def params_of(stage: Stage, graph: Graph, mesh: Mesh, sizes: Sizes) -> tuple[int, int]:
    """(parameters, those of them that are experts) on one device of a stage."""
    total = experts = 0
    for part, count in parts_of(stage, graph, sizes):
        held = count * share(part, mesh, sizes).entries
        total, experts = total + held, experts + (held if part.routed else 0)
    return total, experts
