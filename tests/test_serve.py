"""How fast a model answers: the roofline's own tables, published speeds, and what must always hold."""

from __future__ import annotations

import json
import math
import re
from statistics import mean
from typing import Any

import predictions
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reports import fit_report, serve_report

import transformer_calc
from transformer_calc.cli import run
from transformer_calc.graph.model import build
from transformer_calc.plan import Mesh, Serving, Training
from transformer_calc.readings.time import step
from transformer_calc.readings.time.latency import Server
from transformer_calc.sources import hardware, presets


def server(name: str, device: str, tp: int = 1, *, decode: bool = True, ideal: bool = False, **how: Any) -> Server:
    model = transformer_calc.load(name)
    graph = build(model.spec, absorbed=True) if decode else model.graph
    return Server(graph, Serving(mesh=Mesh(tp=tp), **how), hardware.load(device), ideal=ideal)


# "How to Scale Your Model", inference.md, 8 TPU v5e, 8,192 tokens of context: batch -> milliseconds of a step
BOOK = {1: 4.98, 8: 12.13, 16: 20.30, 32: 36.65, 64: 69.33, 240: 249.09}


@pytest.mark.parametrize(("batch", "ms"), BOOK.items())
def test_the_scaling_book(batch: int, ms: float) -> None:
    """(26 GB + B · 6.7 GB) / (8 · 0.82 TB/s); activations, which the book leaves out, are up to 1 % more."""
    one = server("llama-2-13b", "tpu-v5e", 8, ideal=True).run(batch, tokens=1, cached=8192)
    assert one.seconds * 1e3 == pytest.approx(ms, rel=0.012)
    assert one.bound == "memory"


def test_the_critical_batch() -> None:
    """FLOPs per byte: 197e12 / 0.82e12 = 240 with bf16 weights, half of it with int8 (the same, and kipply's 208)."""
    assert server("llama-2-13b", "tpu-v5e", ideal=True).critical() == 241
    assert server("llama-2-13b", "tpu-v5e", ideal=True, weights="int8").critical() == 121


