"""Layers that predict further tokens: said where left out, counted on request (--mtp), as checkpoints hold them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from shell import Shell

from transformer_calc import InputError, load
from transformer_calc.plan import Serving
from transformer_calc.readings.count.params import components
from transformer_calc.readings.memory.serving import weight_type
from transformer_calc.readings.run.weights import expected
from transformer_calc.spec import Workload


def config(model_type: str, **more: Any) -> dict[str, Any]:
    return {"model_type": model_type, "num_nextn_predict_layers": 1, **more}


# Parameters of the files, as the models' pages on Hugging Face count them, from the files' headers; without the
# corrections of routers, which are no parameters here: one for each expert of each layer with experts, these included.
FILES: list[tuple[str | dict[str, Any], int, int, int]] = [
    # model, without them, with them, corrections in the files
    ("deepseek-v3", 671_026_404_352, 684_489_830_400, 0),  # BF16 3,918,786,560 and F8_E4M3 680,571,043,840
    ("glm-4.5", 352_797_814_784, 358_337_791_296, 90 * 160),
    ("glm-4.5-air", 106_852_245_504, 110_468_824_832, 46 * 128),
    ("glm-4.6", 352_797_814_784, 356_785_898_816, 90 * 160),  # which holds no copies
    (config("glm4_moe_lite"), 29_943_390_976, 31_221_488_576, 47 * 64),  # GLM-4.7-Flash has the class's own sizes
    (config("glm_moe_dsa"), 743_911_199_232, 753_864_139_008, 76 * 256),  # GLM-5 has, too
]


@pytest.mark.parametrize(("model", "without", "files", "corrections"), FILES)
def test_with_them_a_model_is_as_large_as_its_files(
    model: str | dict[str, Any], without: int, files: int, corrections: int
) -> None:
    given: dict[str, Any] = {"preset": model} if isinstance(model, str) else {"config": model}
    assert load(**given).params().total == without
    assert load(**given, mtp=True).params().total == files - corrections
    found = load(**given).further
    assert found
    assert (found.params, found.counted) == (files - corrections - without, False)


def test_deepseek_v3_is_stored_as_its_files_are() -> None:
    """Of its files 680,571,043,840 parameters are F8_E4M3 and 3,918,786,560 BF16 (its page on Hugging Face)."""
    model = load("deepseek-v3", mtp=True)
    sizes, stored = model.graph.sizes(Workload()), Counter[str]()
    for part in components(model.graph):
        stored[weight_type(part, Serving(weights="fp8-block128")).name] += int(part.total(sizes))  # type: ignore[arg-type]
    assert stored == {"fp8-block128": 680_571_043_840, "bf16": 3_918_786_560}


def test_what_is_their_own_and_what_is_copied() -> None:
    """11.5B unique parameters, without the shared 0.9B embedding and 0.9B head (README_WEIGHTS.md of DeepSeek-V3)."""
    found = load("deepseek-v3").further
    d, v, layer = 7168, 129_280, 667_422_588_928 // 58  # a layer with experts, of 58
    assert found
    assert found.unique == layer + 2 * d * d + 3 * d == 11_610_067_968
    assert found.params - found.unique == 2 * v * d
    own = load("deepseek-v3", mtp=True, sets=["mtp.copies=false"])
    assert own.params().total == 671_026_404_352 + 11_610_067_968


def test_tensors_have_the_names_of_the_files() -> None:
    """README_WEIGHTS.md of DeepSeek-V3: layer 61 follows the main model's layers."""
    model = load("deepseek-v3", mtp=True)
    names = {stored.name: stored.shape for stored in expected(model.graph, model.graph.sizes(Workload()))}
    assert names["model.layers.61.enorm.weight"] == names["model.layers.61.hnorm.weight"] == (7168,)
    assert names["model.layers.61.eh_proj.weight"] == (7168, 2 * 7168)
    assert names["model.layers.61.embed_tokens.weight"] == names["model.layers.61.shared_head.head.weight"]
    assert names["model.layers.61.shared_head.norm.weight"] == (7168,)
    assert names["model.layers.61.mlp.gate.weight"] == (256, 7168)
    assert names["model.layers.61.self_attn.kv_b_proj.weight"] == (32768, 512)
    assert "model.layers.62.enorm.weight" not in names


