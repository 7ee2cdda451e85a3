"""The line of algebra of each operation, in letters: `Q = N₁·W_q + b_q`, `scores = Q·Kᵀ / √E`, `Z = A·V`.

A·B multiplies the last two dimensions of both, Bᵀ has them the other way round; dimensions before them are paired by
name, and one that only one of the two has is the other's, too. Weights are written as they are stored: X·W where that
is [in, out], X·Wᵀ where it is [out, in].
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from transformer_calc.graph.core import Block, Dim, Graph, Op, Param, Tensor
from transformer_calc.graph.ops import KINDS

FUNCTIONS = {
    "relu": "ReLU",
    "relu2": "ReLU²",
    "gelu": "GELU",
    "gelu_tanh": "GELU",
    "quick_gelu": "QuickGELU",
    "silu": "SiLU",
    "sigmoid": "σ",
    "identity": "",
}
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
KEEP = ("view", "cache", "repeat", "rotary", "dropout", "mask", "keep_best", "distance_bias")  # the letter stays
TABLES = {"tokens": "W_E", "positions": "W_P", "segments": "W_S"}
DIGITS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
LARGEST_ROOT = 10**6  # a factor is written as a root of a whole number no larger than this


class Line(NamedTuple):
    """An operation's algebra: the letters of what it makes, takes and is stored with, and the line.

    `short` leaves out what a function is made of, and of what flows down the layers the left side.
    """

    letter: str
    inputs: list[str]
    weights: list[str]
    text: str
    short: str


# --- factors ------------------------------------------------------------------------------------------------------


def _close(x: float, y: float) -> bool:
    return math.isclose(x, y, rel_tol=1e-9)


def _root(x: float, symbol: str, size: int) -> str:
    """A number as a root or multiple of a size, or of a whole number; empty where it is neither."""
    square = x * x
    if size and _close(square, size):
        return f"√{symbol}"
    if size and _close(x, size):
        return symbol
    if size and size * 1.5 < square and _close(square, round(square / size) * size) and square / size < 10:
        return f"√({round(square / size)}·{symbol})"
    if _close(x, round(x)):
        return f"{round(x)}"
    return f"√{round(square)}" if square < LARGEST_ROOT and _close(square, round(square)) else ""


def by(scale: float, symbol: str = "", size: int = 0, *, stretched: bool = False) -> str:
    """What a product is multiplied with: ` / √E`, ` / √144`, ` / 8`, ` · 0.1`; nothing where that is 1.

    symbol, size: of the dimension that is summed over; stretched: there is a factor on top of 1/√size.
    """
    if stretched and size:
        return f"{by(scale * math.sqrt(size))} / √{symbol}"
    if scale == 1.0:
        return ""
    if 0 < scale < 1 and (root := _root(1 / scale, symbol, size)):
        return f" / {root}"
    root = _root(scale, symbol, size) if scale > 1 else ""
    return f" · {root or f'{scale:.4g}'}" if scale > 0 else f" · ({scale:.4g})".replace("-", "−")


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
        last = op.path.rpartition(".")[2]
        if op.kind in KEEP and inputs:
            return inputs[0]
        if op.kind == "norm" and inputs:  # of queries, keys, a latent or a part's output
            return inputs[0]
        head, _, rest = last.partition("_")
        if head in ("q", "k", "v") and last not in LETTERS and (rest or op.kind == "linear"):
            return head.upper() + ({"nope": "_n", "rope": "_r"}.get(rest.partition("_")[0], ""))
        if inputs and inputs[0] in ("scores", "logits") and op.kind == "elementwise":
            return inputs[0]
        if inputs and (last == "act" or op.attrs.get("function") == "scale"):
            return f"{inputs[0]}′"
        return LETTERS.get(last, last) + ("_s" if _shared(op) and last in LETTERS else "")


def _shared(op: Op) -> bool:
    """Whether it is a part of the shared experts, beside a router's."""
    return ".shared." in f".{op.path}"


