"""What the backward pass keeps: for every operation the tensors that its derivative needs, each storage once.

A rule for each kind of operation says which of its inputs, its output or tensors of its own (a dropout mask, the
statistics of a norm) it keeps. Views keep nothing, and what is kept through a view is the storage of its source, so
that a tensor kept twice is counted once. Parameters are not counted: they are there anyway.

kernels:  fused, where norms, activations and dropout keep only what a fused kernel keeps, or eager, operator by
    operator as PyTorch 2.13 runs the classes of Hugging Face transformers 5.23
attention:  eager, with score matrices of a row for each query and a column for each key, or flash (Dao et al. 2022,
    arXiv 2205.14135), which keeps Q, K, V, the output and a log-sum-exp per row. With eager kernels, flash is
    PyTorch's own scaled_dot_product_attention, which on the CPU computes plainly, and in float32, where there is
    dropout or a learned bias
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import gcd
from typing import TYPE_CHECKING, NamedTuple

from transformer_calc.graph.core import Block, Dims, Graph, Op, Sizes, Tensor, product
from transformer_calc.graph.ops import CONTRACTIONS
from transformer_calc.readings.flops import RECOMPUTE, WITHOUT_GRADIENT, is_scores

if TYPE_CHECKING:
    from transformer_calc.expr import Size

KERNELS = ("fused", "eager")
ATTENTION = ("flash", "eager")
BOOL, FLOAT32, INT64 = 1, 4, 8  # bytes

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
    gelu_chain: bool = True  # eager: the tanh form of GELU is a chain of operators (gelu_new), not one (pytorch_tanh)
    norm_keeps_input: bool = False  # eager: RMSNorm multiplies its input as it came, not its float32 copy (T5)
    float32_loss: bool = True  # logits are cast to float32 before the loss


class Storage(NamedTuple):
    """Memory that one tensor, or several views of it, stand in."""

    name: str
    dims: Dims
    bytes: int
    role: str = "value"  # value, statistics, mask, indices, table, loss
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
    kept: bool = True  # False: it is there for a moment only, around the loss
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


def _own(op: Op, name: str, dims: Dims, each: int, role: str = "value") -> Need:
    return Need("own", storage=Storage(f"{op.path}.{name}", dims, each, role))


def _nothing(op: Op, how: How) -> tuple[Need, ...]:
    return ()


def _operands(op: Op, how: How) -> tuple[Need, ...]:
    """The gradient of each operand is made of the other one; `_wanted` leaves out those whose partner needs none."""
    return tuple(_input(i) for i in range(len(op.inputs)))


def _norm(op: Op, how: How) -> tuple[Need, ...]:
    rows = op.output.dims[:-1]
    if op.attrs["norm"] == "layernorm":  # one operator in eager mode, too
        each = FLOAT32 if how.kernels == "fused" else how.bytes
        return _input(), _own(op, "mean", rows, each, "statistics"), _own(op, "rstd", rows, each, "statistics")
    rstd = _own(op, "rstd", rows, FLOAT32, "statistics")
    if how.kernels == "fused":
        return _input(), rstd
    kept: tuple[Need, ...] = (_input(float32=True), rstd)
    if how.norm_keeps_input:
        kept += (_input(),)
    if not op.params:
        return kept
    each = FLOAT32 if op.attrs["offset"] else how.bytes  # Gemma multiplies by 1 + weight in float32
    return (*kept, _own(op, "normalised", op.output.dims, each))


def _softmax(op: Op, how: How) -> tuple[Need, ...]:
    return (_output(float32=how.kernels == "eager" and how.float32_softmax),)


def _dropout(op: Op, how: How) -> tuple[Need, ...]:
    return (_own(op, "mask", op.output.dims, how.mask_bytes, "mask"),)


def _gelu_tanh(op: Op, how: How) -> tuple[Need, ...]:
    """x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³))): the chain keeps x, x/2, the tanh and 1 + it."""
    if how.kernels == "fused" or not how.gelu_chain:
        return (_input(),)
    return (_input(), *(_own(op, name, op.output.dims, how.bytes) for name in ("half", "tanh", "one_plus_tanh")))


def _quick_gelu(op: Op, how: How) -> tuple[Need, ...]:
    return (_input(),) if how.kernels == "fused" else (_input(), _own(op, "sigmoid", op.output.dims, how.bytes))


def _relu2(op: Op, how: How) -> tuple[Need, ...]:
    return (_input(),) if how.kernels == "fused" else (_own(op, "relu", op.output.dims, how.bytes),)


def _elementwise(op: Op, how: How) -> tuple[Need, ...]:
    kept = FUNCTIONS[op.attrs["function"]]
    return kept(op, how) if callable(kept) else tuple(_output() if k == "output" else _input() for k in kept)


FUNCTIONS: dict[str, Rule | tuple[str, ...]] = {
    "add": (),
    "multiply": _operands,
    "scale": (),
    "clip": ("input",),
    "relu": ("output",),
    "relu2": _relu2,
    "silu": ("input",),
    "sigmoid": ("output",),
    "tanh": ("output",),
    "exp": ("output",),
    "softcap": ("output",),
    "gelu": ("input",),
    "gelu_tanh": _gelu_tanh,
    "quick_gelu": _quick_gelu,
    "mask": (),
    "identity": (),
    "unit": ("input", "output"),
}


def _rotary(op: Op, how: How) -> tuple[Need, ...]:
    """Tables of cosines and sines, for each token and rotated entry, made once for all layers."""
    given = (f"{key} {value}" for key, value in sorted(op.attrs.items()) if value)
    name = f"cosines and sines ({', '.join(given)})"
    dims = (op.output.dims[-2],)
    table = Storage(name, dims, how.bytes, "table", once=True, factor=2 * op.attrs["rotated"])
    return (Need("own", storage=table),)


def _relative_lookup(op: Op, how: How) -> tuple[Need, ...]:
    return (_own(op, "buckets", op.output.dims[1:], INT64, "indices"),)


def _shift(op: Op, how: How) -> tuple[Need, ...]:
    return (_own(op, "distances", op.output.dims[-2:], INT64, "indices"),)


def _keep_best(op: Op, how: How) -> tuple[Need, ...]:
    return (_own(op, "chosen", (op.output.dims[0], *op.output.dims[-2:]), BOOL, "mask"),)


def _route(op: Op, how: How) -> tuple[Need, ...]:
    """Scores of all experts, in float32 as every class computes them, and which were chosen."""
    return _own(op, "probabilities", op.inputs[0].dims, FLOAT32), _own(op, "chosen", op.output.dims, INT64, "indices")


KEEPS: dict[str, Rule] = {
    "lookup": lambda op, how: (_input(),),
    "linear": lambda op, how: (_input(),),
    "expert_linear": lambda op, how: (_input(),),
    "einsum": _operands,
    "convolution": lambda op, how: (_input(),),
    "norm": _norm,
    "softmax": _softmax,
    "elementwise": _elementwise,
    "mask": _nothing,  # it is added
    "keep_best": _keep_best,
    "rotary": _rotary,
    "distance_bias": _nothing,
    "shift": _shift,
    "dropout": _dropout,
    "view": _nothing,
    "repeat": _nothing,
    "cache": _nothing,
    "concat": _nothing,
    "slice": _nothing,
    "mean": _nothing,
    "parameter": _nothing,
    "sinusoid": _nothing,
    "relative_lookup": _relative_lookup,
    "route": _route,
    "dispatch": _nothing,
    "combine": _operands,
}

# the same storage under another name; a merge of dimensions after a transposition is a copy, but nothing else keeps its
# source then: the matrix product before it does not need its own output, and flash attention writes it merged
VIEWS = ("view", "cache", "slice")


# ---- Facts of the Hugging Face classes that the graph does not show

# the class computes its softmax in float32 and has no rotary positions, or the other way round
FLOAT32_SOFTMAX = frozenset("opt xglm bloom vit deit clip siglip".split())
OWN_SOFTMAX = frozenset("llama4 llama4_text falcon".split())
# the tanh form of GELU is PyTorch's own operator (gelu_pytorch_tanh), or a function that keeps its input (BLOOM)
ONE_GELU = frozenset("gemma gemma2 gemma3 gemma3_text vaultgemma starcoder2 gpt_bigcode siglip bloom".split())


def settings(
    graph: Graph,
    *,
    family: str = "",
    bytes: int = 2,
    kernels: str = "fused",
    attention: str = "flash",
    mask_bytes: int = BOOL,
    recompute: str = "none",
    every: int = 1,
) -> How:
    """How a model is run; what the classes of Hugging Face do otherwise is seen in the graph, or known by family."""
    for name, value, choices in (
        ("kernels", kernels, KERNELS),
        ("attention", attention, ATTENTION),
        ("recompute", recompute, RECOMPUTE),
    ):
        if value not in choices:
            raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(choices)}")
    kinds = {op.kind for block in graph.blocks for op in block.ops}
    return How(
        bytes,
        kernels,
        attention,
        mask_bytes,
        recompute,
        every,
        float32_softmax=family in FLOAT32_SOFTMAX or ("rotary" in kinds and family not in OWN_SOFTMAX),
        gelu_chain=family not in ONE_GELU,
        norm_keeps_input="relative_lookup" in kinds,
        float32_loss=kernels == "fused" or _continues(graph),
    )


def _continues(graph: Graph) -> bool:
    """Whether the model is trained to continue its own input: then the targets are the inputs, one token on."""
    masks = [op.attrs["causal"] for block in graph.blocks for op in block.ops if op.kind == "mask"]
    return len(graph.orders) == 1 and bool(masks) and all(masks)


# ---- The reading


def saved(
    graph: Graph,
    how: How,
    *,
    loss: bool = True,
    trainable: Callable[[str], bool] = lambda path: True,
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
        walk = _Walk(graph, block, how, trainable)
        given = (tensor for op in block.ops for tensor in op.inputs if tensor.name in without)
        walk.home |= {tensor.name: walk.of(tensor)._replace(constant=True) for tensor in given}
        found = list(walk.rows())
        walk.home = {name: storage for name, storage in walk.home.items() if name not in without}  # it is given anyway
        if block.role == "layer" and how.recompute == "selective":
            found = [row for row in found if not is_scores(row.dims)]
        elif block.role == "layer" and how.recompute == "full":
            found = [row for row in found if not row.repeat] + list(walk.entry())
        if loss and block.role == "head":
            found += _loss(graph, block, how)
        common = {(row.tensor, row.dims) for row in found if row.tensor in walk.common}
        rows += [row for row in found if (row.tensor, row.dims) not in shared]
        shared |= common
    return rows


class _Walk:
    """One block, operation by operation."""

    def __init__(self, graph: Graph, block: Block, how: How, trainable: Callable[[str], bool]) -> None:
        self.graph, self.block, self.how, self.trainable = graph, block, how, trainable
        self.common: set[str] = set()  # storages that other blocks may read, too
        self.home: dict[str, Storage] = {}
        self.made_by: dict[str, Op] = {op.path: op for op in block.ops}
        self.plain = _plain_scopes(block) if how.kernels == "eager" and how.attention == "flash" else frozenset()

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
                    if self.how.kernels == "fused" or self.how.attention == "flash":
                        continue
                    dims = (op.output.dims[0], *tensor.dims)
                    storage = Storage("mask", dims, self.how.bytes, "mask", once=True)
                seen.add(storage.name)
                row = self.row(op.path, storage)
                yield self.thinned(row) if storage.name == "x" and self.how.every > 1 else row
            if rotates and op.kind == "rotary" and self.how.kernels == "eager" and "position_ids" not in seen:
                seen.add("position_ids")
                ids = Storage("position_ids", (op.output.dims[-2],), INT64, "indices", once=True)
                yield self.row(op.path, ids)

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
        if tensor.name == "x" and self.block.role == "head":  # all heads read the same
            name = f"{self.block.stack}.output" if self.block.stack else "output"
            return Storage(name, tensor.dims, self.how.bytes, once=True)
        last = tensor.name.rpartition(".")[2]
        if last not in WITHOUT_GRADIENT:
            return Storage(tensor.name, tensor.dims, self.how.bytes, once=tensor.name != "x")
        each = INT64 if last.endswith("_ids") else self.how.bytes
        role = "indices" if last.endswith("_ids") else "value"
        if last == "segment_ids":  # classes make one row of zeros for all sequences
            return Storage(tensor.name, tensor.dims[1:], each, role, True, constant=True)
        segments = any(t.name == "segment_ids" for op in self.block.ops for t in op.inputs)
        given = last != "position_ids" or segments  # those classes (BERT) keep the positions as a buffer
        return Storage(tensor.name, tensor.dims, each, role, last == "position_ids", given, constant=True)

    def stored(self, op: Op) -> Storage:
        """Where an operation's output stands."""
        inputs = [self.of(tensor) for tensor in op.inputs]
        unrepeated = op.kind == "repeat" and self.mode(op) == "flash"  # flash kernels read grouped heads as they are
        if inputs and (op.kind in VIEWS or unrepeated or op.attrs.get("function") == "identity"):
            return inputs[0]
        fixed = not self.learns(op) and all(s.constant for s in inputs)
        own = op.kind == "parameter"
        return Storage(op.path, op.output.dims, self.how.bytes, constant=fixed, parameter=own)

    def learns(self, op: Op) -> bool:
        return bool(op.params) and self.trainable(self.full(op.path))

    def mode(self, op: Op) -> str:
        """How the attention that an operation belongs to is computed: flash, eager, or plain (within PyTorch's)."""
        return "plain" if _scope(op) in self.plain else self.how.attention

    def kept(self, op: Op) -> Iterator[Storage]:
        made = self.stored(op)
        mode = self.mode(op)
        scores_in, scores_out = bool(op.inputs) and is_scores(op.inputs[0].dims), is_scores(op.output.dims)
        core = op.kind != "linear" and (scores_in or scores_out)
        if core and mode == "flash":
            yield from self.flash(op, made, scores_in=scores_in, scores_out=scores_out)
            return
        how = self.how
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
            yield storage.in_float32() if need.float32 or (core and mode == "plain") else storage

    def wanted(self, op: Op, needs: tuple[Need, ...]) -> Iterator[Need]:
        """Without operands whose partner needs no gradient."""
        if op.kind in CONTRACTIONS and not self.trainable(self.full(op.path)):
            return
        constant = [self.of(tensor).constant for tensor in op.inputs]
        if all(constant) and not self.learns(op):
            return
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
            yield Storage(f"{op.path}.logsumexp", op.output.dims[:-1], FLOAT32, "statistics")
            if self.how.kernels == "eager" and _has_learned_bias(self.graph):
                # T5's classes hand cross-attention a bias of zeros
                yield Storage(f"{_scope(op)}.zeros", op.inputs[0].dims[1:], self.how.bytes, "mask", once=True)
            return
        for tensor in op.inputs:
            storage = self.of(tensor)
            if not is_scores(tensor.dims) and not storage.constant:
                yield storage

    def biased(self, op: Op) -> bool:
        return any(_scope(other) == _scope(op) and _adds_learned_bias(other) for other in self.block.ops)


