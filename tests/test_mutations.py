"""One key of a config at a time: what it does to the class is what it does here, and nonsense gets one sentence.

hf_mutations.json: for every family small configs, and of each key changes that turn something in the class or leave it
as it is, measured on instantiated transformers 5.24 classes by tests/oracle/mutate.py.
"""

from __future__ import annotations

import importlib.util
import json
import random
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mutations import changed, ours

from transformer_calc import InputError, load
from transformer_calc.sources import families
from transformer_calc.sources.families.base import Config
from transformer_calc.sources.huggingface import family

GOLDEN = Path(__file__).parent / "golden"
MEASURED: dict[str, Any] = json.loads((GOLDEN / "hf_mutations.json").read_text())
BASES: dict[str, Any] = {entry["name"]: entry for entry in MEASURED["bases"]}
CONFIGS: dict[str, dict[str, Any]] = {}  # one of each family
for row in json.loads((GOLDEN / "hf_variants.json").read_text())["variants"]:
    if "architectures" in row["config"]:
        CONFIGS.setdefault(row["config"]["model_type"], row["config"])
CONFIGS["helium"] = CONFIGS["helium"] | {"head_dim": 8}  # its class runs where the heads are as wide as the model
CONFIGS["kimi_k2"] = CONFIGS["deepseek_v3"] | {"model_type": "kimi_k2"}  # whose class is DeepSeek-V3's

# --- what single keys do --------------------------------------------------------------------------------------

FLAN = {
    "model_type": "t5",
    "architectures": ["T5ForConditionalGeneration"],
    "d_model": 768,
    "d_ff": 2048,
    "num_heads": 12,
    "num_layers": 12,
    "feed_forward_proj": "gated-gelu",
}
SWITCH = {
    "model_type": "switch_transformers",
    "architectures": ["SwitchTransformersForConditionalGeneration"],
    "d_ff": 3072,
    "num_sparse_encoder_layers": 6,
    "num_sparse_decoder_layers": 6,
}
COHERE2 = {
    "model_type": "cohere2",
    "architectures": ["Cohere2ForCausalLM"],
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_hidden_layers": 32,
    "intermediate_size": 14336,
}
MARIAN = {
    "model_type": "marian",
    "architectures": ["MarianMTModel"],
    "vocab_size": 59514,
    "d_model": 512,
    "encoder_layers": 6,
    "decoder_layers": 6,
    "encoder_ffn_dim": 2048,
    "decoder_ffn_dim": 2048,
    "encoder_attention_heads": 8,
    "decoder_attention_heads": 8,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}


@pytest.mark.parametrize(
    ("config", "total"),
    [  # Σ numel of the class on the meta device, transformers 5.24; of FLAN, of the published checkpoint
        (COHERE2, 8028033024),
        (COHERE2 | {"head_dim": 256}, 9370210304),
        (SWITCH, 619339008),
        (SWITCH | {"encoder_sparse_step": 1}, 817556736),
        (FLAN | {"tie_word_embeddings": False}, 247577856),
        (FLAN | {"tie_word_embeddings": True, "scale_decoder_outputs": False}, 247577856),
        (FLAN | {"tie_word_embeddings": True, "scale_decoder_outputs": True}, 247577856 - 32128 * 768),
        (MARIAN, 166547456),
        (MARIAN | {"decoder_vocab_size": 116202}, 195571712),
    ],
)
def test_key_that_its_class_reads(config: dict[str, Any], total: int) -> None:
    assert load(config=config).params().total == total


def test_mt5_saved_by_transformers_5_is_said_to_have_perhaps_two_matrices() -> None:
    config = CONFIGS["mt5"] | {"tie_word_embeddings": True}
    assert any("mT5" in note for note in load(config=config).notes)


# --- every key of every family --------------------------------------------------------------------------------


