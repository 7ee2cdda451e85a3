"""The frequencies of rotary positions, with every scaling that published models use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]
else:
    from transformer_calc.ops import arrays as np


def frequencies(attrs: Mapping[str, Any], length: int) -> tuple[Array, float]:
    """(angle of each pair per position, factor on sine and cosine) of a rotation.

    attrs: rotated (entries), over (denominator of the exponent), theta, scaling; length: tokens, which some scalings
    look at. Sources: linear, Chen et al. 2023 (arXiv 2306.15595); dynamic NTK; YaRN, Peng et al. 2023 (arXiv
    2309.00071); LongRoPE, Ding et al. 2024 (arXiv 2402.13753); Llama 3.1; as in modeling_rope_utils of transformers.
    """
    n, over, theta, scaling = attrs["rotated"], attrs["over"], attrs["theta"], attrs["scaling"]
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    exponents = np.arange(0, n, 2) / over
    inverse = theta**-exponents
    if kind in ("default", "proportional"):
        return inverse, 1.0
    factor = float(scaling.get("factor") or 1.0)
    if kind == "linear":
        return inverse / factor, 1.0
    longest = scaling["max_positions"]
    if kind == "dynamic":
        stretch = factor * max(length, longest) / longest - (factor - 1)
        return (theta * stretch ** (over / (over - 2))) ** -exponents, 1.0
    original = scaling.get("original_max_position_embeddings") or longest
    if kind == "llama3":
        return _llama3(inverse, factor, original, scaling), 1.0
    if kind == "yarn":
        return _yarn(inverse, over, theta, factor, original, scaling)
    if kind in ("longrope", "su"):
        return _longrope(inverse, length, longest, original, scaling)
    raise ValueError(f"rotary scaling {kind!r} cannot be run")


def _llama3(inverse: Array, factor: float, original: int, scaling: Mapping[str, Any]) -> Array:
    """Long waves are slowed down by the factor, short ones kept, those between blended."""
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = original * inverse / (2 * math.pi)
    blend = np.clip((turns - low) / (high - low), 0, 1) if high != low else (turns >= high).astype(float)
    return (1 - blend) * inverse / factor + blend * inverse


def _yarn(
    inverse: Array, n: int, theta: float, factor: float, original: int, scaling: Mapping[str, Any]
) -> tuple[Array, float]:
    """A ramp over the pairs between those that turn often and those that hardly turn."""

    def pair(turns: float) -> float:
        return n * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))

    def mscale(scale: float, m: float = 1.0) -> float:
        return 0.1 * m * math.log(scale) + 1.0 if scale > 1 else 1.0

    low, high = pair(scaling.get("beta_fast") or 32), pair(scaling.get("beta_slow") or 1)
    if scaling.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, n - 1)
    ramp = np.clip((np.arange(len(inverse)) - low) / (high - low or 0.001), 0, 1)
    attention = scaling.get("attention_factor")
    if attention is None:
        m, m_all = scaling.get("mscale"), scaling.get("mscale_all_dim")
        attention = mscale(factor, m) / mscale(factor, m_all) if m and m_all else mscale(factor)
    return inverse / factor * ramp + inverse * (1 - ramp), float(attention)


def _longrope(
    inverse: Array, length: int, longest: int, original: int, scaling: Mapping[str, Any]
) -> tuple[Array, float]:
    """A factor for each pair, one set for texts up to the original length and one for longer ones."""
    which = "long" if length > original else "short"
    factors = scaling[f"{which}_factor"]
    attention = scaling.get("attention_factor") or scaling.get(f"{which}_mscale")
    if attention is None:
        grown = scaling.get("factor") or longest / original
        attention = math.sqrt(1 + math.log(grown) / math.log(original)) if grown > 1 else 1.0
    return inverse / np.asarray(factors, float), float(attention)