# vLLM, ernie_mtp.py and exaone_moe_mtp.py: dense layers, beside norms and a projection, and the model's table and head
def test_ernies_and_exaones_are_dense() -> None:
    d, f, h, k, e = 2560, 12288, 20, 4, 128
    layer = d * h * e * 2 + 2 * d * k * e + 3 * d * f + 2 * d
    found = load(config=config("ernie4_5_moe")).further
    assert found
    assert found.params == layer + 2 * d * d + 2 * d  # the head has no norm of its own
    names = {s.name for s in expected(*_bound(config("ernie4_5_moe")))}
    assert {"model.mtp_emb_norm.0.weight", "model.mtp_block.0.mlp.up_proj.weight"} <= names
    spec = load(config=config("exaone_moe"), mtp=True)
    d, f = 4096, 16384
    exaone = {s.name: s.shape for s in expected(*_bound(config("exaone_moe")))}
    assert exaone["mtp.fc.weight"] == (d, 2 * d)
    assert {"mtp.layers.0.mlp.up_proj.weight", "mtp.norm.weight", "mtp.pre_fc_norm_hidden.weight"} <= set(exaone)
    assert spec.params().total - load(config=config("exaone_moe")).params().total == spec.further.params  # type: ignore[union-attr]


def _bound(given: dict[str, Any]) -> Any:
    model = load(config=given, mtp=True)
    return model.graph, model.graph.sizes(Workload())


@pytest.mark.parametrize("n", [1, 2, 3])
def test_as_many_as_the_config_says(n: int) -> None:
    given = {**config("glm4_moe"), "num_nextn_predict_layers": n}
    one = load(config=config("glm4_moe")).further
    found = load(config=given).further
    assert one
    assert found
    assert (found.layers, found.params) == (n, n * one.params)
    names = {stored.name for stored in expected(*_bound(given))}
    assert {f"model.layers.{46 + i}.enorm.weight" in names for i in range(n)} == {True}
    assert f"model.layers.{46 + n}.enorm.weight" not in names


@pytest.mark.parametrize(
    "size", ["deepseek_v3", "deepseek_v32", "glm4_moe", "glm_moe_dsa", "ernie4_5_moe", "exaone_moe"]
)
def test_they_run_as_predicted(tcalc: Shell, tmp_path: Path, size: str) -> None:
    """Shapes, parameters, FLOPs and bytes of every operation, in NumPy."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**config(size), "num_nextn_predict_layers": 1 if size == "exaone_moe" else 2}))
    data = tcalc.json(f"verify {path} --mtp")
    assert data["ok"]
    assert any(check["what"].startswith("mtp.head.lm") for check in data["checks"])


def test_flops_and_cache_of_them() -> None:
    """A pass of each: 2·D → D, a layer, the head; and a cache like any layer's."""
    plain, whole = load("deepseek-v3"), load("deepseek-v3", mtp=True)
    b, s, d, v = 2, 128, 7168, 129_280
    ten, eleven = (load("deepseek-v3", fields={"layers": n}).flops(batch=b, seq=s).forward.matmul for n in (10, 11))
    layer = eleven - ten
    more = whole.flops(batch=b, seq=s).forward.matmul - plain.flops(batch=b, seq=s).forward.matmul
    assert more == layer + 2 * b * s * d * (2 * d) + 2 * b * s * d * v
    components_of = {part.path for part in components(whole.graph) if part.block.repeat == "mtp"}
    assert {"mtp.enorm.weight", "mtp.eh_proj.weight", "mtp.head.lm.weight"} <= components_of


def test_the_cache_of_serving_has_theirs(tcalc: Shell) -> None:
    plain, whole = (tcalc.json(f"memory deepseek-v3 --context 4k {more}") for more in ("", "--mtp"))
    per_layer = plain["kv_cache"]["bytes"] // 61
    assert whole["kv_cache"]["bytes"] == 62 * per_layer
    more = whole["memory"]["per_device"]["weights"] - plain["memory"]["per_device"]["weights"]
    assert more == 2 * 13_463_426_048
    staged = tcalc.json("memory deepseek-v3 --context 4k --mtp --pp 4")
    assert [stage["layers"] for stage in staged["stages"]] == [14, 16, 16, 15]
    assert sum(stage["weights"] for stage in staged["stages"]) == whole["memory"]["per_device"]["weights"]


