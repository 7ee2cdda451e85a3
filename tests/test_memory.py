"""`tcalc memory`: what serving and training need on each device."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reports import bytes_of, fit_report, memory_report, texts

from transformer_calc import InputError, Transformer, load
from transformer_calc.cli import run
from transformer_calc.errors import as_options
from transformer_calc.expr import evaluate, parse
from transformer_calc.graph.core import shape
from transformer_calc.plan import Adapters, Mesh, Serving, Training
from transformer_calc.readings.count.lora import trainable
from transformer_calc.readings.count.params import components
from transformer_calc.readings.memory.fit import _fewest, least_bytes
from transformer_calc.readings.memory.parts import Bytes
from transformer_calc.readings.memory.serving import weight_type
from transformer_calc.readings.memory.training import Reading, in_flight
from transformer_calc.readings.shard import stages
from transformer_calc.sources import hardware, presets


def memory(preset: str, plan: Serving | None = None, *, device: str | None = None, **workload: int) -> dict[str, Any]:
    model = load(preset)
    chosen = hardware.load(device) if device else None
    return memory_report(model, model.workload(**workload), plan or Serving(), device=chosen).to_dict()


def test_weights_in_bf16_are_two_bytes_a_parameter() -> None:
    for preset in ("gpt3", "llama-3-8b", "mixtral-8x7b", "gemma-2-2b", "t5-base"):
        assert memory(preset)["memory"]["per_device"]["weights"] == 2 * load(preset).params().total


def test_the_parts_add_up_on_every_stage() -> None:
    data = memory("llama-3-70b", Serving(mesh=Mesh(tp=2, pp=4)), batch=4, context=1000)
    for part in [data["memory"]["per_device"], *data["stages"]]:
        names = ("weights", "gradients", "optimizer", "activations", "kv_cache", "other")
        assert sum(part[name] for name in names) == part["total"]
    assert data["memory"]["per_device"]["total"] == max(stage["total"] for stage in data["stages"])


def test_the_cache_of_all_devices_is_the_cache_of_the_model() -> None:
    data = memory("llama-3-70b", Serving(mesh=Mesh(dp=2, tp=8, pp=2)), batch=4, context=1000)
    assert data["kv_cache"]["elements"] == 80 * 2 * 8 * 128 * 4 * 1000
    assert data["kv_cache"]["bytes_per_token"] == 80 * 2 * 8 * 128 * 2
    assert 16 * sum(stage["kv_cache"] for stage in data["stages"]) == data["kv_cache"]["bytes"]


def test_fewer_key_heads_than_ranks_keep_the_cache_on_each() -> None:
    eight, sixteen = (
        memory("llama-3-70b", Serving(mesh=Mesh(tp=n)), context=1000)["memory"]["per_device"] for n in (8, 16)
    )
    assert eight["kv_cache"] == sixteen["kv_cache"]


def test_pages_reserve_whole_blocks() -> None:
    exact, paged = (
        memory("gpt2", Serving(block_size=n), context=17)["memory"]["per_device"]["kv_cache"] for n in (1, 16)
    )
    assert paged * 17 == exact * 32


def test_devices_that_share_a_sequence_have_whole_pages_each() -> None:
    """100 tokens on 4 devices are 25 each, in pages of 64 a whole page."""
    plan = Serving(block_size=64, mesh=Mesh(cp=4))
    assert memory("gpt2", plan, context=100)["memory"]["per_device"]["kv_cache"] == 2 * 2 * 12 * 768 * 64


def test_weights_of_tables_norms_and_heads_are_not_trained_in_fp8() -> None:
    sizes = load("llama-3-8b").params()
    matrices = sizes.total - 2 * 128256 * 4096 - 65 * 4096
    held = memory("llama-3-8b", Training(precision="fp8"))["memory"]["per_device"]["weights"]  # type: ignore[arg-type]
    assert held == matrices + 2 * (sizes.total - matrices)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("memory gpt2 --mode train --context 4k", "--context is 4,096, but --mode is train"),
        ("fit gpt2 --device h100-sxm --devices 2 --solve devices", "--devices is 2, but --solve devices is to find"),
    ],
)
def test_options_that_contradict_each_other(line: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line.split()) == 2
    assert says in capsys.readouterr().err


def test_scales_that_a_cache_is_counted_without_are_named() -> None:
    said = [
        memory("gpt2", Serving(kv_dtype=name), context=8)["assumptions"]["cache"]["text"] for name in ("int8", "q8_0")
    ]
    assert said == ["int8, without scales of rows or tensors", "q8_0"]


def test_no_adapters_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["memory", "gpt2", "--mode", "train", "--lora-rank", "8", "--lora-targets", ""]) == 2
    assert "--lora-targets names ''" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("layers", "stages", "each", "says"),
    [
        (126, 16, [7, *[8] * 14, 7], "7 to 8 layers each: they do not divide; the first and the last have fewer"),
        (5, 2, [2, 3], "2 to 3 layers each: they do not divide"),
        (5, 4, [1, 1, 2, 1], "1 to 2 layers each: they do not divide"),
        (11, 8, [1, 1, 1, 2, 2, 2, 1, 1], "1 to 2 layers each: they do not divide"),
    ],
)
def test_stages_that_differ_all_have_layers(layers: int, stages: int, each: list[int], says: str) -> None:
    model = load("gpt2", fields={"layers": layers})
    data: Any = memory_report(model, model.workload(), Serving(mesh=Mesh(pp=stages))).to_dict()
    assert [stage["layers"] for stage in data["stages"]] == each
    assert data["assumptions"]["stages"]["text"] == says


def test_quantisation_takes_the_matrices_of_the_layers() -> None:
    """4-bit weights in groups of 128 with a 16-bit scale and a 4-bit zero point; tables, norms and head in bf16."""
    sizes = load("llama-3-8b").params()
    matrices = sizes.total - 2 * 128256 * 4096 - 65 * 4096
    held = memory("llama-3-8b", Serving(weights="int4-g128"))["memory"]["per_device"]["weights"]
    assert held == matrices * (128 * 4 + 16 + 4) // (128 * 8) + 2 * (sizes.total - matrices)


def test_routers_and_the_biases_of_experts_are_not_quantised() -> None:
    """Of Mixtral routers are left, of gpt-oss also three biases of each of 32 experts."""
    for name, left in (("mixtral-8x7b", 32 * 4096 * 8), ("gpt-oss-20b", 24 * 32 * (2880 + 3 * 2880))):
        model = load(name)
        parts = components(model.graph)
        sizes = model.graph.sizes(model.workload())
        kept = [p for p in parts if p.embedding or not p.block.repeat or len(p.dims) < 2]
        others: Any = left + sum(p.total(sizes) for p in kept)
        matrices = model.params().total - others
        held = memory(name, Serving(weights="int4-g32"))["memory"]["per_device"]["weights"]
        assert held == matrices * (32 * 4 + 16 + 4) // (32 * 8) + 2 * others


@pytest.mark.parametrize("name", ["llama-3-8b", "gpt2"])  # stored by outputs, and by inputs
@pytest.mark.parametrize("tp", [1, 2])
def test_a_scale_for_each_output_channel_is_split_as_these_are(name: str, tp: int) -> None:
    data = memory(name, Serving(weights="int8", mesh=Mesh(tp=tp)))["memory"]["per_device"]["weights"]
    spec = {"llama-3-8b": (32, 4096, 4096 + 2 * 1024 + 2 * 14336), "gpt2": (12, 768, 3 * 768 + 3072)}
    layers, width, split = spec[name]
    wide = memory(name, Serving(weights="fp8", mesh=Mesh(tp=tp)))["memory"]["per_device"]["weights"]
    matrices = {"llama-3-8b": 7, "gpt2": 6}[name]
    assert data - wide == 4 * layers * (split // tp + 2 * width - matrices)


def test_flash_attention_keeps_no_score_matrix() -> None:
    flash, eager = (
        memory("llama-3-8b", Serving(attention=how), seq=8192)["memory"]["per_device"]["activations"]
        for how in ("flash", "eager")
    )
    assert eager > 2 * 32 * 8192**2 > flash


def test_a_device_says_whether_it_fits() -> None:
    assert memory("llama-3-8b", device="h100-sxm")["fits"] is True
    assert memory("llama-3-70b", device="h100-sxm")["fits"] is False


REFUSED = [
    (Serving(weights="int5"), "'int5' is not a storage type"),
    (Serving(mesh=Mesh(tp=5)), "`tp` is 5"),
    (Serving(mesh=Mesh(dp=2)), "`dp` is 2; it must divide the batch of 1"),
]


@pytest.mark.parametrize(("plan", "says"), REFUSED)
def test_a_plan_that_cannot_be_is_refused(plan: Serving, says: str) -> None:
    with pytest.raises(InputError) as error:
        memory("llama-3-8b", plan)
    assert says in error.value.message


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["llama-3-8b", "mistral-7b-v0.1", "deepseek-v2-lite", "gpt2", "gemma-2-9b"]),
    st.sampled_from(["h100-sxm", "rtx-4090", "a100-40gb-sxm"]),
    st.sampled_from(["bf16", "int4", "q4_k"]),
    st.sampled_from([1, 2]),
    st.integers(1, 20_000),
)
def test_what_fits_fits_and_one_more_does_not(preset: str, device: str, weights: str, tp: int, size: int) -> None:
    model, chosen = load(preset), hardware.load(device)
    plan = Serving(weights=weights, mesh=Mesh(tp=tp))
    room = chosen.memory_bytes
    assert room

    def total(batch: int, context: int) -> int:
        data = memory_report(model, model.workload(batch=batch, context=context), plan).to_dict()
        held: int = data["memory"]["per_device"]["total"]  # type: ignore[index]
        return held

    for solve, given_sizes in (
        ("batch", {"context": size}),
        ("context", {"batch": size % 64 + 1}),
    ):
        report = fit_report(model, given_sizes, plan, device=chosen)
        assert report.to_dict()["solved_for"] == solve
        found: Any = report.to_dict()["fit"]
        if not found["fits"]:
            assert total(**{"batch": 1, "context": 1, **given_sizes}) > room
            continue
        most = {name: found[name] or 2**40 for name in ("batch", "context")}  # of a full window, there is no most
        assert total(**most) <= room
        assert found[solve] is None or total(**most | {solve: most[solve] + 1}) > room


def fitted(preset: str, plan: Serving | Training, solve: str, **workload: int) -> Any:
    model = load(preset)
    report = fit_report(model, workload, plan, device=hardware.load("h100-sxm"), solve=solve)
    return report.to_dict()["fit"], model.notes


def test_a_window_that_is_full_bounds_no_context() -> None:
    found, _ = fitted("mistral-7b-v0.1", Serving(), "context")
    assert found["fits"]
    assert found["context"] is None


def test_what_is_only_tried_is_not_remarked_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fit gpt2 --solve context --device h100-sxm".split()) == 0
    said = capsys.readouterr()
    assert "the model has 1,024 positions" in said.out
    assert said.err == "note: of memory alone: the model has 1,024 positions\n"
    assert run("fit whisper-tiny --solve context --device h100-sxm".split()) == 0
    assert "the model has 448 positions" in capsys.readouterr().out
    assert run("fit vit-base --mode train --solve context --device h100-sxm".split()) == 2
    assert "--solve is context, but images of vit-base are always 197 tokens" in capsys.readouterr().err


def test_meshes_that_cannot_hold_the_states_are_not_counted() -> None:
    model = load("gpt2")
    states = {plan: least_bytes(model.subject(), plan) for plan in (Serving(), Training())}
    assert list(states.values()) == [2 * model.params().total, 16 * model.params().total]
    tried = list[int]()

    def parts(mesh: Mesh) -> Bytes:
        tried.append(mesh.devices)
        return Bytes(weights=10)

    assert _fewest([Mesh(tp=n) for n in (1, 2, 4, 8)], parts, room=10, states=40)[0] == Mesh(tp=4)
    assert tried == [4]


def test_new_tokens_beside_a_context_count() -> None:
    one, many = (fitted("llama-3-8b", Serving(attention="eager"), "batch", context=8000, seq=n)[0] for n in (1, 4000))
    model = load("llama-3-8b")

    def total(batch: int) -> int:
        run = model.workload(batch=batch, context=8000, seq=4000)
        return bytes_of(model, run, Serving(attention="eager"))["total"]

    room = hardware.load("h100-sxm").memory_bytes
    assert room
    assert many["batch"] < one["batch"]
    assert total(many["batch"]) <= room < total(many["batch"] + 1)


@pytest.mark.parametrize(
    ("plan", "solve", "sizes"),
    [
        (Training(zero=3, mesh=Mesh(cp=4)), "context", {"batch": 1}),
        (Training(zero=3, mesh=Mesh(dp=8)), "batch", {"seq": 2048}),
        (Training(zero=3, mesh=Mesh(dp=8)), "context", {"batch": 8}),
        (Training(zero=3, micro_batch=2, mesh=Mesh(dp=8)), "context", {"batch": 32}),
        (Training(adapters=Adapters(rank=16), weights="nf4"), "batch", {"seq": 1000}),
        (Training(recompute="full", mesh=Mesh(tp=2, pp=4)), "context", {"batch": 8}),
    ],
)
def test_what_is_trained_fits_and_one_more_does_not(plan: Training, solve: str, sizes: dict[str, int]) -> None:
    model, device = load("llama-3-8b"), hardware.load("h100-sxm")
    found: Any = fit_report(model, sizes, plan, device=device).to_dict()["fit"]
    assert found["fits"]
    step = {"batch": plan.mesh.dp, "context": plan.mesh.cp}[solve]

    def fits(more: int) -> object:
        batch, seq = (found[name] + more * (name == solve) for name in ("batch", "context"))
        data = memory_report(model, model.workload(batch=batch, seq=seq), plan, device=device).to_dict()
        return data["fits"]

    assert fits(0) is True
    assert fits(step) is False


@pytest.mark.parametrize("preset", ["bert-base-uncased", "vit-base"])
def test_a_model_without_a_cache_is_served_by_its_sequence(preset: str) -> None:
    model, device = load(preset), hardware.load("rtx-4090")
    found: Any = fit_report(model, {}, Serving(), device=device).to_dict()["fit"]
    assert found["fits"]
    for more, fits in ((0, True), (1, False)):
        data = memory_report(model, model.workload(batch=found["batch"] + more), Serving(), device=device).to_dict()
        assert data["fits"] is fits


@pytest.mark.parametrize(
    "more", [{}, {"mesh": Mesh(pp=4)}, {"mesh": Mesh(pp=4), "schedule": "interleaved", "virtual": 2}]
)
def test_a_batch_that_goes_through_in_fixed_passes_may_be_any(more: dict[str, Any]) -> None:
    model, device = load("llama-3-8b", fields={"layers": 8}), hardware.load("h200-sxm")
    plan = Training(micro_batch=1, mesh=Mesh(dp=8), zero=3).changed(**more)
    report = fit_report(model, {"seq": 512}, plan, device=device, solve="batch")
    found: Any = report.to_dict()["fit"]
    assert report.ok
    assert found["fits"]
    assert found["batch"] is None
    large = load("llama-3-70b")
    found = fit_report(large, {"seq": 512}, plan, device=hardware.load("t4")).to_dict()["fit"]
    assert (found["fits"], found["batch"], found["limit"]) == (False, 0, "optimizer")


def test_the_fewest_devices_are_enough_and_fewer_are_not() -> None:
    model, chosen = load("llama-3-70b"), hardware.load("h100-sxm")
    found: Any = fit_report(model, {"context": 4000}, Serving(), device=chosen, solve="devices").to_dict()["fit"]
    assert found["devices"] == 2
    assert memory("llama-3-70b", Serving(mesh=Mesh(tp=2)), device="h100-sxm", context=4000)["fits"]
    assert not memory("llama-3-70b", Serving(mesh=Mesh(tp=1)), device="h100-sxm", context=4000)["fits"]


@pytest.mark.parametrize(
    ("plan", "device", "batch", "mesh"),
    [
        (Training(zero=3, micro_batch=1), "h100-sxm", 64, {"dp": 2, "tp": 1, "pp": 1}),  # 16 bytes of 8 billion
        (Training(zero=3), "h100-sxm", 64, {"dp": 1, "tp": 1, "pp": 2}),  # all sequences of a copy go through at once
        (Training(recompute="full"), "h100-sxm", 2, {"dp": 1, "tp": 2, "pp": 1}),
        (Training(zero=3, mesh=Mesh(tp=4)), "h100-sxm", 8, {"tp": 4}),
        (Training(recompute="full"), "rtx-4090", 4, {"tp": 8, "pp": 1}),
    ],
)
def test_the_fewest_devices_that_train(plan: Training, device: str, batch: int, mesh: dict[str, int]) -> None:
    """Every mesh of fewer devices is too small, and what is given stays."""
    model, chosen = load("llama-3-8b"), hardware.load(device)
    run = model.workload(batch=batch, seq=512)
    sizes = {"batch": batch, "seq": 512}
    found: Any = fit_report(model, sizes, plan, device=chosen, solve="devices").to_dict()["fit"]
    assert found["fits"]
    assert found["mesh"].items() >= mesh.items()
    for n in range(1, found["devices"]):
        for tp in (tp for tp in (1, 2, 4, 8) if n % tp == 0):
            for pp in (pp for pp in (1, 2, 4, 8, 16, 32) if n // tp % pp == 0):
                tried = Mesh(dp=n // tp // pp, tp=tp, pp=pp)
                if tried.dp and batch % tried.dp == 0 and plan.mesh.tp in (1, tp):
                    assert not memory_report(model, run, plan.changed(mesh=tried), device=chosen).to_dict()["fits"]


def limit(model: Transformer, plan: Serving | Training, device: str, solve: str, **sizes: int) -> tuple[bool, str]:
    found: Any = fit_report(model, sizes, plan, device=hardware.load(device), solve=solve).to_dict()
    return found["fit"]["fits"], found["fit"]["limit"]


def test_the_limit_is_what_binds() -> None:
    """What grows, where it is a question of how much; where nothing fits, or of how many devices, the largest part."""
    model = load("llama-3-8b")
    assert limit(model, Serving(), "h100-sxm", "batch", context=8000) == (True, "kv_cache")
    assert limit(model, Training(), "h100-sxm", "batch", seq=512) == (False, "optimizer")
    assert limit(model, Training(precision="fp32", optimizer="sgd"), "l4", "context", batch=1) == (False, "weights")
    assert limit(model, Training(zero=3, mesh=Mesh(dp=8)), "h100-sxm", "batch", seq=512) == (True, "activations")
    assert limit(model, Training(zero=3), "h100-sxm", "devices", batch=64, seq=512)[0]
    assert limit(model, Training(recompute="full"), "rtx-4090", "devices", batch=4, seq=512) == (True, "optimizer")
    assert limit(load("llama-3-70b"), Serving(), "h100-sxm", "devices", context=4000) == (True, "weights")


def test_a_node_bounds_tensor_parallelism() -> None:
    model, device = load("llama-3.1-405b"), hardware.load("h100-sxm")
    found: Any = fit_report(model, {"context": 4000}, Serving(), device=device, solve="devices").to_dict()["fit"]
    assert device.node == 8
    assert found["mesh"]["tp"] <= 8 < found["devices"]


# ---- Quantised matrices that are computed with in a copy


def other(model: Transformer, plan: Serving | Training, **workload: int) -> Any:
    data: Any = memory_report(model, model.workload(**workload), plan).to_dict()
    return data["memory"]["other_parts"], texts(data).get("dequantised matrix")


def test_bitsandbytes_dequantises_one_matrix_at_a_time() -> None:
    """Of Llama 3 8B the largest is 4,096 × 14,336; a single row goes through without (gemv_4bit)."""
    model, matrix = load("llama-3-8b", fields={"vocab": 64}), 2 * 4096 * 14_336
    for weights in ("nf4", "nf4-dq", "fp4"):
        held, said = other(model, Serving(weights=weights), seq=128)
        assert held == {"dequantised_matrix": matrix}
        assert said.startswith("one at a time is computed with in bf16, at most layers.ffn.")
        assert other(model, Serving(weights=weights), context=128)[0] == {}
        assert other(model, Serving(weights=weights), context=128, batch=2)[0] == {"dequantised_matrix": matrix}
        tuned = Training(adapters=Adapters(rank=8), weights=weights, recompute="full")
        assert other(model, tuned, seq=128)[0] == {"dequantised_matrix": matrix}
    assert other(model, Serving(weights="nf4", mesh=Mesh(tp=4)), seq=128)[0] == {"dequantised_matrix": matrix // 4}
    experts = load("mixtral-8x7b", fields={"vocab": 64})
    assert other(experts, Serving(weights="nf4"), seq=128)[0] == {"dequantised_matrix": matrix}  # of one expert


def test_other_kernels_dequantise_nothing() -> None:
    model = load("llama-3-8b", fields={"vocab": 64})
    for weights in ("int4", "q4_k", "mxfp4", "int8", "fp8"):
        assert other(model, Serving(weights=weights), seq=128) == ({}, "none: kernels take matrices as they are stored")
    tuned = Training(adapters=Adapters(rank=8), weights="int8", recompute="full")
    held, said = other(model, tuned, seq=128)  # LLM.int8() multiplies gradients with a copy
    assert held == {"dequantised_matrix": 2 * 4096 * 14_336}
    assert "in bf16 in the backward pass" in said
    assert other(model, Serving(), seq=128)[1] is None


# ---- Training


def trained(model: Transformer, plan: Training, **workload: int) -> dict[str, Any]:
    return memory_report(model, model.workload(**workload), plan).to_dict()


def per_device(model: Transformer, plan: Training, **workload: int) -> dict[str, int]:
    held: dict[str, int] = trained(model, plan, **workload)["memory"]["per_device"]
    return held


def gpt_of(params: float, layers: int, d_model: int) -> Transformer:
    """A GPT whose vocabulary is as large as it takes to have so many parameters, to half a row of the token table."""

    def of(vocab: int) -> Transformer:
        sizes = {"layers": layers, "d_model": d_model, "d_ff": 4 * d_model, "heads": 32, "d_head": d_model // 32}
        return load("gpt3", fields={**sizes, "kv_heads": 32, "vocab": vocab})

    short = params - of(1).params().total
    return of(1 + round(short / d_model))


ZERO_MODELS = {
    "7.5B": gpt_of(7.5e9, 36, 4096),
    "128B": gpt_of(128e9, 100, 10240),
    "1T": gpt_of(1e12, 127, 25600),
}
# Rajbhandari et al. 2019, arXiv 1910.02054, Table 1: GB of model states on a device, by ranks, for stages 1, 2 and 3.
# Some of its cells are truncated, not rounded.
ZERO = """
7.5B  1:120,120,120 4:52.5,41.3,30 16:35.6,21.6,7.5 64:31.4,16.6,1.88 256:30.4,15.4,0.47 1024:30.1,15.1,0.12
128B  1:2048,2048,2048 4:896,704,512 16:608,368,128 64:536,284,32 256:518,263,8 1024:513,257,2
1T  1:16000,16000,16000 4:7000,5500,4000 16:4750,2875,1000 64:4187,2218,250 256:4046,2054,62.5 1024:4011,2013,15.6
"""
ZERO_CELLS = [
    (name, int(ranks), stage, printed)
    for name, *cells in (line.split() for line in ZERO.strip().splitlines())
    for ranks, _, three in (cell.partition(":") for cell in cells)
    for stage, printed in enumerate(three.split(","), 1)
]


def states(held: dict[str, int]) -> int:
    return held["weights"] + held["gradients"] + held["optimizer"]


@pytest.mark.parametrize(("name", "ranks", "stage", "printed"), ZERO_CELLS)
def test_zero_table_1(name: str, ranks: int, stage: int, printed: str) -> None:
    plan = Training(precision="fp16-mixed", zero=stage, mesh=Mesh(dp=ranks))
    found = states(per_device(ZERO_MODELS[name], plan, batch=ranks, seq=1)) / 1e9
    last_digit = 10.0 ** -len(printed.partition(".")[2])
    assert abs(found - float(printed)) < last_digit


def test_zero_without_a_stage_shares_nothing() -> None:
    """16 bytes a parameter; GPT-2 of 1.5B parameters needs at least 24 GB (the same paper, section 3.1)."""
    for model in (*ZERO_MODELS.values(), load("gpt2-xl")):
        held = per_device(model, Training(mesh=Mesh(dp=64)), batch=64, seq=1)
        assert states(held) == 16 * model.params().total
    assert 24e9 <= states(held) < 25.5e9


def test_bytes_of_stage_2_and_of_a_trillion_parameters() -> None:
    small, large = (ZERO_MODELS[name] for name in ("7.5B", "1T"))
    two, one = (
        states(per_device(model, Training(zero=stage, mesh=Mesh(dp=64)), batch=64, seq=1))
        for model, stage in ((small, 2), (large, 1))
    )
    assert two / 1e9 == pytest.approx(16.6, rel=0.005)
    assert one / 1e9 == pytest.approx(4187, rel=0.0002)


@pytest.mark.parametrize(("heads", "width", "saving"), [(96, 12288, 0.70), (128, 20480, 0.65)], ids=["GPT-3", "MT-NLG"])
def test_selective_recomputation_saves_what_the_paper_says(heads: int, width: int, saving: float) -> None:
    """Korthikanti et al. 2022, arXiv 2205.05198, section 5: of the layers' activations 70 % and 65 %.

    With dropout, as there, and eager attention; two depths, so that embedding and head are left out.
    """
    config = {"model_type": "gpt2", "n_embd": width, "n_head": heads, "n_positions": 2048, "vocab_size": 51200}
    shallow, deep = (load(config={**config, "n_layer": n}) for n in (2, 4))
    none, selective = (
        per_device(deep, plan, seq=2048)["activations"] - per_device(shallow, plan, seq=2048)["activations"]
        for plan in (Training(attention="eager", recompute=how) for how in ("none", "selective"))
    )
    assert 1 - selective / none == pytest.approx(saving, abs=0.005)
    scores = 5 * heads * 2048 / width
    assert none == pytest.approx(2 * 2048 * width * (34 + scores), rel=0.001)  # and statistics of norms, in fp32


KV = [("deepseek-v3", 70_272), ("llama-3.1-405b", 516_096)]


@pytest.mark.parametrize(("preset", "expected"), KV)
def test_cache_bytes_of_a_token(preset: str, expected: int) -> None:
    """DeepSeek-AI 2025, "Insights into DeepSeek-V3" (ISCA), Table 1."""
    assert memory(preset, context=1)["kv_cache"]["bytes_per_token"] == expected
    assert memory(preset, batch=3, context=1000)["kv_cache"]["bytes"] == 3 * 1000 * expected


NAMES = ["gpt2", "llama-3-8b", "gemma-2-9b", "mixtral-8x7b", "t5-base", "bert-base-uncased"]
TRAINED = {name: load(name) for name in NAMES}
WAYS = st.sampled_from([1, 2, 4])
MESHES = st.builds(lambda dp, tp, pp: Mesh(dp=dp, tp=tp, pp=pp), WAYS, WAYS, st.sampled_from([1, 2, 3, 4]))
CHOICES: dict[str, st.SearchStrategy[Any]] = {
    "precision": st.sampled_from(["fp32", "bf16-mixed", "bf16", "fp8"]),
    "optimizer": st.sampled_from(["adamw", "adam8bit", "sgd", "lion", "muon", "adafactor"]),
    "zero": st.integers(0, 3),
    "micro_batch": st.sampled_from([None, 1, 2]),
    "schedule": st.sampled_from(["1f1b", "gpipe", "interleaved"]),
    "recompute": st.sampled_from(["none", "selective", "full"]),
    "attention": st.sampled_from(["flash", "eager"]),
    "kernels": st.sampled_from(["fused", "eager"]),
    "mesh": MESHES,
}
PLANS = st.fixed_dictionaries(CHOICES).map(
    lambda chosen: Training(**chosen, virtual=2 if chosen["schedule"] == "interleaved" else 1)
)


def tried(name: str, plan: Training) -> dict[str, Any]:
    """The whole answer, where there is one."""
    model = TRAINED[name]
    sizes: dict[str, int] = {"batch": 16, "seq": 64}
    if "target" in model.graph.workload_axes:
        sizes["target_seq"] = 32
    try:
        return trained(model, plan, **sizes)
    except InputError:
        assume(False)
        raise


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(NAMES), PLANS)
def test_parts_of_training_add_up(name: str, plan: Training) -> None:
    data = tried(name, plan)
    names = ("weights", "gradients", "optimizer", "activations", "kv_cache", "other")
    for part in [data["memory"]["per_device"], *data["stages"]]:
        assert sum(part[n] for n in names) == part["total"]
        assert all(part[n] >= 0 for n in names)
        assert part["kv_cache"] == 0
    assert data["memory"]["per_device"]["total"] == max(stage["total"] for stage in data["stages"])


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(NAMES), PLANS, st.sampled_from(["zero", "tp", "pp", "dp"]))
def test_more_sharing_never_takes_more(name: str, plan: Training, flag: str) -> None:
    if flag == "zero":
        assume(plan.zero < 3)
        more = plan.changed(zero=plan.zero + 1)
    else:
        more = plan.changed(mesh=plan.mesh.changed(**{flag: 2 * getattr(plan.mesh, flag)}))
    before, after = (without_buffers(tried(name, p)["stages"]) for p in (plan, more))
    if flag == "pp":  # each stage that waits keeps the embedding's activations once more
        for part in ("weights", "gradients", "optimizer"):
            assert max(stage[part] for stage in after) <= max(stage[part] for stage in before)
    else:
        assert_no_more(after, before)


def test_outputs_that_are_held_count_where_an_interleaved_stage_holds_most() -> None:
    """The last stage holds as much with 8 micro-batches as with 4: what runs with 4 is the end of what runs with 8."""
    plan = Training(precision="fp32", schedule="interleaved", virtual=2, mesh=Mesh(tp=4, pp=4))
    sizes = {"seq": 64, "target_seq": 32}
    four, eight = (trained(TRAINED["t5-base"], plan, batch=n, **sizes)["stages"][-1]["activations"] for n in (4, 8))
    assert four <= eight


def without_buffers(stages: list[dict[str, int]]) -> list[dict[str, int]]:
    """Sharing costs buffers of communication, and with them the peak may be at another moment."""
    return [{part: stage[part] for part in stage if part not in ("other", "total", "other_parts")} for stage in stages]


def assert_no_more(after: list[dict[str, int]], before: list[dict[str, int]]) -> None:
    for one, other in zip(after, before, strict=True):
        assert all(one[part] <= other[part] for part in one if part != "other_parts")


FLAGS: list[tuple[str, Any, set[str]]] = [
    ("optimizer", "sgd-momentum", {"optimizer"}),
    ("zero", 1, {"optimizer", "other"}),
    ("zero", 2, {"optimizer", "gradients", "other"}),
    ("zero", 3, {"optimizer", "gradients", "weights", "activations", "other"}),  # the moment of the peak may be another
    ("ddp_buckets", "copies", {"other"}),
    ("micro_batch", 4, {"activations", "other"}),
    ("schedule", "gpipe", {"activations"}),
    ("recompute", "selective", {"activations"}),
    ("recompute", "full", {"activations"}),
    ("attention", "eager", {"activations"}),
    ("kernels", "eager", {"activations"}),
    ("precision", "bf16-fp32-grads", {"gradients"}),
    ("precision", "bf16-fp32-states", {"optimizer"}),
]


@pytest.mark.parametrize(("flag", "value", "touched"), FLAGS)
@pytest.mark.parametrize("name", NAMES)
def test_a_flag_changes_only_what_depends_on_it(name: str, flag: str, value: Any, touched: set[str]) -> None:
    plan = Training(micro_batch=1, mesh=Mesh(dp=4, pp=2))
    before = tried(name, plan)["stages"]
    after = tried(name, plan.changed(**{flag: value}))["stages"]
    for one, other in zip(before, after, strict=True):
        changed = {part for part in one if one[part] != other[part]} - {"total", "stage", "other_parts"}
        assert changed <= touched
        if flag not in ("recompute", "attention", "schedule", "kernels"):
            assert changed | {"activations"} == touched | {"activations"}


# ---- Buffers of communication


def others(model: Transformer, plan: Training, **workload: int) -> dict[str, int]:
    held: dict[str, int] = trained(model, plan, **workload)["memory"]["other_parts"]
    return held


def test_a_bucket_of_gradients_is_what_deepspeed_allocates_and_no_more_than_there_are() -> None:
    """5e8 elements (DeepSpeed, reduce_bucket_size); GPT-2 has 124 million."""
    for zero in (1, 2):
        plan = Training(zero=zero, mesh=Mesh(dp=8))
        assert others(load("llama-3-8b"), plan, batch=8, seq=8) == {"gradient_bucket": 1_000_000_000}
        assert others(load("gpt2"), plan, batch=8, seq=8) == {"gradient_bucket": 2 * 124_439_808}
        assert others(load("gpt2"), plan.changed(bucket_size=1000), batch=8, seq=8) == {"gradient_bucket": 2000}
        assert others(load("gpt2"), plan.changed(precision="fp32"), batch=8, seq=8) == {
            "gradient_bucket": 4 * 124_439_808
        }


def test_gradients_are_views_of_their_buckets_or_copied_there() -> None:
    plan = Training(mesh=Mesh(dp=8))
    assert others(load("gpt2"), plan, batch=8, seq=8) == {}
    assert others(load("gpt2"), plan.changed(ddp_buckets="copies"), batch=8, seq=8) == {
        "gradient_copies": 2 * 124_439_808
    }
    assert others(load("gpt2"), Training(ddp_buckets="copies"), batch=8, seq=8) == {}  # nobody to reduce with


def test_a_layer_is_gathered_with_the_next_one() -> None:
    """FSDP: a layer of Llama 3 8B has 218 million parameters; tables and the last norm are the model's own unit."""
    model, plan = load("llama-3-8b"), Training(zero=3, mesh=Mesh(dp=8), recompute="full")
    layer = 4096 * (2 * 4096 + 2 * 1024) + 3 * 4096 * 14336 + 2 * 4096
    head = 128_256 * 4096 + 4096
    held = others(model, plan, batch=8, seq=8)
    assert held == {
        "gathered_parameters": 2 * (2 * layer + head + 128_256 * 4096),
        "unsharded_gradients": 2 * (2 * layer + head),
    }
    wide = others(model, plan.changed(precision="bf16-fp32-grads"), batch=8, seq=8)
    assert wide["unsharded_gradients"] == 2 * (layer + head) + 4 * layer  # made in bf16, added up in fp32
    for ahead in (0, 2):
        more = others(model, plan.changed(prefetch=ahead), batch=8, seq=8)
        assert more["gathered_parameters"] - held["gathered_parameters"] == 2 * (ahead - 1) * layer
    assert others(model, Training(zero=3), batch=8, seq=8) == {}
    start = trained(model, plan.changed(recompute="none"), batch=8, seq=16_000)["memory"]  # the logits are the most
    assert start["peak_at"] == "start of the backward pass"
    assert start["other_parts"] == {"gathered_parameters": 2 * (layer + head + 128_256 * 4096)}


