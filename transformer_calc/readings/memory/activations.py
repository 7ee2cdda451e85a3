"""What the backward pass keeps: for every operation the tensors that its derivative needs, each storage once.

The record of each kind of operation says which of its inputs, its output or tensors of its own (a dropout mask, the
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

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from transformer_calc.graph.core import (
    DATA,
    IDS,
    KEPT,
    MASK,
    SEGMENTS,
    Block,
    Dim,
    Dims,
    Graph,
    Op,
    Sizes,
    Tensor,
    plain,
    product,
)
from transformer_calc.ops import rules
from transformer_calc.ops.kept import BOOL, FLOAT32, INT64, WEIGHT, How, Need, Storage
from transformer_calc.ops.kind import (
    BIASES,
    CONVOLUTION,
    DROPS,
    ENTRYWISE,
    GROWN,
    JOINS,
    MASKS,
    NORMS,
    PART,
    PRODUCT,
    ROTATES,
    ROUTES,
    SLOPES,
    SPREAD,
    STORED,
    VIEW,
)
from transformer_calc.plan import Adapters
from transformer_calc.readings.count import lora
from transformer_calc.readings.count.flops import RECOMPUTE
from transformer_calc.readings.count.gradients import computed, flow, learns
from transformer_calc.spec import Execution
from transformer_calc.tuples import NamedTuple

if TYPE_CHECKING:
    from transformer_calc.expr import Size

KERNELS = ("fused", "eager")
ATTENTION = ("flash", "eager")
WIDEST = 256  # grouped heads that PyTorch reads as they are are no wider
VOCABULARY = ("vocab", "padded_vocab")  # axes of logits

Rules = Mapping[str, "Size"]  # axis -> how many devices share it


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


# ---- How it is run


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
    traits = {trait for block in graph.blocks for op in block.ops for trait in rules(op).traits}
    return How(
        bytes,
        kernels,
        attention,
        mask_bytes,
        recompute,
        every,
        float32_softmax=eager.softmax == "float32" or (not eager.softmax and ROTATES in traits),
        norm_keeps_input=BIASES in traits,
        float32_loss=eager.loss == "float32" or (eager.loss != "own" and (kernels == "fused" or graph.continues)),
        eager=eager,
        tokens=tokens,
        alone=alone,
    )


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
    walk = _Walk(graph, block, how, trainable, without)
    found = list(walk.rows())
    if block.role == "layer" and how.recompute == "selective":
        scores = {op.output.dims for op in block.ops if op.output.scores}
        found = [row for row in found if row.dims not in scores]
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

    def __init__(
        self, graph: Graph, block: Block, how: How, trainable: Callable[[str], bool], without: frozenset[str]
    ) -> None:
        self.graph, self.block, self.how, self.trainable = graph, block, how, trainable
        self.flow = flow(block, self.learns, lambda tensor: computed(tensor) and tensor.name not in without)
        self.common: set[str] = set()  # storages that other blocks may read, too
        self.home: dict[str, Storage] = {}
        self.made_by: dict[str, Op] = {op.path: op for op in block.ops}
        self.convolved = {op.inputs[0].name for op in block.ops if rules(op).kernel == CONVOLUTION}
        self.learned = {b.in_stack(op.path) for b in graph.blocks for op in b.ops if rules(op).memory == STORED}
        self.routers = {op.inputs[0].name: op for op in block.ops if ROUTES in rules(op).traits}
        routed = (param for op in block.ops for param in op.params if param.routed)
        self.experts: dict[Dim, Dim] = {(param.routed,): param.dims[0] for param in routed}
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
                self.home[extra.name] = Storage(extra.name, extra.dims, INT64, "indices")

    def entry(self) -> Iterator[Saved]:
        """What a layer was given: all that is left of it where the whole layer is recomputed."""
        seen: set[str] = set()
        made = {name for op in self.block.ops for name in (op.path, *(extra.name for extra in op.extra))}
        for op in self.block.ops:
            for tensor in op.inputs:
                storage = self.of(tensor)
                of_queries = tensor.given == MASK and tensor.dims[0] != ("batch",)
                if tensor.name in made or storage.name in seen or (tensor.given and not of_queries):
                    continue
                if of_queries:  # eager classes make it once, for every sequence, and hand it to each layer
                    if op.scope in self.matrices:
                        storage = Storage("mask", tensor.dims, BOOL, "mask", once=True)
                    elif self.how.kernels == "fused" or self.how.attention == "flash":
                        continue
                    else:
                        dims = (op.output.dims[0], *tensor.dims)
                        storage = Storage("mask", dims, self.how.bytes, "mask", once=True)
                seen.add(storage.name)
                row = self.row(op.path, storage)
                yield self.thinned(row) if storage.name == "x" and self.how.every > 1 else row
            if rules(op).kernel == PRODUCT and op.output.scores and plain(op.output.dims[-1][0]) == "source":
                yield from (self.row(op.path, zeros) for zeros in self.zeros(op) if zeros.once)
            if ROTATES in rules(op).traits and self.how.kernels == "eager" and "position_ids" not in seen:
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
            period = self.how.every // math.gcd(len(cycle), self.how.every)
            for i, path in enumerate(cycle):
                turns = (k for k in range(min(period, times)) if (start + i + k * len(cycle)) % self.how.every == 0)
                first = next(turns, None) if path == self.block.path else None
                count += 0 if first is None else (times - 1 - first) // period + 1
            start += len(cycle) * times
        return row._replace(number=count)

    def row(self, path: str, s: Storage) -> Saved:
        full = self.block.full(path)
        if s.role == "table" and s.once and self.how.eager.tables == "kind":
            s = s._replace(name=f"{s.name} of {self.block.path}")
        if self.how.eager.experts == "all" and s.role != "indices":
            s = s._replace(dims=tuple(self.experts.get(dim, dim) for dim in s.dims))
        repeat = "" if s.once else self.block.repeat
        if s.once:
            self.common.add(s.name)
        return Saved(full, s.name, s.dims, s.bytes, self.block, repeat, s.role, s.given, True, s.factor)

    def of(self, tensor: Tensor) -> Storage:
        """Where an input stands; what this block did not make was made before it."""
        if tensor.name in self.home:
            return self.home[tensor.name]
        if tensor.name in self.learned:
            return Storage(tensor.name, tensor.dims, self.how.bytes, parameter=True)
        if tensor.name == "x" and self.block.role == "head":  # all heads read the same
            return Storage(self.block.in_stack("output"), tensor.dims, self.how.bytes, once=True)
        if not tensor.given:
            return Storage(tensor.name, tensor.dims, self.how.bytes, once=tensor.name != "x")
        if tensor.given == KEPT:
            return Storage(tensor.name, tensor.dims, self.how.bytes, "mask", once=True)
        if tensor.given in (MASK, DATA):
            return Storage(tensor.name, tensor.dims, self.how.bytes, given=True)
        return self.ids(tensor)

    def ids(self, tensor: Tensor) -> Storage:
        """Where ids stand: those of tokens are handed in, others are mostly made, as one row for all sequences."""
        dims, where, given = tensor.dims, self.how.eager.positions, False
        if tensor.given == IDS:
            return Storage(tensor.name, dims, INT64, "indices", given=True)
        if tensor.given == SEGMENTS:  # a row of zeros
            dims = dims if self.how.eager.segments == "batch" else dims[1:]
        elif where == "batch" or (where == "encoder" and self.block.stack == "encoder"):
            dims = (("batch",), *dims)
        else:  # classes with segments (BERT) keep the positions as a buffer
            given = where == "buffer" or any(t.given == SEGMENTS for op in self.block.ops for t in op.inputs)
        return Storage(tensor.name, dims, INT64, "indices", True, given)

    def stored(self, op: Op) -> Storage:
        """Where an operation's output stands."""
        inputs = [self.of(tensor) for tensor in op.inputs]
        if inputs and (self.is_view(op) or op.attrs.get("function") == "identity"):
            return inputs[0]
        kind = rules(op)
        each = FLOAT32 if ROUTES in kind.traits and self.how.eager.weights_float32 else self.how.bytes
        return Storage(op.path, op.output.dims, each, parameter=kind.memory == STORED)

    def is_view(self, op: Op) -> bool:
        """Whether an operation's output stands where its input does."""
        memory, eager = rules(op).memory, self.how.kernels == "eager"
        if memory == VIEW and op.path in self.convolved and eager:
            return False  # channels come first by a copy
        if memory != SPREAD:
            return memory in (VIEW, GROWN, PART) and op.attrs.get("take") != "end"  # rows that are found are copied
        if eager and self.one_head(op):
            return self.spread(op)
        if self.mode(op) != "flash":
            return False
        narrow = _width(self.graph, op.output) <= WIDEST  # flash kernels read grouped heads as they are
        single = self.how.tokens == 1  # its query heads are told apart as if they were tokens
        return not eager or single or (op.scope not in self.matrices and narrow)

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
        rotated = any(ROTATES in rules(other).traits and other.scope == op.scope for other in self.block.ops)
        if rotated and _repeated_first(self.block, op) and op.attrs.get("of") == "k":
            return False  # which rotates them, as many as they are then
        if mode != "plain":
            return mode == "flash" or how.alone
        by_class = op.scope in self.matrices and op.attrs.get("of") == "v" and how.bytes == FLOAT32
        return how.alone and (how.eager.shared_key_broadcast or by_class)

    def learns(self, op: Op) -> bool:
        return learns(op) and self.trainable(self.block.full(op.path))

    def mode(self, op: Op) -> str:
        """How the attention that an operation belongs to is computed: flash, eager, or plain (within PyTorch's)."""
        if self.how.eager.probe_written_out and op.attrs.get("probe"):
            return "eager"
        return "plain" if op.scope in self.plain else self.how.attention

    def kept(self, op: Op) -> Iterator[Storage]:
        if self.how.kernels == "eager" and op.attrs.get("chooses"):
            return  # it only chooses keys, through which no gradient goes
        made = self.stored(op)
        mode = self.mode(op)
        kind, scores_out, core = rules(op), op.output.scores, op.on_scores
        if core and mode == "flash":
            yield from self.flash(op, made)
            return
        how = self.how
        if how.eager.probe_written_out and op.attrs.get("probe"):
            how = how._replace(float32_softmax=False)
        if core and mode == "plain":  # the masks of its dropout are in float32, too
            how = how._replace(float32_softmax=True, mask_bytes=FLOAT32)
            if MASKS in kind.traits and op.attrs["causal"] and self.biased(op):  # merged into the bias where it is True
                yield Storage(f"{op.path}.where", op.output.dims[-2:], BOOL, "mask")
        for need in self.wanted(op, (kind.fused if how.kernels == "fused" else kind.eager)(op, how)):
            if need.which == "own":
                assert need.storage
                yield need.storage
                continue
            storage = made if need.which == "output" else self.operand(op, need.place)
            wide = need.float32 or (core and mode == "plain")
            wide = wide or (scores_out and kind.kernel == PRODUCT and how.eager.scores_float32)
            wide = wide or (op.path in self.routers and how.eager.router != "own")
            yield storage.in_float32() if wide else storage
            if NORMS in kind.traits and need.which == "input" and not (wide and storage.bytes != FLOAT32):
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
        scope = op.scope
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
        """Without what is kept for a gradient that is not needed."""
        flows = {WEIGHT: self.learns(op), **dict(enumerate(self.flow.of(op)))}
        return (need for need in needs if (any(flows.values()) if need.of is None else flows[need.of]))

    def operand(self, op: Op, place: int) -> Storage:
        """An input; a fused elementwise kernel makes it again, from what the function before it keeps."""
        tensor = op.inputs[place]
        while self.how.kernels == "fused" and ENTRYWISE in rules(op).traits:
            before = self.made_by.get(tensor.name)
            if not before or ENTRYWISE not in rules(before).traits or len(before.inputs) > 1:
                break
            if any(need.which == "output" for need in rules(before).fused(before, self.how)):
                break
            tensor = before.inputs[0]
        return self.of(tensor)

    def flash(self, op: Op, made: Storage) -> Iterator[Storage]:
        """Q and K go in; V goes in, and the output and a log-sum-exp for each row come out; no scores are kept."""
        if not any(self.flow.of(op)):
            return
        if rules(op).kernel == PRODUCT and not op.output.scores:
            yield self.of(op.inputs[1])
            yield made
            yield from self.siblings(op, self.of(op.inputs[1]))
            if self.how.kernels == "eager" and self.how.tokens != 1 and self.heads_first(op.scope):
                yield made._replace(name=f"{op.path}.tokens_first")
            if op.scope in self.matrices:
                batch, _, queries, _ = op.output.dims
                yield Storage(f"{op.scope}.mask", (batch, queries, op.inputs[0].dims[-1]), self.how.bytes, "mask")
            yield Storage(f"{op.path}.logsumexp", op.output.dims[:-1], FLOAT32, "statistics")
            yield from self.zeros(op)
            return
        if SLOPES in rules(op).traits and self.how.kernels == "eager":  # with the causal mask, made once
            yield Storage("distance bias", op.output.dims, self.how.bytes, "mask", once=True)
            return
        yield from (self.of(t) for t in op.inputs if not t.scores and self.flow.needs(t))

    def zeros(self, op: Op) -> Iterator[Storage]:
        """The bias that T5's classes hand cross-attention: zeros, once or, where biases are a layer's own, in each."""
        scores = (op.output if op.output.scores else op.inputs[0]).dims
        if self.how.kernels == "eager" and _has_learned_bias(self.graph):
            one = not any(BIASES in rules(other).traits for other in self.block.ops)
            yield Storage(f"{op.scope}.zeros", scores[1:], self.how.bytes, "mask", once=one)

    def heads_first(self, scope: str) -> bool:
        """Whether queries come out of a concatenation: of rotated entries and the others, or by the class's choice."""
        if self.how.eager.rotated_as_made:
            return False
        own = [op for op in self.block.ops if op.scope == scope]
        return self.how.eager.heads_first or any(
            JOINS in traits or (ROTATES in traits and op.attrs["rotated"] < _width(self.graph, op.output))
            for op, traits in ((op, rules(op).traits) for op in own)
        )

    def biased(self, op: Op) -> bool:
        return any(other.scope == op.scope and other.attrs.get("learned_bias") for other in self.block.ops)


