"""The graph of named-axis operations, and the builder that writes it down.

Sizes come in last: `Graph.sizes` binds every axis, to ints or to symbols. What readings ask of an axis or a tensor, it
says itself (`plain`, `Tensor.scores`, `Tensor.given`): other names are for people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import chain, count
from typing import TYPE_CHECKING, Any

from transformer_calc.ops.core import DATA as DATA
from transformer_calc.ops.core import IDS as IDS
from transformer_calc.ops.core import KEPT as KEPT
from transformer_calc.ops.core import MASK as MASK
from transformer_calc.ops.core import POSITIONS as POSITIONS
from transformer_calc.ops.core import SEGMENTS as SEGMENTS
from transformer_calc.ops.core import Dim as Dim
from transformer_calc.ops.core import Dims as Dims
from transformer_calc.ops.core import Op as Op
from transformer_calc.ops.core import Param as Param
from transformer_calc.ops.core import Sizes as Sizes
from transformer_calc.ops.core import Tensor as Tensor
from transformer_calc.ops.core import axes_of as axes_of
from transformer_calc.ops.core import product as product
from transformer_calc.ops.core import shape as shape
from transformer_calc.spec import WRITTEN_OUT, Execution
from transformer_calc.tuples import NamedTuple

if TYPE_CHECKING:
    from transformer_calc.expr import Size
    from transformer_calc.spec import Norm, Workload

Rule = Callable[[Sizes], "Size"]

# axis -> (symbol, meaning); a second axis of the same name and another size is told apart by a suffix
AXES = {
    "batch": ("B", "batch: sequences"),
    "batch_images": ("B", "batch: images"),
    "seq": ("S", "sequence: tokens that are computed"),
    "cached": ("C_0", "tokens already in the cache"),
    "context": ("C", "context: keys that attention looks at"),
    "target": ("T", "target length: the decoder's tokens"),
    "source": ("S", "source tokens as keys"),
    "keys": ("S", "keys: the same tokens"),
    "layers": ("L", "layers"),
    "mtp": ("L_m", "layers that predict further tokens"),
    "d_pair": ("D_2", "width of two vectors, one behind the other"),
    "states": ("L_h", "hidden states: before each layer and after the last"),
    "d_model": ("D", "model width"),
    "d_out": ("D", "model width, as an output"),
    "d_embed": ("D_e", "embedding width"),
    "d_projection": ("D_p", "projection width"),
    "d_pooled": ("D_c", "width of a pooled vector"),
    "d_transform": ("D_t", "inner width of the head"),
    "heads": ("H", "query heads"),
    "kv_heads": ("K", "key/value heads"),
    "d_head": ("E", "width of a head"),
    "d_value": ("E_v", "width of a value head"),
    "d_nope": ("E_n", "width of a head's part without position"),
    "d_rope": ("E_r", "width of a head's rotary part"),
    "q_rank": ("R_q", "rank of the query latent"),
    "kv_rank": ("R_kv", "rank of the key/value latent"),
    "d_ff": ("F", "feed-forward width"),
    "d_expert": ("F_e", "width of an expert"),
    "d_shared": ("F_s", "width of the shared experts together"),
    "index_heads": ("H_i", "heads of the indexer"),
    "d_index": ("E_i", "width of an indexer's head"),
    "experts": ("X", "experts"),
    "top_k": ("k", "experts per token"),
    "vocab": ("V", "vocabulary"),
    "padded_vocab": ("V_p", "vocabulary, padded"),
    "positions": ("P", "positions"),
    "table_rows": ("P_t", "rows of the position table"),
    "segments": ("G", "segment kinds"),
    "buckets": ("R", "relative-position buckets"),
    "channels": ("N_c", "image channels"),
    "patch_height": ("p_h", "patch height"),
    "patch_width": ("p_w", "patch width"),
    "grid_height": ("n_h", "patches down"),
    "grid_width": ("n_w", "patches across"),
    "height": ("I_h", "image height"),
    "width": ("I_w", "image width"),
    "extra": ("A", "added tokens"),
    "pixels": ("p_o", "pixels across what a patch becomes"),
    "mels": ("M", "mel bins"),
    "frames": ("N_f", "audio frames"),
    "kernel": ("u", "kernel width"),
    "labels": ("Y", "labels"),
    "window": ("W", "attention window"),
    "d_group": ("D_g", "width of a group of the convolution"),
}


KEYS = ("context", "keys", "source")  # axes of what queries look at


@cache
def plain(axis: str) -> str:
    """An axis's name in AXES, without the suffix that `Builder.axis` tells it apart by from others of that name."""
    return max((name for name in AXES if axis == name or axis.startswith(f"{name}_")), key=len, default=axis)


class Axis(NamedTuple):
    """An axis: its symbol, and its size: given, derived from other axes by `rule`, or of the workload (neither)."""

    name: str
    symbol: str
    meaning: str
    size: int | None = None
    rule: Rule | None = None