def test_layers_in_a_row_are_gathered_of_those_that_differ() -> None:
    """DeepSeek-V3 has 3 dense layers before 58 of experts; on the first of 61 stages one stands alone."""
    model = load("deepseek-v3")
    sizes: Any = model.graph.sizes(model.workload())
    parts: list[tuple[str, Any]] = [(part.block.path, part.entries(sizes)) for part in components(model.graph)]
    dense, moe = (sum(n for path, n in parts if path == f"layers.{kind}") for kind in ("dense", "moe"))
    outside = sum(n for path, n in parts if not path.startswith("layers"))
    plan = Training(zero=3, mesh=Mesh(dp=2), recompute="full")
    assert others(model, plan, batch=2, seq=8)["gathered_parameters"] == 2 * (outside + 2 * moe)
    stages = trained(model, plan.changed(mesh=Mesh(dp=2, pp=61)), batch=2, seq=8)["stages"]
    table = 129_280 * 7168
    assert stages[0]["other_parts"]["gathered_parameters"] == 2 * (table + dense)
    assert stages[30]["other_parts"]["gathered_parameters"] == 2 * moe


def test_a_pipeline_hands_on_an_activation_each_way() -> None:
    model, tokens = load("llama-3-8b"), 2 * 2048 * 4096 * 2
    plan = Training(micro_batch=2, mesh=Mesh(pp=4, tp=2))
    assert others(model, plan, batch=8, seq=2048) == {"pipeline_buffers": 2 * tokens}
    sp = plan.changed(mesh=Mesh(pp=4, tp=2, sp=True))
    assert others(model, sp, batch=8, seq=2048) == {"pipeline_buffers": tokens, "gathered_sequence": tokens}


