"""What the backward pass keeps: for every operation the tensors that its derivative needs, each storage once.

A rule for each kind of operation says which of its inputs, its output or tensors of its own (a dropout mask, the
statistics of a norm) it keeps. Views keep nothing, and what is kept through a view is the storage of its source, so
that a tensor kept twice is counted once. Parameters are not counted: they are there anyway.

kernels:  fused, where norms, activations and dropout keep only what a fused kernel keeps, or eager, operator by
    operator as PyTorch 2.13 runs the classes of Hugging Face transformers 5.24
attention:  eager, with score matrices of a row for each query and a column for each key, or flash (Dao et al. 2022,
    arXiv 2205.14135), which keeps Q, K, V, the output and a log-sum-exp per row. With eager kernels, flash is
    PyTorch's own scaled_dot_product_attention, which on the CPU computes plainly, and in float32, where there is
    dropout or a learned bias, and where keys and values differ in width. A window that is shorter than the sequence
    is handed to it as a matrix, and grouped keys and values then as copies for each query head, a single one as a view
    (transformers, integrations/sdpa_attention.py: repeat_kv). Of the few classes that cannot call it the answer is
    what they would keep if they did

With eager kernels the tokens of a mixture are sorted by expert and multiplied group by group (grouped_mm, what these
classes do on their own), so that nothing depends on where a token goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import gcd
from typing import TYPE_CHECKING, NamedTuple

from transformer_calc.graph.core import Block, Dims, Graph, Op, Sizes, Tensor, product
from transformer_calc.graph.ops import CONTRACTIONS
from transformer_calc.readings.count.flops import RECOMPUTE, WITHOUT_GRADIENT, is_scores
from transformer_calc.spec import Execution

if TYPE_CHECKING:
    from transformer_calc.expr import Size

KERNELS = ("fused", "eager")
ATTENTION = ("flash", "eager")
BOOL, FLOAT32, INT32, INT64 = 1, 4, 4, 8  # bytes
WIDEST = 256  # grouped heads that PyTorch reads as they are are no wider

Rules = Mapping[str, "Size"]  # axis -> how many devices share it


class How(NamedTuple):
    """How a model is run."""

    bytes: int = 2  # of an entry of an activation
    kernels: str = "fused"
    attention: str = "flash"
    mask_bytes: int = BOOL  # of an entry of a dropout mask; PyTorch's CPU kernels keep it in the activations' type
    recompute: str = "none"
    every: int = 1  # with full recomputation: the input of every n-th layer is kept
    float32_softmax: bool = True  # eager: the class computes the softmax in float32 and casts it back
    norm_keeps_input: bool = False  # eager: RMSNorm multiplies its input as it came, not its float32 copy (T5)
    float32_loss: bool = True  # logits are cast to float32 before the loss
    eager: Execution = Execution()  # eager: what else the class does
    tokens: int | None = None  # of a sequence, where that is known: a window that holds them all needs no mask
    alone: bool = False  # it is the only sequence: matrix products take views of it, where they copy several


class Storage(NamedTuple):
    """Memory that one tensor, or several views of it, stand in."""

    name: str
    dims: Dims
    bytes: int
    role: str = "value"  # value, statistics, mask, indices, table, loss, weight
    once: bool = False  # made outside of the layers, which share it
    given: bool = False  # handed in by the caller: ids, labels, images
    constant: bool = False  # no gradient flows into it
    parameter: bool = False
    factor: int = 1  # so many of these dims

    def in_float32(self) -> Storage:
        """Its copy in float32: itself where it is that already."""
        return self if self.bytes == FLOAT32 else self._replace(name=f"{self.name} in float32", bytes=FLOAT32)


class Saved(NamedTuple):
    """One tensor that is kept. It stands `repeat` times (an axis; empty: once), or every n-th of them."""

    path: str  # of the operation that keeps it, the first one if there are several
    tensor: str
    dims: Dims
    bytes: int
    block: Block
    repeat: str
    role: str = "value"
    given: bool = False
    kept: bool = True  # False: it is there while the loss goes backward (role loss), or is held (output)
    factor: int = 1
    every: int = 1
    number: int | None = None  # how often, where no axis counts it

    def size(self, sizes: Sizes) -> Size:
        """Bytes of one of them."""
        return self.bytes * self.factor * product(self.dims, sizes)

    def times(self, sizes: Sizes) -> Size:
        """How often it stands in the model."""
        from transformer_calc.expr import ceil_div

        if self.number is not None:
            return self.number
        count = sizes[self.repeat] if self.repeat else 1
        return count if self.every == 1 else ceil_div(count, self.every)

    def divisor(self, rules: Rules, between: Rules) -> Size:
        """How many devices share it: by `rules`, or by `between` where none of those touches it."""
        axes = {axis for dim in self.dims for axis in dim}
        shared = [rules[axis] for axis in rules if axis in axes] or [between[axis] for axis in between if axis in axes]
        total: Size = 1
        for count in shared:
            total = total * count
        return total


# ---- What each kind of operation keeps


class Need(NamedTuple):
    """A tensor that an operation keeps: one of its inputs, its output, or one of its own."""

    which: str  # input, output, own
    place: int = 0  # of the input
    storage: Storage | None = None
    float32: bool = False  # a copy in float32


Rule = Callable[[Op, How], tuple[Need, ...]]


def _input(place: int = 0, *, float32: bool = False) -> Need:
    return Need("input", place, float32=float32)


def _output(*, float32: bool = False) -> Need:
    return Need("output", float32=float32)


def _own(op: Op, name: str, dims: Dims, each: int, role: str = "value", factor: int = 1) -> Need:
    return Need("own", storage=Storage(f"{op.path}.{name}", dims, each, role, factor=factor))


def _cast_weight(op: Op, how: How) -> tuple[Need, ...]:
    """The weight in float32, where it is not that already."""
    return () if how.bytes == FLOAT32 else (_own(op, "weight in float32", op.params[0].dims, FLOAT32, "weight"),)


def _nothing(op: Op, how: How) -> tuple[Need, ...]:
    return ()


def _operands(op: Op, how: How) -> tuple[Need, ...]:
    """The gradient of each operand is made of the other one; `_wanted` leaves out those whose partner needs none."""
    return tuple(_input(i) for i in range(len(op.inputs)))


def _norm(op: Op, how: How) -> tuple[Need, ...]:
    rows, form = op.output.dims[:-1], how.eager.norm
    if op.attrs["norm"] == "layernorm" and form == "chain":
        return _written_out(op, how)
    if op.attrs["norm"] == "layernorm":  # one operator in eager mode, too
        wide = how.kernels == "fused" or form == "input_float32"
        each = FLOAT32 if wide else how.bytes
        kept = (
            _input(float32=form == "input_float32"),
            *(_own(op, n, rows, each, "statistics") for n in ("mean", "rstd")),
        )
        if how.kernels == "fused" or not op.attrs["offset"]:
            return kept
        return (*kept, _own(op, "1 + weight", op.params[0].dims, how.bytes, "weight"))
    rstd = _own(op, "rstd", rows, FLOAT32, "statistics")
    if how.kernels == "fused":
        return _input(), rstd
    kept = (_input(float32=True), rstd)
    if how.norm_keeps_input:
        kept += (_input(),)
    if not op.params:
        return kept
    if op.attrs["offset"]:  # Gemma multiplies by 1 + weight in float32
        weight = _own(op, "1 + weight", op.params[0].dims, FLOAT32, "weight")
        return (*kept, _own(op, "normalised", op.output.dims, FLOAT32), weight)
    each = FLOAT32 if form in ("product_float32", "weight_float32") else how.bytes
    kept += (_own(op, "normalised", op.output.dims, each),)
    return (*kept, *_cast_weight(op, how)) if form == "weight_float32" else kept


def _written_out(op: Op, how: How) -> tuple[Need, ...]:
    """(x - mean) / √variance · weight in float32: the difference, taken twice, its quotient, and 1/√variance."""
    made = (_own(op, name, op.output.dims, FLOAT32) for name in ("squared", "centred", "normalised"))
    return (*made, _own(op, "rstd", op.output.dims[:-1], FLOAT32, "statistics"), *_cast_weight(op, how))


def _softmax(op: Op, how: How) -> tuple[Need, ...]:
    if how.kernels == "eager" and op.params:  # a column of sinks, and the rows' largest scores are subtracted before
        columns = _own(op, "sinks", op.output.dims[:-1], how.bytes)
        return _output(), columns, _own(op, "largest", op.output.dims[:-1], INT64, "indices")
    return (_output(float32=how.kernels == "eager" and how.float32_softmax),)


def _masked(op: Op, how: How) -> tuple[Need, ...]:
    """A mask is added, which keeps nothing, where a class does not fill or clamp."""
    batch, _, queries, keys = op.output.dims
    if how.eager.scores_clamped:
        return _output(), _own(op, "least", (), FLOAT32)
    if how.eager.filled_mask == "once":
        mask = Storage("filled mask", (batch, queries, keys), BOOL, "mask", once=True)
        return (Need("own", storage=mask),)
    return (_own(op, "filled", (batch, queries, keys), BOOL, "mask"),) if how.eager.filled_mask else ()


def _einsum(op: Op, how: How) -> tuple[Need, ...]:
    """Both operands; torch.matmul repeats one that all sequences share, and DeBERTa scales a copy of its keys."""
    _, second = op.inputs
    if how.kernels == "eager" and len(second.dims) == 3 and len(op.output.dims) == 4:
        return _input(), _own(op, "repeated", (op.output.dims[0], *second.dims), how.bytes)
    if how.eager.keys_scaled and is_scores(op.output.dims):
        return _input(), _own(op, "scaled_keys", second.dims, how.bytes), _own(op, "scale", (), how.bytes)
    return _operands(op, how)


def _dropout(op: Op, how: How) -> tuple[Need, ...]:
    return (_own(op, "mask", op.output.dims, how.mask_bytes, "mask"),)


# what chains of the tanh form keep beside x; gelu_fast has √(2/π)·x · (1 + 0.044715·x·x) for the tanh
CHAINS = {
    "gelu_new": ("half", "tanh", "one_plus_tanh"),
    "gelu_fast": ("half", "tanh", "one_plus_tanh", "scaled", "weighted", "one_plus_square"),
}


def _gelu_tanh(op: Op, how: How) -> tuple[Need, ...]:
    """x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³))), one operator or, written out, the steps whose products are taken."""
    chain = CHAINS.get(op.attrs.get("written_out", ""), ()) if how.kernels == "eager" else ()
    return (_input(), *(_own(op, name, op.output.dims, how.bytes) for name in chain))


def _gelu(op: Op, how: How) -> tuple[Need, ...]:
    """x/2 · (1 + erf(x/√2)), written out: all but x."""
    if how.kernels == "fused" or "written_out" not in op.attrs:
        return (_input(),)
    return tuple(_own(op, name, op.output.dims, how.bytes) for name in ("half", "scaled", "one_plus_erf"))


def _quick_gelu(op: Op, how: How) -> tuple[Need, ...]:
    return (_input(),) if how.kernels == "fused" else (_input(), _own(op, "sigmoid", op.output.dims, how.bytes))


def _relu2(op: Op, how: How) -> tuple[Need, ...]:
    return (_input(),) if how.kernels == "fused" else (_own(op, "relu", op.output.dims, how.bytes),)


def _elementwise(op: Op, how: How) -> tuple[Need, ...]:
    kept = FUNCTIONS[op.attrs["function"]]
    return kept(op, how) if callable(kept) else tuple(_output() if k == "output" else _input() for k in kept)


def _scale(op: Op, how: How) -> tuple[Need, ...]:
    """A number keeps nothing, a number for each position itself."""
    if how.kernels == "fused" or not op.attrs.get("by_position"):
        return ()
    return (_own(op, "of_position", op.output.dims[-2:-1], FLOAT32),)


def _unit(op: Op, how: How) -> tuple[Need, ...]:
    kept = _input(), _output()
    if how.kernels == "fused":
        return kept
    return (*kept, _own(op, "length", op.output.dims[:-1], how.bytes, "statistics", how.eager.lengths))


FUNCTIONS: dict[str, Rule | tuple[str, ...]] = {
    "add": (),
    "multiply": _operands,
    "scale": _scale,
    "clip": ("input",),
    "relu": ("output",),
    "relu2": _relu2,
    "silu": ("input",),
    "sigmoid": ("output",),
    "tanh": ("output",),
    "exp": ("output",),
    "softcap": ("output",),
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "quick_gelu": _quick_gelu,
    "mask": (),
    "identity": (),
    "unit": _unit,
}


def _rotary(op: Op, how: How) -> tuple[Need, ...]:
    """Tables of cosines and sines, for each token and rotated entry, made once for all layers."""
    given = (f"{key} {value}" for key, value in sorted(op.attrs.items()) if value)
    name = f"cosines and sines ({', '.join(given)})"
    dims, eager = (op.output.dims[-2],), how.eager
    each = FLOAT32 if eager.tables_float32 else how.bytes
    width = op.attrs["rotated"] * (1 if eager.tables_half else 2)
    if eager.tables == "use":
        return (_own(op, name, dims, each, "table", width),)
    return (Need("own", storage=Storage(name, dims, each, "table", once=eager.tables != "layer", factor=width)),)


def _relative_lookup(op: Op, how: How) -> tuple[Need, ...]:
    if how.kernels == "eager" and how.recompute == "full":  # classes look it up in their first layer
        return ()
    return (_own(op, "buckets", op.output.dims[1:], INT64, "indices"),)


def _shift(op: Op, how: How) -> tuple[Need, ...]:
    distances = _own(op, "distances", op.output.dims[-2:], INT64, "indices")
    if how.kernels == "fused":
        return (distances,)
    return _input(), distances, _own(op, "scale", (), how.bytes)  # torch.gather keeps its source


def _keep_best(op: Op, how: How) -> tuple[Need, ...]:
    if how.kernels == "eager":  # a mask that is added
        return ()
    return (_own(op, "chosen", (op.output.dims[0], *op.output.dims[-2:]), BOOL, "mask"),)


def _route(op: Op, how: How) -> tuple[Need, ...]:
    """Scores of all experts, in float32 as nearly every class computes them, and which were chosen."""
    scores, tokens, attrs, eager = op.inputs[0].dims, op.inputs[0].dims[:-1], op.attrs, how.eager
    chosen = _own(op, "chosen", op.output.dims, INT64, "indices")
    each = how.bytes if eager.route_own else FLOAT32
    if how.kernels == "fused":
        return _own(op, "probabilities", scores, FLOAT32), chosen
    if attrs["scoring"] == "sparsemixer":  # twice: what is too far from the best is filled, then a softmax of the rest
        kept = [_own(op, f"filled_{n}", scores, BOOL, "mask") for n in (1, 2)]
        kept += [_own(op, f"probabilities_{n}", scores, how.bytes) for n in (1, 2)]
        kept += [_own(op, f"best_{n}", tokens, INT64, "indices", 2) for n in (1, 2)]
        return (*kept, *(_own(op, f"multiplier_{n}", tokens, how.bytes) for n in (1, 2)))
    if attrs["scoring"] == "softmax-topk":
        return _own(op, "probabilities", op.output.dims, each), chosen
    found = [_own(op, "probabilities", scores, each), chosen]
    if eager.grouped_choice or attrs["groups"] > 1:
        best = 1 if attrs["group_score"] == "max" else 2
        found += [
            _own(op, "best_of_group", tokens, INT64, "indices", best * attrs["groups"]),
            _own(op, "groups", tokens, INT64, "indices", attrs["top_groups"]),
            _own(op, "allowed", scores, BOOL, "mask"),
        ]
    if attrs["normalize"]:
        found += [_own(op, "weights", op.output.dims, each), _own(op, "sum", tokens, each)]
        if attrs["least_sum"]:  # the sum before it was clamped, too
            found.append(_own(op, "unclamped", tokens, FLOAT32))
    return tuple(found)


def _dispatch(op: Op, how: How) -> tuple[Need, ...]:
    """Tokens are sorted by expert: where each comes from, its place in that order, and the way back; groups' ends."""
    if how.kernels == "fused" or how.eager.experts == "all":
        return ()
    pairs = op.inputs[1].dims
    if how.eager.experts == "loop":  # where a token and which of its experts, of each expert's tokens
        return (_own(op, "tokens", pairs, INT64, "indices", 2),)
    return tuple(_own(op, name, pairs, INT64, "indices") for name in ("tokens", "order", "back"))


