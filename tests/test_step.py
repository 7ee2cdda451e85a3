"""How long a training step takes: published runs, one layer by hand, and what must always hold."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any

import predictions
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import transformer_calc
from transformer_calc.plan import Adapters, Mesh, Training
from transformer_calc.readings.count import flops
from transformer_calc.readings.memory import activations
from transformer_calc.readings.shard import stages
from transformer_calc.readings.time import communication, planner, roofline, step
from transformer_calc.readings.time.communication import Link
from transformer_calc.readings.time.roofline import Gemm, How
from transformer_calc.sources import hardware

# source -> (runs, mean of |error| at most). No constant is of one run, or of one source.
# tests/golden/training_runs.json has where each figure is from; `python tests/predictions.py SOURCE` shows every run.
PUBLISHED = {
    "korthikanti": (10, 0.035),  # Megatron-LM, 22B to 1T on A100, arXiv 2205.05198, Table 5
    "megatron-2021": (10, 0.085),  # Megatron-LM, 1.7B to 1T on A100, arXiv 2104.04473, Table 1
    "megatron-2021-t2": (11, 0.34),  # the same, Table 2: its ZeRO-3 rows are 2021's DeepSpeed, 34 to 76 % slower
    "megatron-2019": (8, 0.245),  # V100, arXiv 1909.08053
    "mt-nlg": (3, 0.265),  # 530B on A100, arXiv 2201.11990
    "megascale": (16, 0.12),  # 175B and 530B, Megatron-LM and faster, arXiv 2402.15627
    "nemotron-4-340b": (3, 0.08),  # H100
    "deepseek-v3": (1, 0.26),  # H800; what it hides of sending to experts is not counted
    "llama-3-405b": (3, 0.16),  # H100
    "nemo": (43, 0.135),  # 5B to 671B on H100, B200, GB200, GB300
    "maxtext": (22, 0.065),  # TPU v4, v5e, v5p
    "ibm-fsdp": (6, 0.10),
    "llm-foundry": (66, 0.185),  # 125M to 70B with FSDP on A100 and H100
    "torchtitan-a100": (6, 0.175),
    "torchtitan-h100": (13, 0.305),  # every second matmul computed again, which is no recomputation here
    "flashattention-2": (12, 0.19),
}


@pytest.fixture(scope="module")
def found() -> list[predictions.Prediction]:
    return list(predictions.training())


@predictions.once
def test_published_steps_are_met_as_well_as_before(found: list[predictions.Prediction]) -> None:
    by = predictions.errors(found)
    for source, (runs, most) in PUBLISHED.items():
        assert len(by[source]) == runs
        assert mean(map(abs, by[source])) <= most, source
    every = sorted(abs(one.error) for one in found)
    assert mean(every) < 0.17
    assert every[len(every) // 2] < 0.14


@predictions.once
@pytest.mark.parametrize("source", ["korthikanti", "maxtext", "megascale", "nemo"])
def test_errors_are_on_both_sides(found: list[predictions.Prediction], source: str) -> None:
    errors = predictions.errors(found)[source]
    assert min(errors) < 0 < max(errors)
    assert abs(mean(errors)) < 0.11


LAYERS = json.loads((Path(__file__).parent / "golden/training_runs.json").read_text())["layer_runs"]


@pytest.mark.parametrize("run", LAYERS, ids=lambda run: run["id"])
def test_one_layer_of_22b(run: dict[str, Any]) -> None:
    """Korthikanti et al. 2022, Table 4, with the dropout that Megatron-LM has: forward and backward within 7 %."""
    fields = {"layers": 48, "d_model": 6144, "heads": 64, "vocab": 51200, "max_positions": 2048}
    model = transformer_calc.load(fields=fields, sets=("attention.dropout=0.1", "layers.dropout=0.1"))
    plan = Training(
        precision="fp16-mixed",
        micro_batch=4,
        recompute=run["recompute"],
        attention="eager",
        mesh=Mesh(tp=8, sp=run["sp"]),
    )
    device = hardware.load("a100-80gb-sxm")
    two, one = (
        step.estimate(of.graph, of.graph.bind({"batch": 4, "seq": 2048, "cached": 0}), plan, device)
        for of in (
            model,
            transformer_calc.load(
                fields={**fields, "layers": 47}, sets=("attention.dropout=0.1", "layers.dropout=0.1")
            ),
        )
    )
    parts = dict(two.parts)
    layer = two.seconds - parts["optimizer"] - (one.seconds - dict(one.parts)["optimizer"])
    reported = run["reported"]
    assert layer * 1e3 == pytest.approx(reported["forward_ms"] + reported["backward_ms"], rel=0.07)


def test_a_matmul_by_hand() -> None:
    """A100: 8192 x 12288 x 4096. Tiles of 256 x 128 are 32·96 = 3072, in ceil(3072 / 108) = 29 waves of 108."""
    device = hardware.load("a100-80gb-sxm")
    rates = roofline.rates(device)
    assert rates.matmul == pytest.approx(0.87 * 0.92 * 312e12)
    computing, moving = roofline.seconds(Gemm(1, 8192, 12288, 4096), rates.matmul, rates, 2)
    assert computing == pytest.approx(29 * 2 * 256 * 128 * (4096 + 256) * 108 / rates.matmul)
    assert moving == pytest.approx(2 * (8192 * 4096 + 4096 * 12288 + 8192 * 12288) / (0.86 * 2.039e12))


@pytest.mark.parametrize(
    "name",
    [
        "gpt3",
        "llama-3-8b",
        "deepseek-v3",
        "kimi-k2",
        "gemma-3-27b",
        "t5-large",
        "bert-large-uncased",
        "vit-large-patch16-224",
        "whisper-large-v3",
        "falcon-40b",
        "gpt-oss-20b",
        "deberta-v3-base",
        "clip-vit-base-patch32",
    ],
)
def test_kernels_do_the_work_that_is_counted(name: str) -> None:
    """With eager attention the kernels' matmuls are the matmul FLOPs of `tcalc flops`, forward and backward."""
    model = transformer_calc.load(name)
    sizes = model.graph.sizes(model.workload(batch=2))
    counted = flops.totals(list(flops.rows(model.graph, sizes)), sizes)
    forward: Any = 0
    backward: Any = 0
    for block in model.graph.blocks:
        times: Any = sizes[block.repeat] if block.repeat else 1
        for kernel in roofline.kernels(block, sizes, How(attention="eager")):
            forward += times * sum(g.flops for g in kernel.forward)
            backward += times * sum(g.flops for g in kernel.backward)
    assert forward == pytest.approx(counted.forward.matmul, rel=1e-9)
    assert backward == pytest.approx(counted.backward.matmul, rel=1e-9)