def _width(graph: Graph, tensor: Tensor) -> int:
    """Entries of a head, which no workload changes."""
    sizes: dict[str, Size] = {name: axis.size for name, axis in graph.axes.items() if axis.size is not None}
    (name,) = tensor.dims[-1]
    axis = graph.axes[name]
    return int(axis.rule(sizes) if axis.rule else sizes[name])  # type: ignore[arg-type]


def _has_learned_bias(graph: Graph) -> bool:
    return any(BIASES in rules(op).traits for block in graph.blocks for op in block.ops)


def _plain_scopes(graph: Graph, block: Block, eager: Execution) -> frozenset[str]:
    """Attentions that PyTorch's flash kernel (on the CPU) does not do.

    Those with dropout or a learned bias, those whose values are not as wide as their keys, and those with one key head
    that stands for all without being named as such.
    """
    found, products = set[str](), dict[str, Op]()
    for op in block.ops:
        kind = rules(op)
        if (DROPS in kind.traits and op.output.scores) or op.attrs.get("learned_bias"):
            found.add(op.scope)
        if kind.kernel == PRODUCT:
            first = products.setdefault(op.scope, op)
            mixes = op.inputs[0].scores and not op.output.scores
            if mixes and _width(graph, op.output) != _width(graph, first.inputs[0]):
                found.add(op.scope)
        if kind.memory == SPREAD and eager.shared_key_broadcast and not _repeated_first(block, op):
            heads = op.inputs[0].dims[1]
            if heads and graph.axes[heads[0]].size == 1:
                found.add(op.scope)
    return frozenset(found)