def _expert_linear(op: Op, how: How) -> tuple[Need, ...]:
    """Its input; biases are looked up by expert."""
    if how.kernels == "fused" or how.eager.experts != "grouped":
        return (_input(),)
    scope = op.path.rpartition(".")[0]
    ends = Storage(f"{scope}.ends", op.params[0].dims[:1], INT32, "indices")
    experts = Storage(f"{scope}.sorted_experts", op.inputs[1].dims, INT64, "indices")
    return _input(), *(Need("own", storage=storage) for storage in (ends, experts)[: len(op.params)])


def _slice(op: Op, how: How) -> tuple[Need, ...]:
    """Rows that are found in each sequence: which sequence, and where."""
    if how.kernels == "fused" or op.attrs.get("take") != "end":
        return ()
    return (_own(op, "rows", op.output.dims[:1], INT64, "indices", 2),)


def _combine(op: Op, how: How) -> tuple[Need, ...]:
    if len(op.inputs) < 2:  # a sum
        return ()
    if how.eager.experts == "loop":  # index_add_ keeps what it adds
        return (*_operands(op, how), _own(op, "weighted", op.inputs[0].dims, how.bytes))
    return _operands(op, how)


KEEPS: dict[str, Rule] = {
    "lookup": lambda op, how: () if op.attrs.get("fixed") else (_input(),),
    "linear": lambda op, how: (_input(),),
    "expert_linear": _expert_linear,
    "einsum": _einsum,
    "convolution": lambda op, how: (_input(),),
    "norm": _norm,
    "softmax": _softmax,
    "elementwise": _elementwise,
    "mask": _masked,
    "keep_best": _keep_best,
    "rotary": _rotary,
    "distance_bias": _nothing,
    "shift": _shift,
    "dropout": _dropout,
    "view": _nothing,
    "repeat": _nothing,
    "cache": _nothing,
    "concat": _nothing,
    "slice": _slice,
    "mean": _nothing,
    "parameter": _nothing,
    "sinusoid": _nothing,
    "relative_lookup": _relative_lookup,
    "route": _route,
    "dispatch": _dispatch,
    "combine": _combine,
}

