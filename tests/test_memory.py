"""`tcalc memory`: what serving needs on each device."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_calc import InputError, load
from transformer_calc.readings.serving import Plan
from transformer_calc.readings.sharding import Mesh
from transformer_calc.report.fit import build as fit_report
from transformer_calc.report.memory import build
from transformer_calc.sources import hardware


def memory(preset: str, plan: Plan | None = None, *, device: str | None = None, **workload: int) -> dict[str, Any]:
    model = load(preset)
    chosen = hardware.load(device) if device else None
    return build(model, model.workload(**workload), plan or Plan(), device=chosen).to_dict()


def test_weights_in_bf16_are_two_bytes_a_parameter() -> None:
    for preset in ("gpt3", "llama-3-8b", "mixtral-8x7b", "gemma-2-2b", "t5-base"):
        assert memory(preset)["memory"]["per_device"]["weights"] == 2 * load(preset).params().total


def test_the_parts_add_up_on_every_stage() -> None:
    data = memory("llama-3-70b", Plan(mesh=Mesh(tp=2, pp=4)), batch=4, context=1000)
    for part in [data["memory"]["per_device"], *data["stages"]]:
        names = ("weights", "gradients", "optimizer", "activations", "kv_cache", "other")
        assert sum(part[name] for name in names) == part["total"]
    assert data["memory"]["per_device"]["total"] == max(stage["total"] for stage in data["stages"])


def test_the_cache_of_all_devices_is_the_cache_of_the_model() -> None:
    data = memory("llama-3-70b", Plan(mesh=Mesh(dp=2, tp=8, pp=2)), batch=4, context=1000)
    assert data["kv_cache"]["elements"] == 80 * 2 * 8 * 128 * 4 * 1000
    assert data["kv_cache"]["bytes_per_token"] == 80 * 2 * 8 * 128 * 2
    assert 16 * sum(stage["kv_cache"] for stage in data["stages"]) == data["kv_cache"]["bytes"]


def test_fewer_key_heads_than_ranks_keep_the_cache_on_each() -> None:
    eight, sixteen = (
        memory("llama-3-70b", Plan(mesh=Mesh(tp=n)), context=1000)["memory"]["per_device"] for n in (8, 16)
    )
    assert eight["kv_cache"] == sixteen["kv_cache"]


def test_pages_reserve_whole_blocks() -> None:
    exact, paged = (memory("gpt2", Plan(block_size=n), context=17)["memory"]["per_device"]["kv_cache"] for n in (1, 16))
    assert paged * 17 == exact * 32


def test_quantisation_takes_the_matrices_of_the_layers() -> None:
    """4-bit weights in groups of 128 with a 16-bit scale and a 4-bit zero point; tables, norms and head in bf16."""
    sizes = load("llama-3-8b").params()
    matrices = sizes.total - 2 * 128256 * 4096 - 65 * 4096
    held = memory("llama-3-8b", Plan(weights="int4-g128"))["memory"]["per_device"]["weights"]
    assert held == matrices * (128 * 4 + 16 + 4) // (128 * 8) + 2 * (sizes.total - matrices)


def test_flash_attention_keeps_no_score_matrix() -> None:
    flash, eager = (
        memory("llama-3-8b", Plan(attention=how), seq=8192)["memory"]["per_device"]["activations"]
        for how in ("flash", "eager")
    )
    assert eager > 2 * 32 * 8192**2 > flash


def test_a_device_says_whether_it_fits() -> None:
    assert memory("llama-3-8b", device="h100-sxm")["fits"] is True
    assert memory("llama-3-70b", device="h100-sxm")["fits"] is False


REFUSED = [
    (Plan(weights="int5"), "'int5' is not a storage type"),
    (Plan(mesh=Mesh(tp=5)), "--tp is 5"),
    (Plan(mesh=Mesh(dp=2)), "--dp is 2; it must divide the batch of 1"),
]


@pytest.mark.parametrize(("plan", "says"), REFUSED)
def test_a_plan_that_cannot_be_is_refused(plan: Plan, says: str) -> None:
    with pytest.raises(InputError) as error:
        memory("llama-3-8b", plan)
    assert says in error.value.message


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
    plan = Plan(weights=weights, mesh=Mesh(tp=tp))
    room = chosen.memory_bytes
    assert room

    def total(batch: int, context: int) -> int:
        data = build(model, model.workload(batch=batch, context=context), plan).to_dict()
        held: int = data["memory"]["per_device"]["total"]  # type: ignore[index]
        return held

    for solve, given_sizes in (
        ("batch", {"batch": 1, "context": size}),
        ("context", {"batch": size % 64 + 1, "context": 1}),
    ):
        report = fit_report(model, model.workload(**given_sizes), plan, device=chosen, solve=solve)
        found: Any = report.to_dict()["fit"]
        if not found["fits"]:
            assert total(*(1 if name == solve else n for name, n in given_sizes.items())) > room
            continue
        assert total(found["batch"], found["context"]) <= room
        more = {name: found[name] + (name == solve) for name in ("batch", "context")}
        assert total(**more) > room or found[solve] >= 2**40


def test_the_fewest_devices_are_enough_and_fewer_are_not() -> None:
    model, chosen = load("llama-3-70b"), hardware.load("h100-sxm")
    found: Any = fit_report(model, model.workload(context=4000), Plan(), device=chosen, solve="devices").to_dict()[
        "fit"
    ]
    assert found["devices"] == 2
    assert memory("llama-3-70b", Plan(mesh=Mesh(tp=2)), device="h100-sxm", context=4000)["fits"]
    assert not memory("llama-3-70b", Plan(mesh=Mesh(tp=1)), device="h100-sxm", context=4000)["fits"]
