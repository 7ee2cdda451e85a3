"""Rotary positions from rope_theta and rope_scaling, or from rope_parameters (transformers.modeling_rope_utils)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformer_calc.errors import InputError
from transformer_calc.sources.families.base import is_number, short
from transformer_calc.spec import Rotary

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformer_calc.sources.families.base import Config

# what each type of rope_scaling cannot do without (transformers.modeling_rope_utils)
ROPE_NEEDS = {
    "default": "",
    "linear": "factor",
    "dynamic": "factor",
    "yarn": "factor",
    "longrope": "short_factor long_factor",
    "llama3": "factor low_freq_factor high_freq_factor",
    "proportional": "",
    "ntk": "factor",
}


def rotary(
    c: Config,
    d_head: int,
    *,
    part: float | None = None,
    interleaved: bool = False,
    theta: float | None = None,
    kind: str = "",
    scaled: bool = True,
) -> Rotary:
    """Rotary settings from rope_theta and rope_scaling, or from the newer rope_parameters that holds both.

    `theta` and `part` are what holds where these say nothing; `part` None: the class turns whole heads. `kind`: the
    entry of rope_parameters, which has one for each kind of layer and nothing else; `scaled`: rope_scaling, which knows
    of no kinds, is meant for this one, and changes its entry.
    The scaling that comes out is complete: its type, and every number that the frequencies follow from.
    """
    old, given = c.mapping("rope_scaling", None), c.mapping("rope_parameters", None)
    if kind:
        entry = given.get(kind)
        if not isinstance(entry, dict | None):
            raise InputError(f"{c.where}rope_parameters.{kind} is {short(entry)}; it must be an object")
        given = {"rope_type": "default"} | (entry or {}) | (old if scaled else {})
    elif old:
        given = old
    usual = c.num("rope_theta", 10000.0)
    base, turned = given.get("rope_theta", usual if theta is None else theta), given.get("partial_rotary_factor")
    if not is_number(base) or not 1 < base <= 1e15:
        raise InputError(f"{c.where}rope_theta is {short(base)}; it must be a number above 1 and at most 1e15")
    scaling = _rope_scaling(c, given)
    if turned is None:
        turned = 1.0 if part is None else part
    if not is_number(turned) or not 0 < turned <= 1:
        raise InputError(f"{c.where}partial_rotary_factor is {short(turned)}; it must be above 0 and at most 1")
    if part is None and turned < 1:
        if scaling:  # which the class's frequencies follow, and its heads do not
            raise InputError(
                f"{c.where}partial_rotary_factor is {short(turned)}; {c.family.model_type} turns all of a head"
            )
        turned = 1.0
    dims = int(d_head * turned)
    paired = dims + dims % 2 if dims < d_head else dims  # an odd part of a head is rounded up to pairs
    if dims < 2 or paired % 2:
        of = f" (partial_rotary_factor {turned:g})" if turned < 1 else ""
        raise InputError(
            f"{c.where}the rotary dimensions are {dims} of a head's {d_head}{of}; they come in pairs and must be even"
        )
    over = dims if paired != dims else None
    return Rotary(dims=paired, over=over, theta=float(base), interleaved=interleaved, scaling=scaling)


def _rope_scaling(c: Config, given: dict[str, Any]) -> tuple[tuple[str, object], ...]:
    kind = given.get("rope_type", given.get("type", "default"))
    kind = "longrope" if kind == "su" else kind
    if not isinstance(kind, str) or kind not in ROPE_NEEDS:
        raise InputError(f"{c.where}rope_scaling type is {short(kind)}; it must be one of {', '.join(ROPE_NEEDS)}")
    trained = c.maybe_int("original_max_position_embeddings", None)
    longest = c.maybe_int("max_positions", None)
    if kind == "default":
        return ()
    scaling = {k: v for k, v in given.items() if k not in ("rope_theta", "partial_rotary_factor", "type")}
    scaling["rope_type"] = kind
    for key, value in scaling.items():
        numbers = value if isinstance(value, list) else [value]
        ok, what = ROPE_RANGES.get(key, (lambda v: True, "a number, or numbers"))
        fits = all(v is None or isinstance(v, bool) or (is_number(v) and ok(v)) for v in numbers)
        if key in ROPE_RANGES and value is not None:
            fits = fits and isinstance(value, list) == ("list" in what)
        if key != "rope_type" and not fits:
            raise InputError(f"{c.where}rope_scaling's {key} is {short(value)}; it must be {what}")
    if kind in ("yarn", "longrope", "llama3", "dynamic"):
        before = trained or scaling.get("original_max_position_embeddings") or longest
        scaling["original_max_position_embeddings"] = before = longest if kind == "dynamic" else before
        scaling["max_positions"] = longest
        if kind in ("yarn", "longrope") and scaling.get("factor") is None and longest and before:
            scaling["factor"] = longest / before
    for key in ROPE_NEEDS[kind].split():
        if scaling.get(key) is None:
            raise InputError(f"{c.where}rope_scaling of type {kind} has no {key}")
    return tuple(sorted((k, _freeze(v)) for k, v in scaling.items() if v is not None))


# what the numbers of a rope_scaling are, where that is not any number
ROPE_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    **dict.fromkeys(
        "factor low_freq_factor high_freq_factor beta_fast beta_slow alpha attention_factor".split(),
        (lambda v: 1e-9 <= v <= 1e9, "a number between 1e-9 and 1e9"),
    ),
    **dict.fromkeys(
        "mscale mscale_all_dim short_mscale long_mscale".split(),
        (lambda v: 0 <= v <= 1e9, "a number between 0 and 1e9"),
    ),
    **dict.fromkeys(
        ("short_factor", "long_factor"), (lambda v: 1e-9 <= v <= 1e9, "a list of numbers between 1e-9 and 1e9")
    ),
    "original_max_position_embeddings": (lambda v: v >= 1 and v == int(v), "a whole number of at least 1"),
}


def _freeze(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple(sorted((k, _freeze(v)) for k, v in value.items()))
    return tuple(_freeze(v) for v in value) if isinstance(value, list) else value