# the same storage under another name; a merge of dimensions after a transposition is a copy, but nothing else keeps its
# source then: the matrix product before it does not need its own output, and flash attention writes it merged
VIEWS = ("view", "cache", "slice")


def settings(
    graph: Graph,
    *,
    bytes: int = 2,
    kernels: str = "fused",
    attention: str = "flash",
    mask_bytes: int = BOOL,
    recompute: str = "none",
    every: int = 1,
    tokens: int | None = None,
    alone: bool = False,
) -> How:
    """How a model is run; what the classes of Hugging Face do otherwise is seen in the graph, or said with it.

    tokens: of a sequence; None: more than any window holds
    alone: a batch of one sequence
    """
    for name, value, choices in (
        ("kernels", kernels, KERNELS),
        ("attention", attention, ATTENTION),
        ("recompute", recompute, RECOMPUTE),
    ):
        if value not in choices:
            raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(choices)}")
    eager = graph.execution if kernels == "eager" else Execution()
    kinds = {op.kind for block in graph.blocks for op in block.ops}
    return How(
        bytes,
        kernels,
        attention,
        mask_bytes,
        recompute,
        every,
        float32_softmax=eager.softmax == "float32" or (not eager.softmax and "rotary" in kinds),
        norm_keeps_input="relative_lookup" in kinds,
        float32_loss=eager.loss == "float32" or (eager.loss != "own" and (kernels == "fused" or _continues(graph))),
        eager=eager,
        tokens=tokens,
        alone=alone,
    )


