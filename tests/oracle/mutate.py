"""Writes tests/golden/hf_mutations.json: what flipping one key of a small config does to the class that is built of it.

    python tests/oracle/mutate.py truth FILE [MODEL_TYPE ...]     measure, as JSON lines
    python tests/oracle/mutate.py compare FILE [MODEL_TYPE ...]   hold tcalc against what was measured
    python tests/oracle/mutate.py golden FILE                     write the golden file

Needs transformers 5.24, torch 2.13 CPU, no network ("compare" needs NumPy alone).

For every model type some complete, small configs of hf_variants.json; of each, every key that its configuration class
has, that its modeling code reads, or that tcalc knows, is set to a few other values. A row holds what the class of
`architectures` then is: the tensors (name with numbers as *, shape, count) as a hash and their total; matmul FLOPs of a
forward pass (FlopCounterMode) and entries of the cache; a few of the outputs, with weights drawn from each tensor's
name, so that NumPy makes the same ones. Or that the class, or running it, fails.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("HF_HUB_OFFLINE", "1")

HERE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HERE))
from mutations import NESTED, UNSET, changed, drawn, hashed, ours, sampled, starred  # noqa: E402

GOLDEN = HERE / "golden"
SEQ, TARGET = 11, 7
LARGE = 5_000_000  # parameters; larger ones are counted and not run

# --- which configs, and what is changed in them ---------------------------------------------------------------

# variants of hf_variants.json to start from, by the end of their names; of each family the first is always taken
MORE_BASES = {
    "llama": "seq-classification-3 token-classification-5 question-answering model-only",
    "qwen2": "sliding",
    "qwen2_moe": "step-and-only sliding",
    "qwen3_moe": "sparse-step-2",
    "gemma3_text": "layer-types",
    "cohere": "qk-norm",
    "stablelm": "parallel-qk-bias-tied",
    "exaone4": "layer-types-tied-head-dim",
    "deepseek_v2": "no-q-lora",
    "llama4_text": "interleave-2",
    "gpt2": "seq-classification-3 double-heads cross-attention",
    "gpt_bigcode": "multi-head",
    "falcon": "new-architecture sequential-alibi-bias",
    "mpt": "attention-config",
    "opt": "post-norm-projection",
    "bert": "model-only pretraining seq-classification-3 lm-head-cross-attention",
    "roberta": "causal-lm seq-classification-3",
    "albert": "inner-groups pretraining-labels",
    "electra": "generator model-only seq-classification-3 causal-lm",
    "distilbert": "sinusoidal",
    "deberta-v2": "v3-style v2-style-conv new-head seq-classification-3",
    "modernbert": "seq-classification-3 model-only",
    "t5": "untied gated-silu encoder-only seq-classification-3",
    "mt5": "untied",
    "umt5": "untied",
    "bart": "causal-lm seq-classification question-answering",
    "pegasus": "causal-lm",
    "marian": "separate-vocabularies causal-lm",
    "whisper": "causal-lm audio-classification-weighted",
    "vit": "model-only masked-image",
    "clip": "image-classification-5",
    "clip_text_model": "projection",
    "dinov2": "swiglu",
    "siglip": "image-classification-5",
    "siglip_vision_model": "no-head",
    "switch_transformers": "untied",
    "exaone_moe": "mlp-layer-types",
    "dots1": "window-from-layer-3",
    "granitemoehybrid": "dense",
    "megatron-bert": "seq-classification-3",
    "openai-gpt": "seq-classification-3",
}

ROPES: list[Any] = [
    {"rope_type": "default", "rope_theta": 5000.0},
    {"rope_type": "linear", "factor": 2.0, "rope_theta": 5000.0},
    {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8, "rope_theta": 10000.0},
    {
        "rope_type": "llama3",
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8,
        "rope_theta": 10000.0,
    },
    {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
    {"rope_theta": 777.0},
]
OLD_ROPES: list[Any] = [
    {"type": "linear", "factor": 2.0},
    {"rope_type": "dynamic", "factor": 2.0},
    {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8},
    {"type": "default"},
]
ACTS = ["relu", "silu", "gelu_new", "tanh"]
WORDS: dict[str, list[Any]] = {
    "hidden_act": ACTS,
    "hidden_activation": ACTS,
    "activation_function": ACTS,
    "activation": ACTS,
    "afn": ["relu", "silu"],
    "dense_act_fn": ACTS,
    "pooler_act": ["relu"],
    "summary_activation": ["tanh"],
    "classifier_activation": ["relu"],
    "summary_type": ["last", "first", "mean", "cls_index", "attn"],
    "feed_forward_proj": ["relu", "gated-gelu", "gated-silu", "gelu", "silu-gated"],
    "position_embedding_type": ["absolute", "relative_key", "relative_key_query", "rope", "nope"],
    "pos_att_type": [["c2p", "p2c"], ["c2p"], ["p2c"], "c2p|p2c", []],
    "norm_rel_ebd": ["layer_norm", "none", "layer_norm|none"],
    "conv_act": ["gelu", "relu"],
    "pooler_hidden_act": ["relu", "tanh"],
    "classifier_pooling": ["cls", "mean"],
    "topk_method": ["greedy", "group_limited_greedy", "noaux_tc", "bogus"],
    "scoring_func": ["softmax", "sigmoid"],
    "problem_type": ["regression", "single_label_classification"],
    "architectures": [],
    "attention_types": [[[["global", "local"], 1], [["global"], 1]], [[["local"], 3]], [[["global"], 3]]],
    "model_type": [],
    "dtype": [],
    "torch_dtype": [],
    "id2label": [{str(i): f"l{i}" for i in range(4)}],
    "label2id": [],
    "transformers_version": [],
    "_name_or_path": [],
    "rope_parameters": ROPES,
    "rope_scaling": OLD_ROPES,
    "attn_config": [
        {"clip_qkv": 0.5},
        {"softmax_scale": 0.3},
        {"alibi": False},
        {"alibi_bias_max": 4},
        {"qk_ln": True},
        {"attn_type": "multiquery_attention"},
        {"kv_n_heads": 2},
    ],
    "normalization_function": ["layernorm"],
    "mlp_only_layers": [[0], [1], [0, 2], []],
    "moe_layers": [[0], [1], [], [0, 1, 2]],
    "no_rope_layers": [[1, 0, 1, 0, 1, 0], [0, 0, 0, 0, 0, 0], []],
    "out_features": [["stage1"]],
    "out_indices": [[1]],
    "hidden_sizes": [],
    "embedding_size": [24, 48, 10],
    "index_topk_pattern": ["FSF", "FFF"],
    "image_size": [12, 48, 20],
    "rope_interleave": [True, False],
    "begin_suppress_tokens": [[3]],
    "suppress_tokens": [[3]],
    "xla_device": [True],
    "use_bfloat16": [True],
    "quantization_config": [],
}
# keys of any config: of generation, labels, roles
COMMON: dict[str, list[Any]] = {
    "use_cache": [False],
    "is_decoder": [True, False],
    "add_cross_attention": [True],
    "tie_encoder_decoder": [True],
    "is_encoder_decoder": [True],
    "tie_word_embeddings": [True, False, None],
    "num_labels": [1, 3],
    "id2label": WORDS["id2label"],
    "problem_type": WORDS["problem_type"],
    "pad_token_id": [None, 0, 3],
    "bos_token_id": [3],
    "eos_token_id": [4],
    "sep_token_id": [4],
    "cls_token_id": [4],
    "decoder_start_token_id": [3],
    "chunk_size_feed_forward": [2],
    "pretraining_tp": [2],
    "pruned_heads": [{"0": [1]}],
    "output_hidden_states": [True],
    "output_attentions": [True],
    "return_dict": [True],
    "torchscript": [True],
    "head_dim": [4, 12, None],
    "hidden_size": [],
    "num_attention_heads": [],
    "num_key_value_heads": [1, 2, 3, None],
    "num_hidden_layers": [2, 5],
    "intermediate_size": [40],
    "sliding_window": [4, None],
    "attention_bias": [True, False],
    "mlp_bias": [True],
    "rope_theta": [500.0],
    "rope_scaling": OLD_ROPES,
    "rope_parameters": ROPES,
    "partial_rotary_factor": [0.5],
    "rotary_pct": [0.5],
    "rotary_dim": [4],
    "qk_layernorm": [True, False],
    "use_qk_norm": [True, False],
    "num_experts": [3],
    "num_local_experts": [3],
    "layer_types": [],
    "scale_embedding": [True, False],
    "classifier_dropout": [0.2],
    "position_embedding_type": ["relative_key"],
    "hidden_act": ["relu"],
    "layer_norm_eps": [0.01],
    "rms_norm_eps": [0.01],
    "norm_eps": [0.01],
    "scale_decoder_outputs": [True, False],
    "type_vocab_size": [3],
    "max_position_embeddings": [40],
    "initializer_range": [0.5],
}
TRAINING = re.compile(
    r"dropout|pdrop|drop_path|layerdrop|_prob$|initiali|init_std|init_(device|config)|jitter|aux_loss|z_loss|_coef$|reduction|mask_(time|feature)|"
    r"apply_spec|_median"
)


CLASS_ATTRIBUTES = frozenset(
    "model_type base_config_key sub_configs sub_configs_defaults has_no_defaults_at_init attribute_map "
    "base_model_tp_plan base_model_pp_plan base_model_ep_plan base_model_fsdp_plan extra_files extra_config_files "
    "keys_to_ignore_at_inference is_composition".split()
)


def typed(cls: Any) -> dict[str, str]:
    """What a configuration class says of its fields' types."""
    return {name: str(field.type) for name, field in cls.__dataclass_fields__.items()}


