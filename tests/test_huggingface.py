"""Every Hugging Face family against the models themselves: counts to the last parameter, tensors by name and shape.

reference.json: published config.json files and what was measured on the instantiated models (transformers 5.24,
torch 2.13); hf_variants.json: small configs that turn every structural key at least once, measured the same way
(tests/oracle/). hf_published.json: many more published models in the forms that people have them, measured alike.
hf_defaults.json: what a missing key means, read off the config classes.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from transformer_calc import InputError, Transformer, Workload, load
from transformer_calc.readings.count.params import tensors
from transformer_calc.sources import families
from transformer_calc.sources.huggingface import family

GOLDEN = Path(__file__).parent / "golden"
REFERENCE: dict[str, Any] = json.loads((GOLDEN / "reference.json").read_text())
VARIANTS: list[Any] = json.loads((GOLDEN / "hf_variants.json").read_text())["variants"]
PUBLISHED: dict[str, Any] = {
    row["name"]: row for row in json.loads((GOLDEN / "hf_published.json").read_text())["models"]
}
DEFAULTS: dict[str, Any] = json.loads((GOLDEN / "hf_defaults.json").read_text())["families"]

SUPPORTED = {name: entry for name, entry in REFERENCE.items() if not entry["later"]}
KNOWN_VARIANTS = {v["name"]: v for v in VARIANTS if v["config"]["model_type"] in families.known()}


def starred(name: str) -> str:
    """A tensor's name with layer and expert numbers as *."""
    return re.sub(r"(?<=[._])\d+(?=\.|$)", "*", name.replace("#", "*"))


def stored(model: Transformer) -> Counter[tuple[str, tuple[int, ...]]]:
    """Our tensors as (name with numbers as *, shape), counted."""
    sizes = model.graph.sizes(Workload())
    found: Counter[Any] = Counter()
    tensor: Any
    for tensor in tensors(model.graph):
        found[starred(tensor.name), tuple(tensor.shape(sizes))] += tensor.repeat(sizes)
    return found


def measured(rows: list[Any]) -> Counter[tuple[str, tuple[int, ...]]]:
    found: Counter[Any] = Counter()
    for name, shape, count in rows:
        found[starred(name), tuple(shape)] += count
    return found


@pytest.mark.parametrize("name", SUPPORTED)
def test_published_config_is_exact_to_the_last_parameter(name: str) -> None:
    entry = SUPPORTED[name]
    model = load(config=entry["config"])
    counts = model.params()
    assert counts.total == entry["total"]
    assert counts.embedding == entry["embedding"]
    assert entry["active"] in (None, counts.active)
    assert stored(model) == measured(entry["tensors"])


@pytest.mark.parametrize("name", SUPPORTED)
def test_config_in_diff_form_gives_the_same_model(name: str) -> None:
    """Hugging Face writes only what differs from the family's defaults; the rest has to mean the same."""
    config = SUPPORTED[name]["config"]
    golden = DEFAULTS[config["model_type"]]
    defaults = golden["defaults"] | golden.get("declared", {})  # what a class declares, before it derives
    short = {k: v for k, v in config.items() if k in ("model_type", "architectures") or v != defaults.get(k, [])}
    assert load(config=short).spec == load(config=config).spec


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_model_has_exactly_the_parameters_of_its_class(name: str) -> None:
    """In full, with keys of training, quantization and other tools; and without what equals the class's default."""
    config, row = PUBLISHED[name]["config"], PUBLISHED[name]
    model = load(config=config)
    assert model.params().total == row["total"]
    assert sum(stored(model).values()) == row["tensors"]
    golden = DEFAULTS.get(config["model_type"], {"defaults": {}})
    defaults = golden["defaults"] | golden.get("declared", {})
    short = {k: v for k, v in config.items() if k in ("model_type", "architectures") or v != defaults.get(k, [])}
    assert load(config=short).spec == model.spec


@pytest.mark.parametrize(
    ("config", "hint"),
    [
        (
            {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}},
            "its text_config, of model_type 'gemma3",
        ),
        ({"model_type": "mllama", "text_config": {"model_type": "mllama_text_model"}}, "if its family is known"),
        ({"model_type": "llava", "text_config": {"hidden_size": 8}}, "its text_config can be given on its own if"),
        # flat, as Qwen2-VL's were published: there is no text_config to give
        ({"model_type": "qwen2_5_vl", "hidden_size": 8}, "which could be given on its own, is not in it"),
        ({"model_type": "RefinedWeb"}, "model_type 'falcon'"),
    ],
)
def test_model_around_a_text_model_is_refused_with_the_way_on(config: dict[str, Any], hint: str) -> None:
    with pytest.raises(InputError, match=config["model_type"]) as refused:
        load(config=config)
    assert hint in str(refused.value.hint)