def _continues(graph: Graph) -> bool:
    """Whether the model is trained to continue its own input: then the targets are the inputs, one token on."""
    masks = [op.attrs["causal"] for block in graph.blocks for op in block.ops if op.kind == "mask"]
    return len(graph.orders) == 1 and bool(masks) and all(masks)


# ---- The reading


def _all_learn(path: str) -> bool:
    return True


def saved(
    graph: Graph,
    how: How,
    *,
    loss: bool = True,
    trainable: Callable[[str], bool] = _all_learn,
    inputs: Mapping[str, frozenset[str] | None] = {},
    blocks: Sequence[Block] | None = None,
) -> list[Saved]:
    """Every tensor that is kept from the forward pass for the backward pass; rows do not grow with the layers.

    loss: the loss of the logits, too, with what is there for a moment around it (`kept` is False)
    trainable: whether the parameters of the operation with this path learn; the input of a frozen matrix is not kept
    inputs: title of a block -> its inputs that have no gradient; None: nothing in it has one
    blocks: only these, as those of a pipeline stage; what they share is kept once
    """
    rows: list[Saved] = []
    shared: set[tuple[str, Dims]] = set()
    for block in graph.blocks if blocks is None else blocks:
        without = inputs.get(block.title, frozenset())
        if without is None:
            continue
        found, common = _of_block(graph, block, how, trainable, without)
        if loss and block.role == "head":
            found = [*found, *_loss(graph, block, how)]
        rows += [row for row in found if (row.tensor, row.dims) not in shared]
        shared |= common
    return rows


_Rows = tuple[list[Saved], set[tuple[str, Dims]]]
_READ: dict[tuple[int, int, How], tuple[Graph, Block, _Rows]] = {}  # a search for a plan asks often for the same
_MOST_READ = 512


def _of_block(graph: Graph, block: Block, how: How, trainable: Callable[[str], bool], without: frozenset[str]) -> _Rows:
    """What a block keeps, and which of it other blocks may keep, too; remembered where everything learns.

    without: its inputs that have no gradient
    """
    key, plain = (id(graph), id(block), how), trainable is _all_learn and not without
    if plain and key in _READ:
        return _READ[key][2]
    walk = _Walk(graph, block, how, trainable)
    given = (tensor for op in block.ops for tensor in op.inputs if tensor.name in without)
    walk.home |= {tensor.name: walk.of(tensor)._replace(constant=True) for tensor in given}
    found = list(walk.rows())
    walk.home = {name: storage for name, storage in walk.home.items() if name not in without}  # it is given anyway
    if block.role == "layer" and how.recompute == "selective":
        found = [row for row in found if not is_scores(row.dims)]
    elif block.role == "layer" and how.recompute == "full":
        found = [row for row in found if not row.repeat]
        known = {(row.tensor, row.dims) for row in found}
        found += [row for row in walk.entry() if (row.tensor, row.dims) not in known]
    rows = found, {(row.tensor, row.dims) for row in found if row.tensor in walk.common}
    if plain:
        if len(_READ) >= _MOST_READ:
            _READ.clear()
        _READ[key] = graph, block, rows  # which keeps both, so that their ids stay theirs
    return rows


