"""Every Hugging Face family against the models themselves: counts to the last parameter, tensors by name and shape.

reference.json: published config.json files and what was measured on the instantiated models (transformers 5.23,
torch 2.13); hf_variants.json: small configs that turn every structural key at least once, measured the same way
(tests/oracle/). hf_defaults.json: what a missing key means, read off the config classes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from transformer_calc import InputError, Transformer, Workload, load
from transformer_calc.graph.ops import flops
from transformer_calc.readings.params import tensors
from transformer_calc.sources import families
from transformer_calc.sources.huggingface import family

GOLDEN = Path(__file__).parent / "golden"
REFERENCE: dict[str, Any] = json.loads((GOLDEN / "reference.json").read_text())
VARIANTS: list[Any] = json.loads((GOLDEN / "hf_variants.json").read_text())["variants"]
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


# variants that the class builds and cannot run: refused, with the reason
REFUSED = {
    "mistral/default-kv-heads": "the rotary dimensions are 3",
    "deepseek_v2/defaults": "num_experts_per_tok is missing",
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


@pytest.mark.parametrize("name", sorted(KNOWN_VARIANTS.keys() - REFUSED.keys()))
def test_variant_is_exact_to_the_last_parameter(name: str) -> None:
    variant = KNOWN_VARIANTS[name]
    model = load(config=variant["config"])
    assert model.params().total == variant["total_params"]
    assert stored(model) == measured(variant["params"])


@pytest.mark.parametrize("name", [name for name, entry in REFERENCE.items() if entry["later"]])
def test_family_of_a_later_step_is_refused_by_name(name: str) -> None:
    model_type = REFERENCE[name]["config"]["model_type"]
    with pytest.raises(InputError, match=f"'{model_type}'"):
        load(config=REFERENCE[name]["config"])


@pytest.mark.parametrize("name", SUPPORTED)
def test_matmul_flops_are_those_that_pytorch_counts(name: str) -> None:
    model = load(config=SUPPORTED[name]["config"])
    for row in SUPPORTED[name]["flops"]:
        workload = model.workload(batch=row["batch"], seq=row.get("seq", row.get("src")), target_seq=row.get("tgt"))
        sizes = model.graph.sizes(workload)
        total = sum(
            flops(op, sizes)[0] * (sizes[block.repeat] if block.repeat else 1)
            for block in model.graph.blocks
            for op in block.ops
        )
        assert total == row["total"], row


@pytest.mark.parametrize("model_type", families.known())
def test_defaults_are_those_of_the_config_class(model_type: str) -> None:
    """A missing key means what it means in transformers: no default of ours may differ from the class's own."""
    if model_type not in DEFAULTS:
        pytest.skip("transformers has no class of its own for it")
    golden = DEFAULTS[model_type]
    declared = golden["defaults"] | golden.get("declared", {})
    for key, value in family({"model_type": model_type}).defaults.items():
        if key in declared and not key.startswith("rope"):
            assert value in (declared[key], golden["defaults"][key]), f"{model_type}.{key}"