COMMANDS = [
    "params",
    "shapes",
    "flops",
    "memory",
    "fit --device h200-sxm --tp 8 --weights fp8",
    "verify",
    "cost --mfu 0.4",
]
COMMANDS += ["serve --device h200-sxm --tp 8 --weights fp8"]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_says_what_is_left_out_and_takes_the_flag(tcalc: Shell, line: str) -> None:
    command, _, options = line.partition(" ")
    _, out, err = tcalc(f"{command} deepseek-v3 {options} --json")
    note = "1 layer that predicts a further token is not counted: 13,463,426,048 parameters, 11,610,067,968 without "
    assert note + "copies of the token table and the head (--mtp counts them)" in err
    left = {"layers": 1, "params": 13_463_426_048, "unique": 11_610_067_968}
    assert json.loads(out)["model"]["mtp"] == {**left, "counted": False}
    _, out, err = tcalc(f"{command} deepseek-v3 {options} --json --mtp")
    data = json.loads(out)
    assert data["model"]["mtp"] == {**left, "counted": True}
    assert data["model"]["changes"] == ["mtp.counted=true"]
    assert "not counted" not in err
    if "assumptions" in data:
        assert data["assumptions"]["further tokens"]["text"].startswith(
            "a layer that predicts one is counted: weights, cache"
        )


def test_first_lines_of_params_say_it(tcalc: Shell) -> None:
    head = tcalc.answer("params deepseek-v3").splitlines()[:8]
    assert any("13,463,426,048 in a layer that predicts further tokens" in line for line in head)
    assert tcalc.answer("params deepseek-v3 --mtp").startswith("deepseek-v3 with mtp.counted=true: 684.5B parameters")
    paths = [op["path"] for op in tcalc.json("shapes deepseek-v3 --mtp --expand")["ops"]]
    assert paths.index("layers.60.ffn_residual") < paths.index("mtp.0.eh_proj") < paths.index("mtp.head.0.lm")


def test_fields_that_all_layers_have_are_set_in_theirs() -> None:
    changed = load("glm-4.5-air", mtp=True, sets=["attention.bias_q=false"])
    plain = load("glm-4.5-air", mtp=True)
    assert plain.params().total - changed.params().total == 47 * 96 * 128


def test_where_there_are_none_the_flag_is_refused(tcalc: Shell, tmp_path: Path) -> None:
    said = tcalc.refusal("params llama-3-8b --mtp")
    assert said == "--mtp is given, but no layers that predict further tokens are known of llama-3-8b"
    assert "of these models" in tcalc.refusal("compare gpt2 llama-3-8b --mtp")
    both = tcalc.json("compare gpt2 deepseek-v3 --mtp")["compare"]["described"]
    assert [model["mtp"] and model["mtp"]["counted"] for model in both] == [None, True]
    assert load(config={**config("deepseek_v3"), "num_nextn_predict_layers": 0}).further is None
    with pytest.raises(InputError, match="num_nextn_predict_layers is -1"):
        load(config={**config("deepseek_v3"), "num_nextn_predict_layers": -1})


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"model_type": "minimax_m2", "use_mtp": True, "num_mtp_modules": 3, "mtp_transformer_layers": 1},
            "3 layers that predict further tokens are not counted, and how minimax_m2 builds them is not known",
        ),
        (
            {
                "model_type": "dots1",
                "n_shared_experts": 1,
                "n_routed_experts": 8,
                "num_experts_per_tok": 2,
                "num_nextn_predict_layers": 1,
            },
            "1 layer that predicts a further token is not counted, and how dots1 builds them is not known",
        ),
        ({"model_type": "minimax_m2", "use_mtp": False, "num_mtp_modules": 3}, ""),
    ],
)
def test_those_of_unknown_make_are_said(given: dict[str, Any], says: str) -> None:
    notes = [note for note in load(config=given).notes if "further token" in note]
    assert notes == ([says] if says else [])