def _series(op: Op, block: Block) -> str:
    """X for the residual stream, N for norms, nothing for the rest."""
    last = op.path.rpartition(".")[2]
    if last.endswith("residual") or (block.role == "embed" and op.path == block.output):
        return "X"
    of_part = last.startswith(("q_", "k_", "kv_")) or last.endswith("_out_norm")
    return "N" if op.kind == "norm" and not of_part else ""


def weight(op: Op, param: Param, block: Block) -> str:
    """The letter of a parameter: W_q, b_q, γ, β; W₁ and W₂ where the feed-forward part has no gate."""
    if op.kind == "norm":
        return {"weight": "γ", "bias": "β"}.get(param.name, param.name)
    scope, _, last = op.path.rpartition(".")
    if op.kind == "lookup":
        return TABLES.get(last, f"W_{last}")
    if param.tied and not param.tied.startswith("@"):
        return TABLES.get(param.tied.split(".")[-2], "W")
    if param.tied:
        last = param.tied.split(".")[-2]
    letter = {"weight": "W", "bias": "b"}.get(param.name)
    if letter is None:
        return param.name
    if op.kind == "parameter":
        return last
    if last in ("up", "down") and f"{scope}.gate" not in [other.path for other in block.ops]:
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
        prefix = f"{block.stack}." if block.stack else ""
        start = known.get(f"{prefix}output", x) if block.role == "head" and block.stack else x
        local = {} if block.role == "embed" else {"x": start}
        for op in block.ops:
            line = writer.line(op, block, local, known)
            yield op, line
        if layer is None:
            known |= {prefix + name: letter for name, letter in local.items()}
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
        inner = self.products.get(name, "") if op.kind == "elementwise" and op.path.endswith("act") else ""
        if op.kind in KEEP and inputs and inputs[0] == letter:  # the same, changed a little or not at all
            text = short = f"{letter}, {_kept(op, cached=not self.numbered)}"
        else:
            text = f"{letter} = {right}" + (f" = {self.right_side(op, [inner], weights)}" if inner else "")
            short = short if letter == "X" and not self.numbered else f"{letter} = {short}"
        local[op.path] = letter
        if op.kind == "linear":
            self.products[op.path] = right
        return Line(letter, inputs, weights, text, short)

    def _name(self, tensor: Tensor, local: Mapping[str, str], known: Mapping[str, str]) -> str:
        name = tensor.name
        if not self.numbered and name.endswith(".output"):  # what another stack hands over
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
        x = inputs[0] if inputs else ""
        last = op.path.rpartition(".")[2]
        bias = f" + {weights[1]}" if len(weights) > 1 else ""
        note = f": {op.note}" if op.note else ""
        match op.kind:
            case "linear":
                part = head_part(op)
                stored = part or op.params[0].dims
                across = stored[-1] == op.inputs[0].dims[-1] if part else op.params[0].out == 0
                each = f", each head with its own [{', '.join(map(self._symbol, part))}]" if part else ""
                return f"{x}·{weights[0]}{'ᵀ' if across else ''}{bias}{each}{note}"
            case "expert_linear":
                return f"{x}·{weights[0]}{'ᵀ' if op.params[0].out == 1 else ''}{bias} of its experts"
            case "einsum":
                return self._product(op, inputs)
            case "convolution":
                stride = op.attrs["stride"][0]
                return f"{weights[0]} ∗ {x}{bias}" + (f", stride {stride}" if stride > 1 else "") + note
            case "norm":
                gamma = weights[0] if weights else ""
                name = "LayerNorm" if op.attrs["norm"] == "layernorm" else "RMSNorm"
                if short:
                    return f"{name}({x})"
                if op.attrs["offset"] and gamma:
                    gamma = f"({op.attrs['offset']:g} + {gamma})"
                scaled = (f" · {gamma}" if gamma else "") + bias
                if name == "LayerNorm":
                    return f"{name}({x}) = ({x} − μ) / √(σ² + ε){scaled}"
                return f"{name}({x}) = {x} / √(mean of {x}² + ε){scaled}"
            case "softmax":
                return f"softmax({x}), {op.note}"
            case "lookup":
                return f"{weights[0]}[{x}]{note}"
            case "sinusoid":
                return f"PE[{x}]{note}" if x else op.note
            case "combine":
                over = self._symbol(op.inputs[0].dims[-2])
                return f"Σ over {over} of {' ⊙ '.join(inputs[::-1])}{note}"
            case "elementwise":
                return self._entrywise(op, inputs)
            case "dropout":
                return f"{x}, {_kept(op, cached=not self.numbered)}"
            case "view" | "cache" | "repeat" | "slice" | "concat" | "rotary":
                return f"{', '.join(inputs)}{note}"
            case "parameter":
                return f"{weights[0]}{note}"
        what = (
            f"{KINDS[op.kind].word} of {', '.join([*inputs, *weights])}" if inputs or weights else KINDS[op.kind].word
        )
        return f"{what}{note}" if note else f"{what} ({last})"

    def _entrywise(self, op: Op, inputs: Sequence[str]) -> str:
        x, attrs, function = inputs[0], op.attrs, op.attrs["function"]
        note = f": {op.note}" if op.note != function else ""
        if function in ("add", "multiply"):
            return (" + " if function == "add" else " ⊙ ").join(inputs) + note
        if function == "scale" and "by_position" in attrs:  # Llama 4's growing queries
            floor, scale = attrs["by_position"]
            return f"{x} · (1 + {scale:g} · log(1 + ⌊(p + 1) / {floor:g}⌋)), p the position"
        if function == "scale":
            width = op.inputs[0].dims[-1]
            plus = f" + {attrs['add']:g}" if attrs.get("add") else ""
            return f"{x}{by(attrs.get('factor', 1.0), self._symbol(width), self._size(width))}{plus}"
        if function == "softcap":
            return f"{attrs['cap']:g} · tanh({x} / {attrs['cap']:g})"
        if function == "clip":
            low, high = attrs.get("limit"), attrs.get("high", attrs.get("limit"))
            return f"min({x}, {high:g})" if low is None else f"max(−{low:g}, min({x}, {high:g}))"
        return f"{x} / |{x}|" if function == "unit" else f"{FUNCTIONS.get(function, function)}({x})"

    def _product(self, op: Op, inputs: Sequence[str]) -> str:
        """A·B or A·Bᵀ; or, where it is not the last two dimensions that are multiplied, the sum that it is."""
        (a, b), out = (tensor.dims for tensor in op.inputs), op.output.dims
        summed = [dim for dim in a if dim in b and dim not in out]
        over = summed[0] if summed else a[-1]
        stretched = op.attrs.get("stretched", False)
        scale = by(op.attrs.get("scale", 1.0), self._symbol(over), self._size(over), stretched=stretched)
        scale += " / (layer + 1)" if op.attrs.get("by_layer") else ""
        note = f": {op.note}" if op.note else ""
        rows = len(a) > 1 and len(b) > 1 and summed == [a[-1]] and a[-2] == out[-2]
        if rows and b[-2:] == (over, out[-1]):
            return f"{inputs[0]}·{inputs[1]}{scale}{note}"
        if rows and b[-2:] == (out[-1], over):
            return f"{inputs[0]}·{inputs[1]}ᵀ{scale}{note}"
        return f"Σ over {self._symbol(over)} of {inputs[0]} ⊙ {inputs[1]}{scale}{note}"


def head_part(op: Op) -> tuple[Dim, ...]:
    """Of a weight of which each head has its own part: that part's dimensions; empty: it is one matrix for all."""
    x, stored, out = op.inputs[0].dims, op.params[0].dims, op.output.dims
    if x[-1] in stored and set(out) <= {*x, *stored}:
        return ()
    heads = x[1][0]
    return tuple(tuple(axis for axis in dim if axis != heads) for dim in stored)


def _kept(op: Op, *, cached: bool) -> str:
    """What happens to a tensor that stays what it is called; `cached`: there may be tokens in the cache."""
    if op.kind == "dropout":
        return f"{op.note}: in training only" + (
            "" if cached else f" (there, what is kept is ÷ {1 - op.attrs['rate']:g})"
        )
    return f"{op.note or KINDS[op.kind].word}{': none here' if op.kind == 'cache' and not cached else ''}"