def test_a_decoders_stages_hand_on_what_the_encoder_said() -> None:
    plan = Training(micro_batch=1, mesh=Mesh(pp=4))
    data = trained(load("t5-base"), plan, batch=4, seq=512, target_seq=128)["stages"]
    sizes = [stage["other_parts"]["pipeline_buffers"] for stage in data]
    assert sizes == [2 * 2 * 768 * tokens for tokens in (512, 512, 128 + 512, 128 + 512)]


def test_tokens_go_to_experts_and_back() -> None:
    """2 of 8 experts for each token, through a send and a receive buffer."""
    plan = Training(mesh=Mesh(dp=8, ep=8))
    stages = trained(load("mixtral-8x7b", fields={"vocab": 64}), plan, batch=8, seq=1024)["memory"]
    assert stages["peak_at"] == "backward pass of a layer"
    assert stages["other_parts"] == {"expert_exchange": 2 * 1024 * 2 * 4096 * 2}


@pytest.mark.parametrize(("cp", "blocks"), [(2, 1), (4, 2), (8, 2)])
def test_keys_and_values_go_round(cp: int, blocks: int) -> None:
    """Liu et al. 2023: beside a device's own, those at work and the next; of two devices there is but one other."""
    model = load("llama-3-8b", fields={"vocab": 64})
    held = others(model, Training(mesh=Mesh(cp=cp)), seq=8192)
    assert held == {"ring_keys_values": blocks * 2 * (8192 // cp) * 8 * 128 * 2}


def test_a_buffer_may_be_given() -> None:
    plan = Training(micro_batch=1, mesh=Mesh(pp=2), buffers=(("pipeline_buffers", 5),))
    data = trained(load("gpt2"), plan, batch=2, seq=8)
    assert data["memory"]["other_parts"] == {"pipeline_buffers": 5}
    assert data["assumptions"]["pipeline buffers"]["text"].endswith("(as given by --buffer)")
    assert others(load("gpt2"), plan.changed(buffers=(("pipeline_buffers", 0),)), batch=2, seq=8) == {}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(NAMES), PLANS)
def test_other_is_what_it_is_made_of(name: str, plan: Training) -> None:
    data = tried(name, plan)
    for stage, named in ((stage, stage["other_parts"]) for stage in data["stages"]):
        assert stage["other"] == sum(size for key, size in named.items() if key != "stage")
        assert all(size > 0 for key, size in named.items() if key != "stage")


BUFFERS_REFUSED = [
    (lambda: Training(bucket_size=5), "--bucket-size is 5, but --zero is 0; it is of --zero 1 or 2"),
    (lambda: Training(zero=1, bucket_size=-5), "--bucket-size is -5; it must be at least 0"),
    (lambda: Training(zero=2, prefetch=2), "--prefetch is 2, but --zero is 2; it is of --zero 3"),
    (lambda: Training(zero=1, ddp_buckets="copies"), "--ddp-buckets is copies, but --zero is 1; it is of --zero 0"),
    (lambda: Training(ddp_buckets="both"), "--ddp-buckets is 'both'; it must be one of views, copies"),
    (lambda: Training(buffers=(("pipeline", 5),)), "--buffer names 'pipeline', which is no buffer"),
]


@pytest.mark.parametrize(("plan", "says"), BUFFERS_REFUSED)
def test_buffers_that_cannot_be_are_refused(plan: Callable[[], Training], says: str) -> None:
    with pytest.raises(InputError) as error:
        trained(load("gpt2"), plan(), seq=8)
    assert as_options(error.value.message) == says


# ---- Adapters

# Hu et al. 2021, arXiv 2106.09685, Table 4: GPT-3 175B
LORA = [(1, ("q", "v"), 4_718_592, 4.7), (8, ("q", "v"), 37_748_736, 37.7), (4, ("q", "k", "v", "o"), 37_748_736, 37.7)]


@pytest.mark.parametrize(("rank", "targets", "exact", "millions"), LORA)
def test_lora_parameters_of_gpt3(rank: int, targets: tuple[str, ...], exact: int, millions: float) -> None:
    found = trained(load("gpt3"), Training(adapters=Adapters(rank=rank, targets=targets)), seq=1)["lora"]
    assert found == {"rank": rank, "targets": list(targets), "trainable_params": exact}
    assert round(exact / 1e6, 1) == millions


def test_lora_memory_of_gpt3() -> None:
    """Section 4.2: 350 GB instead of 1.2 TB; the adapters of rank 4 are 35 MB (36.0 MiB) in a checkpoint of fp16."""
    data = trained(load("gpt3"), Training(adapters=Adapters(rank=4)), seq=1)
    held, learning = data["memory"]["per_device"], data["lora"]["trainable_params"]
    assert states(held) / 1e9 == pytest.approx(350, rel=0.005)
    assert states(held) == 2 * load("gpt3").params().total + 16 * learning
    assert 2 * learning / 2**20 == 36.0


def test_qlora_trains_65b_on_a_device_of_48_gb() -> None:
    """Dettmers et al. 2023, arXiv 2305.14314: under 48 GB, instead of more than 780 (12 bytes a parameter)."""
    model = load("llama-65b")
    whole = per_device(model, Training(precision="bf16-fp32-states", recompute="full"), seq=512)
    assert states(whole) == 12 * model.params().total
    assert whole["total"] > 780e9
    small = Training(
        precision="bf16-fp32-states",
        recompute="full",
        adapters=Adapters(rank=64, targets=("all",)),
        weights="nf4-dq",
        zero=0,
    )
    held = per_device(model, small, seq=512)
    assert 33e9 < held["total"] < 48e9
    tables = 2 * 32_000 * 8192 + 161 * 8192
    matrices = model.params().total - tables
    learning = trained(model, small, seq=512)["lora"]["trainable_params"]
    assert learning == 80 * 64 * (4 * 2 * 8192 + 3 * (8192 + 22016))
    quantised = matrices * (32 * 256 + 256 + 4) // (64 * 256)
    assert held["weights"] == pytest.approx(quantised + 2 * tables + 2 * learning, abs=80 * 7)
    assert held["gradients"] == 2 * learning
    assert held["optimizer"] == 8 * learning


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["llama-3-8b", "gpt2", "mixtral-8x7b", "t5-base", "deepseek-v2-lite", "albert-base-v2"]),
    st.integers(1, 64),
    st.booleans(),
)
def test_adapters_are_rank_times_in_and_out(name: str, rank: int, every: bool) -> None:
    model = load(name)
    chosen = Adapters(rank=rank, targets=("all",) if every else ("o", "down"))
    sizes = model.graph.sizes(model.workload(seq=8))
    expected: Any = 0
    for part in components(model.graph):
        words = part.path.split(".")
        if words[-1] != "weight" or not part.block.repeat or "router" in words or len(part.dims) < 2:
            continue
        if every or words[-2] in chosen.targets:
            *experts, rows, columns = shape(part.dims, sizes)
            each = rank * (rows + columns) * (experts[0] if experts else 1)
            expected += each * (sizes[part.repeat] if part.repeat else 1)
    assert trainable(model.graph, sizes, chosen) == expected