def test_keys_of_training_and_of_other_tools_are_no_hindrance() -> None:
    config = SUPPORTED["llama-3.2-1b"]["config"]
    strays = {"attention_probs_dropout_prob": 0.1, "router_z_loss_coef": 0.1, "use_fused_rms_norm": True}
    model = load(config=config | strays | {"neftune_noise_alpha": 5, "embedding_init_std": 0.02})
    assert model.params().total == SUPPORTED["llama-3.2-1b"]["total"]
    with pytest.raises(InputError, match="num_kv_groups"):
        load(config=config | {"num_kv_groups": 4})


# variants that the class builds and cannot run, or that we cannot: refused, with the reason
REFUSED = {
    "mistral/default-kv-heads": "the rotary dimensions are 3",
    "deepseek_v2/defaults": "num_experts_per_tok is missing",
    "glm_moe_dsa/indexer-freq-2": "share another's index are not supported yet",
    "deberta-v2/pooler-size": "pooler_hidden_size is 30",
    "helium/gqa": "num_attention_heads x head_dim must be hidden_size",
    "helium/tied": "num_attention_heads x head_dim must be hidden_size",
    "helium/untied": "num_attention_heads x head_dim must be hidden_size",
    "helium/model-only": "num_attention_heads x head_dim must be hidden_size",
    "helium/biases": "num_attention_heads x head_dim must be hidden_size",
}


@pytest.mark.parametrize("name", REFUSED)
def test_variant_that_cannot_run_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(InputError, match=REFUSED[name]):
        load(config=KNOWN_VARIANTS[name]["config"])


@pytest.mark.parametrize(
    "model_type", sorted({name.partition("/")[0] for name in KNOWN_VARIANTS.keys() - REFUSED.keys()})
)
def test_variant_is_exact_to_the_last_parameter(model_type: str) -> None:
    for name in (name for name in KNOWN_VARIANTS if name.startswith(f"{model_type}/") and name not in REFUSED):
        variant = KNOWN_VARIANTS[name]
        model = load(config=variant["config"])
        assert model.params().total == variant["total_params"], name
        assert stored(model) == measured(variant["params"]), name


@pytest.mark.parametrize("name", [name for name, entry in REFERENCE.items() if entry["later"]])
def test_family_of_a_later_step_is_refused_by_name(name: str) -> None:
    model_type = REFERENCE[name]["config"]["model_type"]
    with pytest.raises(InputError, match=f"'{model_type}'"):
        load(config=REFERENCE[name]["config"])


@pytest.mark.parametrize("model_type", families.known())
def test_defaults_are_those_of_the_config_class(model_type: str) -> None:
    """A missing key means what it means in transformers: no default of ours may differ from the class's own."""
    if model_type not in DEFAULTS:
        pytest.skip("transformers has no class of its own for it")
    golden = DEFAULTS[model_type]
    declared = golden["defaults"] | golden.get("declared", {})
    found = family({"model_type": model_type})
    for key, value in found.defaults.items():
        if key in declared and key not in found.own and not key.startswith("rope"):
            assert value in (declared[key], golden["defaults"][key]), f"{model_type}.{key}"


def test_every_file_of_defaults_has_a_record_and_every_record_a_file() -> None:
    for model_type in families.known():
        found = family({"model_type": model_type})
        assert found.model_type == model_type
        assert callable(found.build)
    groups = {json.loads(path.read_text())["group"] for path in families.DEFAULTS.iterdir()}
    of = [import_module(f"{families.__name__}.{group}").TYPES for group in groups]
    assert sorted(name for types in of for name in types) == families.known()


@pytest.mark.oracle
def test_defaults_are_those_of_today() -> None:
    """What tests/oracle/hf_defaults.py would write from the classes of this version of transformers."""
    transformers = pytest.importorskip("transformers")
    path = Path(__file__).parent / "oracle" / "hf_defaults.py"
    spec = importlib.util.spec_from_file_location("hf_defaults", path)
    assert spec
    assert spec.loader
    oracle = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(oracle)
    for model_type, group in oracle.groups().items():
        text = (families.DEFAULTS / f"{model_type}.json").read_text(encoding="utf-8")
        if json.loads(text)["transformers"] != transformers.__version__:
            pytest.skip("another version of transformers")
        assert oracle.written(oracle.data_of(model_type, group)) == text, model_type


def test_a_record_that_holds_a_config_is_read(tmp_path: Path) -> None:
    """And what the config was made from, where the record says so: a key that was given as null is so."""
    config = json.loads((GOLDEN / "numerics.json").read_text())["models"]["gemma2"]["config"]
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"name": "mine", "config": config}))
    assert load(path).spec.heads == load(config=config).spec.heads
    given = {"final_logit_softcapping": None}
    path.write_text(json.dumps({"name": "mine", "config": config, "given": given}))
    assert load(path).spec.heads == load(config=config | given).spec.heads != load(config=config).spec.heads