class Block(NamedTuple):
    """A sequence of operations that stands `repeat` times in the model, with `copies` sets of parameters.

    `path` prefixes the paths of its operations; `stack` is its stack's name where there are several. `role` is embed,
    layer, final (what follows the layers) or head; `output` names the tensor that it hands on; `masks`: each
    attention's, by its scope.
    """

    path: str
    stack: str
    title: str
    role: str
    ops: tuple[Op, ...]
    output: str
    repeat: str = ""  # the axis that counts it; empty: once
    copies: str = ""  # the axis that counts its parameter sets
    where: str = ""  # the layers that it stands for
    turns: int = 1  # where sets are shared: so many take turns before the next share's begin
    masks: Mapping[str, Op] = {}

    def full(self, path: str) -> str:
        """The path in the model of what stands in the block at a path."""
        return join(self.path, path)

    def in_stack(self, name: str) -> str:
        """The name under which other blocks know a tensor of this one."""
        return join(self.stack, name)

    def times(self, sizes: Sizes) -> Any:
        """How often it stands in the model."""
        return sizes[self.repeat] if self.repeat else 1

    def sets(self, sizes: Sizes) -> Any:
        """How many sets of its parameters there are."""
        return sizes[self.copies] if self.copies else 1

    def parameters_of(self, number: int, sizes: Sizes) -> Any:
        """The number of the parameter set that the block's repetition of a number uses."""
        if self.copies == self.repeat:
            return number
        shares, rounds = sizes[self.copies] // self.turns, sizes[self.repeat] // self.turns  # type: ignore[operator]
        return number // self.turns * shares // rounds * self.turns + number % self.turns


class Frozen(NamedTuple):
    """What is frozen in a graph."""

    params: frozenset[str]  # paths of parameters
    ops: frozenset[str]  # paths of operations whose weight is frozen
    inputs: Mapping[str, frozenset[str] | None]  # title of a block -> inputs without gradient; None: it has none at all


class Graph(NamedTuple):
    """A model as operations: blocks in the order in which a token meets them first."""

    name: str
    axes: Mapping[str, Axis]
    blocks: tuple[Block, ...]
    orders: Mapping[str, tuple[tuple[tuple[str, ...], int], ...]]  # stack -> runs of (cycle of blocks, times)
    workload_axes: tuple[str, ...]
    tensor_names: tuple[tuple[str, str], ...] = ()
    execution: Execution = Execution()  # how the class computes, beyond what the operations say
    continues: bool = False  # it is trained to continue its own input: the targets are the inputs, one token on
    frozen: Frozen | None = None  # what of it does not learn, where something is frozen

    @property
    def n_layers(self) -> int:
        """Layers of all stacks together."""
        return sum(len(cycle) * times for runs in self.orders.values() for cycle, times in runs)

    def sizes(self, workload: Workload) -> dict[str, Size]:
        """Every axis as a number."""
        given = {"batch": workload.batch, "seq": workload.seq, "target": workload.target or 1}
        return self.bind({**given, "cached": workload.context})

    def bind(self, workload: Sizes) -> dict[str, Size]:
        """Every axis, the workload's as given: ints, arrays or expressions."""
        return self.rebound({n: a.size for n, a in self.axes.items() if a.size is not None}, workload)

    def rebound(self, sizes: Sizes, workload: Sizes) -> dict[str, Size]:
        """The sizes with another workload: what follows from it is another size, the rest stays as it is."""
        from transformer_calc.expr import Pair

        bound = {**sizes, **{name: _exact(workload[name]) for name in self.workload_axes}}
        for name, axis in self.axes.items():
            if axis.rule:
                found = axis.rule(bound)
                if not (isinstance(found, Pair) and found == sizes.get(name)):  # its own letter stays
                    bound[name] = found
        return bound

    def symbols(self) -> dict[str, Size]:
        """Every axis as its symbol."""
        from transformer_calc.expr import symbol

        return {name: symbol(axis.symbol) for name, axis in self.axes.items()}


def _exact(size: Any) -> Size:
    """A size that cannot overflow: arrays of machine integers become arrays of Python's."""
    if isinstance(size, int):
        return size
    from transformer_calc.expr import as_size

    exact: Size = as_size(size)
    return exact


def join(*parts: str) -> str:
    """The path of a block, an operation in it, a parameter of that; the block of what stands in none is empty."""
    return ".".join(part for part in parts if part)