# Azure, ND A100 v4 benchmarks: TFLOP/s of fp16 matmuls of m = n = k
@pytest.mark.parametrize(("size", "measured"), [(4096, 228), (8192, 254), (16384, 257)])
def test_large_matmuls_of_an_a100(size: int, measured: float) -> None:
    rates = roofline.rates(hardware.load("a100-80gb-sxm"))
    assert 2 * size**3 / max(
        roofline.seconds(Gemm(1, size, size, size), rates.matmul, rates, 2)
    ) / 1e12 == pytest.approx(measured, rel=0.06)


def test_collectives_by_hand() -> None:
    """Rings pass on (w - 1)/w of the data, twice for an all-reduce."""
    ring = Link(8, 8, 200e9, 0.0)
    assert communication.seconds("all-reduce", 100e6, ring) == pytest.approx(2 * 7 / 8 * 100e6 / 200e9)
    assert communication.seconds("all-gather", 100e6, ring) == pytest.approx(7 / 8 * 100e6 / 200e9)
    assert communication.seconds("all-reduce", 100e6, Link(1, 1, 200e9, 1e-6)) == 0


COLLECTIVES = [
    # preset, sequence parallel -> collectives over tp of a layer: forward, backward
    ("gpt3", False, ["all-reduce"] * 2, ["all-reduce"] * 2),  # Megatron-LM, arXiv 1909.08053, figure 4
    ("gpt3", True, ["all-gather", "all-gather", "reduce-scatter", "reduce-scatter"], None),  # 2205.05198, figure 5
    ("llama-3-8b", False, ["all-reduce"] * 2, ["all-reduce"] * 2),
    ("gpt-j-6b", False, ["all-reduce"], ["all-reduce"]),  # attention and feed-forward side by side share one
]


