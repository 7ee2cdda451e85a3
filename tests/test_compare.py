"""`tcalc compare` says of each model what the other commands say, and marks what differs."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from shell import Shell

from transformer_calc import InputError, compare, load
from transformer_calc.readings.cost.compare import FACTS, ON_DEVICE

MIXED = ["gpt3", "deepseek-v3", "bert-base-uncased", "t5-small", "vit-base", "gemma-2-2b", "exercise"]
LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 8,
    "num_hidden_layers": 2,
    "vocab_size": 100,
}
ROW = {"group", "key", "label", "kind", "values", "same", "ratios"}


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


def rows(tcalc: Shell, line: str) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in tcalc.json(f"compare {line}")["compare"]["rows"]}


def values(tcalc: Shell, line: str) -> dict[str, list[Any]]:
    return {key: row["values"] for key, row in rows(tcalc, line).items()}


# --- what it says -------------------------------------------------------------------------------------------


def test_json_has_a_row_for_each_fact(tcalc: Shell) -> None:
    data = tcalc.json("compare gpt3 llama-3-8b")
    assert list(data)[:4] == ["schema", "command", "model", "workload"]
    assert (data["command"], data["model"]["name"], data["workload"]["seq"]) == ("compare", "gpt3", 2048)
    compared = data["compare"]
    assert compared["models"] == ["gpt3", "llama-3-8b"]
    assert [row["key"] for row in compared["rows"]] == [fact.key for fact in FACTS]
    assert all(row.keys() == ROW for row in compared["rows"])
    found = {row["key"]: row for row in compared["rows"]}
    assert found["total"]["values"] == [174_604_259_328, 8_030_261_248]
    assert found["total"]["ratios"] == [1.0, 8_030_261_248 / 174_604_259_328]
    assert (found["kv_heads"]["values"], found["kv_heads"]["same"]) == ([96, 8], False)
    assert (found["d_head"]["values"], found["d_head"]["same"]) == ([128, 128], True)
    assert found["norm"]["ratios"] == [None, None]
    assert found["tokens_per_parameter"]["values"][0] == 1.72  # 300B tokens (Brown et al. 2020, Table 2.1)


def test_keys_are_unique() -> None:
    every = (*FACTS, *ON_DEVICE)
    assert len({fact.key for fact in every}) == len(every)


@pytest.mark.parametrize("workload", ["--batch 3 --seq 32", "--context 64"])
def test_figures_are_those_of_the_other_commands(tcalc: Shell, workload: str) -> None:
    names = ["gpt2", "deepseek-v2-lite", "gemma-2-2b", "mixtral-8x7b"]
    found = values(tcalc, f"{' '.join(names)} {workload}")
    for number, name in enumerate(names):
        params = tcalc.json(f"params {name}")["params"]
        assert {key: found[key][number] for key in params} == params
        flops = tcalc.json(f"flops {name} {workload} --compare")
        assert found["forward"][number] == flops["flops"]["forward"]["matmul"]
        assert found["forward_per_token"][number] == flops["per_token"]["forward"]
        share = flops["compare"]["attention"] / flops["compare"]["forward_per_token"]
        assert found["attention_share"][number] == pytest.approx(share, rel=1e-12)
        served = tcalc.json(f"memory {name} {workload}")
        assert found["weights"][number] == served["memory"]["per_device"]["weights"]
        assert found["kv_per_token"][number] == served["kv_cache"]["bytes_per_token"]
        assert found["kv_cache"][number] == served["memory"]["per_device"]["kv_cache"]
        trained = tcalc.json(f"memory {name} {workload.replace('--context', '--seq')} --mode train")
        parts = trained["memory"]["per_device"]
        assert found["states"][number] == parts["weights"] + parts["gradients"] + parts["optimizer"]
        decoding = "context" in workload
        assert found["train"][number] == (None if decoding else flops["flops"]["train"]["matmul"])
        assert found["activations"][number] == (None if decoding else parts["activations"])


@pytest.mark.parametrize("name", MIXED)
def test_sizes_are_those_of_the_symbols(tcalc: Shell, name: str) -> None:
    found = values(tcalc, f"{name} {name}")
    symbols = tcalc.json(f"shapes {name}")["symbols"]
    letters = {
        "d_model": "D",
        "heads": "H",
        "d_head": "E",
        "d_ff": "F",
        "vocab": "V",
        "experts": "X",
        "kv_rank": "R_kv",
    }
    letters |= {"kv_heads": "K", "d_expert": "F_e", "d_shared": "F_s", "experts_per_token": "k"}
    told = {key: (found[key][0], symbols[letter]) for key, letter in letters.items() if letter in symbols}
    assert "d_model" in told
    assert all(ours == theirs for ours, theirs in told.values())


def test_what_does_not_apply_is_null(tcalc: Shell) -> None:
    found = values(tcalc, " ".join(MIXED))
    null = {key: [name for name, value in zip(MIXED, of, strict=True) if value is None] for key, of in found.items()}
    assert null["kv_cache"] == null["kv_per_token"] == ["bert-base-uncased", "vit-base", "exercise"]
    assert null["kv_heads"] == ["deepseek-v3", "exercise"]
    assert null["vocab"] == ["vit-base", "exercise"]
    assert null["total"] == null["forward"] == null["states"] == []


def test_what_differs_within_a_model_is_told_apart(tcalc: Shell) -> None:
    found = values(tcalc, "whisper-base gemma-3-4b")
    assert found["layer_kinds"] == ["6 encoder, 6 decoder", "29 local, 5 global"]
    assert found["context_length"] == [{"encoder": 1500, "decoder": 448}, 131_072]
    assert found["rope_theta"] == [None, {"local": 10_000, "global": 1_000_000}]
    assert values(tcalc, "albert-base-v2 gpt2")["layer_kinds"] == ["all alike, sets of weights: 1", "all alike"]
    text = tcalc.answer("compare whisper-base gemma-3-4b")
    assert "encoder 1,500, decoder 448" in text


def test_the_context_length_is_the_table_s_or_the_config_s(tcalc: Shell) -> None:
    found = values(tcalc, "gpt2 llama-3-8b deepseek-v3 roberta-base t5-small vit-base falcon-7b")
    assert found["context_length"] == [1024, 8192, 163_840, 512, None, 197, 2048]


def test_a_changed_model_has_no_published_run(tcalc: Shell) -> None:
    found = values(tcalc, "gpt3 gpt3-13b --set layers.n_layers=2")
    assert (found["layers"], found["tokens"]) == ([2, 2], [None, None])
    text = tcalc.answer("compare gpt3 gpt3-13b --set layers.n_layers=2")
    assert text.startswith("gpt3, gpt3-13b with layers.n_layers=2: batch 1, 2,048 tokens\n")


# --- the answer of the library ------------------------------------------------------------------------------


def test_a_comparison_is_an_answer(tcalc: Shell) -> None:
    found = compare("gpt3", load("llama-3-8b"), device="h100", batch=4, seq=512)
    data = tcalc.json("compare gpt3 llama-3-8b --device h100 --batch 4 --seq 512")
    assert json.loads(json.dumps([row._asdict() for row in found.rows])) == data["compare"]["rows"]
    assert found == load("gpt3").compare("llama-3-8b", device="h100", batch=4, seq=512)
    assert (found.names, found.workload) == (("gpt3", "llama-3-8b"), {"batch": 4, "seq": 512, "context": 0})
    assert found["total"].values == (174_604_259_328, 8_030_261_248)
    assert {row.key for row in found.differing} == {row.key for row in found.rows if not row.same}
    served = found.served["llama-3-8b"]
    assert served == load("llama-3-8b").serve(device="h100", batch=4, seq=512, whole=False)
    assert found.assumptions["weights"].value == "bf16"


def test_a_comparison_is_short_to_look_at() -> None:
    found = compare("whisper-base", "gemma-3-4b")
    assert repr(found) == f"<Comparison models=whisper-base, gemma-3-4b, rows={len(FACTS)}, differing=39>"
    text = re.sub("(<[^>]+>)+", "|", found._repr_html_())
    assert text.startswith("|Comparison|whisper-base|gemma-3-4b|family|whisper|gemma3_text|")
    assert "|context length|encoder 1,500, decoder 448|131,072|" in text
    assert "d expert" not in text


def test_notes_are_returned_and_models_left_as_they_were() -> None:
    models = [load("gpt2"), load("bert-base-uncased"), load("deepseek-v3")]
    before = [list(model.notes) for model in models]
    found = compare(*models, context=4000, device="h100", devices=104)
    assert [model.notes for model in models] == before
    gpt2, bert, deepseek = found.notes.values()
    assert gpt2[0] == "4,001 tokens are more than the model's 1,024 positions"
    assert gpt2[1].startswith("serving is left out: `devices` is 104; no mesh of so many divides the model")
    assert bert == ("it keeps no cache: what depends on the context is left out",)
    assert list(deepseek[: len(before[2])]) == before[2]
    assert [about["notes"] for about in found.models] == [list(notes) for notes in found.notes.values()]


@pytest.mark.parametrize(
    ("names", "on", "says"),
    [
        (["gpt3"], {}, "compare takes two models or more, but only gpt3 is given"),
        (["gpt2", "gpt3"], {"devices": 8}, "`devices` is 8, but of which device is not said"),
        (["gpt2", "gpt3"], {"device": "h100", "mfu": 1.4}, "gpt2: `mfu` is 1.4; it must be more than 0 and at most 1"),
        (["bert-base-uncased", "vit-base"], {"context": 4}, "context is 4, but bert-base-uncased keeps no cache"),
    ],
)
def test_the_library_speaks_of_fields(names: list[str], on: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as refused:
        compare(*names, **on)
    assert refused.value.message.startswith(says)


def test_each_graph_is_built_once(monkeypatch: pytest.MonkeyPatch, tcalc: Shell) -> None:
    from transformer_calc.graph import model as graphs

    built: list[tuple[Any, bool]] = []
    build = graphs.build

    def counting(spec: Any, *, absorbed: bool = False) -> Any:
        built.append((spec, absorbed))
        return build(spec, absorbed=absorbed)

    monkeypatch.setattr(graphs, "build", counting)
    tcalc.answer("compare gpt3 llama-3-8b --device h100 --context 512")
    assert len(built) == 2


# --- serving and training -----------------------------------------------------------------------------------


SERVE = ("ttft_seconds", "tpot_seconds", "tokens_per_second", "usd_per_million_tokens", "bound")
COST = ("device_hours", "days", "usd", "tco2e", "tokens_per_second", "step_seconds", "mfu")


@pytest.mark.parametrize(
    "workload", ["--seq 512", "--batch 16 --seq 512 --price 2.5", "--context 3k --devices 4 --batch 1k"]
)
def test_serving_is_what_serve_and_fit_say(tcalc: Shell, workload: str) -> None:
    names = ["llama-3-8b", "deepseek-v2-lite", "t5-small", "gemma-2-2b"]
    found = values(tcalc, f"{' '.join(names)} --device h100 {workload}")
    for number, name in enumerate(names):
        said = json.loads(tcalc(f"serve {name} --device h100 {workload} --json")[1])["serve"]
        assert {key: found[key][number] for key in SERVE} == {key: said[key] for key in SERVE}
        assert found["largest_batch"][number] == said["largest_batch"]
        assert found["fits"][number] == said["fits"]
        words = re.sub("--(price|devices) [^ ]+", "", workload)
        fit = json.loads(tcalc(f"fit {name} --device h100 --solve devices {words} --json")[1])["fit"]
        assert found["fewest_devices"][number] == fit["devices"]


@pytest.mark.parametrize(
    "terms", ["", "--devices 2k --tokens 1T", "--devices 64 --tokens 1T --mfu 40% --price 2.5", "--mfu 0.3"]
)
def test_training_is_what_cost_says(tcalc: Shell, terms: str) -> None:
    names = ["gpt3", "deepseek-v3", "llama-3-8b", "t5-small"]
    found = {
        key: row["values"]
        for key, row in json_rows(tcalc(f"compare {' '.join(names)} --device h100 {terms} --json")[1])
    }
    for number, name in enumerate(names):
        data = tcalc.json(f"cost {name} --device h100 {terms}")
        for key in COST:
            assert found[f"run_{key}"][number] == data["cost"][key]
        kwh = data["cost"]["kwh"]
        assert found["run_mwh"][number] == (None if kwh is None else kwh / 1000)
        assert found["run_flops"][number] == data["cost"]["flops"]
        assert found["run_tokens"][number] == data["tokens"]
        assert found["run_devices"][number] == data["devices"]
        assert found["six_nd"][number] == data["six_nd"]["flops"]


def json_rows(text: str) -> list[tuple[str, dict[str, Any]]]:
    return [(row["key"], row) for row in json.loads(text)["compare"]["rows"]]


def test_without_a_device_a_run_has_its_flops(tcalc: Shell) -> None:
    data = tcalc.json("compare gpt3 llama-3-8b")
    assert not {"device", "served", "trained"} & data.keys()
    found = values(tcalc, "gpt3 llama-3-8b")
    assert found["run_tokens"] == found["tokens"] == [300_000_000_000, 15_000_000_000_000]
    # Brown et al. 2020, arXiv 2005.14165, Table D.1: 3.14E+23; the count has the scores, too
    assert f"{found['six_nd'][0]:.2e}" == "3.14e+23"
    for number, name in enumerate(("gpt3", "llama-3-8b")):
        cost = tcalc.json(f"cost {name} --mfu 0.3")
        assert found["run_flops"][number] == cost["cost"]["flops"]
        best = cost["compute_optimal"]["fits"][0]
        assert found["chinchilla_tokens"][number] == best["tokens"]
        assert found["tokens_to_chinchilla"][number] == best["ratio"]


def test_tokens_are_of_every_run(tcalc: Shell) -> None:
    found = values(tcalc, "gpt3 llama-3-8b mistral-7b-v0.1 --tokens 1T")
    assert found["run_tokens"] == [10**12] * 3
    assert found["tokens"] == [300_000_000_000, 15_000_000_000_000, None]
    assert found["run_flops"][0] == tcalc.json("cost gpt3 --tokens 1T --mfu 0.3")["cost"]["flops"]


def test_chinchilla_is_of_models_that_predict_the_next_token(tcalc: Shell) -> None:
    found = values(tcalc, "gpt2 bert-base-uncased t5-small vit-base exercise")
    assert [value is None for value in found["chinchilla_tokens"]] == [False, True, True, True, True]


def test_a_step_is_predicted_only_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("a step is predicted")

    monkeypatch.setattr("transformer_calc.readings.cost.budget.predict", refuse)
    compare("gpt3", "deepseek-v3")
    with pytest.raises(AssertionError, match="predicted"):
        compare("gpt3", "deepseek-v3", device="h100")


def test_a_published_run_keeps_its_batch_and_length(tcalc: Shell) -> None:
    found = values(tcalc, "gpt3 mistral-7b-v0.1 --device h100 --tokens 1T --devices 1k --batch 16 --seq 512")
    published = tcalc.json("cost gpt3 --device h100 --tokens 1T --devices 1k")
    asked = tcalc.json("cost mistral-7b-v0.1 --device h100 --tokens 1T --devices 1k --batch 16 --seq 512")
    assert found["run_days"] == [published["cost"]["days"], asked["cost"]["days"]]
    assert found["run_days"][1]


def test_who_cannot_be_served_so_is_left_out(tcalc: Shell) -> None:
    status, out, err = tcalc("compare gpt2 llama-3-8b --device h100 --devices 104 --json")
    found = dict(json_rows(out))
    assert status == 0
    assert err.startswith("note: gpt2: serving is left out: --devices is 104; no mesh of so many divides the model")
    assert [found[key]["values"][0] for key in SERVE] == [None] * 5
    assert found["fits"]["values"] == [None, True]
    assert json.loads(out)["served"]["gpt2"] is None


def test_models_without_a_cache_have_a_first_token_alone(tcalc: Shell) -> None:
    found = values(tcalc, "bert-base-uncased gpt2 --device h100")
    assert found["ttft_seconds"][0] > 0
    assert [found[key][0] for key in ("tpot_seconds", "usd_per_million_tokens")] == [None] * 2
    assert [found[key][0] for key in ("largest_batch", "fits")] == [found["largest_batch"][0], True]
    without = json_rows(tcalc("compare bert-base-uncased gpt2 --device h100 --context 64 --json")[1])
    assert dict(without)["ttft_seconds"]["values"][0] is None


def test_what_it_rests_on_is_said(tcalc: Shell) -> None:
    line = "gpt3 llama-3-8b --device h100"
    data = tcalc.json(f"compare {line}")
    assert data["device"] == {"name": "h100-sxm"}
    for name in ("gpt3", "llama-3-8b"):
        served = json.loads(tcalc(f"serve {name} --device h100 --json")[1])
        assert data["served"][name]["assumptions"] == served["assumptions"]
        cost = tcalc.json(f"cost {name} --device h100")
        assert data["trained"][name] == {key: cost[key] for key in ("assumptions", "unknown")}
    text = " ".join(tcalc.answer(f"compare {line}").split())
    assert "price $2.95 an hour of a device" in text
    assert "plan gpt3: dp" in text
    assert "what is not known of training llama-3-8b needs --mfu, --devices and --batch" in text


def test_the_device_stands_in_the_titles(tcalc: Shell) -> None:
    text = tcalc.answer("compare llama-2-7b llama-3-8b --device h100 --devices 8 --format md")
    assert "### training run on NVIDIA H100 SXM\n" in text
    assert "### serving on 8 × NVIDIA H100 SXM\n" in text
    read = csv.DictReader(io.StringIO(tcalc.answer("compare llama-2-7b llama-3-8b --device h100 --format csv")))
    assert [row["key"] for row in read] == [fact.key for fact in (*FACTS, *ON_DEVICE)]


@pytest.mark.parametrize("width", [30, 50, 80, 120])
def test_serving_and_training_fit_a_narrow_terminal(tcalc: Shell, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = tcalc.answer("compare gpt3 llama-3-8b mixtral-8x7b --device h100 --devices 8 --mfu 0.4 --tokens 1T")
    assert max(map(len, text.splitlines())) <= width
    for label in ("time to first", "dollars", "days", "MFU", "×"):
        assert label in text


def test_rounding_is_no_difference(tcalc: Shell) -> None:
    found = rows(tcalc, "gpt2 vit-base t5-small --device h100 --devices 1 --mfu 0.4 --tokens 1B")
    assert (found["run_mfu"]["same"], found["run_mfu"]["ratios"]) == (True, [1.0] * 3)


# --- the workload -------------------------------------------------------------------------------------------


def test_all_are_run_with_the_same(tcalc: Shell) -> None:
    compared = tcalc.json("compare llama-3-8b bert-base-uncased gpt2")["compare"]
    assert compared["workloads"] == [{"batch": 1, "seq": 512, "context": 0}] * 3


def test_a_context_is_for_models_with_a_cache(tcalc: Shell) -> None:
    status, out, err = tcalc("compare bert-base-uncased gpt2 --context 100 --json")
    compared = json.loads(out)["compare"]
    found = {row["key"]: row["values"] for row in compared["rows"]}
    assert (status, compared["workloads"][0]) == (0, None)
    assert err == "note: bert-base-uncased: it keeps no cache: what depends on the context is left out\n"
    assert found["forward"][0] is None is found["kv_cache"][0]
    assert found["kv_cache"][1] == 100 * found["kv_per_token"][1]


def test_images_keep_their_length(tcalc: Shell) -> None:
    status, out, err = tcalc("compare vit-base gpt2 --seq 12 --json")
    assert [run["seq"] for run in json.loads(out)["compare"]["workloads"]] == [197, 12]
    assert (status, err) == (0, "note: vit-base: its images are 197 tokens, whatever seq is\n")


# --- marks and ratios ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MIXED)
def test_a_model_against_itself_has_no_marks(tcalc: Shell, name: str) -> None:
    data = tcalc.json(f"compare {name} {name}")["compare"]
    assert data["models"] == [name, f"{name} (2)"]
    assert all(row["same"] and set(row["ratios"]) <= {1.0, None} for row in data["rows"])
    assert tcalc.json(f"compare {name} {name} --diff")["compare"]["rows"] == []
    text = tcalc.answer(f"compare {name} {name}")
    assert not re.search("^≠  ", text, re.MULTILINE)
    assert "×" not in text
    assert f"0 of {len(FACTS)} rows differ" in text


def test_the_other_order_inverts_the_ratios() -> None:
    for one in MIXED:
        for other in MIXED:
            for row, turned in zip(compare(one, other).rows, compare(other, one).rows, strict=True):
                assert (row.key, row.values, row.same) == (turned.key, turned.values[::-1], turned.same)
                ratio, back = row.ratios[1], turned.ratios[1]
                if ratio and back:
                    assert ratio * back == pytest.approx(1, rel=1e-12)
                else:
                    assert (ratio or None) == (back or None)


def test_rows_that_differ_are_marked_with_their_ratio(tcalc: Shell) -> None:
    lines = tcalc.answer("compare gpt3 llama-3-8b").splitlines()
    assert any(re.fullmatch(r"≠  vocabulary +50,257 +128,256  ×2\.55", line) for line in lines)
    assert any(re.fullmatch(r"   width of a head +128 +128", line) for line in lines)
    assert any(line.startswith("≠  norm ") for line in lines)


def test_a_small_difference_shows_in_the_ratio(tcalc: Shell) -> None:
    text = tcalc.answer("compare mistral-7b-v0.1 mistral-7b-v0.3")
    ratio = re.search(r"≠  total +7,241,732,096 +7,248,023,552  ×(\S+)", text)
    assert ratio
    assert 1 < float(ratio[1]) < 1.01


def test_diff_has_only_what_differs(tcalc: Shell) -> None:
    whole = tcalc.json("compare gpt3 gpt3-13b")["compare"]["rows"]
    data = tcalc.json("compare gpt3 gpt3-13b --diff")["compare"]["rows"]
    assert data == [row for row in whole if not row["same"]]
    assert 0 < len(data) < len(whole)
    text = tcalc.answer("compare gpt3 gpt3-13b --diff")
    assert "model width" in text
    assert "vocabulary" not in text


# --- formats and widths -------------------------------------------------------------------------------------


def test_csv_has_every_row_raw(tcalc: Shell) -> None:
    data = tcalc.json("compare gpt3 whisper-base")["compare"]
    read = list(csv.DictReader(io.StringIO(tcalc.answer("compare gpt3 whisper-base --format csv"))))
    assert [row["key"] for row in read] == [row["key"] for row in data["rows"]]
    for line, row in zip(read, data["rows"], strict=True):
        assert line["same"] == str(row["same"]).lower()
        for name, value in zip(data["models"], row["values"], strict=True):
            if isinstance(value, int | float) and not isinstance(value, bool):
                assert line[name] == str(value)
            assert (line[name] == "") == (value is None)
    assert float(read[2]["whisper-base / gpt3"]) == 12 / 96


def test_markdown_has_a_table_for_each_group(tcalc: Shell) -> None:
    text = tcalc.answer("compare gpt3 bert-base-uncased --format md")
    assert re.findall("^### (.+)$", text, re.MULTILINE) == [*dict.fromkeys(fact.group for fact in FACTS), "assumptions"]
    assert "| ≠ | model width | 12,288 | 768 | ×0.0625 |" in text
    assert "|  | width" not in text


@pytest.mark.parametrize("width", [30, 50, 80, 120, 200])
def test_no_model_is_left_out_of_a_narrow_terminal(tcalc: Shell, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    names = ["gpt3", "llama-3-8b", "mixtral-8x7b", "deepseek-v3", "gpt2"]
    monkeypatch.setenv("COLUMNS", str(width))
    text = tcalc.answer(f"compare {' '.join(names)}")
    assert max(map(len, text.splitlines())) <= width
    for row in tcalc.json(f"compare {' '.join(names)}")["compare"]["rows"]:
        if row["group"] == "parameters":
            assert all(f"{value:,}" in text for value in row["values"])
    left_out = re.search("^Left out at this width: (.+?)[ ]\\(", text, re.MULTILINE)
    assert left_out is None or left_out[1] == "ratio"


def test_ascii_marks() -> None:
    plain = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    words = [sys.executable, "-m", "transformer_calc", "compare", "gpt3", "whisper-base"]
    text = subprocess.run(words, capture_output=True, text=True, env={**plain, "PYTHONIOENCODING": "ascii"}).stdout
    assert text.isascii()
    assert re.search(r"^!=  vocabulary +50,257 +51,865  x1\.03$", text, re.MULTILINE)
    assert "?" not in text


# --- models and refusals ------------------------------------------------------------------------------------


def test_models_from_everywhere(tcalc: Shell, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    for layers, folder in enumerate(folders, 2):
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({**LLAMA, "num_hidden_layers": layers}))
    data = tcalc.json(f"compare gpt2 {folders[0]} --config {folders[1]} --preset lesson")["compare"]
    assert data["models"] == ["gpt2", str(folders[0]), "lesson", str(folders[1])]
    layers_of = next(row for row in data["rows"] if row["key"] == "layers")
    assert layers_of["values"] == [12, 2, 1, 3]
    alone = tcalc.json(f"compare gpt2 {folders[0]}")["compare"]
    assert alone["models"][1] == tcalc.json(f"params {folders[0]}")["model"]["name"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "compare takes two models or more, but none is given\ntcalc compare gpt3 llama-3-8b"),
        ("gpt3", "compare takes two models or more, but only gpt3 is given"),
        ("gpt3 gpt33", "'gpt33' is not a preset\ndid you mean gpt3?"),
        ("gpt3 ../llama-3-8b", "there is no file or folder '../llama-3-8b'\ndid you mean llama-3-8b?"),
        ("gpt3 gpt2 --layers 4", "--layers changes one model, but compare takes several as they are\n--set PATH=VALUE"),
        ("gpt3 exercise --set attention.window=4k", "exercise: --set 'attention.window': there is no such field"),
        ("gpt3 gpt2 --seq 0", "--seq is '0', expected at least 1"),
        ("gpt3 gpt2 --target-seq 4", "target_seq is 4, but gpt3 has no decoder beside an encoder"),
        ("bert-base-uncased vit-base --context 4", "context is 4, but bert-base-uncased keeps no cache"),
        ("vit-base vit-large --seq 4", "seq is 4; this model's images are 197 tokens"),
        ("gpt2 gpt3 --devices 8", "--devices is 8, but of which device is not said\n--device NAME"),
        ("gpt2 gpt3 --price 2.5", "--price is 2.5, but of which device is not said\n--device NAME"),
        ("gpt2 gpt3 --mfu 0.4", "--mfu is 0.4, but of which device is not said\n--device NAME"),
        ("gpt2 gpt3 --device h10", "'h10' is not a device"),
        ("gpt2 gpt3 --device h100 --mfu 1.4", "--mfu is '1.4', expected a part of 1 such as 0.4, or 40%"),
        ("gpt2 gpt3 --device h100 --devices 0", "--devices is '0', expected at least 1"),
        ("gpt2 gpt3 --tokens many", "--tokens is 'many', expected"),
    ],
)
def test_refusals(tcalc: Shell, line: str, says: str) -> None:
    status, out, err = tcalc(f"compare {line}")
    assert (status, out) == (2, "")
    assert err.replace("error: ", "").replace("hint: ", "").startswith(says)


@pytest.mark.parametrize(
    ("name", "hours"),
    [
        ("gpt3", 3_552_000),  # 10,000 for 14.8 days: Patterson et al. 2021, arXiv 2104.10350, Table 4 (3.55M)
        ("t5-11b", 245_760),  # 512 for 20 days: the same
        ("bert-large-uncased", 6_144),  # 64 chips for 4 days: Devlin et al. 2018, appendix A.2
        ("phi-3-mini", 86_016),  # 512 for 7 days: model card
        ("falcon-40b", 562_176),  # 384 for two months: model card
        ("gpt-neox-20b", 175_680),  # 96 for 1,830 hours: Black et al. 2022
        ("deepseek-v2", 1_399_680),  # 172.8K for each of 8.1 trillion tokens: arXiv 2405.04434, section 3.2.3
        ("deepseek-v3", 2_664_000),
        ("llama-3-70b", 6_400_000),  # model card
        ("bloom-176b", 1_082_990),
        ("tinyllama-1.1b", 34_560),  # 3,456 for each 300B of 3T tokens: arXiv 2401.02385
        ("qwen3-8b", None),  # of which no hours are published
    ],
)
def test_published_device_hours(name: str, hours: int | None, tcalc: Shell) -> None:
    """As published, or devices times days where these are."""
    rows = json.loads(tcalc.answer(f"compare {name} llama-3-8b --json"))["compare"]["rows"]
    (row,) = (row for row in rows if row["key"] == "device_hours")
    assert row["values"][0] == hours
