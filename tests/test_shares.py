"""What one device of many holds of the parameters: which are divided, and how many entries the largest share has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reports import memory_report

from transformer_calc import InputError, Transformer, Workload, load
from transformer_calc.plan import Adapters, Mesh, Serving, Training
from transformer_calc.readings.count.params import components
from transformer_calc.readings.memory.serving import Reading as ServingReading
from transformer_calc.readings.memory.serving import live, local_of
from transformer_calc.readings.memory.training import Reading, part_bytes, ranks_of, state_bytes
from transformer_calc.readings.shard import check, parts_of, share, stages
from transformer_calc.readings.time import roofline
from transformer_calc.storage import optimizer, precision

GOLDEN = json.loads((Path(__file__).parent / "golden" / "activations_by_family.json").read_text())["models"]
SMALL = {name: load(config=row["config"]) for name, row in GOLDEN.items() if name != "kimi_k2"}
PRESETS = """dbrx deepseek-v2-lite deepseek-v3 glm-4.5-air gpt-oss-20b kimi-k2 llama-4-scout minimax-m2 mixtral-8x7b
olmoe-1b-7b phi-3.5-moe qwen3-30b-a3b""".split()
MIXTURES: dict[str, Transformer] = {
    **{name: model for name, model in SMALL.items() if any(axis.startswith("experts") for axis in model.graph.axes)},
    **{name: load(name) for name in PRESETS},
}


def sizes_of(model: Transformer, **workload: Any) -> dict[str, Any]:
    return dict(model.graph.sizes(model.workload(**workload)))


# ---- Expert parallelism


@pytest.mark.parametrize("name", MIXTURES)
def test_only_experts_are_divided_by_expert_parallelism(name: str) -> None:
    """Routers, their biases, corrections of scores, shared experts and their gates are whole on each rank.

    As Megatron-LM has them: megatron/core/transformer/moe/router.py makes the weight [experts, hidden] and the bias
    [experts] on each rank, shared_experts.py an MLP of tensor parallelism and a gate [1, hidden].
    """
    model = MIXTURES[name]
    sizes, mesh = sizes_of(model), Mesh(dp=2, ep=2)
    divided = {part.path for part in components(model.graph, buffers=True) if share(part, mesh, sizes).ways > 1}
    experts = {part.path for part in components(model.graph) if ".experts." in part.path}
    assert divided == experts != set()


# key of a small config -> parameters that are not experts' although they are named or shaped after these
BESIDE = {
    "gpt_oss": ("router.weight", "router.bias"),
    "qwen2_moe": (
        "router.weight",
        "shared_gate.weight",
        "shared.gate.weight",
        "shared.up.weight",
        "shared.down.weight",
    ),
    "ernie4_5_moe": ("router.weight", "route.correction", "shared.gate.weight"),
    "deepseek_v3": ("router.weight", "shared.gate.weight"),
    "switch": ("router.weight",),
}


@pytest.mark.parametrize("name", BESIDE)
def test_what_stands_beside_experts_is_there_and_whole(name: str) -> None:
    sizes = sizes_of(SMALL[name])
    parts = [part for part in components(SMALL[name].graph) if ".ffn." in part.path]
    for word in BESIDE[name]:
        found = [part for part in parts if part.path.endswith(word)]
        assert found, word
        for part in found:
            for mesh in (Mesh(dp=4, ep=4), Mesh(dp=2, cp=2, ep=4)):
                assert share(part, mesh, sizes).entries == part.entries(sizes)
                assert ranks_of(part, mesh) == 4  # ZeRO divides it over all copies, not over those of an expert


def test_a_gate_and_a_router_are_whole_and_shared_experts_split_by_tensor_parallelism() -> None:
    sizes, mesh = sizes_of(SMALL["qwen2_moe"]), Mesh(tp=2)
    ways = {
        part.path.partition(".ffn.")[2]: share(part, mesh, sizes).ways for part in components(SMALL["qwen2_moe"].graph)
    }
    assert (ways["router.weight"], ways["shared_gate.weight"], ways["shared.up.weight"]) == (1, 1, 2)


def megatron(name: str, mesh: Mesh) -> int:
    """Parameters on a rank by Megatron-LM's own count, which is of models like these.

    megatron/training/theoretical_memory_usage.py, compute_weight_and_optimizer_memory: those split by tensor
    parallelism, those that are replicated (norms, routers, shared experts' gates), and experts; expert tensor
    parallelism is as wide as tensor parallelism. Norms of queries and keys, which it passes over, are added.
    """
    model = load(name)
    (layer,) = model.spec.stacks[0].layers.kinds
    a: Any = layer.mixer
    m: Any = layer.ffn
    s = sizes_of(model)
    layers, d, v = s["layers"], s["d_model"], s["vocab"]
    gates = 3 / 2 if m.gated else 1
    attention = 2 * d * d * ((1 + a.kv_heads / a.n_heads) * (a.d_head * a.n_heads / d))
    experts = 2 * d * m.d_expert * m.n_experts * gates
    replicated = 2 * d + d * m.n_experts + (2 * a.d_head if a.qk_norm else 0)
    embedding = 2 * d * v
    total = (layers * attention + embedding) / mesh.tp + layers * replicated + d
    count: int = round(total + layers * experts / (mesh.tp * mesh.ep))
    return count


# the figures are bytes of bf16 weights on a device
WEIGHTS = [
    ("qwen3-30b-a3b", Mesh(dp=8, ep=8), 10_329_944_064),
    ("mixtral-8x7b", Mesh(dp=2, tp=4, ep=2, sp=True), 12_079_079_424),
    ("qwen3-235b-a22b", Mesh(dp=16, tp=4, ep=16), None),
    ("mixtral-8x22b", Mesh(dp=4, cp=2, ep=8), None),
]


@pytest.mark.parametrize(("name", "mesh", "expected"), WEIGHTS)
def test_weights_of_a_rank_are_those_that_megatron_counts(name: str, mesh: Mesh, expected: int | None) -> None:
    model = load(name)
    sizes = sizes_of(model, batch=mesh.dp, seq=512)
    (stage,) = stages(model.graph, mesh)
    weights = Reading(model.graph, sizes, Training(precision="bf16", mesh=mesh)).held(stage).bytes.weights
    assert weights == 2 * megatron(name, mesh)
    assert expected in (None, weights)


def test_scores_of_all_experts_are_on_each_rank() -> None:
    """In memory while serving, and in the time of the router's matmul; an expert's matmuls are divided."""
    model = load("qwen3-30b-a3b")
    block = next(block for block in model.graph.blocks if block.role == "layer")
    found = []
    for mesh in (Mesh(dp=8), Mesh(dp=8, ep=8)):
        local: Any = model.graph.bind({"batch": 1, "seq": 64, "cached": 0})
        kernels = {kernel.path: kernel for kernel in roofline.kernels(block, local, roofline.How(mesh=mesh))}
        found.append(kernels["ffn.router"].forward)
    assert found[0] == found[1]
    assert (found[0][0].n, found[0][0].k) == (128, 2048)
    wide = load(
        fields={
            "layers": 1,
            "d_model": 8,
            "heads": 1,
            "vocab": 9,
            "experts": 512,
            "experts_per_token": 1,
            "d_expert": 1,
        }
    )
    plan, size = Serving(mesh=Mesh(dp=2, ep=2)), wide.graph.sizes(Workload(batch=2, seq=100))
    layer = next(block for block in wide.graph.blocks if block.role == "layer")
    assert live(layer, local_of(size, plan), plan) >= 2 * 100 * 512


# ---- Shares of which one is larger than the others

ODD = st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 12, 16])
NAMES = ["gpt3", "gpt2", "llama-3-8b", "mixtral-8x7b", "deepseek-v3", "gemma-2-9b", "t5-small", "bert-base-uncased"]
MODELS = {name: load(name) for name in NAMES}


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(NAMES),
    ODD,
    ODD,
    ODD,
    ODD,
    ODD,
    st.integers(0, 3),
    st.sampled_from(["fp32", "bf16", "bf16-mixed"]),
)
def test_weights_gradients_masters_and_states_are_of_the_same_entries(
    name: str, dp: int, tp: int, pp: int, cp: int, ep: int, zero: int, recipe: str
) -> None:
    """On any mesh: the entries of the largest share, whole ones, and as many for all that are divided alike."""
    model, mesh = MODELS[name], Mesh(dp=dp, tp=tp, pp=pp, cp=cp, ep=ep)
    sizes = sizes_of(model, batch=dp, seq=cp * 8)
    try:
        check(mesh, model.graph, sizes)
        found = list(stages(model.graph, mesh))
    except InputError:
        assume(False)
    weight, gradient, master = precision(recipe).bytes_per_parameter
    each = {1: gradient, 2: master + 8 if recipe != "bf16" else 4}
    plan = Training(precision=recipe, zero=zero, mesh=mesh)
    for stage in found:
        total = [0, 0, 0]
        for part, count in parts_of(stage, model.graph, sizes):
            largest = -(-share(part, mesh, sizes).entries // 1)
            divided = -(-largest // ranks_of(part, mesh))
            w, g, s = part_bytes(part, sizes, plan, frozenset())
            assert w == weight * (divided if zero >= 3 else largest)
            assert g == each[1] * (divided if zero >= 2 else largest)
            assert s == each[2] * (divided if zero >= 1 else largest)
            total = [a + count * b for a, b in zip(total, (w, g, s), strict=True)]
        if zero in (0, 3):  # all alike
            assert total[0] * gradient == total[1] * weight
            assert total[0] * each[2] == total[2] * weight


def test_frozen_weights_are_divided_by_entries() -> None:
    """50,257 · 768 entries of GPT-2's table over 5 ranks: 7,719,476 on the fullest, of 2 bytes each."""
    model = load("gpt2")
    sizes = {**sizes_of(model, batch=5, seq=64), "lora_rank": 4}
    (table,) = [part for part in components(model.graph) if part.path == "embed.tokens.weight"]
    plan = Training(zero=3, mesh=Mesh(dp=5), adapters=Adapters(rank=4))
    assert part_bytes(table, sizes, plan, frozenset()) == (2 * 7_719_476, 0, 0)


def test_the_largest_share_of_gpt3s_vocabulary() -> None:
    """50,257 rows over 8 ranks: 6,283 on the fullest, of everything; it is not padded to 50,304 or more."""
    model = load("gpt3")
    mesh = Mesh(tp=8)
    sizes = sizes_of(model, batch=1, seq=2048)
    (table,) = [part for part in components(model.graph) if part.path == "embed.tokens.weight"]
    assert share(table, mesh, sizes).shape == (6283, 12288)
    entries = 6283 * 12288
    assert state_bytes(table, sizes, Training(mesh=mesh)) == (2 * entries, 2 * entries, 12 * entries)
    (stage,) = stages(model.graph, mesh)
    whole = Reading(model.graph, sizes, Training(mesh=mesh)).held(stage).bytes
    assert whole.optimizer == 6 * whole.weights == 6 * whole.gradients
    said: Any = memory_report(model, model.workload(batch=1, seq=2048), Training(mesh=mesh)).to_dict()["assumptions"]
    assert said["vocabulary"]["text"].startswith("50,257 over 8 ranks, 6,283 on most, not padded")


@pytest.mark.parametrize("name", ["adamw", "lion", "muon", "sgd-momentum", "adam8bit", "adafactor"])
def test_every_optimizers_states_are_of_the_shard(name: str) -> None:
    """As for a tensor of the shard's own shape: an optimizer knows no other."""
    model = load("gpt3")
    sizes, mesh = sizes_of(model, batch=1, seq=64), Mesh(tp=8)
    for part in components(model.graph):
        held = share(part, mesh, sizes).shape
        role = "embedding" if part.embedding else "hidden" if part.block.repeat else "head"
        *_, states = state_bytes(part, sizes, Training(precision="bf16", optimizer=name, mesh=mesh))
        assert states == -(-optimizer(name).bytes_of(held, role, "bf16") // 1)


def test_logits_and_tokens_of_the_largest_share() -> None:
    """Logits are of 6,283 words of 50,257 on the fullest rank; sequence parallelism leaves one 13 of 100 tokens."""
    from transformer_calc.readings.memory.training import local_of

    graph = load("gpt3").graph
    sizes = load("gpt3").graph.sizes(load("gpt3").workload(batch=1, seq=100))
    local = local_of(graph, sizes, Training(mesh=Mesh(tp=8, sp=True)))
    assert local.bytes((("batch",), ("seq",), ("vocab",)), 4) == 4 * 100 * 6283
    assert local.bytes((("batch",), ("seq",), ("d_model",)), 2) == 2 * 13 * 12288


def test_the_one_key_head_that_ranks_hold_copies_of_is_of_the_whole_sequence() -> None:
    """Sequence parallelism splits what tensor parallelism leaves whole, but keys are made of the gathered sequence."""
    from transformer_calc.readings.memory.training import local_of

    graph = load("falcon-7b").graph
    sizes = graph.sizes(load("falcon-7b").workload(batch=1, seq=100))
    local = local_of(graph, sizes, Training(mesh=Mesh(tp=2, sp=True)))
    assert local.bytes((("batch",), ("kv_heads",), ("seq",), ("d_head",)), 2) == 2 * 1 * 100 * 64
    assert local.bytes((("batch",), ("seq",), ("d_model",)), 2) == 2 * 50 * 4544


def test_a_sweep_over_contexts_is_one_reading() -> None:
    """The functions that read numbers read arrays of them."""
    graph, contexts = load("mistral-7b-v0.1").graph, [100, 5000, 20_000]
    (stage,) = stages(graph, Mesh())

    def held(context: Any) -> Any:
        sizes = graph.bind({"batch": 2, "seq": 1, "cached": context})
        return ServingReading(graph, sizes, Serving(kv_dtype="int8", block_size=16)).held(stage).bytes

    swept = held(np.array(contexts))
    for place, one in enumerate(map(held, contexts)):
        assert (swept.kv_cache[place], swept.activations, swept.weights) == (one.kv_cache, one.activations, one.weights)
