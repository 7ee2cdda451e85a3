"""A hint at another spelling is for a misspelling, and never sends anybody to another architecture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shell import Shell

from transformer_calc.errors import beginning, did_you_mean, misspelt
from transformer_calc.sources import families
from transformer_calc.sources.families import others

FAMILIES = families.known()


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("llamma", ["llama"]),  # a letter too many
        ("lama", ["llama"]),  # one too few
        ("mistrall", ["mistral"]),
        ("bret", ["bert"]),  # neighbours exchanged
        ("gemna", ["gemma"]),  # another letter
        ("bort", ["bart", "bert"]),  # as near to one as to the other
        ("deepseek_v33", ["deepseek_v3"]),  # a digit typed twice
        ("DeepSeek-V3", ["deepseek_v3"]),  # case and separators
        ("gpt-neo", ["gpt_neo"]),
        ("qwen2moe", ["qwen2_moe"]),
        ("swich_transformer", ["switch_transformers"]),  # two letters of a long word
    ],
)
def test_a_misspelt_family_is_met(name: str, right: list[str]) -> None:
    assert misspelt(name, FAMILIES) == right


@pytest.mark.parametrize(
    "name",
    [
        *"qwen apertus gte bitnet qwen4 olmo4 llama5 gpt3 phi4 t6 glm5 deepseek_v4 internlm2 gpt v - 0".split(),
        *"baichuan xverse nomic_bert mamba3 stablelm3 command_r".split(),
        "",
        "x" * 10**5,
    ],
)
def test_a_stranger_is_not_taken_for_a_family(name: str) -> None:
    assert misspelt(name, FAMILIES) == []


def test_did_you_mean_lists_what_is_equally_near() -> None:
    assert did_you_mean("GPT-3", ["gpt2", "gpt3", "Llama"]) == "did you mean gpt3?"
    assert did_you_mean("llma", ["gpt2", "gpt3", "Llama"]) == "did you mean Llama?"
    assert did_you_mean("bort", FAMILIES) == "did you mean bart or bert?"
    assert did_you_mean("something else", ["gpt2", "gpt3"]) is None
    assert beginning("q4x", ["q4_0", "q4_k", "iq4_xs"]) == ["q4_0", "q4_k"]
    assert beginning("zz", ["q4_0"]) == []


# --- on the command line -----------------------------------------------------------------------------------


OTHERS = [*others.TRANSFORMERS.split(), *others.WITH_CHECKPOINTS.split()]


@pytest.mark.parametrize("letter", sorted({name[0] for name in OTHERS}))
def test_no_other_architecture_is_a_family_or_gets_a_hint_at_one(tcalc: Shell, tmp_path: Path, letter: str) -> None:
    path = tmp_path / "config.json"
    for name in (name for name in OTHERS if name.startswith(letter)):
        path.write_text(json.dumps({"model_type": name}))
        said = tcalc.refusal(f"params {path}")
        assert f"model_type {name!r} is an architecture of its own" in said
        assert said.endswith("\nthe documentation lists those it knows")


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("params gpt33", "did you mean gpt3?"),
        ("params gpt-3x", "did you mean gpt3 or gpt3-xl?"),
        ("params lama-3-8b", "did you mean llama-3-8b?"),
        ("params mistrall", "did you mean mistral? tcalc presets mistral lists those"),
        ("params mistral", "tcalc presets mistral lists those whose names begin so"),  # not mixtral, a letter off
        ("params qwen", "tcalc presets qwen lists those whose names begin so"),
        ("params falcon-11b", "tcalc presets falcon lists those whose names begin so"),
        ("params bitnet", "tcalc presets lists them"),
        ("params apertus", "tcalc presets lists them"),
        ("params gte", "tcalc presets lists them"),
        ("memory gpt2 --device h10", "did you mean h100-sxm?"),
        ("memory gpt2 --device rtx4090x", "did you mean rtx-4090?"),
        ("memory gpt2 --device rtx-4080", "tcalc hardware lists them"),
        ("memory gpt2 --weights q4x", "those that begin so: q4_0, q4_1, q4_k"),
        ("memory gpt2 --weights q44_k", "did you mean q4_k?"),
        ("memory gpt2 --weights fp9", "those that begin so: fp64, fp32, fp16, fp8-e4m3, fp8-e5m2, fp8-block128, fp4"),
        ("memory gpt2 --weights zzz", "there are fp64, fp32"),
        ("params gpt2 --set attention.windw=4", "did you mean window?"),
        ("params gpt2 --set norm.eps_=4x", "did you mean eps?"),
    ],
)
def test_what_a_hint_says(tcalc: Shell, line: str, hint: str) -> None:
    assert tcalc.refusal(line).partition("\n")[2].startswith(hint)


@pytest.mark.parametrize(
    ("model", "setting", "example"),
    [
        ("gpt2", "embedding.positions=sinusoidal", "embedding.positions.kind=sinusoidal"),
        ("gpt2", "embedding.positions=512", "embedding.positions.count=512"),
        ("gpt2", "embedding=0", "embedding.vocab=50257"),  # an example that is taken
        ("gpt2", "norm=rmsnorm", "norm.kind=rmsnorm"),
        ("llama-3-8b", "attention.rotary=500000", "attention.rotary.dims=500000"),
        ("llama-3-8b", "attention.rotary=yes", "attention.rotary.dims=128"),
        ("mixtral-8x7b", "ffn.router=sigmoid", "ffn.router.scoring=softmax"),
    ],
)
def test_the_example_for_a_group_of_fields_names_a_field_that_can_be_set(
    tcalc: Shell, model: str, setting: str, example: str
) -> None:
    said = tcalc.refusal(f"params {model} --set {setting}")
    path = example.partition("=")[0].rpartition(".")[0]
    assert f"--set {path}: this is a group of fields; set one of " in said
    hint = said.partition("\nfor example ")[2]
    assert hint.partition("=")[0].rpartition(".")[0] == path
    answered = tcalc(f"params {model} --set {hint}")
    assert answered[0] == 0 or "no such field" not in answered[2]
    if "scoring" not in example:  # whether its words are checked is another matter
        assert hint == example


def test_a_group_that_the_model_lacks_is_said_to_be_missing(tcalc: Shell) -> None:
    said = tcalc.refusal("params llama-3-8b --set embedding.positions=sinusoidal")
    assert said.startswith("--set embedding.positions: this model has none, and --set cannot add one")


def test_a_group_that_a_model_built_from_sizes_can_have_is_named_as_its_hyperparameter(tcalc: Shell) -> None:
    sizes = "--layers 1 --d-model 4 --heads 2 --vocab 5"
    said = tcalc.refusal(f"params {sizes} --set embedding.positions=sinusoidal")
    assert "--set positions=sinusoidal" in said
    assert tcalc(f"params {sizes} --set positions=sinusoidal")[0] == 0