def test_adapters_need_less_than_the_whole_and_more_with_rank() -> None:
    model = load("llama-3-8b")
    whole = per_device(model, Training(), batch=4, seq=512)
    eight, sixteen = (
        per_device(model, Training(adapters=Adapters(rank=r, targets=("all",))), batch=4, seq=512) for r in (8, 16)
    )
    tokens, layers = 4 * 512, 32
    assert sixteen["activations"] - eight["activations"] == 2 * tokens * layers * 7 * 8
    assert sixteen["optimizer"] == 2 * eight["optimizer"]
    assert all(eight[part] < whole[part] for part in ("gradients", "optimizer", "total"))
    head = 2 * tokens * 4096  # the input of the head, which is frozen; the last norm's input is there with either
    assert whole["activations"] + 2 * tokens * layers * 7 * 8 - head == eight["activations"]


def test_inputs_of_frozen_matrices_are_not_kept() -> None:
    model = load("llama-3-8b")
    every, two = (
        per_device(model, Training(adapters=Adapters(rank=8, targets=names)), seq=512)["activations"]
        for names in (("all",), ("q", "v"))
    )
    # what goes into down, the second norm's output, and X·A of five more; flash attention keeps what goes into o
    assert every - two == 2 * 512 * 32 * (14336 + 4096 + 5 * 8)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(NAMES), PLANS, st.sampled_from(["bf16", "nf4-dq", "int8"]), st.sampled_from(["zero", "tp"]))