@pytest.mark.parametrize(("name", "sp", "forward", "backward"), COLLECTIVES)
def test_collectives_are_derived(name: str, sp: bool, forward: list[str], backward: list[str] | None) -> None:
    graph = transformer_calc.load(name).graph
    layer = next(block for block in graph.blocks if block.repeat)
    sizes = graph.bind({"batch": 1, "seq": 1024, "cached": 0})
    before, after = communication.transfers(layer, sizes, How(mesh=Mesh(tp=4, sp=sp)))
    assert sorted(t.kind for t in before) == sorted(forward)
    whole: Any = 2 * 1024 * sizes["d_model"]
    assert {t.bytes for t in before} == {whole}
    if backward is not None:
        assert sorted(t.kind for t in after) == sorted(backward)


def plan_of(**changes: Any) -> Training:
    return Training(mesh=Mesh(**changes.pop("mesh", {})), **changes)


def seconds(plan: Training, batch: int = 64, device: str = "h100-sxm", **how: Any) -> step.Estimate:
    model = transformer_calc.load("llama-3-8b")
    sizes = model.graph.bind({"batch": batch, "seq": 2048, "cached": 0})
    return step.estimate(model.graph, sizes, plan, hardware.load(device), **how)


@given(
    tp=st.sampled_from([1, 2, 4, 8]),
    pp=st.sampled_from([1, 2, 4, 8]),
    dp=st.sampled_from([1, 2, 4, 8]),
    micro=st.sampled_from([1, 2, 4]),
    recompute=st.sampled_from(["none", "selective", "full"]),
    zero=st.sampled_from([0, 1, 2]),
)
@settings(max_examples=40, deadline=None)
def test_what_holds_for_every_plan(tp: int, pp: int, dp: int, micro: int, recompute: str, zero: int) -> None:
    plan = plan_of(mesh={"tp": tp, "pp": pp, "dp": dp}, micro_batch=micro, recompute=recompute, zero=zero)
    one = seconds(plan)
    assert one.seconds == pytest.approx(sum(value for _, value in one.parts))
    assert all(value > 0 for _, value in one.parts)
    assert 0 < one.mfu <= one.hfu < 1
    assert one.bound in dict(one.parts)
    # peaks without any loss are never slower, and what is computed again is never free
    assert seconds(plan, ideal=True).seconds < one.seconds
    assert seconds(plan.changed(recompute="none")).seconds <= one.seconds
    # twice the batch takes longer, and at most twice as long
    assert one.seconds < seconds(plan, batch=128).seconds <= 2 * one.seconds


def test_the_bubble_of_a_balanced_pipeline() -> None:
    """(p - 1)/m of the work, and of an interleaved pipeline (p - 1)/(v·m) (arXiv 2104.04473, section 2.2)."""
    model = transformer_calc.load(
        fields={"layers": 32, "d_model": 4096, "heads": 32, "vocab": 1, "max_positions": 2048}
    )
    sizes = model.graph.bind({"batch": 64, "seq": 2048, "cached": 0})
    for virtual, schedule in ((1, "1f1b"), (4, "interleaved")):
        plan = plan_of(mesh={"pp": 8}, micro_batch=1, schedule=schedule, virtual=virtual, attention="eager")
        parts = dict(step.estimate(model.graph, sizes, plan, hardware.load("a100"), ideal=True).parts)
        work = sum(parts[name] for name in ("matmul", "memory", "send"))
        assert parts["bubble"] / work == pytest.approx(7 / (virtual * 64), rel=0.03)


def test_what_a_file_does_not_say_is_said_to_be_unknown() -> None:
    with pytest.raises(transformer_calc.InputError, match="network between nodes is unknown: m2-ultra"):
        seconds(plan_of(mesh={"dp": 2}, precision="fp16-mixed"), device="m2-ultra")
    with pytest.raises(transformer_calc.InputError, match="its bf16 rate is unknown: v100-sxm"):
        seconds(plan_of(), device="v100-sxm")


def test_gradients_are_summed_over_the_ranks_that_share_a_sequence_too() -> None:
    """What holds the same weights sums their gradients, whether it shares sequences or the batch."""
    for zero in (0, 1, 2):
        copies = plan_of(mesh={"dp": 8}, zero=zero, micro_batch=1)
        shared = plan_of(mesh={"cp": 8}, zero=zero, micro_batch=8)
        device = hardware.load("h100-sxm")
        links = [communication.link(plan.mesh, "copies", device) for plan in (copies, shared)]
        assert links[0] == links[1]
        assert dict(seconds(shared, batch=8).parts)["dp"] > 0
        assert communication.link(Mesh(dp=4, cp=2), "copies", device) == links[0]


