"""What the backward pass keeps: against autograd's own storages, and against Korthikanti et al. 2022, as formulas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_calc import Transformer, load
from transformer_calc.expr import ceil_div, evaluate, substitute, symbol
from transformer_calc.graph.core import Graph
from transformer_calc.readings.count.frozen import freeze
from transformer_calc.readings.memory import activations
from transformer_calc.readings.memory.activations import Saved, of_one, saved, shares, total

if TYPE_CHECKING:
    from transformer_calc.expr import Size

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "activations.json").read_text())
POINTS = [dict(zip(GOLDEN["fields"], row, strict=True)) for row in GOLDEN["points"]]
CLASSES = {
    "gpt2": ("GPT2LMHeadModel", "GPT2Model"),
    "llama": ("LlamaForCausalLM", "LlamaModel"),
    "bert": ("BertForMaskedLM", "BertModel"),
    "t5": ("T5ForConditionalGeneration", "T5Model"),
}
# family -> key of config.json -> field of a point
KEYS = {
    "gpt2": "n_embd=hidden n_layer=layers n_head=heads n_inner=intermediate activation_function=activation "
    "resid_pdrop=dropout embd_pdrop=dropout attn_pdrop=dropout",
    "llama": "hidden_size=hidden num_hidden_layers=layers num_attention_heads=heads num_key_value_heads=kv_heads "
    "intermediate_size=intermediate attention_dropout=dropout",
    "bert": "hidden_size=hidden num_hidden_layers=layers num_attention_heads=heads intermediate_size=intermediate "
    "hidden_dropout_prob=dropout attention_probs_dropout_prob=dropout",
    "t5": "d_model=hidden num_layers=layers num_heads=heads d_ff=intermediate dropout_rate=dropout",
}


FROZEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "activations_frozen.json").read_text())


@pytest.mark.parametrize(
    "case", FROZEN["cases"], ids=lambda case: f"{case['name']}-{case['attention']}-{case['freeze']}"
)
def test_a_model_that_is_partly_frozen_keeps_what_autograd_keeps(case: dict[str, Any]) -> None:
    """To the byte, in the classes of Hugging Face (tests/oracle/measure_frozen.py)."""
    model = load(config={"model_type": case["name"], **FROZEN["configs"][case["name"]]})
    graph, ops, inputs = model.graph, frozenset[str](), {}
    if case["freeze"]:
        _, graph = freeze(model.spec, model.graph, tuple(case["freeze"].split(",")), eager=True)
        assert graph.frozen
        ops, inputs = graph.frozen.ops, dict(graph.frozen.inputs)
    attention = {"eager": "eager", "sdpa": "flash"}[case["attention"]]
    how = activations.settings(
        graph,
        bytes=4,
        kernels="eager",
        attention=attention,
        mask_bytes=4,
        tokens=FROZEN["seq"],
    )
    rows = saved(graph, how, trainable=lambda path: path not in ops, inputs=inputs)
    target = FROZEN["target"] if case["name"] == "t5" else None
    sizes = graph.sizes(model.workload(batch=FROZEN["batch"], seq=FROZEN["seq"], target_seq=target))
    assert total(rows, sizes) == case["bytes"]


def config(point: dict[str, Any]) -> dict[str, Any]:
    family = point["family"]
    keys = dict(pair.split("=") for pair in KEYS[family].split())
    made = {"model_type": family, "architectures": [CLASSES[family][point["head"] == "none"]]}
    made |= {"vocab_size": point["vocab"], **{key: point[field] for key, field in keys.items()}}
    return made | ({"d_kv": point["hidden"] // point["heads"]} if family == "t5" else {})


def predicted(point: dict[str, Any]) -> Size:
    model = load(config=config(point))
    graph = model.graph
    if point["head"] == "none" and point["family"] != "bert":  # BertModel has its pooler
        graph = graph._replace(blocks=tuple(block for block in graph.blocks if block.role != "head"))
    each = {"float32": 4, "bfloat16": 2}[point["dtype"]]
    how = activations.settings(
        graph,
        bytes=each,
        kernels="eager",
        attention="flash" if point["attn"] == "sdpa" else "eager",
        mask_bytes=1 if point["dropout_mask"] == "bool" else each,
        recompute="full" if point["checkpoint"] else "none",
        alone=point["batch"] == 1,
    )
    run = model.workload(batch=point["batch"], seq=point["seq"], target_seq=point["tgt"])
    return total(saved(graph, how, loss=point["head"] == "lm"), graph.sizes(run))


def measured(point: dict[str, Any]) -> int:
    loss = 4  # bytes; held by the caller, not by autograd
    found: int = point["live_bytes"] - loss if point["checkpoint"] else point["saved_bytes"]
    return found


@pytest.mark.parametrize("family", CLASSES)
def test_eager_bytes_are_those_that_autograd_keeps(family: str) -> None:
    points = [point for point in POINTS if point["family"] == family]
    assert len(POINTS) == 400
    assert len(points) >= 76
    for point in points:
        assert predicted(point) == measured(point), point


# ---- Korthikanti et al. 2022, arXiv 2205.05198

B, S, D, H, E, V, L, t = map(symbol, "BSDHEVLt")
TENSOR: dict[str, Size] = {"heads": t, "d_ff": t, "vocab": t}
SEQUENCE: dict[str, Size] = {"seq": t}


def gpt(recompute: str = "none", **more: Any) -> tuple[Graph, list[Saved], dict[str, Size]]:
    """GPT with dropout, 2-byte activations and the score matrix; norms' statistics are too small for the paper."""
    graph = load(config={"model_type": "gpt2"}).graph
    how = activations.settings(graph, attention="eager", recompute=recompute, **more)
    rows = [row for row in saved(graph, how) if row.role != "statistics"]
    return graph, rows, {**graph.symbols(), "context": S, "d_ff": 4 * D}