class Builder:
    """Writes a graph: axes, blocks, and operations within the open block."""

    def __init__(self, layout: str, *, absorbed: bool = False) -> None:
        self.out_in = layout == "out_in"
        self.absorbed = absorbed  # latent attention looks at the latent itself
        self.axes: dict[str, Axis] = {}
        self.blocks: list[Block] = []
        self.workload_axes: list[str] = []
        self.stack = ""  # prefix of block names
        self.kind = ""  # layer kind: the suffix for axes whose size differs
        self._made_of: dict[str, tuple[Any, ...]] = {}  # what tells an axis from others of its name and size
        self._ops: list[Op] = []
        self._output = ""
        self._scope: list[str] = []
        self._marks: dict[str, bool] = {}

    # --- axes ---------------------------------------------------------------------------------------------

    def axis(
        self,
        name: str,
        size: int | None = None,
        rule: Rule | None = None,
        suffixes: tuple[str, ...] = (),
        beside: int | None = None,
    ) -> str:
        """Register an axis and return its name, with a suffix if the plain name has another size already.

        An axis with a rule is the same as another of its name where both are made of the same; `beside`: the size of
        an axis that goes with this one, so that both get the same suffix.
        """
        symbol, meaning = AXES[name]
        made_of = (beside, *(_made_of(rule) if rule else ()))
        usual = tuple(dict.fromkeys(suffixes or ("", self.kind, self.stack, f"{self.stack}_{self.kind}".strip("_"))))
        numbered = (f"{usual[-1]}_{number}".lstrip("_") for number in count(2))
        for suffix in chain(usual, numbered):
            key = f"{name}_{suffix}" if suffix else name
            known = self.axes.get(key)
            if known is None:
                base, _, mark = symbol.partition("_")
                shown = "_".join(part for part in (base, mark, suffix) if part)
                about = f"{meaning} ({suffix.replace('_', ', ')})" if suffix else meaning
                self.axes[key] = Axis(key, shown, about, size, rule)
                self._made_of[key] = made_of
                return key
            if known.size == size and (rule is None) == (known.rule is None) and self._made_of[key] == made_of:
                return key
        raise AssertionError  # the numbers do not end

    def workload(self, name: str) -> str:
        """An axis whose size the workload gives."""
        if name not in self.workload_axes:
            self.workload_axes.append(name)
            self.axes[name], self._made_of[name] = Axis(name, *AXES[name]), ()
        return name

    # --- blocks and operations ----------------------------------------------------------------------------

    @contextmanager
    def block(
        self,
        path: str,
        title: str,
        role: str,
        repeat: str = "",
        copies: str = "",
        where: str = "",
        turns: int = 1,
    ) -> Iterator[None]:
        """Operations emitted inside belong to this block; it hands on what `hand_on` named, else its last output."""
        self._ops, self._output = [], ""
        yield
        full = f"{self.stack}.{path}" if self.stack and path else self.stack or path
        title = f"{self.stack} {title}" if self.stack else title
        ops, output = tuple(self._ops), self._output or self._ops[-1].path
        masks = {op.scope: op for op in ops if op.kind == "mask"}
        made = Block(full, self.stack, title, role, ops, output, repeat, copies or repeat, where, turns, masks)
        self.blocks.append(made)

    def hand_on(self, x: Tensor) -> Tensor:
        """Make this tensor the open block's output."""
        self._output = x.name
        return x

    @contextmanager
    def scope(self, name: str, **marks: bool) -> Iterator[None]:
        """Paths inside are prefixed with `name.`; `marks` are attributes of every operation inside."""
        self._scope.append(name)
        outside, self._marks = self._marks, {**self._marks, **marks}
        yield
        self._scope.pop()
        self._marks = outside

    @contextmanager
    def unused(self, note: str) -> Iterator[None]:
        """Of operations inside only the parameters remain: they are stored, and nothing is computed with them."""
        start = len(self._ops)
        yield
        made = self._ops[start:]
        self._ops[start:] = [
            Op(op.path, "parameter", (), Tensor(f"{op.path}.{p.name}", p.dims), (p,), {}, (), note)
            for op in made
            for p in op.params
        ]

    def of_stack(self, name: str) -> str:
        """The name of a tensor that the stack's embedding block makes for all its layers."""
        return f"{self.stack}.{name}" if self.stack else name

    def emit(
        self,
        kind: str,
        path: str,
        inputs: tuple[Tensor, ...],
        dims: Dims,
        params: tuple[Param, ...] = (),
        *,
        extra: tuple[Tensor, ...] = (),
        note: str = "",
        **attrs: Any,
    ) -> Tensor:
        """One operation; returns its output."""
        full = ".".join([*self._scope, path])
        last = dims[3][:1] if len(dims) == 4 else ()
        output = Tensor(full, dims, scores=bool(last) and plain(last[0]) in KEYS)
        self._ops.append(Op(full, kind, inputs, output, params, {**self._marks, **attrs}, extra, note))
        return output

    def linear(
        self,
        path: str,
        x: Tensor,
        out: Dim,
        *,
        bias: bool,
        note: str = "",
        of: str = "",
        tied: str = "",
        layout: str = "",
    ) -> Tensor:
        """Y = X·W + b over the last dimension. `of`: a path in this block whose parameters are used again.

        `layout`: how the weight is stored where that is not the model's way.
        """
        inner = x.dims[-1]
        full = ".".join([*self._scope, of])
        out_in = layout == "out_in" if layout else self.out_in
        stored = (out, inner) if out_in else (inner, out)
        weight = Param("weight", stored, out=0 if out_in else 1, tied=tied)
        params: tuple[Param, ...] = (weight, Param("bias", (out,))) if bias else (weight,)
        if of:
            params = tuple(p._replace(tied=f"@{full}.{p.name}") for p in params)
        return self.emit("linear", path, (x,), (*x.dims[:-1], out), params, note=note)

    def by_head(self, path: str, x: Tensor, heads: Dim, width: Dim, out: Dim, *, note: str) -> Tensor:
        """Each head through its own part of a weight that maps the latent to all heads' `width`, either way round."""
        rank = out if out != width else x.dims[-1]
        stored = (heads + width, rank) if self.out_in else (rank, heads + width)
        params = (Param("weight", stored, out=0 if self.out_in else 1),)
        return self.emit("linear", path, (x,), (*x.dims[:-1], out), params, note=note)

    def experts(
        self, path: str, x: Tensor, chosen: Tensor, out: Dim, *, experts: str, bias: bool, layout: str, note: str = ""
    ) -> Tensor:
        """A linear map with the weights of each token's chosen experts, `experts` being the axis of all of them."""
        inner = x.dims[-1]
        pair = (out, inner) if layout == "out_in" else (inner, out)
        (top_k,) = chosen.dims[-1]
        weight = Param("weight", ((experts,), *pair), out=1 if layout == "out_in" else 2, routed=top_k)
        params: tuple[Param, ...] = (weight,)
        if bias:
            params += (Param("bias", ((experts,), out), out=1, routed=top_k),)
        return self.emit("expert_linear", path, (x, chosen), (*x.dims[:-1], out), params, note=note)

    def einsum(self, path: str, a: Tensor, b: Tensor, dims: Dims, *, note: str = "", **attrs: Any) -> Tensor:
        """A contraction of two tensors over the dimensions that the output lacks."""
        return self.emit("einsum", path, (a, b), dims, note=note, **attrs)

    def norm(self, path: str, x: Tensor, spec: Norm, *, over: Dims | None = None, note: str = "") -> Tensor:
        """LayerNorm or RMSNorm over the last dimension; `over`: the dimensions that have weights of their own."""
        dims = over or x.dims[-1:]
        params: tuple[Param, ...] = ()
        if spec.weight:
            params = (Param("weight", dims),)
            if spec.bias and spec.kind == "layernorm":
                params += (Param("bias", dims),)
        name = "LayerNorm" if spec.kind == "layernorm" else "RMSNorm"
        offset = spec.offset if spec.weight else 0.0
        return self.emit(
            "norm", path, (x,), x.dims, params, note=note or name, norm=spec.kind, eps=spec.eps, offset=offset
        )

    def map(self, path: str, function: str, *inputs: Tensor, note: str = "", **attrs: Any) -> Tensor:
        """An elementwise function; the output has the first input's dimensions, the others broadcast."""
        dims = inputs[0].dims
        if function in WRITTEN_OUT:
            attrs["written_out"], function = function, WRITTEN_OUT[function]
            note = ""
        return self.emit("elementwise", path, inputs, dims, note=note or function, function=function, **attrs)

    def view(self, path: str, x: Tensor, dims: Dims, note: str = "") -> Tensor:
        """The same numbers in other dimensions: split, merged or transposed."""
        return self.emit("view", path, (x,), dims, note=note)

    def dropout(self, path: str, x: Tensor, rate: float) -> Tensor:
        """Dropout where the architecture has it."""
        return self.emit("dropout", path, (x,), x.dims, rate=rate, note=f"dropout {rate:g}") if rate else x


def _made_of(rule: Rule) -> tuple[Any, ...]:
    """The axes and numbers in an axis's rule."""
    return tuple(held for cell in rule.__closure__ or () if not callable(held := cell.cell_contents))


def same(a: Graph, b: Graph) -> bool:
    """Whether two graphs compute the same: equal operations, on axes of equal sizes."""
    if a._replace(axes={}) != b._replace(axes={}) or list(a.axes) != list(b.axes):
        return False
    for number in (2, 3):  # rules are functions: their results are compared
        run = {name: number * (10 + i) for i, name in enumerate(a.workload_axes)}
        if a.bind(run) != b.bind(run):
            return False
    return True


def suffix_of(axis: str, name: str) -> str:
    """What tells an axis from others of its name: an axis made from it takes the same suffix."""
    return axis.removeprefix(name).lstrip("_")
