"""The line of algebra of each operation, in letters: `Q = N₁·W_q + b_q`, `scores = Q·Kᵀ / √E`, `Z = A·V`.

A·B multiplies the last two dimensions of both, Bᵀ has them the other way round; dimensions before them are paired by
name, and one that only one of the two has is the other's, too. Weights are written as they are stored: X·W where that
is [in, out], X·Wᵀ where it is [out, in].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from transformer_calc.graph.core import Block, Dim, Graph, Op, Param, Tensor
from transformer_calc.ops import rules
from transformer_calc.ops.entrywise import dropped
from transformer_calc.ops.kind import DROPS, GROWN, MAP, MATMUL, MATRIX
from transformer_calc.ops.notation import KEPT, NAMED, NORM, SCALES, TABLE, Written
from transformer_calc.tuples import NamedTuple

# the last word of an operation's path -> the letter of what it makes
LETTERS = {
    "tokens": "tok",
    "positions": "pos",
    "segments": "seg",
    "q_down": "C_q",
    "kv_down": "C_kv",
    "scores": "scores",
    "softmax": "A",
    "mix": "Z",
    "o": "O",
    "up": "U",
    "gate": "G",
    "product": "M",
    "down": "Y",
    "lm": "logits",
    "probabilities": "p",
    "route": "g",
    "combine": "Y",
    "parts": "Y",
    "add_positions": "emb",
    "add_segments": "emb",
    "add_shared": "Y",
}
GIVEN = {"vectors": "X", "token_ids": "ids", "position_ids": "positions", "segment_ids": "segments", "pixels": "image"}
TABLES = {"tokens": "W_E", "positions": "W_P", "segments": "W_S"}
DIGITS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


class Line(NamedTuple):
    """An operation's algebra: the letters of what it makes, takes and is stored with, and the line.

    `short` leaves out what a function is made of, and of what flows down the layers the left side.
    """

    letter: str
    inputs: list[str]
    weights: list[str]
    text: str
    short: str


# --- letters ------------------------------------------------------------------------------------------------------


class Letters:
    """Names tensors in the order in which a run makes them; the residual stream is X₀, X₁, X₂, norms are N₁, N₂.

    Not numbered, both are X: what an operation is given.
    """

    def __init__(self, graph: Graph, *, numbered: bool) -> None:
        self.numbered = numbered
        self.several = {"X": False, "N": False}
        if numbered:
            made = [_series(op, block) for block, _ in in_order(graph) for op in block.ops]
            self.several = {series: made.count(series) > 1 for series in ("X", "N")}
        self.next = {"X": 0, "N": 1}

    def of(self, op: Op, block: Block, inputs: Sequence[str]) -> str:
        """The letter of what an operation makes."""
        series = _series(op, block)
        if series and not self.numbered:
            return "X"
        if series:
            number = self.next[series]
            self.next[series] += 1
            return series + (str(number).translate(DIGITS) if self.several[series] else "")
        last, kind = op.last, rules(op)
        if (
            kind.algebra.letter in (KEPT, NORM) and inputs
        ):  # a norm is one of queries, keys, a latent or a part's output
            return inputs[0]
        head, _, rest = last.partition("_")
        if head in ("q", "k", "v") and last not in LETTERS and (rest or kind.kernel == MATMUL):
            return head.upper() + ({"nope": "_n", "rope": "_r"}.get(rest.partition("_")[0], ""))
        if inputs and inputs[0] in ("scores", "logits") and kind.kernel == MAP:
            return inputs[0]
        if inputs and (last == "act" or op.attrs.get("function") == "scale"):
            return f"{inputs[0]}′"
        return LETTERS.get(last, last) + ("_s" if _shared(op) and last in LETTERS else "")


def _shared(op: Op) -> bool:
    """Whether it is a part of the shared experts, beside a router's."""
    return ".shared." in f".{op.path}"


def _series(op: Op, block: Block) -> str:
    """X for the residual stream, N for norms, nothing for the rest."""
    last = op.last
    if last.endswith("residual") or (block.role == "embed" and op.path == block.output):
        return "X"
    of_part = last.startswith(("q_", "k_", "kv_")) or last.endswith("_out_norm")
    return "N" if rules(op).algebra.letter == NORM and not of_part else ""


def weight(op: Op, param: Param, block: Block) -> str:
    """The letter of a parameter: W_q, b_q, γ, β; W₁ and W₂ where the feed-forward part has no gate."""
    letters, last = rules(op).algebra.weights, op.last
    if letters == SCALES:
        return {"weight": "γ", "bias": "β"}.get(param.name, param.name)
    if letters == TABLE:
        return TABLES.get(last, f"W_{last}")
    if param.tied and not param.tied.startswith("@"):
        return TABLES.get(param.tied.split(".")[-2], "W")
    if param.tied:
        last = param.tied.split(".")[-2]
    letter = {"weight": "W", "bias": "b"}.get(param.name)
    if letter is None:
        return param.name
    if letters == NAMED:
        return last
    if last in ("up", "down") and f"{op.scope}.gate" not in [other.path for other in block.ops]:
        return letter + {"up": "₁", "down": "₂"}[last] + ("_s" if _shared(op) else "")
    return f"{letter}_{last}" + ("_s" if _shared(op) else "")