def kipply(layers: int, d_model: int, tp: int, batch: int, context: int = 1) -> Any:
    """A decoding step as kipply's "Transformer Inference Arithmetic" reckons: A100 at 1.5 TB/s, no losses."""
    fields = {"layers": layers, "d_model": d_model, "heads": d_model // 128, "vocab": 51200, "max_positions": 2048}
    device = hardware.load("a100-40gb-sxm", ["bandwidth=1.5e12"])
    plan = Serving(mesh=Mesh(tp=tp))
    one = Server(transformer_calc.load(fields=fields).graph, plan, device, ideal=True)
    return one.run(batch, tokens=1, cached=context), one


def test_kipply_inference_arithmetic() -> None:
    """260B on 16 A100: one token 22 ms of reading weights; 512 at once 53 ms of computing; 208 FLOPs per byte."""
    small, server = kipply(80, 16384, 16, 1)
    assert small.memory * 1e3 == pytest.approx(22, rel=0.02)
    assert server.critical() == 208
    large, _ = kipply(80, 16384, 16, 512)
    assert large.compute * 1e3 == pytest.approx(53, rel=0.02)


def test_a_prompt_by_hand() -> None:
    """2·N per token, and the causal half of the scores: Llama 3 70B, 8,192 tokens on 8 TPU v5e."""
    one = server("llama-3-70b", "tpu-v5e", 8, decode=False, ideal=True, weights="int8").run(1, tokens=8192, cached=0)
    work = 2 * (70.55e9 - 2 * 128256 * 8192) * 8192 + 80 * 4 * 8192 * 8192 * 8192 / 2
    assert one.compute == pytest.approx(work / (8 * 197e12), rel=0.005)


# source -> (runs, mean of |error| at most); tests/golden/inference_runs.json has where each figure is from
PUBLISHED = {
    "trt-llm": (33, 0.10),  # TensorRT-LLM on H100, A100, L40S: whole answers
    "azure-a100": (5, 0.05),
    "nim": (5, 0.095),  # Llama 3.3 70B on H100: prompts and steps
    "gpt-fast": (20, 0.16),  # A100, one sequence: 7B to 70B, Mixtral; 16, 8 and 4 bits
    "trt-llm-first": (20, 0.19),  # time to first token
    "trt-llm-h200": (7, 0.29),
    "llama.cpp-8b": (40, 0.285),  # Q4_K_M, 4.85 bits, is predicted as q4_k, 4.5
}


@predictions.once
def test_published_speeds_are_met_as_well_as_before() -> None:
    found = list(predictions.inference())
    by = predictions.errors(found)
    for source, (runs, most) in PUBLISHED.items():
        assert len(by[source]) == runs
        assert mean(map(abs, by[source])) <= most, source
    every = sorted(abs(one.error) for one in found)
    assert mean(every) < 0.2
    assert every[len(every) // 2] < 0.14


@given(
    batch=st.sampled_from([1, 3, 16, 100]),
    context=st.sampled_from([1, 500, 8192]),
    name=st.sampled_from(["llama-3-8b", "mixtral-8x7b", "deepseek-v3", "gemma-2-9b", "gpt3"]),
    weights=st.sampled_from(["bf16", "int8", "int4"]),
)
@settings(max_examples=40, deadline=None)
def test_what_holds_for_every_step(batch: int, context: int, name: str, weights: str) -> None:
    one = server(name, "h200-sxm", 8, weights=weights)
    step = one.run(batch, tokens=1, cached=context)
    assert step.seconds == pytest.approx(sum(step))
    assert one.run(batch, tokens=1, cached=context + 4096).seconds > step.seconds
    assert one.run(2 * batch, tokens=1, cached=context).seconds >= step.seconds
    assert (
        server(name, "h200-sxm", 8, weights=weights, ideal=True).run(batch, tokens=1, cached=context).seconds
        < step.seconds
    )
    if weights != "bf16" and batch == 1:
        assert server(name, "h200-sxm", 8).run(batch, tokens=1, cached=context).memory > step.memory


def test_ranks_beyond_the_heads_may_split_the_batch() -> None:
    """PaLM's one key/value head on 64 chips: 64 copies of the cache, or a 64th each (arXiv 2211.05102, section 3.3)."""
    heads, batch = (
        server("palm-540b", "tpu-v4", 64, ideal=True, kv_split=split).run(512, tokens=1, cached=2048)
        for split in ("heads", "batch")
    )
    cache = 118 * 2 * 256 * 2048 * 512 * 2 / 1.2e12
    assert heads.memory - batch.memory == pytest.approx(cache * 63 / 64, rel=0.01)


def test_experts_that_a_batch_touches() -> None:
    """X·(1 - (1 - k/X)^tokens): Mixtral's 8 experts, 2 a token."""
    model = transformer_calc.load("mixtral-8x7b")
    plan, device = Serving(), hardware.load("b300")
    one, many = (Server(model.graph, plan, device, ideal=True).run(n, tokens=1, cached=1).memory for n in (1, 8))
    expert, rest = 3 * 4096 * 14336 * 32 * 2, 2 * (46_702_792_704 - 32000 * 4096 - 8 * 3 * 4096 * 14336 * 32)
    for n, memory in ((1, one), (8, many)):
        touched = 8 * (1 - (1 - 2 / 8) ** n)
        assert memory * 7.75e12 == pytest.approx(rest + touched * expert, rel=0.004)


def report(name: str, plan: Serving | None = None, **given: Any) -> dict[str, Any]:
    model = transformer_calc.load(name)
    device = hardware.load(given.pop("device", "h100-sxm"))
    sizes = {key: given.pop(key) for key in ("batch", "seq", "context") if key in given}
    return serve_report(model, model.workload(**sizes), plan or Serving(), device=device, **given).to_dict()


def test_the_report_adds_up() -> None:
    data = report("llama-3-8b", batch=16, seq=2048, context=4096, price=3.0, output=200)
    said: Any = data["serve"]
    assert said["tokens_per_second"] == pytest.approx(16 / said["tpot_seconds"])
    assert said["usd_per_million_tokens"] == pytest.approx(3.0 / 3600 / said["tokens_per_second"] * 1e6)
    assert said["request_seconds"] == pytest.approx(said["ttft_seconds"] + 200 * said["tpot_seconds"], rel=0.02)
    batches: Any = data["batches"]
    assert [row["batch"] for row in batches] == sorted(row["batch"] for row in batches)
    largest = batches[-1]
    assert largest["batch"] == said["largest_batch"]
    assert largest["memory"] <= 85_899_345_920
    assert report("llama-3-8b", batch=said["largest_batch"] + 1, context=4096)["serve"]["fits"] is False


def test_only_the_price_moves_with_the_price() -> None:
    one, two = (report("llama-3-8b", context=2048, price=price) for price in (1.0, 2.0))
    changed = {key for key in one["serve"] if one["serve"][key] != two["serve"][key]}
    assert changed == {"usd_per_million_tokens"}


def test_a_price_that_nobody_knows_is_no_number() -> None:
    data: Any = report("llama-3-8b", context=2048, device="tpu-v7x", plan=Serving(weights="int4"))
    assert data["serve"]["usd_per_million_tokens"] is None
    assert data["price"] is None
    assert "unknown" in data["assumptions"]["price"]["text"]


def test_a_model_that_generates_nothing_has_no_time_per_token() -> None:
    data: Any = report("bert-base-uncased", batch=8)
    said = data["serve"]
    assert said["ttft_seconds"] > 0
    assert said["tpot_seconds"] is None


def test_ranks_that_share_a_sequence_share_its_cache_and_its_prompt() -> None:
    """Each reads a part of the cache and all of the weights; of a prompt each computes a part."""
    device = hardware.load("h100-sxm")
    model = transformer_calc.load("llama-3-8b")
    one, four = (Server(model.graph, Serving(mesh=Mesh(cp=cp)), device, ideal=True) for cp in (1, 4))
    before, after = (server.run(1, tokens=1, cached=131_071) for server in (one, four))
    cache, bandwidth = 131_072 * 131_072, 3.35e12  # 128 KiB a token
    assert before.memory - after.memory == pytest.approx(cache * 3 / 4 / bandwidth, rel=0.01)
    assert after.network > 0
    before, after = (server.run(1, tokens=32_768, cached=0) for server in (one, four))
    assert after.compute == pytest.approx(before.compute / 4, rel=0.01)
    assert after.network > 0


def test_what_follows_an_encoder_begins_with_one_token() -> None:
    """The encoder reads the prompt; the decoder has nothing to read before its first token."""
    device = hardware.load("h100-sxm")
    model = transformer_calc.load("t5-large")
    found: Any = report("t5-large", seq=512, batch=8)["serve"]
    first = Server(model.graph, Serving(), device).run(8, tokens=1, cached=0, source=512)
    assert found["ttft_seconds"] == first.seconds
    short: Any = report("t5-large", seq=512, batch=8, output=2)["serve"]
    assert short["request_seconds"] < found["ttft_seconds"] + 2 * found["tpot_seconds"]


def test_the_critical_batch_is_of_all_copies_and_of_each_expert() -> None:
    """240 sequences for each copy; an expert of Mixtral sees a quarter of the tokens (2 of 8)."""
    device, plain = hardware.load("tpu-v5e"), transformer_calc.load("llama-2-13b").graph
    copies = Server(plain, Serving(mesh=Mesh(dp=4)), device, ideal=True)
    assert copies.critical() == math.ceil(4 * 197e12 / 819e9)
    assert copies.critical_experts() is None
    experts = transformer_calc.load("mixtral-8x7b").graph
    assert Server(experts, Serving(), device, ideal=True).critical_experts() == math.ceil(4 * 197e12 / 819e9)
    shared = Server(experts, Serving(mesh=Mesh(dp=4, ep=4)), device, ideal=True)
    assert shared.critical_experts() == math.ceil(4 * 197e12 / 819e9)  # a device's experts see every copy's tokens


def test_the_last_of_the_prompts_in_a_pipeline_waits_for_the_others() -> None:
    """Four groups on four stages: the last one begins when the others are through the first stage."""
    one = Server(transformer_calc.load("llama-3-8b").graph, Serving(mesh=Mesh(pp=4)), hardware.load("h100-sxm"))
    alone, four = one.run(1, tokens=1024, cached=0), one.run(4, tokens=1024, cached=0)
    assert four.compute == pytest.approx(alone.compute * (1 + 3 / 4))


def test_it_serves_what_fit_says_that_memory_holds() -> None:
    for name, context, plan in (
        ("llama-3-8b", 4096, Serving()),
        ("mixtral-8x7b", 8192, Serving(mesh=Mesh(tp=4))),
        ("deepseek-v3", 4096, Serving(weights="fp8", mesh=Mesh(tp=16))),
        ("gemma-2-9b", 16_384, Serving(kv_dtype="fp8")),
    ):
        model, device = transformer_calc.load(name), hardware.load("h100-sxm")
        fits: Any = fit_report(model, {"context": context}, plan, device=device).to_dict()
        assert report(name, plan, context=context)["serve"]["largest_batch"] == fits["fit"]["batch"]


def test_a_model_that_generates_nothing_answers_with_no_tokens() -> None:
    with pytest.raises(transformer_calc.InputError, match="`output` is 5, but bert-base-uncased generates nothing"):
        report("bert-base-uncased", output=5)


def test_a_price_may_be_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "gpt2", "--device", "h100", "--price", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("$0.00" in line for line in lines)
    assert any(re.match("overhead +0 bytes", line) for line in lines)


PRICED = (
    "ttft_seconds tpot_seconds tokens_per_second tokens_per_second_per_device usd_per_million_tokens "
    "prefill_tokens_per_second"
).split()


@pytest.mark.parametrize(
    ("line", "largest"),
    [
        ("gpt3 --device h100", 0),  # the weights alone are too many
        ("llama-3-70b --device h100 --ideal --output 10", 0),
        ("llama-3-70b --device h100 --tp 2 --overhead 40G", 0),
        ("llama-3-8b --device h100 --batch 500 --context 4k", None),  # the caches are
        ("t5-11b --device t4 --seq 512", 0),
        ("bert-large-uncased --device t4 --batch 100k", None),  # what is live in a pass is
    ],
)
def test_what_does_not_fit_is_not_priced(capsys: pytest.CaptureFixture[str], line: str, largest: int | None) -> None:
    assert run(["serve", *line.split()]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("fits")
    assert " no: " in lines[1]
    assert not any("$ per" in text or "per million" in text for text in lines[:5])
    assert run(["serve", *line.split(), "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    said = data["serve"]
    assert said["fits"] is False
    assert {name: said[name] for name in PRICED} == dict.fromkeys(PRICED)
    assert said["if_it_fitted"]["ttft_seconds"] > 0
    batch = data["workload"]["batch"]
    assert said["largest_batch"] == largest if largest is not None else 0 < said["largest_batch"] < batch
    assert all(row["batch"] <= said["largest_batch"] for row in data.get("batches", ()))


def test_prompts_that_go_through_in_parts_are_said_to() -> None:
    """As many caches of 2,048 tokens as fit are more than one pass over as many prompts."""
    most: Any = report("llama-3-8b", device="h100-sxm", seq=2048)["serve"]
    said: Any = report("llama-3-8b", device="h100-sxm", seq=2048, batch=most["largest_batch"])
    assert said["serve"]["fits"] is True
    held = int(said["assumptions"]["prompts"]["text"].partition(", ")[2].split()[0])
    model, device = transformer_calc.load("llama-3-8b"), hardware.load("h100-sxm")
    fits: Any = fit_report(model, {"seq": 2048}, Serving(), device=device).to_dict()["fit"]
    assert held == fits["batch"]


def test_an_encoder_decoder_answers_with_its_first_token() -> None:
    """The whole source goes through the encoder, and one token through the decoder: not as many as the source has."""
    model = transformer_calc.load("whisper-large-v3")
    whole: Any = model.flops(batch=1, target_seq=1).forward.matmul
    said: Any = report("whisper-large-v3", batch=1, ideal=True)["serve"]
    assert said["ttft_seconds"] < 1.5 * whole / 989.4e12


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_has_an_answer(name: str) -> None:
    said: Any = report(name, device="b300", batch=2)["serve"]
    assert said["fits"] is (said["largest_batch"] >= 2)
    assert (said if said["fits"] else said["if_it_fitted"])["ttft_seconds"] > 0
    model = transformer_calc.load(name)
    if said["tpot_seconds"] is not None:
        assert said["tokens_per_second"] == pytest.approx(2 / said["tpot_seconds"])
    sizes = model.graph.sizes(model.workload(batch=2))
    found = step.estimate(model.graph, sizes, Training(), hardware.load("b300"))
    assert 0 < found.mfu < 1
