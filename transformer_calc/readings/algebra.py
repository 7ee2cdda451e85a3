"""The line of algebra of each operation, in letters: `Q = N₁·W_q + b_q`, `scores = Q·Kᵀ / √E`, `Z = A·V`."""

from __future__ import annotations

from collections.abc import Sequence

from transformer_calc.graph.core import Block, Graph, Op, Param
from transformer_calc.graph.ops import KINDS

FUNCTIONS = {
    "relu": "ReLU",
    "relu2": "ReLU²",
    "gelu": "GELU",
    "gelu_tanh": "GELU",
    "quick_gelu": "GELU",
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
}
GIVEN = {"vectors": "X", "token_ids": "ids", "position_ids": "positions", "segment_ids": "segments", "pixels": "image"}
KEEP = ("view", "cache", "repeat", "dropout", "mask", "keep_best", "distance_bias")  # the letter stays
TABLES = {"tokens": "W_E", "positions": "W_P", "segments": "W_S"}
DIGITS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


class Letters:
    """Names tensors in the order in which a run makes them; the residual stream is X₀, X₁, X₂, norms are N₁, N₂."""

    def __init__(self, graph: Graph) -> None:
        order = [path for runs in graph.orders.values() for cycle, times in runs for path in cycle * times]
        ops = {block.path: block for block in graph.blocks if block.repeat}
        blocks = [block for block in graph.blocks if not block.repeat] + [ops[path] for path in order]
        made = [_series(op, block) for block in blocks for op in block.ops]
        self.several = {series: made.count(series) > 1 for series in ("X", "N")}
        self.next = {"X": 0, "N": 1}

    def of(self, op: Op, block: Block, inputs: Sequence[str]) -> str:
        """The letter of what an operation makes."""
        series = _series(op, block)
        if series:
            number = self.next[series]
            self.next[series] += 1
            return series + (str(number).translate(DIGITS) if self.several[series] else "")
        last = op.path.rpartition(".")[2]
        if op.kind in KEEP and inputs:
            return inputs[0]
        if op.kind == "norm" and inputs:  # of queries, keys or a latent
            return inputs[0]
        head, _, rest = last.partition("_")
        if head in ("q", "k", "v") and last not in LETTERS and (rest or op.kind == "linear"):
            return head.upper() + ({"nope": "_n", "rope": "_r"}.get(rest.partition("_")[0], ""))
        if last == "act" and inputs:
            return f"{inputs[0]}′"
        if inputs and inputs[0] == "scores" and op.kind == "elementwise":
            return "scores"
        return LETTERS.get(last, last)


def _series(op: Op, block: Block) -> str:
    """X for the residual stream, N for norms, nothing for the rest."""
    last = op.path.rpartition(".")[2]
    if last.endswith("residual") or (block.role == "embed" and op.path == block.output):
        return "X"
    return "N" if op.kind == "norm" and not last.startswith(("q_", "k_", "kv_")) else ""


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
        return letter + {"up": "₁", "down": "₂"}[last]
    return f"{letter}_{last}"


def line(letter: str, op: Op, inputs: Sequence[str], weights: Sequence[str], made_by: str = "") -> str:
    """What an operation makes, and how; `made_by` is the right side of its first input's line."""
    if op.kind in KEEP and inputs and inputs[0] == letter:  # the same, changed a little or not at all
        return f"{letter}, {op.note or KINDS[op.kind].word}{': none here' if op.kind == 'cache' else ''}"
    inner = made_by if op.kind == "elementwise" and op.path.endswith("act") else ""
    return f"{letter} = {right_side(op, inputs, weights)}" + (f" = {right_side(op, [inner], weights)}" if inner else "")


def right_side(op: Op, inputs: Sequence[str], weights: Sequence[str]) -> str:
    """What an operation does with its inputs and weights."""
    x = inputs[0] if inputs else ""
    last = op.path.rpartition(".")[2]
    bias = f" + {weights[1]}" if len(weights) > 1 else ""
    match op.kind:
        case "linear" | "expert_linear":
            stored = op.params[0].dims[1:] if op.kind == "expert_linear" else op.params[0].dims
            across = len(stored) > 1 and stored[-1] == op.inputs[0].dims[-1]
            return f"{x}·{weights[0]}{'ᵀ' if across else ''}{bias}" + (" of its experts" if len(inputs) > 1 else "")
        case "einsum":
            a, b = op.inputs
            across = len(b.dims) > 1 and b.dims[-1] in a.dims and b.dims[-1] not in op.output.dims
            scale = op.attrs.get("scale", 1.0)
            by = " / √E" if "/ √E" in op.note else f" · {scale:.4g}" if scale != 1.0 else ""
            return f"{x}·{inputs[1]}{'ᵀ' if across else ''}{by}"
        case "norm":
            gamma = weights[0] if weights else ""
            if op.attrs["offset"] and gamma:
                gamma = f"({op.attrs['offset']:g} + {gamma})"
            scaled = (f" · {gamma}" if gamma else "") + bias
            if op.attrs["norm"] == "layernorm":
                return f"LayerNorm({x}) = ({x} − μ) / √(σ² + ε){scaled}"
            return f"RMSNorm({x}) = {x} / √(mean of {x}² + ε){scaled}"
        case "softmax":
            return f"softmax({x}), {op.note}"
        case "lookup":
            return f"{weights[0]}[{x}]: {op.note}"
        case "elementwise":
            function = op.attrs["function"]
            if function in ("add", "multiply"):
                return (" + " if function == "add" else " ⊙ ").join(inputs)
            if function == "scale" and "factor" in op.attrs:
                return f"{op.attrs['factor']:.4g} · {x}"
            return f"{FUNCTIONS.get(function, function)}({x})"
        case "view" | "cache" | "repeat" | "dropout" | "slice" | "concat" | "rotary":
            return f"{', '.join(inputs)}: {op.note}" if op.note else ", ".join(inputs)
        case "parameter":
            return f"{weights[0]}" + (f": {op.note}" if op.note else "")
    what = f"{KINDS[op.kind].word} of {', '.join([*inputs, *weights])}" if inputs or weights else KINDS[op.kind].word
    return f"{what}: {op.note}" if op.note else f"{what} ({last})"
