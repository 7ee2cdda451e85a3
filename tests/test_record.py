"""Records check every field by what is declared beside it: type, range, words; and stay what they were made."""

from __future__ import annotations

import sys
from dataclasses import MISSING
from typing import Any

import pytest

from transformer_calc import InputError, facts, record, spec
from transformer_calc.record import Record, fields

RECORDS = [
    cls
    for cls in (vars(spec) | vars(facts)).values()
    if isinstance(cls, type) and issubclass(cls, Record) and cls is not Record
]


@pytest.mark.parametrize("cls", RECORDS, ids=lambda cls: cls.__name__)
def test_every_number_has_its_limits_and_every_default_keeps_to_them(cls: type[Record]) -> None:
    for field in fields(cls):
        kinds = set(str(field.type).split(" | "))
        rule = field.metadata.get("rule")
        assert rule is not None or not kinds & {"int", "float"}, field.name
        if field.default is not MISSING:
            record._check(field.type, vars(sys.modules[cls.__module__]), rule)(field.name, field.default)


# a record, a value of one of its fields that cannot be, and what the message says of it
WRONG: list[tuple[type[Record], dict[str, Any], str]] = [
    (spec.Norm, {"eps": -5.0}, "eps is -5.0; it must be more than 0 and at most 1"),
    (spec.Norm, {"eps": 0}, "eps is 0; it must be more than 0"),
    (spec.Norm, {"eps": float("nan")}, "eps is nan; it must be more than 0"),
    (spec.Norm, {"kind": "batchnorm"}, "kind is 'batchnorm'; it must be one of layernorm, rmsnorm"),
    (spec.Norm, {"weight": 1}, "weight is 1; it must be true or false"),
    (spec.Rotary, {"dims": 8, "theta": -3.0}, "theta is -3.0; it must be more than 1"),
    (spec.Rotary, {"dims": 8, "scaling": (("factor",),)}, "scaling is"),
    (spec.Rotary, {"dims": 8, "scaling": (("factor", 0.0), ("rope_type", "linear"))}, "the rotary factor is 0.0"),
    (spec.Rotary, {"dims": 8, "scaling": (("factor", 1e308), ("rope_type", "linear"))}, "the rotary factor is 1e+308"),
    (
        spec.Rotary,
        {"dims": 8, "scaling": (("max_positions", 9), ("rope_type", "longrope"), ("short_factor", (1.0, 1.0, 2.0)))},
        "the rotary short_factor has 3 numbers; it must have 4, one for each pair",
    ),
    (spec.Rotary, {"dims": 8, "scaling": (("rope_type", "yarn"),)}, "needs the model's length"),
    (spec.Rotary, {"dims": 2, "scaling": (("max_positions", 9), ("rope_type", "dynamic"))}, "must be more than 2"),
    (spec.RelativeBias, {"buckets": 1}, "buckets is 1; it must be at least 4"),
    (
        spec.Disentangled,
        {"positions": 2, "log_distance": 64},
        "positions is 2; of relative ones there must be at least 4",
    ),
    (spec.Positions, {"count": 8, "counted": "ids"}, "pad is none, but counted is ids"),
    (spec.Positions, {"count": None}, "the table of learned positions needs a count"),
    (
        spec.Attention,
        {"n_heads": 2, "d_head": 8, "temperature": (0.0, 0.1)},
        "temperature is 0, 0.1; it must be at least",
    ),
    (spec.Attention, {"n_heads": True, "d_head": 8}, "n_heads is True; it must be a whole number"),
    (spec.Attention, {"n_heads": 2, "d_head": 8.0}, "d_head is 8.0; it must be a whole number"),
    (spec.Attention, {"n_heads": 2, "d_head": 8, "window": 0}, "window is 0; it must be between 1 and 1e+15"),
    (spec.Attention, {"n_heads": 2, "d_head": 8, "scale": 1e308}, "scale is 1e+308; it must be at least 1e-09 and"),
    (spec.Attention, {"n_heads": 2, "d_head": 8, "scale": 0.0}, "scale is 0.0; it must be at least 1e-09 and"),
    (spec.Attention, {"n_heads": 2, "d_head": 8, "softcap": float("inf")}, "softcap is inf; it must be at least"),
    (spec.Attention, {"n_heads": 2, "d_head": 8, "temperature": (8192.0,)}, "temperature is"),
    (spec.Attention, {"n_heads": 2, "d_head": 8, "rotary": 3}, "rotary is 3; it must be Rotary"),
    (spec.Mlp, {"d_ff": 8, "activation": "gellu"}, "activation is 'gellu'; it must be one of gelu, gelu_tanh"),
    (spec.Mlp, {"d_ff": 8, "activation": ""}, "activation is ''; it must be one of gelu, gelu_tanh"),
    (spec.Mlp, {"d_ff": 8, "dropout": 1.0}, "dropout is 1.0; it must be at least 0 and less than 1"),
    (spec.Router, {"scoring": "bogus"}, "scoring is 'bogus'; it must be one of softmax, softmax-topk, sigmoid"),
    (spec.Router, {"scaling": -1.0}, "scaling is -1.0"),
    (spec.Moe, {"n_experts": 4, "top_k": 1, "d_expert": 8, "layout": "bogus"}, "layout is 'bogus'; it must be one of"),
    (spec.Layer, {"mixer": None, "ffn": None, "name": "a b"}, "name is 'a b'; it must be a name"),
    (spec.Dense, {"name": "", "width": 4}, "name is ''; it must be a name"),
    (spec.Dense, {"name": "lm", "width": 0}, "width is 0; it must be between 1 and 1e+15"),
    (spec.Stack, {"name": "tower"}, "name is 'tower'; it must be one of decoder, encoder, text, vision"),
    (spec.Workload, {"batch": 0}, "batch is 0; it must be between 1 and 1e+15"),
    (facts.Device, {"name": "x", "memory_gb": 1e308}, "memory_gb is 1e+308; it must be more than 0 and at most 1e+09"),
    (facts.Device, {"name": "x", "efficiency": (("matmul", 1e-310),)}, "efficiency.matmul is 1e-310"),
    (facts.Grid, {"name": "x", "g_per_kwh": float("inf")}, "g_per_kwh is inf; it must be at least 0"),
    (facts.TrainingRun, {"days": float("nan")}, "days is nan; it must be more than 0"),
]


@pytest.mark.parametrize(("cls", "values", "said"), WRONG, ids=lambda v: str(v)[:40])
def test_a_value_that_a_field_does_not_take_is_named(cls: type[Record], values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        cls(**values)
    assert said in error.value.message
    assert "\n" not in error.value.message


def test_a_changed_copy_checks_each_field_and_settles_later() -> None:
    attention = spec.Attention(n_heads=8, n_kv_heads=8, d_head=4)
    fewer = attention.changed(n_heads=6)  # not a multiple of the key/value heads: not yet
    with pytest.raises(InputError, match="n_kv_heads"):
        record.settle((fewer,))
    record.settle((fewer.changed(n_kv_heads=3),))
    with pytest.raises(InputError, match="n_heads is 0"):
        attention.changed(n_heads=0)
    assert attention.n_heads == 8
