"""What a config.json says of how its checkpoint is stored is never thrown away without a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from reports import texts
from shell import Shell

from transformer_calc import InputError, load
from transformer_calc.sources.published import Checkpoint, Quantization, read
from transformer_calc.storage import storage

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 1000,
}
BLOCKS = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}


def tensors(bits: int, kind: str = "int", **more: Any) -> dict[str, Any]:
    """A quantization_config of compressed-tensors with one group of modules."""
    weights = {"num_bits": bits, "type": kind, "strategy": "group", "symmetric": True, **more}
    groups = {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": None}}
    return {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": groups}


# the keys as the tools write them, and what they say: method, bits, group, the nearest storage type
CONFIGS: list[tuple[dict[str, Any], tuple[str, float | None, int | None, str | None]]] = [
    # AutoAWQ, in transformers' form and in its own (quant_config.json's keys)
    ({"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"}, ("awq", 4, 128, "int4-g128")),
    ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64, "zero_point": True}, ("awq", 4, 64, "int4-g64")),
    # GPTQModel, AutoRound: -1 is a scale for a whole row
    ({"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": True}, ("gptq", 4, 32, "int4-g32")),
    ({"quant_method": "gptq", "bits": 8, "group_size": -1}, ("gptq", 8, None, "int8")),
    ({"quant_method": "gptq", "bits": 3, "group_size": 128}, ("gptq", 3, 128, None)),
    ({"bits": 4, "group_size": 128}, ("quantised", 4, 128, "int4-g128")),  # before quant_method was written
    ({"quant_method": "auto-round", "bits": 4, "group_size": 128}, ("auto-round", 4, 128, "int4-g128")),
    # bitsandbytes: without a type it is fp4, its class's default
    ({"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "load_in_8bit": False}, ("bitsandbytes", 4, 64, "nf4")),
    (
        {
            "quant_method": "bitsandbytes",
            "_load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": True,
        },
        ("bitsandbytes", 4, 64, "nf4-dq"),
    ),
    ({"quant_method": "bitsandbytes", "load_in_4bit": True}, ("bitsandbytes", 4, 64, "fp4")),
    ({"quant_method": "bitsandbytes", "load_in_8bit": True}, ("bitsandbytes", 8, None, "int8")),
    (BLOCKS, ("fp8", 8, None, "fp8-block128")),  # DeepSeek-V3
    ({"quant_method": "fp8", "activation_scheme": "static"}, ("fp8", 8, None, "fp8")),
    ({"quant_method": "fp8", "fmt": "e5m2"}, ("fp8", 8, None, "fp8-e5m2")),
    ({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0}, ("fbgemm_fp8", 8, None, "fp8")),  # Llama 3.1 405B
    ({"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}, ("mxfp4", 4, 32, "mxfp4")),  # gpt-oss
    (tensors(4, group_size=128), ("compressed-tensors", 4, 128, "int4-g128")),
    (tensors(8), ("compressed-tensors", 8, None, "int8")),
    (tensors(8, "float"), ("compressed-tensors", 8, None, "fp8")),
    (tensors(8, "float", block_structure=[128, 128]), ("compressed-tensors", 8, None, "fp8-block128")),
    (tensors(4, "float", group_size=16), ("compressed-tensors", 4, 16, "nvfp4")),
    (
        {"config_groups": {**tensors(4)["config_groups"], "b": tensors(8)["config_groups"]["group_0"]}},
        ("compressed-tensors", None, None, None),  # not the same everywhere
    ),
    (
        {"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp4", "group_size": 32}}},
        ("quark", 4, 32, "mxfp4"),
    ),
    ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp8_e4m3"}}}, ("quark", 8, None, "fp8")),
    (
        {
            "quant_method": "torchao",
            "quant_type": {"default": {"_type": "Int4WeightOnlyConfig", "_data": {"group_size": 64}}},
        },
        ("torchao", 4, 64, "int4-g64"),
    ),
    ({"quant_method": "torchao", "quant_type": "int8_weight_only"}, ("torchao", 8, None, "int8")),
    (
        {"quant_method": "torchao", "quant_type": {"default": {"_type": "Float8WeightOnlyConfig", "_data": {}}}},
        ("torchao", 8, None, "fp8"),
    ),
    (
        {"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 4, "group_size": 64}}},
        ("hqq", 4, 64, "int4-g64"),
    ),
    ({"quant_method": "eetq", "weights": "int8"}, ("eetq", 8, None, "int8")),
    ({"quant_method": "quanto", "weights": "int2"}, ("quanto", 2, None, None)),
    (
        {"quant_method": "aqlm", "nbits_per_codebook": 16, "num_codebooks": 1, "in_group_size": 8},
        ("aqlm", 2, None, None),
    ),
    ({"quant_method": "modelopt", "quant_algo": "FP8"}, ("modelopt", 8, None, "fp8")),
    ({"quant_method": "modelopt", "quantization": {"quant_algo": "NVFP4"}}, ("modelopt", 4, None, "nvfp4")),
    ({"quant_method": "modelopt", "quant_algo": "W4A16_AWQ"}, ("modelopt", 4, None, "int4")),
    ({"quant_method": "exl3", "bits": 2.5}, ("exl3", 2.5, None, None)),
    ({"quant_method": "bitnet"}, ("bitnet", None, None, None)),
    ({"quant_method": "one-of-tomorrow", "bits": 5}, ("one-of-tomorrow", 5, None, None)),
]


@pytest.mark.parametrize(("config", "says"), CONFIGS)
@pytest.mark.parametrize("nested", [None, "text_config", "language_config"])
def test_what_a_quantization_config_says(config: dict[str, Any], says: tuple[Any, ...], nested: str | None) -> None:
    whole = {"quantization_config": config}
    found = read({"model_type": "x", nested: whole} if nested else whole)
    assert found == Checkpoint(None, Quantization(*says))
    assert found.storage is None or storage(found.storage)


@pytest.mark.slow
@pytest.mark.parametrize("line", ["memory", "fit --device h100-sxm", "serve --device h100-sxm"])
@pytest.mark.parametrize(("config", "says"), CONFIGS)
def test_answers_in_bytes_say_it_first(
    tcalc: Shell,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    config: dict[str, Any],
    says: tuple[Any, ...],
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**LLAMA, "quantization_config": config}))
    command, *options = line.split()
    asked = " ".join([command, str(path), *options])
    status, out, err = tcalc(f"{asked} --json")
    data, (method, bits, group, near) = json.loads(out), says
    text = data["assumptions"]["checkpoint"]["text"]
    assert (status, f"note: checkpoint: {text}\n" in err) == (0, True)
    assert data["model"]["checkpoint"]["quantization"] == {
        "method": method,
        "bits": bits,
        "group_size": group,
        "storage": near,
    }
    assert text.startswith(method)
    assert "by its quantization_config; weights are counted in bf16: " in text
    assert text.endswith(f"--weights {near} counts them so" if near else "no --weights comes near it")
    for form in ("table", "md"):
        head = tcalc.answer(f"{asked} --format {form}").splitlines()[:16]
        assert text in " ".join(" ".join(head).split())
    if near:  # and what it tells to do is answered, without it
        _, out, err = tcalc(f"{asked} --weights {near} --json")
        assert "checkpoint" not in json.loads(out)["assumptions"]
        assert "checkpoint" not in err
    other = json.loads(tcalc(f"{asked} --weights q2_k --json")[1])["assumptions"]["checkpoint"]["text"]
    assert other.endswith("; weights are counted in q2_k (--weights)")


@pytest.mark.parametrize(
    ("key", "value", "ours"),
    [
        ("dtype", "float32", "fp32"),
        ("torch_dtype", "float32", "fp32"),
        ("torch_dtype", "torch.float16", "fp16"),
        ("dtype", "float64", "fp64"),
        ("dtype", "bfloat16", None),
        ("dtype", "auto", None),
        ("dtype", None, None),
        ("dtype", {"": "float32"}, None),
    ],
)
def test_a_dtype_that_is_not_what_is_counted_is_said(
    tcalc: Shell, tmp_path: Path, key: str, value: Any, ours: str | None
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**LLAMA, key: value}))
    said = tcalc.json(f"memory {path}")["assumptions"].get("checkpoint", {}).get("text")
    right = f"{ours} by its dtype; weights are counted in bf16: --weights {ours} counts them so"
    assert said == (right if ours else None)
    if ours:
        assert "checkpoint" not in tcalc.json(f"memory {path} --weights {ours}")["assumptions"]


def test_the_later_name_of_the_dtype_wins() -> None:
    assert read({"torch_dtype": "float16", "dtype": "float32"}) == Checkpoint("fp32")
    assert read({"torch_dtype": "float16", "text_config": {"dtype": "bfloat16"}}) == Checkpoint("bf16")


def test_training_says_what_it_keeps(tcalc: Shell, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**LLAMA, "quantization_config": BLOCKS}))
    whole = tcalc.json(f"memory {path} --mode train")["assumptions"]["checkpoint"]["text"]
    assert (
        whole == "fp8 of 8 bits by its quantization_config; training keeps its weights in bf16 (--precision bf16-mixed)"
    )
    tuned = tcalc.json(f"memory {path} --mode train --lora-rank 4")["assumptions"]["checkpoint"]["text"]
    assert tuned.endswith("weights are counted in bf16: --weights fp8-block128 counts them so")
    run = tcalc.json(f"cost {path} --tokens 1B --precision fp16-mixed --mfu 0.4 --device h100-sxm")
    assert run["assumptions"]["checkpoint"]["text"].endswith(
        "training keeps its weights in fp16 (--precision fp16-mixed)"
    )


def test_compare_says_it_of_each_model(tcalc: Shell, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**LLAMA, "quantization_config": BLOCKS}))
    _, out, err = tcalc(f"compare {path} gpt-oss-20b gpt2 --json")
    said = texts(json.loads(out))
    assert said["checkpoint of llama"].startswith("fp8 of 8 bits by its quantization_config")
    assert said["checkpoint of gpt-oss-20b"].startswith("mxfp4 of 4 bits in groups of 32")
    assert "checkpoint of gpt2" not in said
    assert f"note: checkpoint of llama: {said['checkpoint of llama']}\n" in err


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"quantization_config": [1]}, "quantization_config is a list; it must be an object"),
        ({"quantization_config": "awq"}, "quantization_config is 'awq'; it must be an object"),
        ({"quantization_config": True}, "quantization_config is True; it must be an object"),
        ({"compression_config": 3}, "compression_config is 3; it must be an object"),
        ({"text_config": {"quantization_config": "awq"}}, "quantization_config is 'awq'; it must be an object"),
        ({"quantization_config": {"quant_method": 3}}, "quantization_config.quant_method is 3; it must be the name"),
        (
            {"quantization_config": {"quant_method": "gptq", "bits": "four"}},
            "quantization_config.bits is 'four'; it must be a number",
        ),
        ({"quantization_config": {"bits": 10**400}}, "it must be a number"),
        (
            {"quantization_config": {"quant_method": "gptq", "bits": -4}},
            "quantization_config.bits is -4; it must be above",
        ),
        ({"quantization_config": {"bits": 0}}, "quantization_config.bits is 0; it must be above 0"),
        ({"quantization_config": tensors("4")}, "num_bits is '4'; it must be a number"),  # type: ignore[arg-type]
    ],
)
def test_what_is_malformed_is_one_sentence(config: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as refused:
        load(config={**LLAMA, **config}, ignore=["text_config"])
    assert says in refused.value.message


@pytest.mark.parametrize(
    "config", [{}, {"foo": 1}, {"config_groups": {}}, {"config_groups": {"a": 3}}, {"quant_type": []}]
)
def test_what_says_nothing_is_passed_over(config: dict[str, Any]) -> None:
    found = read({"quantization_config": config})
    assert found is None or (found.quantization and found.quantization.storage is None)


@pytest.mark.parametrize(
    ("preset", "near"),
    [
        ("deepseek-v3", "fp8-block128"),
        ("kimi-k2", "fp8-block128"),
        ("minimax-m2", "fp8-block128"),
        ("gpt-oss-20b", "mxfp4"),
        ("gpt-oss-120b", "mxfp4"),
        ("llama-3-8b", None),
    ],
)
def test_presets_know_how_their_checkpoints_were_published(preset: str, near: str | None) -> None:
    found = load(preset).checkpoint
    assert (found.storage if found else None) == near
