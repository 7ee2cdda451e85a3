"""`architectures`: what a class name says of the head, and names of other families' classes, which are refused."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from transformer_calc import InputError, load
from transformer_calc.sources import families, huggingface, presets
from transformer_calc.sources.families import classes
from transformer_calc.sources.families.base import Config

GOLDEN = Path(__file__).parent / "golden"


def check(model_type: str, *names: Any) -> None:
    config = {"model_type": model_type, "architectures": list(names)}
    classes.check(Config(config, huggingface.family(config)))


# tests/oracle/class_names.py: of each family, the classes of transformers whose configuration is its
CLASSES: dict[str, list[str]] = json.loads((GOLDEN / "hf_classes.json").read_text())["classes"]
PUBLISHED = [
    config
    for path in presets.MODELS.folder().glob("*.toml")
    if (config := tomllib.loads(path.read_text(encoding="utf-8")).get("config"))
]


def test_the_classes_of_every_family_are_stored() -> None:
    assert sorted(CLASSES) == families.known()


@pytest.mark.parametrize("model_type", families.known())
def test_every_class_of_a_family_is_one_of_it(model_type: str) -> None:
    check(model_type, *CLASSES[model_type])


@pytest.mark.parametrize("model_type", families.known())
def test_no_class_of_another_family_is(model_type: str) -> None:
    same = huggingface.family({"model_type": model_type}).classes.split()
    for other, names in CLASSES.items():
        if {model_type, other} <= {"deepseek_v3", "kimi_k2"} or other.replace("-", "") in same or other == model_type:
            continue
        for name in names:
            with pytest.raises(InputError, match=f"architectures names '{name}', which is no class of"):
                check(model_type, name)


@pytest.mark.parametrize("model_type", families.known())
def test_no_class_of_other_code_is(model_type: str) -> None:
    for name in "JinaBertForMaskedLM HF_ColBERT NVEmbedModel CausalLM Model LlamaFast x".split():
        with pytest.raises(InputError, match=f"'{name}', which is no class of"):
            check(model_type, name)


def test_published_configs_name_classes_of_their_family() -> None:
    assert len(PUBLISHED) > 100
    for config in PUBLISHED:
        check(config["model_type"], *config.get("architectures", []))


@pytest.mark.parametrize(
    ("model_type", "name"),
    [
        ("llama", "LLaMAForCausalLM"),  # decapoda-research's conversions
        ("mpt", "MPTForCausalLM"),  # mosaicml's own code
        ("phimoe", "PhiMoEForCausalLM"),  # microsoft's own code
        ("exaone_moe", "ExaoneMoEForCausalLM"),
        ("ernie4_5", "Ernie4_5_ForCausalLM"),
        ("falcon", "RWForCausalLM"),  # tiiuae's own code
        ("kimi_k2", "DeepseekV3ForCausalLM"),
        ("t5", "T5WithLMHeadModel"),  # its name until 2020, in google's files
        ("xlm-roberta", "RobertaForSequenceClassification"),
        ("bert", "TFBertForMaskedLM"),
        ("bert", "FlaxBertModel"),
    ],
)
def test_other_names_of_the_same_class_are_taken(model_type: str, name: str) -> None:
    check(model_type, name)


@pytest.mark.parametrize(
    "name",
    [
        "EagleLlamaForCausalLM",
        "LlamaForCausalLMEagle3",
        "Eagle3LlamaForCausalLM",
        "MedusaModel",
        "MLPSpeculatorPreTrainedModel",
        "DeepSeekMTPModel",
        "LlamaDFlashDraftModel",
    ],
)
@pytest.mark.parametrize("model_type", ["llama", "qwen3", "deepseek_v3", "gpt2", "bert", "t5", "vit"])
def test_a_draft_model_is_said_to_be_one(model_type: str, name: str) -> None:
    with pytest.raises(InputError, match=f"'{name}', a draft model that guesses tokens for another one"):
        check(model_type, name)


def test_the_refusal_names_a_way_on_and_the_way_works() -> None:
    config = {"model_type": "llama", "architectures": ["BertForCausalLM"], "num_hidden_layers": 1}
    with pytest.raises(InputError) as refused:
        load(config=config)
    assert refused.value.hint == "if it is a plain llama all the same, pass --ignore-key architectures"
    plain = load(config={"model_type": "llama", "num_hidden_layers": 1})
    assert load(config=config, ignore=["architectures"]).params().components == plain.params().components


@pytest.mark.parametrize(
    "names", [["LlamaForCausalLM", 3], ["LlamaForCausalLM", None], [""], [["LlamaModel"]], "x", {"a": 1}]
)
def test_what_is_no_list_of_names_is_one_sentence(names: Any) -> None:
    with pytest.raises(InputError, match=r"architectures .*; it must be a list"):
        load(config={"model_type": "llama", "architectures": names})


def test_every_name_of_the_list_must_be_of_the_family() -> None:
    with pytest.raises(InputError, match="'BertModel', which is no class of model_type 'llama'"):
        load(config={"model_type": "llama", "architectures": ["LlamaForCausalLM", "BertModel"]})
    with pytest.raises(InputError, match="whose head is not known for llama"):
        load(config={"model_type": "llama", "architectures": ["LlamaForConditionalGeneration"]})