def test_gradients_of_experts_are_summed_over_fewer_ranks() -> None:
    """With as many ranks as expert parallelism has, each expert is there once, and its gradient goes nowhere."""
    model, device = transformer_calc.load("mixtral-8x7b"), hardware.load("h100-sxm")
    sizes = model.graph.bind({"batch": 8, "seq": 4096, "cached": 0})
    assert communication.link(Mesh(dp=8, ep=8), "expert_copies", device) == Link(1, 1, float("inf"), 0.0)
    one = communication.link(Mesh(dp=16, ep=8), "expert_copies", device)
    assert isinstance(one, Link)
    assert (one.ranks, one.near) == (2, 1)  # in two nodes: each device has a port of its own for its experts
    rest = 2 * (46_702_792_704 - 32 * 8 * 3 * 4096 * 14336)  # bytes of all but the experts
    ring = communication.link(Mesh(dp=8), "copies", device)
    assert isinstance(ring, Link)
    plan = plan_of(mesh={"dp": 8, "ep": 8}, micro_batch=1)
    found = step.timed(model.graph, sizes, plan, device)
    whole = communication.seconds("all-reduce", rest, ring)
    assert 0.499 * whole <= found["dp"] <= whole  # some of it beside the last backward pass


def test_adapters_take_two_thirds_of_the_time_and_a_little() -> None:
    """Frozen matrices have no gradient of their own; X·A, (X·A)·B and what adds them do take time."""
    frozen = {}
    for rank in (1, 16, 256):
        plan = plan_of(adapters=Adapters(rank=rank, targets=("all",)), micro_batch=1)
        frozen[rank] = seconds(plan, batch=8)
    whole = seconds(plan_of(micro_batch=1), batch=8)
    assert frozen[1].flops / whole.flops == pytest.approx(2 / 3, abs=0.03)
    assert 2 / 3 < frozen[1].seconds / whole.seconds < 0.95
    assert frozen[1].seconds < frozen[16].seconds < frozen[256].seconds
    assert frozen[16].mfu < whole.mfu  # thin matmuls and additions are slow
    quantised = seconds(plan_of(adapters=Adapters(rank=16, targets=("all",)), weights="nf4", micro_batch=1), batch=8)
    assert dict(quantised.parts)["memory"] > dict(frozen[16].parts)["memory"]  # they are written out to be multiplied
    assert quantised.flops == frozen[16].flops


def test_frozen_weights_that_zero_divides_are_gathered_and_their_gradients_are_not() -> None:
    whole = dict(seconds(plan_of(mesh={"dp": 64}, zero=3, micro_batch=1)).parts)
    plan = plan_of(mesh={"dp": 64}, zero=3, micro_batch=1, adapters=Adapters(rank=8))
    frozen = dict(seconds(plan).parts)
    assert 0 < frozen["zero"] < whole["zero"]
    stored = dict(seconds(plan.changed(weights="nf4")).parts)
    assert stored["zero"] < frozen["zero"]


def test_an_optimizer_may_multiply_matrices() -> None:
    """Muon's update of Llama 3 8B by hand: 32 layers of q, o; k, v; gate, up, down; on one device and on eight."""
    rates = roofline.rates(hardware.load("h100-sxm"), "bf16")

    def optimizing(name: str, zero: int, dp: int) -> float:
        plan = plan_of(mesh={"dp": dp}, zero=zero, micro_batch=1, optimizer=name)
        return dict(seconds(plan, batch=8).parts)["optimizer"]

    matrices = 2 * [(4096, 4096)] + 2 * [(1024, 4096)] + 3 * [(4096, 14336)]
    flops_of = 32 * sum(5 * 2 * (2 * n * m**2 + m**3) for m, n in matrices)
    held = transformer_calc.load("llama-3-8b").params().total
    layers = 32 * sum(m * n for m, n in matrices)
    for zero, dp in ((0, 1), (1, 8)):
        ranks = dp if zero else 1
        # one state of 4 bytes less to read and to write, of each entry of a matrix of the layers
        less = 2 * 4 * layers / rates.memory / ranks
        assert layers < held
        more = flops_of / rates.matmul / ranks
        assert optimizing("muon", zero, dp) == pytest.approx(optimizing("adamw", zero, dp) + more - less, rel=1e-3)