def values_for(key: str, now: Any, hint: str, base: dict[str, Any], layers: int) -> list[Any]:
    """Other values of a key, legal ones among them."""
    if key in WORDS:
        return WORDS[key]
    if key == "layer_types":
        kinds = set(now or ()) | {"full_attention", "sliding_attention"}
        out: list[Any] = [[k] * layers for k in sorted(kinds)]
        out += [[a if i % 2 else b for i in range(layers)] for a in sorted(kinds) for b in sorted(kinds) if a != b]
        return [*out, None]
    if key == "mlp_layer_types":
        return [["dense"] * layers, ["sparse"] * layers, ["sparse", "dense"] + ["sparse"] * (layers - 2), None]
    if TRAINING.search(key):
        return [0.25] if not isinstance(now, (str, bool)) else []
    if isinstance(now, bool) or (now is None and "bool" in hint):
        return [True, False] if now is None else [not now, None]
    if isinstance(now, int):
        found = [now + 1, now - 1, 2 * now, now // 2, 0, 1, 3, None]
        return list(dict.fromkeys(v for v in found if v is None or (v >= 0 and v != now)))
    if isinstance(now, float):
        return [v for v in (now * 0.5, now * 2 + 0.1, 0.0, 1.0, None) if v != now]
    if isinstance(now, str):
        return ["bogus"]
    if isinstance(now, list):
        return [[], now[1:], now[::-1]]
    if isinstance(now, dict):
        return [{}]
    found = []
    if "int" in hint:
        found += [1, 2, 3, 8]
    if "float" in hint:
        found += [0.5, 2.0]
    if "str" in hint:
        found += ["bogus"]
    if "list" in hint:
        found += [[0], [1, 0]]
    return found or [1, 2, True, 0.5]


def keys_of(model_type: str, cls: Any, base: dict[str, Any]) -> dict[str, Any]:
    """Keys that may matter for a model type, with the values that they have now."""
    import importlib
    import inspect

    from transformer_calc.sources.huggingface import family

    config = cls.from_dict(dict(base))
    found = {k: v for k, v in config.to_dict().items() if not isinstance(v, dict) or not k.endswith("_config")}
    for name in CLASS_ATTRIBUTES:
        found.pop(name, None)
    for name in set(cls.__dataclass_fields__) - CLASS_ATTRIBUTES:
        found.setdefault(name, getattr(config, name, None))
    module = importlib.import_module(cls.__module__.replace(".configuration_", ".modeling_"))
    for name in re.findall(r"\bconfig\.(\w+)", inspect.getsource(module)):
        if not name.startswith("_") and not callable(getattr(config, name, None)):
            found.setdefault(name, getattr(config, name, None))
    source = "\n".join(inspect.getsource(c) for c in cls.__mro__ if c.__module__.startswith("transformers.models"))
    for name in re.findall(r"kwargs\.(?:get|pop|setdefault)\(\s*[\"'](\w+)[\"']", source):
        found.setdefault(name, None)
    entry = family({"model_type": model_type})
    for name in [*cls.attribute_map, *entry.aliases, *entry.inert.split(), *entry.defaults]:
        found.setdefault(name, getattr(config, name, None))
    for name in ("is_decoder", "head_dim", "tie_word_embeddings", "num_labels"):
        found.setdefault(name, getattr(config, name, None))
    return {k: v for k, v in found.items() if not k.startswith("_") or k in ("_sliding_window_pattern",)}


def mutations(model_type: str, base: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """(key, or key.key; value) of each change; the value `UNSET` takes the key out."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    cls = CONFIG_MAPPING[model_type]
    parts = {"": (cls, base)}
    for name in ("text_config", "vision_config"):
        if isinstance(base.get(name), dict):
            parts[f"{name}."] = (cls.sub_configs[name], base[name])
    hints_of_dbrx = ("attn_config", "ffn_config") if model_type == "dbrx" else ()
    for name in hints_of_dbrx:
        parts[f"{name}."] = (cls.sub_configs[name], base.get(name) or {})
    for prefix, (part_cls, part) in parts.items():
        hints = typed(part_cls)
        config = part_cls.from_dict(dict(part))
        layers = getattr(config, "num_hidden_layers", None) or 3
        for key, now in (
            keys_of(part_cls.model_type or model_type, part_cls, part).items()
            if part_cls.model_type
            else [(k, getattr(config, k)) for k in part_cls.__dataclass_fields__]
        ):
            if prefix == "" and key in NESTED and model_type != "mpt":
                continue
            if key in ("architectures", "model_type"):
                continue
            values = (
                values_for(key, now, hints.get(key, ""), part, layers)
                if not hints or key in hints or key not in COMMON
                else []
            )
            values = [*values, *COMMON.get(key, ())]
            if key in part:
                values.append(UNSET)
            seen = []
            for value in values:
                same = key in part and type(value) is type(part[key]) and value == part[key]
                if same or any(type(v) is type(value) and v == value for v in seen):
                    continue
                seen.append(value)
                yield prefix + key, value


def bases() -> dict[str, tuple[str, dict[str, Any]]]:
    """Name -> (model type, config)."""
    from transformer_calc.sources.families import known

    rows = json.loads((GOLDEN / "hf_variants.json").read_text())["variants"]
    first: dict[str, Any] = {}
    found = {}
    for row in rows:
        config, kind = row["config"], row["config"]["model_type"]
        if "architectures" not in config or row["total_params"] > 3_000_000 or kind not in known():
            continue
        if kind == "helium":  # whose class runs only where the heads are as wide as the model
            config = {**config, "head_dim": config["hidden_size"] // config["num_attention_heads"]}
        ending = row["name"].partition("/")[2]
        if kind not in first or ending in MORE_BASES.get(kind, "").split():
            first.setdefault(kind, row)
            found[row["name"]] = (kind, config)
    return found


# --- the class ------------------------------------------------------------------------------------------------


def ids_for(vocab: int, length: int, seed: int, low: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).integers(min(low, vocab - 1), vocab, (2, length))


def inputs_for(given: dict[str, Any], cls: str, config: Any) -> dict[str, np.ndarray]:
    """Inputs that the class takes; they follow from a few sizes, which the row keeps."""
    made: dict[str, np.ndarray] = {}
    rng = np.random.default_rng(7)
    text, vision = getattr(config, "text_config", config), getattr(config, "vision_config", config)
    speech = config.model_type == "whisper"
    if hasattr(vision, "image_size"):
        side = vision.image_size if isinstance(vision.image_size, int) else vision.image_size[0]
        made["pixel_values"] = rng.normal(size=(2, vision.num_channels, side, side))
    if speech and cls != "WhisperForCausalLM":
        made["input_features"] = rng.normal(size=(2, config.num_mel_bins, 2 * config.max_source_positions))
    elif (
        hasattr(text, "vocab_size")
        and "Vision" not in cls
        and cls not in ("CLIPForImageClassification", "SiglipForImageClassification")
    ):
        length = SEQ
        if config.model_type.startswith("siglip"):
            length = min(SEQ, text.max_position_embeddings)
        ids = ids_for(text.vocab_size, length, 1)
        eos = text.eos_token_id
        if (
            isinstance(eos, int)
            and (config.is_encoder_decoder or "clip" in config.model_type)
            and 0 <= eos < text.vocab_size
        ):
            ids[ids == eos] = 5
            ids[:, 4] = ids[:, -1] = eos
        made["input_ids"] = ids
    if "Text" in cls and "For" not in cls and config.model_type.startswith(("clip", "siglip")):
        made.pop("pixel_values", None)
    decoding = config.is_encoder_decoder and not cls.endswith(("Classification", "CausalLM", "EncoderModel"))
    if decoding and not (cls.endswith("QuestionAnswering")):
        made["decoder_input_ids"] = ids_for(getattr(config, "decoder_vocab_size", None) or config.vocab_size, TARGET, 2)
    if cls.endswith("MultipleChoice"):
        made = {key: np.stack([value, np.roll(value, 1, axis=0)], axis=1) for key, value in made.items()}
    return made


OUTPUTS = ("logits", "start_logits", "end_logits", "logits_per_text", "prediction_logits")
T5S = ("t5", "mt5", "umt5")


def kept(cache: Any, config: Any) -> int | None:
    """Entries of a cache; a windowed layer's newest token is dropped in only after it was attended to."""
    if cache is None:
        return None
    if hasattr(cache, "self_attention_cache"):
        return (kept(cache.self_attention_cache, config) or 0) + (kept(cache.cross_attention_cache, config) or 0)
    total = 0
    for layer in cache.layers:
        for tensor in (
            getattr(layer, "keys", None),
            getattr(layer, "values", None),
            getattr(layer, "indexer_keys", None),
        ):
            if tensor is None:
                continue
            size = tensor.numel()
            window = getattr(layer, "sliding_window", None)
            if window == 1:  # "the last window - 1" are all of them there
                return None
            if window and tensor.shape[-2] == window - 1:
                size = size // (window - 1) * window
            total += size
    return total


def truth(config: dict[str, Any]) -> dict[str, Any]:
    """What the class is, and does."""
    import torch
    import transformers
    from torch.utils.flop_counter import FlopCounterMode
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    cls = config["architectures"][0]
    row: dict[str, Any] = {}
    try:
        torch.manual_seed(0)
        c = CONFIG_MAPPING[config["model_type"]].from_dict(json.loads(json.dumps(config)))
        klass = getattr(transformers, cls)
        make = partial(klass._from_config, attn_implementation="eager", dtype=torch.float32)
        with torch.device("meta"):
            model = make(c)
        if sum(p.numel() for p in model.parameters()) <= LARGE:
            model = make(c).eval()
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {str(error)[:150]}"}
    c = model.config
    apart = config["model_type"] in T5S and cls.endswith("ForConditionalGeneration")
    apart = apart and False in (config.get("tie_word_embeddings"), config.get("scale_decoder_outputs", 0) and True)
    if config["model_type"] in T5S and cls.endswith("ForConditionalGeneration"):
        scale = config.get("scale_decoder_outputs") is False and config["model_type"] != "mt5"
        if config.get("tie_word_embeddings") is False or scale:  # loaded with two matrices, which its checkpoint holds
            model.lm_head.weight = torch.nn.Parameter(torch.zeros_like(model.lm_head.weight))
    params: Counter[Any] = Counter()
    for name, p in model.named_parameters():
        if p.numel():  # BERT's class builds a table of no segments
            params[starred(name), tuple(p.shape)] += 1
    row["total"] = sum(c_ * int(np.prod(s, dtype=object)) for (_, s), c_ in params.items())
    row["hash"] = hashed(params)
    row["params"] = sorted([n, list(s), k] for (n, s), k in params.items())
    if row["total"] > LARGE:
        row["failed"] = "large"
        return row
    fixed = {
        f"{n}.weight"
        for n, m in model.named_modules()
        if type(m).__name__ in ("MarianSinusoidalPositionalEmbedding", "PegasusSinusoidalPositionalEmbedding")
    }
    if config["model_type"] == "whisper":
        fixed |= {n for n, _ in model.named_parameters() if n.endswith("encoder.embed_positions.weight")}
    if getattr(c, "sinusoidal_pos_embds", False):
        fixed |= {n for n, _ in model.named_parameters() if "position_embeddings" in n}
    model = model.double()
    weights = dict(model.named_parameters())
    weights |= {n: b for n, b in model.named_buffers() if n.endswith(("e_score_correction_bias", "final_logits_bias"))}
    for name, weight in weights.items():
        if name not in fixed:
            weight.data.copy_(torch.as_tensor(np.asarray(drawn(name, tuple(weight.shape)))))
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")
    try:
        if getattr(c, "expert_capacity", SEQ * 2) < SEQ * 2:
            raise ValueError("a full expert drops tokens, which is not counted so")
        arrays = inputs_for(config, cls, c)
        tensors = {k: torch.from_numpy(v) for k, v in arrays.items()}
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            out = model(**tensors)
        if comparable(config["model_type"], cls, c):
            row["flops"] = counter.get_total_flops()
        both_ways = getattr(c, "use_bidirectional_attention", False)  # what is cached then helps no next token
        row["kv"] = None if both_ways else kept(out.get("past_key_values"), c)
        names = [n for n in OUTPUTS if out.get(n) is not None] or [
            n for n in ("last_hidden_state",) if out.get(n) is not None
        ]
        if not names:
            names = [n for n in ("text_embeds", "image_embeds", "pooler_output") if out.get(n) is not None][:1]
        if config["model_type"] == "falcon" and c.alibi:  # rounded to bfloat16, and added twice where eager
            names = []
        row["out"] = {n: sampled(out[n].detach().numpy()) for n in names}
        row["shapes"] = {n: list(out[n].shape) for n in names}
        row["inputs"] = {k: [list(v.shape), int(v.max()) if v.dtype.kind == "i" else 0] for k, v in arrays.items()}
        row["arrays"] = {k: v.tolist() for k, v in arrays.items() if v.dtype.kind == "i"}
    except Exception as error:
        row["failed"] = f"{type(error).__name__}: {str(error)[:150]}"
    return row


def comparable(kind: str, cls: str, config: Any) -> bool:
    """Whether the class computes what is counted, and no more.

    Llama 4's computes every expert; a decoder's classifier the scores of all tokens, of which it takes one; DeBERTa's
    with shared projections those of positions, although nothing reads them.
    """
    if kind == "deberta-v2" and getattr(config, "share_att_key", False):
        return {"c2p", "p2c"} <= set(config.pos_att_type or ())
    return kind != "llama4_text" and (not cls.endswith("ForSequenceClassification") or config.is_encoder_decoder)


def measure(path: Path, only: list[str]) -> None:
    import logging

    import transformers

    transformers.logging.set_verbosity(logging.CRITICAL + 1)
    transformers.logging.disable_progress_bar()
    with path.open("a") as file:
        for name, (kind, base) in bases().items():
            if only and kind not in only:
                continue
            file.write(json.dumps({"base": name, "key": None, "value": None, **truth(base)}) + "\n")
            count = 0
            for key, value in mutations(kind, base):
                row = {"base": name, "key": key, "value": value, **truth(changed(base, key, value))}
                file.write(json.dumps(row) + "\n")
                count += 1
            file.flush()
            print(name, count, flush=True)


# --- tcalc ----------------------------------------------------------------------------------------------------


def one_position(row: dict[str, Any]) -> bool:
    """More tokens than positions, and yet it runs: one position is broadcast to all of them."""
    return (
        row["key"] in ("max_position_embeddings", "max_seq_len", "n_positions", "max_relative_positions")
        and row["value"] == 1
    )


def window_of_one(row: dict[str, Any]) -> bool:
    """Whose cache keeps all but no token, as "the last window - 1" are then all of them."""
    return row["key"] in ("sliding_window", "window_size", "attention_chunk_size") and row["value"] == 1


def verdict(row: dict[str, Any], got: dict[str, Any], plain: dict[str, Any] | None) -> str:
    """same, refused (by tcalc, though the class is built), both, or what is wrong."""
    if "refused" in row:
        return "both refuse" if "refused" in got else "class refuses"
    if "refused" in got:
        return "unrunnable refused" if "failed" in row else "REFUSED"
    wrong = []
    if row["hash"] != got["hash"]:
        wrong.append(f"params {row['total']} {got['total']}")
    if "failed" not in row and not one_position(row):
        unlike = [key for key in ("flops", "kv") if key in got and row.get(key) not in (None, got[key])]
        wrong += [f"{key} {row[key]} {got[key]}" for key in unlike if not (key == "kv" and window_of_one(row))]
        for name, want in row["out"].items():
            have = got.get("out", {}).get(name)
            if have is None:
                wrong.append("no_run " + str(got.get("no_run")) if "no_run" in got else "")
            elif not any(
                len(h) == len(want) and np.allclose(h, want, rtol=1e-3, atol=1e-4, equal_nan=True) for h in have
            ):
                wrong.append(f"out {want[:2]} {[h[:2] for h in have]}")
    return "WRONG " + "; ".join(filter(None, wrong)) if any(wrong) else "same"


def compare(path: Path, only: list[str]) -> None:
    import traceback

    known = bases()
    rows = [json.loads(line) for line in path.open()]
    tally: Counter[str] = Counter()
    plain: dict[str, Any] = {}
    with Path(f"{path}.verdicts").open("w") as out:
        for row in rows:
            if row["base"] not in known:
                continue
            kind, base = known[row["base"]]
            if only and kind not in only:
                continue
            config = base if row["key"] is None else changed(base, row["key"], row["value"])
            try:
                got = ours(config, row)
                what = verdict(row, got, plain.get(row["base"]))
            except Exception:
                got, what = {}, "CRASH " + " ".join(traceback.format_exc().splitlines()[-3:])
            tally[what.split()[0] if what.split()[0].isupper() else what] += 1
            why = row.get("refused") or row.get("failed") or ""
            print(
                json.dumps(
                    [row["base"], row["key"], row["value"], what, got.get("refused", ""), why, got.get("notes", "")]
                ),
                file=out,
            )
            if what.split()[0] in ("WRONG", "CRASH"):
                print(row["base"], row["key"], repr(row["value"])[:80], what[:300])
    print(dict(tally))


# --- the golden file ------------------------------------------------------------------------------------------


def kept_rows(rows: list[dict[str, Any]], plain: dict[str, Any], first: bool, own: set[str]) -> list[list[Any]]:
    """Of each key the changes that tell most: every other effect once, and one without any."""
    found: dict[str, list[list[Any]]] = {}
    seen: dict[str, list[Any]] = {}
    for row in rows:
        key = row["key"]
        if key is None or "refused" in row:
            continue
        effect = {name: row[name] for name in ("total", "hash") if row[name] != plain[name]}
        alike = row.get("arrays") == plain.get("arrays") and row.get("inputs") == plain.get("inputs")
        if "failed" in plain:
            pass  # its tensors are all that is known
        elif "failed" in row or one_position(row) or window_of_one(row) or not alike:
            effect["runs"] = False  # or not on the base's inputs
        else:
            effect |= {name: row.get(name) for name in ("flops", "kv") if row.get(name) != plain.get(name)}
            if not close(row["out"], plain["out"]) and row["shapes"] == plain["shapes"]:
                effect["out"] = {name: shortened(want) for name, want in row["out"].items()}
        if not effect and not (first and key.rpartition(".")[2] in own):
            continue
        if effect in seen.setdefault(key, []) or len(seen[key]) >= (3 if first else 1):
            continue
        seen[key].append(effect)
        found.setdefault(key, []).append([row["value"], effect or None])
    return [[key, changes] for key, changes in found.items()]


def shortened(want: list[float]) -> list[float]:
    """Three of an output's numbers, to six digits."""
    return [float(f"{v:.6g}") for v in (want[0], want[len(want) // 2], want[-1])]


def close(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether outputs are alike."""
    return one.keys() == other.keys() and all(
        len(one[k]) == len(other[k]) and np.allclose(one[k], other[k], rtol=1e-4, atol=1e-5, equal_nan=True)
        for k in one
    )


def golden(path: Path) -> None:
    """Write the golden file from what was measured."""
    import torch
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    by_base: dict[str, list[dict[str, Any]]] = {}
    for line in path.open():
        row = json.loads(line)
        by_base.setdefault(row["base"], []).append(row)
    lines, firsts, count = [], set(), 0
    for name, (kind, config) in sorted(bases().items(), key=lambda item: item[0].partition("/")[0]):
        if name not in by_base:
            print("not measured:", name)
            continue
        rows = by_base[name]
        plain = next(row for row in rows if row["key"] is None)
        if "refused" in plain:
            print("cannot be built:", name, plain["refused"])
            continue
        cls = CONFIG_MAPPING[kind]
        own = set(cls().to_dict()) | {k for sub in cls.sub_configs.values() for k in sub().to_dict()}
        kept = kept_rows(rows, plain, kind not in firsts, own)
        firsts.add(kind)
        count += sum(len(changes) for _, changes in kept)
        entry = {"name": name, "config": config}
        entry |= {key: plain.get(key) for key in ("total", "hash", "flops", "kv")}
        if "failed" in plain:
            entry["runs"] = False
        else:
            entry["out"] = {k: shortened(want) for k, want in plain["out"].items()}
            entry |= {"shapes": plain["shapes"], "inputs": plain["inputs"], "arrays": plain["arrays"]}
        entry["changes"] = kept
        lines.append(json.dumps(entry, separators=(",", ":")))
    versions = json.dumps({"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__})
    text = '{"versions":' + versions + ',\n"bases":[\n' + ",\n".join(lines) + "\n]}\n"
    (GOLDEN / "hf_mutations.json").write_text(text)
    print(f"{len(lines)} bases, {count} changes, {len(text)} bytes")


if __name__ == "__main__":
    command, file, *rest = sys.argv[1:]
    if command == "golden":
        golden(Path(file))
    else:
        {"truth": measure, "compare": compare}[command](Path(file), rest)