def _scope(op: Op) -> str:
    return op.path.rpartition(".")[0]


def _adds_learned_bias(op: Op) -> bool:
    return op.kind == "elementwise" and len(op.inputs) == 2 and op.inputs[1].name.endswith("relative_bias")


def _has_learned_bias(graph: Graph) -> bool:
    return any(op.kind == "relative_lookup" for block in graph.blocks for op in block.ops)


def _plain_scopes(block: Block) -> frozenset[str]:
    """Attentions with dropout or a learned bias: PyTorch's flash kernel (on the CPU) has neither."""
    return frozenset(
        _scope(op) for op in block.ops if (op.kind == "dropout" and is_scores(op.output.dims)) or _adds_learned_bias(op)
    )


def _loss(graph: Graph, block: Block, how: How) -> list[Saved]:
    """Cross-entropy keeps the log-probabilities and the targets; the logits and their gradient come and go."""
    op = next((op for op in block.ops if op.path == block.output), None)
    if op is None or not op.output.dims[-1] or not op.output.dims[-1][0].removeprefix("padded_").startswith("vocab"):
        return []
    each = FLOAT32 if how.float32_loss else how.bytes
    tokens, entries = op.output.dims[:-1], op.output.dims

    def row(name: str, dims: Dims, each: int, **more: bool) -> Saved:
        return Saved("loss", name, dims, each, block, "", "loss", **more)

    rows = [
        row("log_probabilities", entries, each),
        row("targets", tokens, INT64, given=not _continues(graph)),
        row("logits", entries, how.bytes, kept=False),
        row("logits_gradient", entries, each, kept=False),
    ]
    if how.kernels == "eager":
        rows.insert(2, row("total_weight", (), each))
    return rows


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