def test_plans_of_one_search_are_timed_as_each_by_itself() -> None:
    model, device = transformer_calc.load("mixtral-8x7b"), hardware.load("h100-sxm")
    sizes = model.graph.bind({"batch": 64, "seq": 2048, "cached": 0})
    clock = step.Clock(model.graph, sizes, Training(), device)
    for mesh in (
        Mesh(dp=8),
        Mesh(dp=8, ep=8),
        Mesh(dp=4, tp=2, sp=True),
        Mesh(dp=4, tp=2),
        Mesh(dp=2, pp=4),
        Mesh(pp=3),
    ):
        for recompute in ("none", "full"):
            for micro in (1, 2):
                for zero in (1, 3):
                    plan = Training(mesh=mesh, recompute=recompute, micro_batch=micro, zero=zero)
                    alone = step.timed(model.graph, sizes, plan, device)
                    assert clock.step(plan, sizes) == alone


def test_no_stage_of_a_plan_is_fuller_than_those_that_are_looked_at() -> None:
    """126 layers on 16 stages: the first has 7 and the embedding, those after it 8."""
    graph = transformer_calc.load("llama-3.1-405b").graph
    every = list(stages(graph, Mesh(pp=16)))
    looked = [stage.number for stage in planner.fullest(every)]
    assert looked == [0, 1, 15]
    even = transformer_calc.load("gpt3").graph
    assert [stage.number for stage in planner.fullest(stages(even, Mesh(pp=8)))] == [0, 7]


def test_a_search_reads_each_block_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What plans have in common is worked out once: a clock on a shared machine would lie."""
    read: list[str] = []
    plain = activations._Walk.rows

    def counted(walk: Any) -> Any:
        read.append(walk.block.path)
        return plain(walk)

    monkeypatch.setattr(activations._Walk, "rows", counted)
    tried: list[Any] = []
    kernels = roofline.kernels

    def once(block: Any, *how: Any) -> Any:
        tried.append(block)
        return kernels(block, *how)

    monkeypatch.setattr(roofline, "kernels", once)
    transformer_calc.load("gpt3").cost()
    assert 0 < len(read) < 40
    assert 0 < len(tried) < 100


def test_a_tied_table_at_both_ends_of_a_pipeline_has_one_gradient() -> None:
    """Vocabulary times width, in 2 bytes, from one stage to the other: 256,000 · 2,048 · 2 bytes over a link."""
    model, device = transformer_calc.load("gemma-2b"), hardware.load("h100-sxm")
    untied = transformer_calc.load("gemma-2b", sets=("head.tied=false",))
    found = {}
    for of in (model, untied):
        sizes = of.graph.bind({"batch": 8, "seq": 2048, "cached": 0})
        plan = plan_of(mesh={"pp": 2}, micro_batch=1)
        found[of] = dict(step.estimate(of.graph, sizes, plan, device).parts)
    joined = communication.link(Mesh(pp=2), "pp", device)
    assert isinstance(joined, Link)
    size = 2 * 256_000 * 2048
    assert found[model]["dp"] == pytest.approx(size / joined.port, rel=0.01)
    assert "dp" not in found[untied]


def test_what_leaves_a_node_goes_over_each_device_s_own_port() -> None:
    """H800: 40 of 50 GB/s out of the node, also where the node's own links are slower than its eight ports together."""
    device = hardware.load("h800-sxm")
    for mesh, dimension in ((Mesh(dp=64, ep=64), "ep"), (Mesh(pp=16), "pp")):
        joined = communication.link(mesh, dimension, device)
        assert isinstance(joined, Link)
        assert (joined.near, joined.port) == (8, 40e9)
        assert joined.rate == 160e9  # of a ring: NVLink's, which eight ports exceed
    ep = communication.link(Mesh(dp=64, ep=64), "ep", device)
    assert isinstance(ep, Link)
    assert communication.seconds("all-to-all", 1e9, ep._replace(hop=0.0)) == pytest.approx(1 / 40)
    inside = communication.link(Mesh(pp=8), "pp", device)
    assert isinstance(inside, Link)
    assert inside.port == 160e9  # from one stage to the next, whatever their number


def test_an_end_may_stand_alone_on_its_stage() -> None:
    """As many stages as layers: the head's own has none of them."""
    assert transformer_calc.load("deepseek-v3").cost(device="tpu-v5e").cost.days