def layer(recompute: str, rules: dict[str, Size], between: dict[str, Size]) -> dict[Size, Size]:
    graph, rows, sizes = gpt(recompute)
    one = of_one(rows, next(block for block in graph.blocks if block.role == "layer"))
    return {by: substitute(part, {H * E: D}) for by, part in shares(one, sizes, rules, between).items()}


def test_a_gpt_layer_is_equation_1() -> None:
    """S·B·D·(34 + 5·H·S/D)."""
    assert layer("none", {}, {}) == {1: 34 * S * B * D + 5 * B * H * S**2}


# Table 2: configuration -> bytes by how many devices share them
TABLE_2: list[tuple[str, dict[str, Size], dict[str, Size], dict[Size, Size]]] = [
    ("none", TENSOR, {}, {1: 10 * S * B * D, t: 24 * S * B * D + 5 * B * H * S**2}),  # sbh·(10 + 24/t + 5·a·s/(h·t))
    ("none", TENSOR, SEQUENCE, {t: 34 * S * B * D + 5 * B * H * S**2}),  # sbh·(34/t + 5·a·s/(h·t))
    ("selective", TENSOR, {}, {1: 10 * S * B * D, t: 24 * S * B * D}),  # sbh·(10 + 24/t)
    ("selective", TENSOR, SEQUENCE, {t: 34 * S * B * D}),  # sbh·34/t
    ("full", TENSOR, {}, {1: 2 * S * B * D}),  # 2·sbh
]


@pytest.mark.parametrize(("recompute", "rules", "between", "expected"), TABLE_2)
def test_a_gpt_layer_is_table_2(
    recompute: str, rules: dict[str, Size], between: dict[str, Size], expected: dict[Size, Size]
) -> None:
    assert layer(recompute, rules, between) == expected


def test_outside_the_layers_are_embedding_dropout_norm_head_and_loss() -> None:
    """Section 4.3: sbh/t for the embedding's dropout, 4·sbh/t·(1 + v/h) for the last norm, the head and the loss."""
    _, rows, sizes = gpt()
    outside = [row for row in rows if not row.repeat and row.role != "indices" and row.tensor != "targets"]
    assert shares(outside, sizes, TENSOR, SEQUENCE) == {t: S * B * D + 4 * S * B * D + 4 * S * B * V}