class _Walk:
    """One block, operation by operation."""

    def __init__(self, graph: Graph, block: Block, how: How, trainable: Callable[[str], bool]) -> None:
        self.graph, self.block, self.how, self.trainable = graph, block, how, trainable
        self.common: set[str] = set()  # storages that other blocks may read, too
        self.home: dict[str, Storage] = {}
        self.made_by: dict[str, Op] = {op.path: op for op in block.ops}
        self.convolved = {op.inputs[0].name for op in block.ops if op.kind == "convolution"}
        self.learned = {
            f"{b.stack}.{op.path}" if b.stack else op.path
            for b in graph.blocks
            for op in b.ops
            if op.kind == "parameter"
        }
        self.routers = {op.inputs[0].name: op for op in block.ops if op.kind == "route"}
        torch = how.kernels == "eager" and how.attention == "flash"  # PyTorch's own attention
        self.plain = _plain_scopes(graph, block, how.eager) if torch else frozenset()
        self.matrices = _mask_scopes(block, how) if torch else frozenset()

    def rows(self) -> Iterator[Saved]:
        seen: set[str] = set()
        for op in self.block.ops:
            if op.attrs.get("after_output"):  # for people: the loss does not go through it
                continue
            for storage in self.kept(op):
                if storage.name not in seen and not storage.parameter:
                    seen.add(storage.name)
                    yield self.row(op.path, storage)
            self.home[op.path] = self.stored(op)
            for extra in op.extra:
                self.home[extra.name] = Storage(extra.name, extra.dims, INT64, "indices", constant=True)

    def entry(self) -> Iterator[Saved]:
        """What a layer was given: all that is left of it where the whole layer is recomputed."""
        seen: set[str] = set()
        made = {name for op in self.block.ops for name in (op.path, *(extra.name for extra in op.extra))}
        rotates = any(op.kind == "rotary" for op in self.block.ops)
        for op in self.block.ops:
            for tensor in op.inputs:
                storage = self.of(tensor)
                if tensor.name in made or storage.name in seen or (storage.constant and tensor.name != "mask"):
                    continue
                if tensor.name == "mask":  # eager classes make it once, for every sequence, and hand it to each layer
                    if _scope(op) in self.matrices:
                        storage = Storage("mask", tensor.dims, BOOL, "mask", once=True)
                    elif self.how.kernels == "fused" or self.how.attention == "flash":
                        continue
                    else:
                        dims = (op.output.dims[0], *tensor.dims)
                        storage = Storage("mask", dims, self.how.bytes, "mask", once=True)
                seen.add(storage.name)
                row = self.row(op.path, storage)
                yield self.thinned(row) if storage.name == "x" and self.how.every > 1 else row
            if op.kind == "einsum" and _scope(op) == "cross" and is_scores(op.output.dims):
                yield from (self.row(op.path, zeros) for zeros in self.zeros(op) if zeros.once)
            if rotates and op.kind == "rotary" and self.how.kernels == "eager" and "position_ids" not in seen:
                seen.add("position_ids")
                tokens, width = op.output.dims[-2:-1], 2 * op.attrs["rotated"]
                yield self.row(op.path, Storage("position_ids", tokens, INT64, "indices", once=True))
                if self.how.eager.tables == "layer":  # which each layer spreads out for itself
                    each = FLOAT32 if self.how.eager.tables_float32 else self.how.bytes
                    tables = Storage("cosines and sines", tokens, each, "table", once=True, factor=width)
                    yield self.row(op.path, tables)

    def thinned(self, row: Saved) -> Saved:
        """The input of every n-th layer only: of layers that differ, those of this kind whose turn it is."""
        runs = next(r for r in self.graph.orders.values() if any(self.block.path in cycle for cycle, _ in r))
        if all(set(cycle) == {self.block.path} for cycle, _ in runs):
            return row._replace(every=self.how.every)
        count = start = 0
        for cycle, times in runs:
            period = self.how.every // gcd(len(cycle), self.how.every)
            for i, path in enumerate(cycle):
                turns = (k for k in range(min(period, times)) if (start + i + k * len(cycle)) % self.how.every == 0)
                first = next(turns, None) if path == self.block.path else None
                count += 0 if first is None else (times - 1 - first) // period + 1
            start += len(cycle) * times
        return row._replace(number=count)

    def row(self, path: str, s: Storage) -> Saved:
        full = self.full(path)
        if s.role == "table" and s.once and self.how.eager.tables == "kind":
            s = s._replace(name=f"{s.name} of {self.block.path}")
        if self.how.eager.experts == "all" and s.role != "indices":
            whole = (tuple(axis.replace("top_k", "experts", 1) for axis in dim) for dim in s.dims)
            s = s._replace(dims=tuple(whole))
        repeat = "" if s.once else self.block.repeat
        if s.once:
            self.common.add(s.name)
        return Saved(full, s.name, s.dims, s.bytes, self.block, repeat, s.role, s.given, True, s.factor)

    def full(self, path: str) -> str:
        return f"{self.block.path}.{path}" if self.block.path else path

    def of(self, tensor: Tensor) -> Storage:
        """Where an input stands; what this block did not make was made before it."""
        if tensor.name in self.home:
            return self.home[tensor.name]
        if tensor.name in self.learned:
            return Storage(tensor.name, tensor.dims, self.how.bytes, parameter=True)
        if tensor.name == "x" and self.block.role == "head":  # all heads read the same
            name = f"{self.block.stack}.output" if self.block.stack else "output"
            return Storage(name, tensor.dims, self.how.bytes, once=True)
        last = tensor.name.rpartition(".")[2]
        if last == "kept":  # the padding mask, in the activations' type
            return Storage(tensor.name, tensor.dims, self.how.bytes, "mask", once=True, constant=True)
        if last not in WITHOUT_GRADIENT:
            return Storage(tensor.name, tensor.dims, self.how.bytes, once=tensor.name != "x")
        each = INT64 if last.endswith("_ids") else self.how.bytes
        role = "indices" if last.endswith("_ids") else "value"
        if last == "segment_ids":  # classes make one row of zeros for all sequences
            dims = tensor.dims if self.how.eager.segments == "batch" else tensor.dims[1:]
            return Storage(tensor.name, dims, each, role, True, constant=True)
        if last != "position_ids":
            return Storage(tensor.name, tensor.dims, each, role, given=True, constant=True)
        segments = any(t.name == "segment_ids" for op in self.block.ops for t in op.inputs)
        where = self.how.eager.positions
        if where == "batch" or (where == "encoder" and self.block.stack == "encoder"):
            return Storage(tensor.name, (("batch",), *tensor.dims), each, role, True, constant=True)
        given = where == "buffer" or segments  # those classes (BERT) keep the positions as a buffer
        return Storage(tensor.name, tensor.dims, each, role, True, given, constant=True)

    def stored(self, op: Op) -> Storage:
        """Where an operation's output stands."""
        inputs = [self.of(tensor) for tensor in op.inputs]
        if inputs and (self.is_view(op) or op.attrs.get("function") == "identity"):
            return inputs[0]
        fixed = not self.learns(op) and all(s.constant for s in inputs)
        own = op.kind == "parameter"
        each = FLOAT32 if op.kind == "route" and self.how.eager.weights_float32 else self.how.bytes
        return Storage(op.path, op.output.dims, each, constant=fixed, parameter=own)

    def is_view(self, op: Op) -> bool:
        """Whether an operation's output stands where its input does."""
        if op.kind == "view" and op.path in self.convolved and self.how.kernels == "eager":
            return False  # channels come first by a copy
        if op.kind == "repeat" and self.how.kernels == "eager" and self.one_head(op):
            return self.spread(op)
        if op.kind == "repeat" and self.mode(op) == "flash":  # flash kernels read grouped heads as they are
            narrow = _width(self.graph, op.output) <= WIDEST
            single = self.how.tokens == 1  # its query heads are told apart as if they were tokens
            return self.how.kernels == "fused" or single or (_scope(op) not in self.matrices and narrow)
        return op.kind in VIEWS and op.attrs.get("take") != "end"  # rows that are found are copied

    def one_head(self, op: Op) -> bool:
        """Whether a single key head is repeated for all heads."""
        heads, *_ = op.inputs[0].dims[1] or ("",)
        return bool(heads) and self.graph.axes[heads].size == 1

    def spread(self, op: Op) -> bool:
        """Whether a single head is read as all heads without a copy: expand and reshape make a view of it.

        PyTorch's flash kernel takes the view. Matrix products take it of a single sequence, several are copied; so are
        keys that are scaled before, what is cast, and heads that the operator itself repeats where it has no mask.
        """
        mode, how = self.mode(op), self.how
        rotated = any(other.kind == "rotary" and _scope(other) == _scope(op) for other in self.block.ops)
        if rotated and _repeated_first(self.block, op) and op.path.endswith("k_repeat"):
            return False  # which rotates them, as many as they are then
        if mode != "plain":
            return mode == "flash" or how.alone
        by_class = _scope(op) in self.matrices and op.path.endswith("v_repeat") and how.bytes == FLOAT32
        return how.alone and (how.eager.shared_key_broadcast or by_class)

    def of_product(self, op: Op, needs: tuple[Need, ...], *, learns: bool, constant: bool) -> tuple[Need, ...]:
        """An RMSNorm is written out: its weight's gradient needs the normalised input, and its input's all else."""
        own = [need for need in needs if need.storage and need.storage.name == f"{op.path}.normalised"]
        return tuple(need for need in needs if (learns if need in own else not constant))

    def learns(self, op: Op) -> bool:
        return bool(op.params) and self.trainable(self.full(op.path))

    def mode(self, op: Op) -> str:
        """How the attention that an operation belongs to is computed: flash, eager, or plain (within PyTorch's)."""
        if self.how.eager.probe_written_out and ".probe." in op.path:
            return "eager"
        return "plain" if _scope(op) in self.plain else self.how.attention

    def kept(self, op: Op) -> Iterator[Storage]:
        if self.how.kernels == "eager" and ".indexer." in op.path:
            return  # it only chooses keys, through which no gradient goes
        made = self.stored(op)
        mode = self.mode(op)
        scores_in, scores_out = bool(op.inputs) and is_scores(op.inputs[0].dims), is_scores(op.output.dims)
        core = op.kind != "linear" and (scores_in or scores_out)
        if core and mode == "flash":
            yield from self.flash(op, made, scores_in=scores_in, scores_out=scores_out)
            return
        how = self.how
        if how.eager.probe_written_out and ".probe." in op.path:
            how = how._replace(float32_softmax=False)
        if core and mode == "plain":  # the masks of its dropout are in float32, too
            how = how._replace(float32_softmax=True, mask_bytes=FLOAT32)
            if op.kind == "mask" and op.attrs["causal"] and self.biased(op):  # merged into the bias where it is True
                yield Storage(f"{op.path}.where", op.output.dims[-2:], BOOL, "mask")
        for need in self.wanted(op, KEEPS[op.kind](op, how)):
            if need.which == "own":
                assert need.storage
                yield need.storage
                continue
            storage = made if need.which == "output" else self.operand(op, need.place)
            wide = need.float32 or (core and mode == "plain")
            wide = wide or (scores_out and op.kind == "einsum" and how.eager.scores_float32)
            wide = wide or (op.path in self.routers and how.eager.router != "own")
            yield storage.in_float32() if wide else storage
            if op.kind == "norm" and need.which == "input" and not (wide and storage.bytes != FLOAT32):
                yield from self.siblings(op, storage, copied="v" if mode == "eager" and not how.alone else "")
            if core and how.alone and need.place and not scores_out and (mode == "eager" or how.bytes == FLOAT32):
                yield from self.siblings(op, storage, copied="qk" if mode == "plain" else "")
        if how.eager.kv_picked and op.path in ("attn.k", "attn.v") and op.output.dims != self.home["attn.q"].dims:
            yield Storage(f"{op.path}.picked", (), INT64, "indices")
        if op.path in self.routers and how.eager.experts == "loop" and self.routers[op.path].attrs["jitter"]:
            yield Storage(f"{op.path}.noise", op.inputs[0].dims, FLOAT32)

    def siblings(self, op: Op, kept: Storage, *, copied: str = "") -> Iterator[Storage]:
        """What shares memory with a tensor that is kept, where a class makes several in one matrix product.

        copied: those of q, k and v of which attention keeps copies, which are not these
        """
        scope = _scope(op)
        groups: list[tuple[str, ...]] = []
        if self.how.kernels == "eager":  # latent attention
            groups += [("kv_down", "k_rope"), ("k_up", "v_up")]
        if self.how.eager.fused_qkv:
            groups += [("q", "k", "v"), ("q_clip", "k_clip", "v_clip")]
        for names in groups:
            found = {name: self.home[f"{scope}.{name}"] for name in names if f"{scope}.{name}" in self.home}
            if kept not in found.values() or (self.how.eager.kv_picked and len({s.dims for s in found.values()}) > 1):
                continue
            for name, storage in found.items():
                made = storage._replace(name=f"{storage.name} as made") if name[0] in copied else storage
                if made != kept:
                    yield made

    def wanted(self, op: Op, needs: tuple[Need, ...]) -> Iterator[Need]:
        """Without operands whose partner needs no gradient."""
        if op.kind in CONTRACTIONS and not self.trainable(self.full(op.path)):
            return
        constant = [self.of(tensor).constant for tensor in op.inputs]
        if all(constant) and not self.learns(op):
            return
        if op.kind == "norm" and op.attrs["norm"] == "rmsnorm" and op.params and self.how.kernels == "eager":
            needs = self.of_product(op, needs, learns=self.learns(op), constant=constant[0])
        for need in needs:
            pair = op.kind in ("einsum", "elementwise", "combine") and need.which == "input" and len(op.inputs) == 2
            if not (pair and constant[1 - need.place]):
                yield need

    def operand(self, op: Op, place: int) -> Storage:
        """An input; a fused elementwise kernel makes it again, from what the function before it keeps."""
        tensor = op.inputs[place]
        while self.how.kernels == "fused" and op.kind == "elementwise":
            before = self.made_by.get(tensor.name)
            if not before or before.kind != "elementwise" or len(before.inputs) > 1:
                break
            if any(need.which == "output" for need in _elementwise(before, self.how)):
                break
            tensor = before.inputs[0]
        return self.of(tensor)

    def flash(self, op: Op, made: Storage, *, scores_in: bool, scores_out: bool) -> Iterator[Storage]:
        """Q and K go in; V goes in, and the output and a log-sum-exp for each row come out; no scores are kept."""
        if all(self.of(tensor).constant for tensor in op.inputs):
            return
        if op.kind == "einsum" and scores_in and not scores_out:
            yield self.of(op.inputs[1])
            yield made
            yield from self.siblings(op, self.of(op.inputs[1]))
            if self.how.kernels == "eager" and self.how.tokens != 1 and self.heads_first(_scope(op)):
                yield made._replace(name=f"{op.path}.tokens_first")
            if _scope(op) in self.matrices:
                batch, _, queries, _ = op.output.dims
                yield Storage(f"{_scope(op)}.mask", (batch, queries, op.inputs[0].dims[-1]), self.how.bytes, "mask")
            yield Storage(f"{op.path}.logsumexp", op.output.dims[:-1], FLOAT32, "statistics")
            yield from self.zeros(op)
            return
        if op.kind == "distance_bias" and self.how.kernels == "eager":  # with the causal mask, made once
            yield Storage("distance bias", op.output.dims, self.how.bytes, "mask", once=True)
            return
        for tensor in op.inputs:
            storage = self.of(tensor)
            if not is_scores(tensor.dims) and not storage.constant:
                yield storage

    def zeros(self, op: Op) -> Iterator[Storage]:
        """The bias that T5's classes hand cross-attention: zeros, once or, where biases are a layer's own, in each."""
        scores = op.output.dims if is_scores(op.output.dims) else op.inputs[0].dims
        if self.how.kernels == "eager" and _has_learned_bias(self.graph):
            one = not any(other.kind == "relative_lookup" for other in self.block.ops)
            yield Storage(f"{_scope(op)}.zeros", scores[1:], self.how.bytes, "mask", once=one)

    def heads_first(self, scope: str) -> bool:
        """Whether queries come out of a concatenation: of rotated entries and the others, or by the class's choice."""
        parts = [op for op in self.block.ops if _scope(op) == scope and op.kind in ("rotary", "concat")]
        if self.how.eager.rotated_as_made:
            return False
        return self.how.eager.heads_first or any(
            op.kind == "concat" or op.attrs["rotated"] < _width(self.graph, op.output) for op in parts
        )

    def biased(self, op: Op) -> bool:
        return any(_scope(other) == _scope(op) and _adds_learned_bias(other) for other in self.block.ops)