def differences(entry: dict[str, Any], key: str, value: Any, effect: dict[str, Any] | None) -> list[str]:
    """What tcalc makes of a changed config that its class does not; nothing where it refuses by name."""
    wanted = {name: entry.get(name) for name in ("total", "hash", "flops", "kv", "runs")} | (effect or {})
    runs = wanted["runs"] is not False
    row = {k: entry[k] for k in ("inputs", "arrays", "shapes")} if runs else {}
    got = ours(changed(entry["config"], key, value), row, run="out" in wanted)
    if "refused" in got:
        return [] if named(got["refused"] + got["hint"], key) else [f"refused without its name: {got['refused']}"]
    found = [f"{k}: {wanted[k]}, {got[k]} here" for k in ("total", "hash") if wanted[k] != got[k]]
    if runs:
        counted = [k for k in ("flops", "kv") if k in got and wanted[k] is not None]
        found += [f"{k}: {wanted[k]}, {got[k]} here" for k in counted if wanted[k] != got[k]]
        for name, values in (wanted.get("out") or {}).items():
            have = [[h[0], h[len(h) // 2], h[-1]] for h in got.get("out", {}).get(name, [])]
            if not any(np.allclose(h, values, rtol=1e-3, atol=1e-4) for h in have):
                found.append(f"{name}: {values}, {have or got.get('no_run')} here")
    return found


def named(message: str, key: str) -> bool:
    """Whether a refusal says which key it is about, by that or by the field that it becomes."""
    words = (key.rpartition(".")[2], "head", "layers", "divisible", "rope_", "rotary", "experts", "vocab", "top_k")
    return any(word in message for word in words)


@pytest.mark.slow
@pytest.mark.parametrize("name", BASES)
def test_changed_key_does_what_it_does_in_the_class(name: str) -> None:
    entry = BASES[name]
    wrong = [
        f"{key} {json.dumps(value):.60}: {', '.join(found)}"
        for key, changes in entry["changes"]
        for value, effect in changes
        if (found := differences(entry, key, value, effect))
    ]
    assert not wrong, "\n".join(wrong)


def test_keys_that_do_something_are_refused_seldom() -> None:
    """Most of what turns something in a class is counted, not refused."""
    effects = [
        (entry, key, value)
        for entry in BASES.values()
        for key, changes in entry["changes"]
        for value, effect in changes
        if effect and "total" in effect and value not in (0, None, "…unset")
    ]
    some = random.Random(0).sample(effects, 300)
    refused = sum("refused" in ours(changed(entry["config"], key, value), {}) for entry, key, value in some)
    assert refused < 0.15 * len(some)


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.xdist_group("oracle")
def test_classes_are_still_as_they_were_measured() -> None:
    """A seeded sample of the stored rows, measured again; tests/oracle/mutate.py makes all of them."""
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    if transformers.__version__ != MEASURED["versions"]["transformers"]:
        pytest.skip("another version of transformers")
    path = Path(__file__).parent / "oracle" / "mutate.py"
    spec = importlib.util.spec_from_file_location("mutate", path)
    assert spec
    assert spec.loader
    oracle = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(oracle)
    rows = [
        (entry, key, value, effect or {})
        for entry in BASES.values()
        for key, changes in entry["changes"]
        for value, effect in changes
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for entry, key, value, effect in random.Random(1).sample(rows, 60):
            got, wanted = oracle.truth(changed(entry["config"], key, value)), entry | effect
            assert (got["total"], got["hash"]) == (wanted["total"], wanted["hash"]), (entry["name"], key, value)


# --- nonsense -------------------------------------------------------------------------------------------------

YARN = {"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 8}
NONSENSE: list[Any] = [
    *(None, True, False, -1, 0, 1, 1.5, -0.5, 1e-300, 1e308, float("nan"), float("inf"), 10**15, 10**16, 10**40),
    *("x", "", "a" * 5000, [], {}, [1], ["x"], [None], [[]], [1.5], [0] * 100_000, {"type": [1]}, {"rope_type": {}}),
    *(YARN | {"factor": 0}, YARN | {"factor": "a"}, YARN | {"original_max_position_embeddings": 0}),
    *(YARN | {"beta_fast": [1]}, YARN | {"mscale_all_dim": "x"}, YARN | {"partial_rotary_factor": 0}),
    {"rope_type": "longrope", "short_factor": 1, "long_factor": []},
    {"rope_type": "dynamic", "factor": -2, "alpha": -3.5},
    *({"full_attention": [1]}, {"rope_theta": "x"}, {"rope_theta": 1e308}, {"hidden_size": "x"}, {"name": 3}),
]


def keys(config: dict[str, Any]) -> list[str]:
    """Every key that a family knows, reads, or that stands in the config, and those of its parts."""
    entry, found = family(config), Config(config, family(config))
    entry.build(found)
    known = set(entry.defaults) | set(config) | set(entry.inert.split()) | set(entry.aliases) | found.read
    inner = {f"{name}.{key}" for name, part in found.parts.items() for key in {*part.given, *part.read}}
    return sorted((known | inner) - {"model_type"})


def answered(config: dict[str, Any], **fields: Any) -> str:
    """What is said of a config that is refused, or nothing; anything else than either is a fault."""
    start = time.perf_counter()
    try:
        model = load(config=config, fields=fields)
        model.params()
        model.flops(**model.workload().to_dict())  # type: ignore[arg-type]
        said = ""
    except InputError as error:
        said = str(error)
    assert time.perf_counter() - start < 2
    assert len(said) < 600
    assert "\n" not in said
    return said


@pytest.mark.slow
@pytest.mark.parametrize("model_type", families.known())
def test_value_of_a_wrong_kind_gets_one_sentence(model_type: str) -> None:
    """A seeded sample of every key and every kind of nonsense; each key gets some."""
    config, draw = CONFIGS[model_type], random.Random(model_type)
    for key in keys(config):
        for value in draw.sample(NONSENSE, 2):
            answered(changed(config, key, value))


@pytest.mark.parametrize(
    ("model_type", "key", "values"),
    [  # what is divided by, taken to a power of, or looked up
        ("gemma2", "query_pre_attn_scalar", (0, -1, 1e308, "x")),
        ("gemma3_text", "query_pre_attn_scalar", (0, -256)),
        ("vaultgemma", "query_pre_attn_scalar", (0, -256)),
        ("gemma2", "attn_logit_softcapping", (0, -50.0)),
        ("gemma2", "final_logit_softcapping", (0.0, float("inf"))),
        ("granite", "logits_scaling", (0, 1e-300)),
        ("granitemoe", "logits_scaling", (0.0, [8])),
        ("granitemoeshared", "logits_scaling", (0.0,)),
        ("granite", "attention_multiplier", (float("nan"), None)),
        ("deepseek_v3", "routed_scaling_factor", (float("inf"), "x")),
        ("llama", "rms_norm_eps", (0, -1e-6, 2)),
        ("llama", "rope_theta", (0, 1, -5, 1e308)),
        ("llama", "rope_scaling", ({"type": [1]}, {"rope_type": {}}, {"type": "spiral"}, YARN | {"factor": 0})),
        ("gpt_neox", "rotary_pct", (0, 1.5)),
        ("glm4", "partial_rotary_factor", (0, -0.5, 2, 0.01)),
        ("glm_moe_dsa", "index_topk_pattern", (1.5, [[]], "XYZ")),
        ("vit", "image_size", ([0] * 100_000, [1], 0)),
    ],
)
def test_number_out_of_range_is_refused_by_its_own_name(model_type: str, key: str, values: tuple[Any, ...]) -> None:
    for value in values:
        assert key in answered(CONFIGS[model_type] | {key: value}), value


@pytest.mark.parametrize("model_type", families.known())
def test_any_number_of_layers_is_counted_at_once_or_refused(model_type: str) -> None:
    config = CONFIGS[model_type]
    listed = [key for key in config if key.endswith(("layer_types", "attention_types"))]
    config = {key: value for key, value in config.items() if key not in listed or model_type == "granitemoehybrid"}
    counted = [n for n in (1, 2, 3, 65, 1000, 99_991, 10**9, 10**15) if not answered(config, layers=n)]
    totals = [load(config=config, fields={"layers": n}).params().total for n in counted]
    assert totals == sorted(totals)
    if "layers" in answered(config, layers=2):  # of two stacks
        assert not totals