def test_numbers_are_divided_exactly() -> None:
    graph, rows, _ = gpt()
    sizes = graph.sizes(load(config={"model_type": "gpt2"}).workload(batch=2, seq=64))
    one = of_one(rows, graph.blocks[1])
    b, s, d, h = 2, 64, 768, 12
    assert total(one, sizes, {"heads": 4, "d_ff": 4}) == s * b * (10 * d + 24 * d // 4 + 5 * h * s // 4)
    assert total(one, sizes, {"heads": 4, "d_ff": 4}, {"seq": 4}) == s * b * (34 * d + 5 * h * s) // 4


# ---- Rules


def tensors(model: Transformer, **how: Any) -> dict[str, Saved]:
    graph = model.graph
    rows = saved(graph, activations.settings(graph, **how))
    return {row.tensor: row for row in rows if row.repeat == "layers"}


def test_a_fused_gate_keeps_its_two_inputs_and_an_eager_one_all_three_tensors() -> None:
    llama = load("llama-3-8b")
    wide = [name for name, row in tensors(llama).items() if ("d_ff",) in row.dims]
    assert wide == ["ffn.gate", "ffn.up", "ffn.product"]
    wide = [name for name, row in tensors(llama, kernels="eager").items() if ("d_ff",) in row.dims]
    assert wide == ["ffn.gate", "ffn.act", "ffn.up", "ffn.product"]


def test_flash_attention_keeps_no_scores_and_reads_grouped_heads_as_they_are() -> None:
    kept = tensors(load("llama-3-8b"), attention="flash")
    core = {name for name in kept if name.startswith("attn.")}
    assert core == {"attn.q_rotated", "attn.k_rotated", "attn.v", "attn.mix", "attn.mix.logsumexp"}
    assert ("kv_heads",) in kept["attn.k_rotated"].dims
    eager = tensors(load("llama-3-8b"), attention="eager")
    assert ("heads",) in eager["attn.k_repeat"].dims
    assert {"attn.softmax"} == {name for name, row in eager.items() if len(row.dims) == 4 and "context" in row.dims[3]}


def test_rotary_tables_and_the_encoder_output_are_kept_once_for_all_layers() -> None:
    llama, t5 = load("llama-3-8b").graph, load("t5-small").graph
    tables = [row for row in saved(llama, activations.settings(llama)) if row.role == "table"]
    assert [(row.repeat, row.factor) for row in tables] == [("", 2 * 128)]
    outputs = [row for row in saved(t5, activations.settings(t5)) if row.tensor == "encoder.output"]
    assert [row.repeat for row in outputs] == [""]


def test_a_frozen_matrix_does_not_keep_its_input() -> None:
    graph = load("llama-3-8b").graph
    rows = saved(graph, activations.settings(graph), trainable=lambda path: not path.startswith("layers.ffn"))
    names = {row.tensor for row in rows}
    assert {"ffn.gate", "ffn.up"} <= names
    assert names.isdisjoint({"ffn_norm", "ffn.product"})


def test_logits_and_loss_are_rows_of_their_own() -> None:
    graph = load("gpt2").graph
    roles = ("loss", "targets", "output")
    rows = {row.tensor: row for row in saved(graph, activations.settings(graph)) if row.role in roles}
    assert {name: (row.kept, row.role) for name, row in rows.items()} == {
        "log_probabilities": (True, "loss"),
        "targets": (True, "targets"),
        "logits": (False, "output"),
        "log_probabilities_gradient": (False, "loss"),
        "logits_gradient": (False, "loss"),
    }
    assert rows["log_probabilities"].size(graph.symbols()) == 4 * B * S * V


def test_every_nth_layer_keeps_its_input() -> None:
    _, rows, sizes = gpt("full", every=4)
    (row,) = [row for row in rows if row.repeat]
    assert row.size(sizes) * row.times(sizes) == 2 * B * S * D * ceil_div(L, 4)


@given(st.integers(1, 30), st.integers(1, 12), st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_every_nth_of_layers_that_differ(layers: int, every: int, period: int) -> None:
    model = load(fields={"layers": layers, "d_model": 16, "heads": 4, "vocab": 99, "window": 5, "global_every": period})
    graph = model.graph
    rows = saved(graph, activations.settings(graph, recompute="full", every=every))
    sizes = graph.sizes(model.workload(batch=1, seq=8))
    kept = [row.times(sizes) for row in rows if row.repeat and row.tensor == "x"]
    assert sum(kept) == -(-layers // every)


VARIETY: list[dict[str, Any]] = [
    {},
    {"kv_heads": 2, "gated": True, "positions": "rotary", "window": 5, "global_every": 2},
    {"experts": 4, "experts_per_token": 2, "dense_layers": 1},
    {"kind": "encoder-decoder", "positions": "relative-bias"},
]


@pytest.mark.parametrize("kernels", activations.KERNELS)
@pytest.mark.parametrize("attention", activations.ATTENTION)
@pytest.mark.parametrize("changes", VARIETY)
def test_symbols_evaluate_to_the_numbers(changes: dict[str, Any], kernels: str, attention: str) -> None:
    model = load(fields={"layers": 4, "d_model": 16, "heads": 4, "vocab": 99, "max_positions": 64, **changes})
    graph = model.graph
    sizes, letters = graph.sizes(model.workload(batch=3, seq=17)), graph.symbols()
    values = {axis.symbol: sizes[name] for name, axis in graph.axes.items()}
    for recompute in ("none", "selective", "full"):
        how = activations.settings(graph, kernels=kernels, attention=attention, recompute=recompute)
        rows = saved(graph, how)
        assert evaluate(total(rows, letters), values) == total(rows, sizes)


def test_rows_do_not_grow_with_depth() -> None:
    counts = set()
    for layers in (2, 126):
        graph = load(fields={"layers": layers, "d_model": 16, "heads": 4, "vocab": 99}).graph
        counts.add(len(saved(graph, activations.settings(graph))))
    assert len(counts) == 1


def test_no_layer_keeps_what_the_next_one_keeps_as_its_input() -> None:
    for preset in ("gpt2", "llama-3-8b", "bert-base-uncased", "t5-small", "deepseek-v3", "gemma-2-9b", "falcon-7b"):
        graph = load(preset).graph
        for kernels in activations.KERNELS:
            rows = saved(graph, activations.settings(graph, kernels=kernels))
            outputs = {(block.path, block.output) for block in graph.blocks if block.role != "head"}
            assert outputs.isdisjoint({(row.block.path, row.tensor) for row in rows})