def test_more_sharing_never_takes_more_with_adapters(name: str, plan: Training, weights: str, flag: str) -> None:
    plan = plan.changed(adapters=Adapters(rank=8, targets=("all",)), weights=weights)
    if flag == "zero":
        assume(plan.zero < 3)
        more = plan.changed(zero=plan.zero + 1)
    else:
        more = plan.changed(mesh=plan.mesh.changed(tp=2 * plan.mesh.tp))
    before, after = (without_buffers(tried(name, p)["stages"]) for p in (plan, more))
    if plan.optimizer == "adam8bit" and flag == "tp":
        # bitsandbytes keeps states of tensors below 4,096 entries in 32 bits, and a rank's part of an adapter is small
        before, after = ([{k: v for k, v in stage.items() if k != "optimizer"} for stage in s] for s in (before, after))
    assert_no_more(after, before)


ADAPTERS = [
    (lambda: Adapters(rank=8, targets=("querry",)), "--lora-targets names 'querry'"),
    (lambda: Adapters(rank=8, targets=("router",)), "--lora-targets names 'router'"),
    (lambda: Adapters(rank=0), "--lora-rank is 0"),
]


@pytest.mark.parametrize(("adapters", "says"), ADAPTERS)
def test_adapters_that_cannot_be_are_refused(adapters: Callable[[], Adapters], says: str) -> None:
    with pytest.raises(InputError) as error:
        trained(load("mixtral-8x7b"), Training(adapters=adapters()), seq=8)
    assert as_options(error.value.message).startswith(says)