def _repeated_first(block: Block, op: Op) -> bool:
    """Whether keys are repeated as soon as they are made, so that the cache holds them so."""
    return any(rules(other).memory == GROWN and other.inputs[0].name == op.path for other in block.ops)


def _mask_scopes(block: Block, how: How) -> frozenset[str]:
    """Attentions that are handed their mask as a matrix: those that do not see all the past."""
    found = set()
    for op in block.masks.values():
        if any(SLOPES in rules(o).traits and o.scope == op.scope for o in block.ops):
            continue
        span = op.attrs["window"] or op.attrs["chunk"]
        if span and not op.attrs["causal"]:
            span //= 2  # to either side
        if how.eager.mask_always or (span and (how.tokens is None or how.tokens >= span)):
            found.add(op.scope)
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
    axis = _last_axis(op.output.dims) if op else ""
    words = axis in VOCABULARY
    if op is None or not (words or axis == "labels"):
        return []
    continues = words and graph.continues
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
    return row.block.role == "head" and row.role == "value" and _last_axis(row.dims) in VOCABULARY


def _last_axis(dims: Dims) -> str:
    """What the last of a tensor's axes counts."""
    last = dims[-1] if dims else ()
    return plain(last[-1]) if last else ""


def of_adapters(graph: Graph, how: How, adapters: Adapters) -> list[Saved]:
    """What every adapter keeps beside the frozen model: X·A, and with dropout its own X and the mask."""
    rows = []
    for block, op in lora.adapted(graph, adapters) if how.recompute != "full" else ():
        x = op.inputs[0].dims
        kept: list[tuple[str, Dims, int, str]] = [("lora_a", (*x[:-1], (lora.RANK,)), how.bytes, "value")]
        if adapters.dropout:
            kept += [("lora_dropped", x, how.bytes, "value"), ("lora_mask", x, how.mask_bytes, "mask")]
        for name, dims, each, role in kept:
            rows.append(Saved(block.full(op.path), f"{op.path}.{name}", dims, each, block, block.repeat, role))
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