# --- lines --------------------------------------------------------------------------------------------------------


def in_order(graph: Graph) -> Iterator[tuple[Block, int | None]]:
    """Every block as a run meets it, layers with their numbers."""
    runs_of = {runs[0][0][0]: runs for runs in graph.orders.values()}
    by_path = {block.path: block for block in graph.blocks if block.repeat}
    for block in graph.blocks:
        if not block.repeat:
            yield block, None
        elif block.path in runs_of:
            order = (path for cycle, times in runs_of[block.path] for path in cycle * times)
            yield from ((by_path[path], number) for number, path in enumerate(order))


def lines(graph: Graph) -> Iterator[tuple[Op, Line]]:
    """Each operation in the order of a run, with its line: tensors are numbered as they are made."""
    writer = _Writer(graph, numbered=True)
    x = "X"
    known: dict[str, str] = {}
    stack = ""
    for block, layer in in_order(graph):
        start = known.get(block.in_stack("output"), x) if block.role == "head" and block.stack else x
        local = {} if block.role == "embed" else {"x": start}
        for op in block.ops:
            line = writer.line(op, block, local, known)
            yield op, line
        if layer is None:
            known |= {block.in_stack(name): letter for name, letter in local.items()}
        if block.role == "embed":
            stack = ""
        elif layer is not None:
            stack = next(s for s, runs in graph.orders.items() if any(block.path in cycle for cycle, _ in runs))
        if block.role != "head":
            x = local.get(block.output, x)
        if stack:
            known[f"{stack}.output"] = x


def block_lines(graph: Graph, block: Block) -> dict[str, Line]:
    """The lines of one block's operations by their paths, for all of its repetitions: X is what one is given."""
    writer, local = _Writer(graph, numbered=False), {"x": "X"}
    return {op.path: writer.line(op, block, local, {}) for op in block.ops}


class _Writer:
    """Writes lines one after the other, and remembers what tensors are called and made of."""

    def __init__(self, graph: Graph, *, numbered: bool) -> None:
        self.graph, self.numbered = graph, numbered
        self.letters = Letters(graph, numbered=numbered)
        self.products: dict[str, str] = {}  # of the block at work: the right sides of its products

    def line(self, op: Op, block: Block, local: dict[str, str], known: Mapping[str, str]) -> Line:
        inputs = [self._name(tensor, local, known) for tensor in op.inputs]
        weights = [weight(op, param, block) for param in op.params]
        letter = self.letters.of(op, block, inputs)
        right = self.right_side(op, inputs, weights)
        short = self.right_side(op, inputs, weights, short=True)
        name = op.inputs[0].name if op.inputs else ""
        inner = self.products.get(name, "") if op.path.endswith("act") else ""
        if (
            rules(op).algebra.letter == KEPT and inputs and inputs[0] == letter
        ):  # the same, changed a little or not at all
            text = short = f"{letter}, {_kept(op, cached=not self.numbered)}"
        else:
            text = f"{letter} = {right}" + (f" = {self.right_side(op, [inner], weights)}" if inner else "")
            short = short if letter == "X" and not self.numbered else f"{letter} = {short}"
        local[op.path] = letter
        if rules(op).mesh(op) == MATRIX:
            self.products[op.path] = right
        return Line(letter, inputs, weights, text, short)

    def _name(self, tensor: Tensor, local: Mapping[str, str], known: Mapping[str, str]) -> str:
        name = tensor.name
        if not self.numbered and tensor.handed:  # what another stack hands over
            return "X"
        last = name.rpartition(".")[2]
        return local.get(name) or known.get(name) or GIVEN.get(last, last)

    def _symbol(self, dim: Dim) -> str:
        return "·".join(self.graph.axes[axis].symbol for axis in dim) or "1"

    def _size(self, dim: Dim) -> int:
        """A dimension's size where it is of the model, else 0."""
        axes, total = self.graph.axes, 1
        for axis in dim:
            size = axes[axis].size
            rule = axes[axis].rule
            if size is None and rule is not None:
                try:
                    size = rule({name: a.size for name, a in axes.items() if a.size is not None})  # type: ignore[assignment]
                except KeyError:  # it depends on the workload
                    return 0
            total *= size or 0
        return total

    def right_side(self, op: Op, inputs: Sequence[str], weights: Sequence[str], *, short: bool = False) -> str:
        """What an operation does with its inputs and weights."""
        cached = not self.numbered
        return rules(op).algebra.line(op, Written(inputs, weights, self._symbol, self._size, short, cached))


def _kept(op: Op, *, cached: bool) -> str:
    """What happens to a tensor that stays what it is called; `cached`: there may be tokens in the cache."""
    kind = rules(op)
    if DROPS in kind.traits:
        return dropped(op, cached=cached)
    return f"{op.note or kind.word}{': none here' if kind.memory == GROWN and not cached else ''}"