def test_dropout_of_adapters_keeps_their_own_input_and_a_mask() -> None:
    """3 bytes an entry for each adapter; what went into q and v is then kept for nothing else, as its norm's output."""
    model, tokens = load("llama-3-8b"), 512
    without, dropped = (
        per_device(model, Training(adapters=Adapters(rank=8, targets=("q", "v"), dropout=p)), seq=tokens)["activations"]
        for p in (0.0, 0.1)
    )
    assert dropped - without == 32 * tokens * 4096 * (2 * 3 - 2)
    assert (
        trained(model, Training(adapters=Adapters(rank=8, targets=("q",), dropout=0.1)), seq=8)["lora"]["dropout"]
        == 0.1
    )
    with pytest.raises(InputError, match=r"`lora_dropout` is"):
        trained(model, Training(adapters=Adapters(rank=8, dropout=1.0)), seq=8)


# ---- Frozen parts


def frozen(*parts: str, **how: Any) -> Training:
    return Training(freeze=parts, **how)


def test_layers_below_all_that_learns_keep_nothing() -> None:
    """The upper half of GPT-2 above a frozen lower one is a GPT-2 of six layers above a frozen embedding."""
    config = {"model_type": "gpt2", "n_embd": 768, "n_head": 12, "n_positions": 1024, "vocab_size": 50_257}
    for recompute in ("none", "selective", "full"):
        twelve, six = (
            trained(load(config={**config, "n_layer": n}), frozen(*parts, recompute=recompute), seq=256)
            for n, parts in ((12, ("embedding", "0-5")), (6, ("embedding",)))
        )
        held, small = (data["memory"]["per_device"] for data in (twelve, six))
        for part in ("activations", "gradients", "optimizer"):
            assert held[part] == small[part] > 0
        layer = 12 * 768**2 + 13 * 768
        assert held["weights"] - small["weights"] == 2 * 6 * layer
        assert held["gradients"] == 2 * (6 * layer + 2 * 768)  # and the last norm; the head is the token table
        assert held["optimizer"] == 6 * held["gradients"]
        assert twelve["freeze"]["trainable_params"] + twelve["freeze"]["frozen_params"] == load("gpt2").params().total


def test_a_frozen_layer_above_what_learns_hands_the_gradient_on() -> None:
    """It keeps what its input's gradient needs: no inputs of matrices, where no other operation needs them."""
    model = load("llama-3-8b", fields={"layers": 4})
    every, middle = (per_device(model, plan, seq=512)["activations"] for plan in (Training(), frozen("1", "2")))
    # what goes into down, and the two norms' outputs; flash attention keeps what goes into o
    assert every - middle == 2 * 2 * 512 * (14_336 + 2 * 4096)


def test_what_layers_share_is_kept_on_every_stage() -> None:
    """Tables of cosines stand where layers read them: freezing the first ones changes nothing on the last stage."""
    model = load("llama-3-8b")
    plans = (plan.changed(mesh=Mesh(pp=2)) for plan in (Training(), frozen("0-3")))
    whole, part = (trained(model, plan, batch=2, seq=512)["stages"][1] for plan in plans)
    assert whole == part


def test_a_gradient_begins_within_a_layer() -> None:
    """With a frozen attention above a frozen embedding, the first layer keeps its feed-forward part only."""
    model = load("llama-3-8b", fields={"layers": 4})
    above, below = (per_device(model, frozen("attn*", *more), seq=512)["activations"] for more in ((), ("embedding",)))
    q, k, rows = 32 * 128, 8 * 128, 32
    attention = 2 * (2 * q + 2 * k) + 4 * rows  # Q and the output, K and V, a log-sum-exp for each head
    assert above - below == 512 * (attention + 2 * 4096 + 4)  # and the norm's input and statistics
    norms = (per_device(model, frozen("attn", *more), seq=512)["activations"] for more in ((), ("embedding",)))
    assert len(set(norms)) == 1  # a norm that learns comes first of all


def test_an_encoder_that_is_frozen_keeps_nothing() -> None:
    model = load("t5-base")
    plan = frozen("encoder")
    rows = trained(model, plan, seq=512, target_seq=8)["memory"]["per_device"]["activations"]
    more = trained(model, plan, seq=1024, target_seq=8)["memory"]["per_device"]["activations"]
    # of the source: keys and values of 12 layers, and its last vectors, which these are made of
    assert more - rows == 512 * (12 * 2 * 2 * 768 + 2 * 768)


FREEZABLE = ["gpt2", "llama-3-8b", "gemma-2-9b", "mixtral-8x7b", "t5-base", "deepseek-v2-lite"]
PARTS = ["embedding", "attn", "ffn", "*norm", "0-3", "4", "2-9", "encoder.0-3", "decoder.2", "head", "layers"]


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(FREEZABLE),
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=4, unique=True),
    st.sampled_from(["none", "full"]),
    st.sampled_from([Mesh(), Mesh(pp=2), Mesh(tp=2, dp=2)]),
)
def test_freezing_more_never_takes_more(name: str, parts: list[str], recompute: str, mesh: Mesh) -> None:
    model = load(name)
    sizes: dict[str, int] = {"batch": 4, "seq": 64} | ({"target_seq": 32} if name == "t5-base" else {})
    try:
        plans = [frozen(*chosen, recompute=recompute, mesh=mesh, micro_batch=1) for chosen in ((), parts[1:], parts)]
        whole, less, least = (memory_report(model, model.workload(**sizes), p, formula=True).to_dict() for p in plans)
    except InputError:
        assume(False)
        raise
    for more, fewer in ((whole, less), (less, least)):
        assert_no_more(fewer["stages"], more["stages"])  # type: ignore[arg-type]
    data: Any = least
    assert data["freeze"]["trainable_params"] + data["freeze"]["frozen_params"] == model.params().total
    for held, written in zip(data["stages"], data["stage_formulas"], strict=True):
        for part in ("weights", "gradients", "optimizer", "activations"):
            assert not held[part] or part in written
    if mesh == Mesh():
        assert data["memory"]["per_device"]["gradients"] == 2 * data["freeze"]["trainable_params"]


FREEZING = [
    ("gpt2", ("attention",), "`freeze` names 'attention', which is no part of this model"),
    ("gpt2", ("12",), "`freeze=12`: the layers are 0 to 11"),
    ("gpt2", ("5-3",), "`freeze=5-3`: the layers are 0 to 11"),
    ("gpt2", ("embed", "layers", "final_norm"), "`freeze=embed,layers,final_norm` leaves nothing to train"),
    ("t5-base", ("0-3",), "`freeze=0-3` names layers, but of which stack?"),
    ("t5-base", ("middle.3",), "`freeze=middle.3`: there is no middle"),
    ("albert-base-v2", ("0-3",), "`freeze=0-3`: layers that share their weights are frozen together"),
]


@pytest.mark.parametrize(("name", "parts", "says"), FREEZING)
def test_what_cannot_be_frozen_is_refused(name: str, parts: tuple[str, ...], says: str) -> None:
    with pytest.raises(InputError) as error:
        trained(load(name), frozen(*parts), seq=8)
    assert error.value.message == says