def _scope(op: Op) -> str:
    return op.path.rpartition(".")[0]


def _width(graph: Graph, tensor: Tensor) -> int:
    """Entries of a head, which no workload changes."""
    sizes: dict[str, Size] = {name: axis.size for name, axis in graph.axes.items() if axis.size is not None}
    (name,) = tensor.dims[-1]
    axis = graph.axes[name]
    return int(axis.rule(sizes) if axis.rule else sizes[name])  # type: ignore[arg-type]


def _adds_learned_bias(op: Op) -> bool:
    return op.kind == "elementwise" and len(op.inputs) == 2 and op.inputs[1].name.endswith("relative_bias")


def _has_learned_bias(graph: Graph) -> bool:
    return any(op.kind == "relative_lookup" for block in graph.blocks for op in block.ops)


def _plain_scopes(graph: Graph, block: Block, eager: Execution) -> frozenset[str]:
    """Attentions that PyTorch's flash kernel (on the CPU) does not do.

    Those with dropout or a learned bias, those whose values are not as wide as their keys, and those with one key head
    that stands for all without being named as such.
    """
    found = set()
    for op in block.ops:
        if (op.kind == "dropout" and is_scores(op.output.dims)) or _adds_learned_bias(op):
            found.add(_scope(op))
        if op.kind == "einsum" and is_scores(op.inputs[0].dims) and not is_scores(op.output.dims):
            scores = next(o for o in block.ops if o.kind == "einsum" and _scope(o) == _scope(op))
            if _width(graph, op.output) != _width(graph, scores.inputs[0]):
                found.add(_scope(op))
        if op.kind == "repeat" and eager.shared_key_broadcast and not _repeated_first(block, op):
            heads = op.inputs[0].dims[1]
            if heads and graph.axes[heads[0]].size == 1:
                found.add(_scope(op))
    return frozenset(found)


