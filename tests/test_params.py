"""`tcalc params`: published counts, formulas derived from the graph, and what must always hold."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_calc import Transformer, Workload, load
from transformer_calc.expr import evaluate, formula, symbol
from transformer_calc.graph.core import product
from transformer_calc.readings.count import formulas
from transformer_calc.readings.count.parameters import BY
from transformer_calc.readings.count.params import components, params
from transformer_calc.report.params import build

# what, published count, relative tolerance (0: exact), source
PUBLISHED = [
    ("gpt3", 174_604_259_328, 0, "GPT-3, arXiv 2005.14165, Table D.1 (174,600M)"),
    ("megatron-1t", 1008.0e9, 5e-4, "Megatron-LM, arXiv 2104.04473, Table 1 and equation 2"),
    ("palm-540b", 540.35e9, 1e-4, "PaLM, arXiv 2204.02311, Table 1"),
    ("llama-3.1-405b", 405_853_388_800, 0, "Llama 3.1 405B, safetensors total"),
    ("llama-65b", 65.2e9, 2e-3, "LLaMA, arXiv 2302.13971, Table 2"),
    ("gpt-neox-20b", 20_554_567_680, 0, "GPT-NeoX-20B model card"),
    ("falcon-180b", 179_522_565_120, 0, "Falcon 180B, safetensors total"),
    ("mixtral-8x7b", 46_702_792_704, 0, "Mixtral 8x7B, safetensors total"),
    ("deepseek-v3", 671.0e9, 1e-3, "DeepSeek-V3, arXiv 2412.19437, §4.2"),
]


@pytest.mark.parametrize(("preset", "published", "tolerance", "source"), PUBLISHED)
def test_preset_has_the_published_count(preset: str, published: float, tolerance: float, source: str) -> None:
    assert load(preset).params().total == pytest.approx(published, rel=tolerance, abs=0), source


def test_mixtral_activates_the_published_count() -> None:
    """12.9B of 46.7B (mistral.ai announcement): 2 of 8 experts, everything else whole."""
    assert load("mixtral-8x7b").params().active == 12_879_925_248


def test_chinchilla_rows_count_a_fifth_attention_matrix() -> None:
    """Chinchilla, arXiv 2203.15556, Table A9, 16,183M: Transformer-XL positions have a projection of their own."""
    model = load(
        fields={
            "layers": 47,
            "d_model": 5120,
            "d_ff": 20480,
            "heads": 40,
            "d_head": 128,
            "vocab": 32000,
            "positions": "transformer-xl",
            "norm": "rmsnorm",
            "bias": False,
        }
    )
    assert model.params().total == pytest.approx(16_183e6, rel=1e-3)


def test_gpt3_reduces_to_the_textbook_formula() -> None:
    model = load("gpt3")
    _, short, used = formulas.total_params(model.graph, model.graph.sizes(Workload()))
    L, D, V, P = map(symbol, "LDVP")
    assert short == 12 * L * D**2 + 13 * L * D + (V + P + 2) * D
    assert formula(short) == "12·L·D² + 13·L·D + (V + P + 2)·D"
    assert [str(rule) for rule in used] == ["H·E = D", "F = 4·D"]


# preset, its formula before and after what its sizes allow
FORMULAS = [
    ("llama-7b", "(4·H·E + 3·F + 2)·L·D + (2·V + 1)·D", "4·L·D² + (3·F + 2)·L·D + (2·V + 1)·D"),
    ("llama-3-8b", "(2·H·E + 2·K·E + 3·F + 2)·L·D + (2·V + 1)·D", "2·L·D² + (2·K·E + 3·F + 2)·L·D + (2·V + 1)·D"),
    ("gemma-2b", "(2·H·E + 2·K·E + 3·F + 2)·L·D + (V + 1)·D", "26·L·D² + (2·K·E + 2)·L·D + (V + 1)·D"),
]


@pytest.mark.parametrize(("preset", "general", "short"), FORMULAS)
def test_formulas_read_as_a_person_would_write_them(preset: str, general: str, short: str) -> None:
    model = load(preset)
    data = build(model.params()).to_dict()
    assert (data["formula_general"], data["formula"]) == (general, short)


def test_layer_kinds_with_equal_parameters_are_counted_together() -> None:
    model = load("gemma-2-2b")
    assert "L_local" not in str(build(model.params()).to_dict()["formula"])


EVERY_SHAPE: list[dict[str, Any]] = [
    {},
    {"kv_heads": 2, "gated": True, "bias": False, "norm": "rmsnorm", "positions": "rotary"},
    {"experts": 8, "experts_per_token": 2, "dense_layers": 1, "shared_experts": 1, "tied": False},
    {"kind": "encoder-decoder", "positions": "sinusoidal", "norm_place": "post"},
    {"kind": "encoder", "segments": 2, "embedding_norm": True},
    {"window": 5, "global_every": 3, "qk_norm": True, "parallel": "shared", "pad_vocab_to": 64},
    {"positions": "relative-bias", "bias": False},
    {"positions": "transformer-xl", "norm_place": "sandwich"},
    {"positions": "alibi", "d_head": 6, "d_ff": 40},
]


def small(changes: dict[str, Any]) -> Transformer:
    return load(fields={"layers": 6, "d_model": 16, "heads": 4, "vocab": 99, "max_positions": 32, **changes})


@pytest.mark.parametrize("changes", EVERY_SHAPE)
@pytest.mark.parametrize("by", BY)
def test_rows_sum_to_the_total_however_they_are_cut(changes: dict[str, Any], by: str) -> None:
    model = small(changes)
    data: Any = build(model.params(by=by)).to_dict()
    assert sum(row["repeat"] * row["params"] for row in data["components"]) == data["params"]["total"]
    assert data["params"]["embedding"] + data["params"]["non_embedding"] == data["params"]["total"]
    assert data["params"]["active"] <= data["params"]["total"]


@pytest.mark.parametrize("changes", EVERY_SHAPE)
def test_the_formula_evaluates_to_the_count(changes: dict[str, Any]) -> None:
    model = small(changes)
    sizes = model.graph.sizes(Workload())
    values = {axis.symbol: sizes[name] for name, axis in model.graph.axes.items()}
    assert evaluate(model.formula(), values) == model.params().total


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "layers": st.integers(1, 200),
            "heads": st.sampled_from([1, 2, 4, 8]),
            "d_head": st.integers(1, 64),
            "d_model": st.integers(1, 512),
            "d_ff": st.integers(1, 2048),
            "vocab": st.integers(1, 10**6),
            "max_positions": st.integers(1, 10**5),
        }
    ),
    st.integers(1, 64),
)
def test_counts_do_not_depend_on_the_workload_and_grow_with_every_size(fields: dict[str, int], batch: int) -> None:
    model = load(fields=fields)
    counts = params(model.graph, model.graph.sizes(Workload(batch=batch, seq=batch)))
    assert counts == params(model.graph, model.graph.sizes(Workload()))
    for name in fields:
        if name != "heads":
            assert load(fields={**fields, name: fields[name] + 1}).params().total > counts.total


def test_a_sweep_is_one_pass_and_exact() -> None:
    """Sizes may be arrays: a hundred widths at once, each equal to the model built alone, none overflowing."""
    import numpy as np

    fields = {"layers": 96, "heads": 1, "d_head": 8, "vocab": 50257, "max_positions": 2048}
    model = load(fields={**fields, "d_model": 24})
    widths = np.arange(1, 101, dtype=np.int64) * 2**30
    values = {axis.symbol: axis.size for axis in model.graph.axes.values() if axis.size is not None}
    totals = evaluate(model.formula(), {**values, "D": widths, "F": 4 * widths})
    assert totals[-1] > 2**63
    for total, width in zip(totals, widths, strict=True):
        assert total == load(fields={**fields, "d_model": int(width)}).params().total


def test_ten_thousand_layers_take_as_long_as_ten() -> None:
    def measure(layers: int) -> tuple[float, int]:
        best = 9.0
        for _ in range(5):
            start = time.perf_counter()
            model = load(fields={"layers": layers, "d_model": 64, "heads": 4, "vocab": 100, "max_positions": 10})
            build(model.params())
            best = min(best, time.perf_counter() - start)
        return best, sum(len(block.ops) for block in model.graph.blocks)

    (few, few_ops), (many, many_ops) = measure(10), measure(10_000)
    assert few_ops == many_ops
    assert many < 3 * few + 0.01


def test_components_are_what_the_operations_hold() -> None:
    graph = load("deepseek-v2-lite").graph
    sizes = graph.sizes(Workload())
    held = sum(
        product(param.dims, sizes) * (sizes[block.copies] if block.copies else 1)
        for block in graph.blocks
        for op in block.ops
        for param in op.params
        if param.counted
    )
    assert held == sum(part.total(sizes) for part in components(graph)) == 15_706_484_224


def test_docstrings_of_the_library_are_true() -> None:
    import doctest

    from transformer_calc import api, errors, expr

    for module in (api, errors, expr):
        assert doctest.testmod(module, extraglobs={"load": load}).failed == 0