# ---- Pipelines that are interleaved, and what is computed again


@pytest.mark.parametrize(("layers", "pp", "virtual"), [(96, 8, 3), (105, 35, 3), (24, 2, 2)])
def test_an_interleaved_pipeline_keeps_more(layers: int, pp: int, virtual: int) -> None:
    """Korthikanti et al. 2022, arXiv 2205.05198, section 4.2.3: L·(1 + (p - 1)/(p·v)) layers on the first stage."""
    model = load("gpt3", fields={"layers": layers})
    plan = Training(micro_batch=1, mesh=Mesh(pp=pp))
    plain, more = (
        trained(model, p, batch=4 * pp, seq=2048)["stages"]
        for p in (plan, plan.changed(schedule="interleaved", virtual=virtual))
    )
    found = more[0]["activations"] / plain[0]["activations"]
    assert found == pytest.approx(1 + (pp - 1) / (pp * virtual), rel=1e-5)  # position ids stand in the first group only
    for part in ("weights", "gradients", "optimizer"):
        assert [stage[part] for stage in more] == [stage[part] for stage in plain]


def timeline(stage: int, pp: int, virtual: int, passes: int) -> list[list[int]]:
    """How often each group of a stage is held after every step, from the whole pipeline's order of work."""
    forward = [(k // (pp * virtual) * pp + k % pp, k // pp % virtual) for k in range(passes * virtual)]
    backward = [(batch, virtual - 1 - group) for batch, group in forward]
    warm = min(len(forward), 2 * (pp - stage - 1) + (virtual - 1) * pp)
    order = [("+", one) for one in forward[:warm]]
    for one, other in zip(forward[warm:], backward, strict=False):
        order += [("+", one), ("-", other)]
    order += [("-", other) for other in backward[len(forward) - warm :]]
    held: set[tuple[int, int]] = set()
    found = []
    for sign, one in order:
        assert (one in held) == (sign == "-")  # nothing goes backward that has not come forward
        held ^= {one}
        found.append([sum(group == g for _, group in held) for g in range(virtual)])
    assert not held
    return found


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([2, 3, 4]), st.sampled_from([2, 3]), st.integers(1, 4), st.booleans())
def test_interleaved_stages_hold_what_the_order_of_work_says(pp: int, virtual: int, rounds: int, drop: bool) -> None:
    config = {"model_type": "gpt2", "n_layer": 72, "n_embd": 64, "n_head": 2, "vocab_size": 64, "n_positions": 32}
    model = load(config=config | ({} if drop else {"resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0}))
    plan = Training(micro_batch=1, schedule="interleaved", virtual=virtual, outputs="released", mesh=Mesh(pp=pp))
    sizes = model.graph.sizes(model.workload(batch=rounds * pp, seq=8))
    data = trained(model, plan, batch=rounds * pp, seq=8)
    for stage in stages(model.graph, plan.mesh, virtual):
        each = [Reading(model.graph, sizes, plan).one_pass(chunk) for chunk in stage.chunks]
        steps = timeline(stage.number, pp, virtual, rounds * pp)
        assert max(map(sum, steps)) == in_flight(stage, sizes, plan)
        most = max(sum(n * group.kept for n, group in zip(step, each, strict=True)) for step in steps)
        assert data["stages"][stage.number]["activations"] == most + each[-1].moment


def test_groups_of_an_interleaved_pipeline_are_all_layers() -> None:
    graph = load("gemma-3-27b", fields={"layers": 60}).graph
    sizes = graph.sizes(load("gemma-3-27b").workload())
    found = list(stages(graph, Mesh(pp=5), 3))
    assert [len(stage.chunks) for stage in found] == [3] * 5
    for block in graph.blocks:
        held = sum(count for stage in found for b, count in stage.blocks if b is block)
        assert held == (sizes[block.repeat] if block.repeat else 1)


def layer_bytes(plan: Training, **workload: int) -> int:
    """What one more layer of a small Llama keeps."""
    two, four = (
        per_device(load("llama-3-8b", fields={"layers": n, "vocab": 64}), plan, **workload)["activations"]
        for n in (2, 4)
    )
    return (four - two) // 2


@pytest.mark.parametrize("every", [1, 2, 3, 8, 20])
def test_recomputed_layers_come_on_top(every: int) -> None:
    """8 layers: the input of every n-th, and n layers while they are computed again."""
    model = load("llama-3-8b", fields={"layers": 8, "vocab": 64})
    layer, x = layer_bytes(Training(), seq=2048), 2 * 2048 * 4096
    plan = Training(recompute="full", recompute_every=every)
    (stage,) = stages(model.graph, plan.mesh)
    one = Reading(model.graph, model.graph.sizes(model.workload(seq=2048)), plan).one_pass(stage)
    assert one.working == min(every, 8) * layer - x
    data = trained(model, plan, seq=2048)["memory"]
    assert data["peak_at"] == "recomputation of a layer in the backward pass"
    before = one.kept - one.loss - -(-8 // every) * x  # the head, and tables of positions
    rest = before + one.output  # which the loop holds
    assert data["per_device"]["activations"] == -(-8 // every) * x + rest + min(every, 8) * layer - x
    assert 0 <= rest < 3 * x


def test_the_peak_is_where_more_is_needed() -> None:
    """Logits of a large vocabulary outweigh a layer; nothing is recomputed without recomputation."""
    for vocab, recompute, when in (
        (500_000, "full", "start of the backward pass"),
        (64, "full", "recomputation of a layer in the backward pass"),
        (64, "none", "start of the backward pass"),
    ):
        model = load("llama-3-8b", fields={"layers": 8, "vocab": vocab})
        assert trained(model, Training(recompute=recompute), seq=2048)["memory"]["peak_at"] == when


def test_selective_recomputation_has_one_layers_scores() -> None:
    model = load("llama-3-8b", fields={"layers": 8, "vocab": 64})
    (stage,) = stages(model.graph, Mesh())
    plan = Training(recompute="selective", attention="eager")
    one = Reading(model.graph, model.graph.sizes(model.workload(seq=2048)), plan).one_pass(stage)
    assert one.working == layer_bytes(plan.changed(recompute="none"), seq=2048) - layer_bytes(plan, seq=2048)


PIPELINES = [
    (lambda: Training(schedule="interleaved", virtual=2), "--schedule is interleaved, but --pp is 1"),
    (lambda: Training(schedule="interleaved", mesh=Mesh(pp=2)), "--virtual is 1"),
    (lambda: Training(virtual=2, mesh=Mesh(pp=2)), "--virtual is 2, but the schedule is 1f1b"),
    (
        lambda: Training(schedule="interleaved", virtual=50, mesh=Mesh(pp=2)),
        "--pp times --virtual is 100, but there are 96",
    ),
    (
        lambda: Training(schedule="interleaved", virtual=2, mesh=Mesh(pp=4)),
        "an interleaved pipeline takes micro-batches by",
    ),
    (lambda: Training(recompute_every=2), "--recompute-every is of full recomputation"),
    (lambda: Training(recompute_every=0, recompute="full"), "--recompute-every is 0"),
]


@pytest.mark.parametrize(("plan", "says"), PIPELINES)
def test_a_pipeline_that_cannot_be_is_refused(plan: Callable[[], Training], says: str) -> None:
    with pytest.raises(InputError) as error:
        trained(load("gpt3"), plan(), batch=6, seq=8)
    assert as_options(error.value.message).startswith(says)


# ---- Formulas


def said(preset: str, plan: Serving | Training, **workload: int) -> dict[str, Any]:
    model = load(preset)
    return memory_report(model, model.workload(**workload), plan, formula=True).to_dict()


def test_formulas_of_the_textbooks() -> None:
    """12·L·D² and the rest; 2 bytes for each key and value; 34 bytes of a GPT block with dropout, statistics beside."""
    held = said("gpt2", Serving(), seq=1024)
    assert held["formulas"]["weights"] == "2·D·(12·L·D + 13·L + V + P + 2)"
    assert held["formulas"]["kv_cache"] == "4·L·B·S·D"
    assert held["identities"] == ["H·E = D", "F = 4·D"]
    assert held["symbols"] == {"B": 1, "S": 1024, "D": 768, "V": 50257, "P": 1024, "L": 12}
    learnt = said("gpt2", Training(attention="eager"), seq=1024)
    assert learnt["formulas"]["optimizer"] == "12·D·(12·L·D + 13·L + V + P + 2)"
    assert learnt["formulas"]["activations of layers"] == "B·S·(34·D + 5·S·H + 16)"
    again = said("gpt2", Training(recompute="full"), seq=1024)
    assert again["formulas"]["activations of layers"] == "2·B·S·D"


def test_formulas_of_adapters_and_of_a_latent_cache() -> None:
    data = said("gpt3", Training(adapters=Adapters(rank=4)), seq=16)
    assert data["formulas"]["gradients"] == "8·L·D·r"
    assert data["formulas"]["optimizer"] == "48·L·D·r"
    assert data["symbols"]["r"] == 4
    assert said("deepseek-v3", Serving(), context=100)["formulas"]["kv_cache"] == "2·L·B·C_0·(E_r + R_kv)"


SHARED = st.builds(
    lambda dp, tp, pp, cp, sp: Mesh(dp=dp, tp=tp, pp=pp, cp=cp, sp=sp and tp > 1),
    *(st.sampled_from([1, 2]), WAYS, st.sampled_from([1, 2, 3]), st.sampled_from([1, 2]), st.booleans()),
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([*NAMES, "deepseek-v2-lite", "gemma-3-4b"]),
    PLANS,
    st.sampled_from([None, Adapters(rank=8, targets=("all",))]),
    st.sampled_from(["bf16", "nf4"]),
    st.sampled_from([1, 3]),
    st.one_of(st.just(Mesh()), SHARED),
)
def test_formulas_give_the_bytes(
    name: str, plan: Training, adapters: Adapters | None, weights: str, every: int, mesh: Mesh
) -> None:
    """Of every stage, with whatever optimizer, and of everything that there is."""
    plan = plan.changed(weights=weights if adapters else "bf16")
    plan = plan.changed(mesh=mesh, adapters=adapters, recompute_every=every if plan.recompute == "full" else 1)
    model = load(name)
    sizes = {"batch": 12, "seq": 128} | ({"target_seq": 32} if "target" in model.graph.workload_axes else {})
    for chosen in (plan, Serving(weights=weights, attention=plan.attention, mesh=mesh)):
        try:
            data: Any = memory_report(model, model.workload(**sizes), chosen, formula=True).to_dict()
        except InputError:
            continue
        assert data["stage_formulas"][0].items() >= data["formulas"].items() or mesh.pp > 1
        for held, written in zip(data["stages"], data["stage_formulas"], strict=True):
            named = held["other_parts"]
            for part in ("weights", "gradients", "optimizer", "activations", "kv_cache", *named):
                size = (held | named)[part]
                assert part in written or not size, part
                if part in written and part != "stage" and "." not in written[part]:
                    text = written[part]
                    assert parsed(text if "(" in text else text.replace(",", ""), data["symbols"]) == size


def test_formulas_of_shares() -> None:
    """Korthikanti et al. 2022, table 2: s·b·h/t·(34 + 5·a·s/h) a layer with --sp; 8-bit states in blocks."""
    config = {"model_type": "gpt2", "n_embd": 12_288, "n_head": 96, "n_positions": 2048, "vocab_size": 51_200}
    model = load(config={**config, "n_layer": 96})
    plan = Training(mesh=Mesh(tp=8, pp=8, sp=True), micro_batch=1, attention="eager")
    data: Any = memory_report(model, model.workload(batch=8, seq=2048), plan, formula=True).to_dict()
    middle = data["stage_formulas"][3]
    assert middle["weights"] == "L·D·(3/8·D + 55/32)"
    assert middle["activations of layers"] == "B·S·(17/4·D + 5/8·S·H + 2)"  # and statistics of two norms
    assert middle["activations"] == "L·B·S·(85/32·D + 25/64·S·H + 5/4)"  # 12 of 96 layers, 5 micro-batches
    assert data["formulas"] == {name: size for name, size in data["stage_formulas"][0].items() if name != "stage"}
    eight = said("gpt2", Training(optimizer="adam8bit"), seq=64)
    assert eight["formulas"]["optimizer"] == "D·(4611/64·L·D + 156·L + 12·V + 12·P + 24)"  # 12·(4 + 2·(1 + 4/2048))
    padded = said("gpt2", Serving(mesh=Mesh(tp=2)), seq=64)
    assert padded["formulas"]["weights"] == "D·(12·L·D + 19·L + 2·P + 2·ceil_div(V, 2) + 4)"


def parsed(text: str, values: dict[str, int]) -> Any:
    """A formula's text at these values."""
    return evaluate(parse(text), values)


# ---- The command


def asked(capsys: pytest.CaptureFixture[str], *args: str) -> Any:
    assert run(["memory", *args, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_flags_reach_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    data = asked(capsys, "gpt3", "--mode", "train", "--lora-rank", "1", "--seq", "8", "--formula")
    assert data["lora"] == {"rank": 1, "targets": ["q", "v"], "trainable_params": 4_718_592}
    assert data["formulas"]["gradients"] == "8·L·D·r"
    pipeline = ("gpt3", "--mode", "train", "--pp", "4", "--batch", "8", "--seq", "64", "--recompute", "full")
    plan = Training(mesh=Mesh(pp=4), recompute="full", schedule="interleaved", virtual=3, recompute_every=2)
    buffers = ("--zero", "2", "--dp", "2", "--bucket-size", "1k", "--buffer", "pipeline-buffers=1e3")
    data = asked(capsys, *pipeline, *buffers)
    assert data["memory"]["other_parts"] == {"gradient_bucket": 2000, "pipeline_buffers": 1000}
    data = asked(capsys, *pipeline, "--schedule", "interleaved", "--virtual", "3", "--recompute-every", "2")
    assert data["stages"] == trained(load("gpt3"), plan, batch=8, seq=64)["stages"]
    assert data["lora"] is None


MISTAKES = [
    (("--lora-rank", "2"), "--lora-rank is 2, but --mode is infer: it is of training"),
    (("--mode", "train", "--lora-targets", "q"), "--lora-targets is given, but not --lora-rank"),
    (("--mode", "train", "--lora-dropout", "0.1"), "--lora-dropout is given, but not --lora-rank"),
    (("--freeze", "attn"), "--freeze is attn, but --mode is infer: it is of training"),
    (("--mode", "train", "--freeze", "attn", "--lora-rank", "4"), "--freeze and --lora-rank are given"),
    (("--mode", "train", "--weights", "int4"), "--weights says how frozen weights are stored"),
    (("--mode", "train", "--lora-rank", "2", "--lora-targets", "gate"), "--lora-targets names 'gate'"),
    (("--mode", "train", "--buffer", "pipeline"), "--buffer is 'pipeline', expected NAME=BYTES"),
    (("--mode", "train", "--prefetch", "few"), "--prefetch is 'few'"),
]


@pytest.mark.parametrize(("flags", "says"), MISTAKES)
def test_flags_that_contradict_each_other(
    flags: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["memory", "gpt2", *flags]) == 2
    assert capsys.readouterr().err.startswith(f"error: {says}")


def test_the_cache_of_a_latent_is_copied_or_its_batch_split() -> None:
    """DeepSeek-V3's latent has no heads: each of 8 ranks has all of it, or an eighth of the sequences."""
    model = load("deepseek-v3")
    copied, split = (
        bytes_of(model, model.workload(batch=64, context=4096), Serving(mesh=Mesh(tp=8), kv_split=kind))["kv_cache"]
        for kind in ("heads", "batch")
    )
    assert copied == 64 * 4096 * 70_272
    assert split == copied // 8


def test_logits_and_loss_are_shown_apart() -> None:
    """GPT-2: 8·1,024·50,257 logits in 16 bits and, in float32, log-probabilities and two gradients."""
    model = load("gpt2")
    report = memory_report(model, model.workload(batch=8, seq=1024), Training())
    memory: Any = report.to_dict()["memory"]
    assert memory["logits_and_loss"] == 8 * 1024 * 50257 * (2 + 4 + 4 + 4)
    table: Any = report.sections[0]
    assert sum(row["bytes"] for row in table.rows) == table.total["bytes"]
    assert memory["all_devices"] == memory["per_device"]["total"]


def test_all_devices_together() -> None:
    model = load("llama-3-8b")
    plan = Training(mesh=Mesh(dp=2, tp=2, pp=4), micro_batch=1)
    data: Any = memory_report(model, model.workload(batch=8, seq=512), plan).to_dict()
    assert data["memory"]["all_devices"] == 4 * sum(stage["total"] for stage in data["stages"])


# llama.cpp's own sizes of Llama 3 8B, in GiB; its token table is of the type itself, its head q6_k but for q8_0
GGUF = {"q8_0": 7.95, "q4_0": 4.33}


@pytest.mark.parametrize(("weights", "gib"), GGUF.items())
def test_files_of_llama_cpp(weights: str, gib: float) -> None:
    model = load("llama-3-8b")
    found = bytes_of(model, model.workload(context=16), Serving(weights=weights))["weights"]
    assert found / 2**30 == pytest.approx(gib, abs=0.006)


def test_a_tied_table_is_stored_as_the_head_is() -> None:
    """Llama 3.2 1B: 128,256 x 2,048 in q6_k, 6.5625 bits an entry."""
    model = load("llama-3.2-1b")
    parts = components(model.graph)
    (table,) = [part for part in parts if part.embedding]
    assert weight_type(table, Serving(weights="q4_0")).name == "q6_k"
    assert weight_type(table, Serving(weights="int4")).name == "bf16"


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_has_an_answer(name: str) -> None:
    """Served in 16 and in 4 bits, and trained: the bytes of its weights are those of its parameters."""
    model = load(name)
    run = model.workload(batch=1)
    weights, stored, trained = (
        bytes_of(model, run, plan)["weights"] for plan in (Serving(), Serving(weights="int4"), Training())
    )
    assert weights == trained == 2 * model.params().total
    assert stored < weights