def _repeated_first(block: Block, op: Op) -> bool:
    """Whether keys are repeated as soon as they are made, so that the cache holds them so."""
    return any(other.kind == "cache" and other.inputs[0].name == op.path for other in block.ops)


def _mask_scopes(block: Block, how: How) -> frozenset[str]:
    """Attentions that are handed their mask as a matrix: those that do not see all the past."""
    found = set()
    for op in block.ops:
        if op.kind != "mask" or any(o.kind == "distance_bias" and _scope(o) == _scope(op) for o in block.ops):
            continue
        span = op.attrs["window"] or op.attrs["chunk"]
        if span and not op.attrs["causal"]:
            span //= 2  # to either side
        if how.eager.mask_always or (span and (how.tokens is None or how.tokens >= span)):
            found.add(_scope(op))
    return frozenset(found)


def _loss(graph: Graph, block: Block, how: How) -> list[Saved]:
    """Cross-entropy, whole: the log-probabilities and the targets are kept.

    Its backward pass begins with a gradient of the log-probabilities, dense, though one entry a token is not 0. Then
    the targets are let go, and the logits' gradient is made beside it (torch.nn.functional.cross_entropy:
    nll_loss_backward and log_softmax_backward_data). The logits in the activations' type are the model's output: they
    are there as long as the caller holds it. Classes that continue their input compute it in float32 (transformers,
    loss/loss_utils.py, ForCausalLMLoss), those that label it in the activations' type.
    """
    op = next((op for op in block.ops if op.path == block.output), None)
    (*_, axis) = (op.output.dims[-1] if op else ()) or ("",)
    words, labels = axis.removeprefix("padded_").startswith("vocab"), axis == "labels" or axis.startswith("labels_")
    if op is None or not (words or labels):
        return []
    continues = words and _continues(graph)
    wide = how.float32_loss and (words or how.kernels == "fused")
    each = FLOAT32 if wide else how.bytes
    tokens, entries = op.output.dims[:-1], op.output.dims

    def row(name: str, dims: Dims, each: int, *, role: str = "loss", **more: bool) -> Saved:
        return Saved("loss", name, dims, each, block, "", role, **more)

    rows = [
        row("log_probabilities", entries, each),
        row("targets", tokens, INT64, role="targets", given=how.eager.loss == "own" or not continues),
        row("logits", entries, how.bytes, kept=False, role="output"),
        row("log_probabilities_gradient", entries, each, kept=False),
        row("logits_gradient", entries, each, kept=False),
    ]
    if how.kernels == "eager":
        rows.insert(2, row("total_weight", (), each, role="targets"))
        if how.alone and how.eager.loss != "own" and continues:  # one token on is a view of the row, padded
            rows.insert(3, row("padding", (), INT64, role="targets"))
    return rows


