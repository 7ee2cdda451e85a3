"""Words and records that every part of a model uses."""

from __future__ import annotations

from transformer_calc.errors import InputError
from transformer_calc.record import Record, one_of, real, record

# functions which a class writes out as a chain of operations: it shows in what eager kernels keep
WRITTEN_OUT = {"gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh", "gelu_python": "gelu"}
ACTIVATIONS = ("gelu", "gelu_tanh", "quick_gelu", "relu", "relu2", "silu", "tanh", "sigmoid", "identity", *WRITTEN_OUT)
STACKS = ("decoder", "encoder", "text", "vision")


def divide(what: str, total: int, by: str, parts: int) -> int:
    """`total / parts`, exact; the error names both fields and the nearest divisors."""
    if total % parts:
        below = next(n for n in range(parts, 0, -1) if total % n == 0) if parts < 10**6 else 1
        above = next((n for n in range(parts, min(total, 10 * parts) + 1) if total % n == 0), total)
        near = f"{below} or {above}" if below != above else f"{below}"
        raise InputError(f"{what} ({total}) is not divisible by {by} ({parts})", hint=f"{by} could be {near}")
    return total // parts


@record
class Norm(Record):
    """LayerNorm (Ba et al. 2016, arXiv 1607.06450) or RMSNorm (Zhang & Sennrich 2019, arXiv 1910.07467)."""

    kind: str = one_of("layernorm", "rmsnorm", default="layernorm")
    weight: bool = True
    bias: bool = True  # only where there is a weight; RMSNorm never has one
    eps: float = real(default=1e-5, above=0, most=1)
    # added to the weight: 1 in Gemma, where a zero weight is the identity
    offset: float = real(default=0.0, least=-1000, most=1000)