def of_logits(row: Saved) -> bool:
    """Whether it is a copy of the logits that the head itself keeps, as a softcap does: it goes with the loss."""
    last = (row.dims[-1] if row.dims else ()) or ("",)
    return row.block.role == "head" and row.role == "value" and last[0].removeprefix("padded_").startswith("vocab")


# ---- Sums


def shares(
    rows: Sequence[Saved],
    sizes: Sizes,
    rules: Rules | None = None,
    between: Rules | None = None,
) -> dict[Size, Size]:
    """The bytes that are kept, by how many devices share them: {1: …, t: …}, also where t is a symbol.

    rules:  axes that are split, heads and d_ff in tensor parallelism
    between:  of tensors that none of those splits, seq in sequence parallelism
    """
    found: dict[Size, Size] = {}
    for row in rows:
        if row.kept and not row.given:
            divisor = row.divisor(rules or {}, between or {})
            found[divisor] = found.get(divisor, 0) + row.size(sizes) * row.times(sizes)
    return found


def total(
    rows: Sequence[Saved],
    sizes: Sizes,
    rules: Rules | None = None,
    between: Rules | None = None,
) -> Size:
    """The bytes that one device keeps; divisors are numbers here."""
    from transformer_calc.expr import divide

    kept: Size = 0
    for divisor, part in shares(rows, sizes, rules, between).items():
        kept = kept + divide(part, divisor)  # type: ignore[arg-type]
    return kept


def of_one(rows: Sequence[Saved], block: Block) -> list[Saved]:
    """The rows of a single layer of this block, without what all layers share."""
    return [
        row._replace(repeat="", every=1, number=None)
        for row in rows
        if row.block is block and (row.repeat or not block.repeat)
    ]
