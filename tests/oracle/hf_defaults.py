"""What transformers' config classes fill in for keys that a config.json leaves out.

    python tests/oracle/hf_defaults.py [output.json]

Needs transformers 5.24 (torch 2.13 CPU) and no network; every class is only constructed, no model is built.

It writes transformer_calc/sources/families/defaults/TYPE.json, what the package reads, of every model type in GROUPS:
  group          the module of `families` where the record of the type stands
  keys           raw default of every key of the class's constructor but those that it leaves as the base class has
                 them, of the keys that its __post_init__ takes out of further ones, and of rope_theta and rope_scaling
  aliases        name -> the key that it stands for (attribute_map)
  parts          the same of configurations inside it that are of no model type

And tests/golden/hf_defaults.json, to compare with: per model type
  class          config class; attribute_map: alias -> real key (an alias is accepted wherever the key is)
  defaults       values of the object constructed with no arguments, after __post_init__ has run. Keys whose value is
                 the base class's (see "base") are left out, inside sub-configs too
  declared       raw default of the constructor where __post_init__ replaced it (usually null = "derive it")
  computed       keys in `defaults` that are no constructor argument but set by __post_init__
  legacy_keys    further keys __post_init__ or the rope conversion read from a config.json, beyond the constructor's
  default_theta  rope base when the config gives none (10000.0 where the class says nothing, and then left out here)
  derived        key -> how the class computes it (hand-written from the source of configuration_*.py)
"""

import ast
import dataclasses
import importlib
import inspect
import json
import os
import pathlib
import re
import sys
import textwrap

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import PreTrainedConfig  # noqa: E402
from transformers.models.auto.configuration_auto import CONFIG_MAPPING  # noqa: E402

FAMILIES = """
albert apertus arcee bart bert biogpt blenderbot blenderbot-small bloom camembert clip clip_text_model clip_vision_model
codegen cohere cohere2 ctrl dbrx deberta-v2 deepseek_v2 deepseek_v3 deepseek_v32 deit dinov2 distilbert electra ernie4_5
ernie4_5_moe exaone4 falcon gemma gemma2 gemma3_text glm glm4 glm4_moe glm4_moe_lite glm_moe_dsa gpt2 gpt_bigcode gpt_neo
gpt_neox gpt_oss gptj granite granitemoe helium hunyuan_v1_dense hunyuan_v1_moe llama llama4_text m2m_100 marian mbart
mistral mixtral modernbert mpnet mpt mt5 nemotron nomic_bert olmo olmo2 olmo3 olmoe openai-gpt opt pegasus persimmon phi
phi3 phimoe qwen2 qwen2_moe qwen3 qwen3_moe roberta roberta-prelayernorm roformer seed_oss siglip siglip_text_model
siglip_vision_model smollm3 stablelm starcoder2 switch_transformers t5 umt5 vit whisper xglm xlm-roberta xlm-roberta-xl
cwm data2vec-text dots1 ernie exaone_moe flex_olmo granitemoehybrid granitemoeshared megatron-bert minimax_m2 ministral solar_open vaultgemma
""".split()

ABSENT = {
    "kimi_k2": "no class of its own; its config.json has DeepSeek-V3's keys and is read by DeepseekV3Config "
    "(kimi_k25 renames a text_config of type kimi_k2 to deepseek_v3)",
}

ALIKE = {"kimi_k2": "deepseek_v3"}

KV = "num_attention_heads when null"
HD = "hidden_size // num_attention_heads when null"
QKHD = "qk_nope_head_dim + qk_rope_head_dim"
ROPE_PARTIAL = "partial_rotary_factor defaults to 0.5 and goes into rope_parameters"
ROPE2 = (
    "one dict per layer type (sliding_attention, full_attention); rope_scaling goes to full_attention only; theta "
    "from rope_theta, or the class's default_theta"
)
T5_DERIVED = {
    "num_decoder_layers": "num_layers when null",
    "dense_act_fn": "last part of feed_forward_proj split at '-'; exactly 'gated-gelu' means gelu_new",
    "is_gated_act": "first part of feed_forward_proj is 'gated'",
    "tie_word_embeddings": "a value in config.json is ignored: always true",
}
T5_SCALED = {**T5_DERIVED, "scale_decoder_outputs": "config.json's tie_word_embeddings is not false"}
DENSE_FIRST = "first_k_dense_replace (at most num_hidden_layers) layers 'dense', the others 'sparse', when null"
DERIVED = {
    "apertus": {"num_key_value_heads": KV, "rope_parameters": "llama3 scaling (theta 12e6, factor 8) when null"},
    "arcee": {"num_key_value_heads": KV, "head_dim": HD},
    "bart": {"num_labels": "3 when neither id2label nor num_labels is given (base class: 2)"},
    "bloom": {"hidden_size": "the key n_embed wins over hidden_size when present"},
    "clip": {
        "text_config": "CLIPTextConfig() when null; text_config_dict's keys win over text_config's",
        "vision_config": "CLIPVisionConfig() when null; vision_config_dict's keys win over vision_config's",
    },
    "cohere": {"num_key_value_heads": KV},
    "cohere2": {
        "num_key_value_heads": KV,
        "head_dim": "always hidden_size // num_attention_heads",
        "layer_types": "when null: layer i full_attention if (i + 1) % sliding_window_pattern == 0 (key "
        "sliding_window_pattern, default 4), else sliding_attention",
    },
    "dbrx": {
        "attn_config": "DbrxAttentionConfig() when null",
        "num_key_value_heads": "attn_config.kv_n_heads",
        "ffn_config": "DbrxFFNConfig() when null; its hidden_size is overwritten with d_model",
    },
    "deberta-v2": {
        "pos_att_type": "a string is lower-cased and split at '|'",
        "pooler_hidden_size": "hidden_size unless the key is given",
    },
    "deepseek_v2": {"qk_head_dim": QKHD, "head_dim": "always qk_rope_head_dim", "num_key_value_heads": KV},
    "deepseek_v3": {
        "qk_head_dim": QKHD,
        "head_dim": "always qk_rope_head_dim",
        "num_key_value_heads": KV,
        "num_mtp_layers": "attribute_map spells it num_nextn_predict_layers; no multi-token-prediction layer is built "
        "by DeepseekV3ForCausalLM",
    },
    "deepseek_v32": {
        "qk_head_dim": QKHD,
        "head_dim": "always qk_rope_head_dim",
        "mlp_layer_types": DENSE_FIRST,
        "layer_types": "all 'indexed_attention' when null",
        "n_routed_experts": "the key num_experts wins when present",
    },
    "deit": {"pooler_output_size": "hidden_size when null or 0"},
    "dinov2": {
        "stage_names": "stem, stage1 .. stage<num_hidden_layers>",
        "out_features": "and out_indices: the last stage unless given",
    },
    "ernie4_5": {"num_key_value_heads": KV, "head_dim": "128 by default; " + HD},
    "ernie4_5_moe": {"moe_layer_end_index": "num_hidden_layers - 1 when -1"},
    "exaone4": {
        "sliding_window_pattern": "0 when sliding_window is null",
        "layer_types": "when null: sliding_attention if (i + 1) % sliding_window_pattern != 0, else full_attention. A pattern "
        "of 0 (sliding_window null) divides by zero, so such a config must give layer_types",
    },
    "falcon": {
        "hidden_size": "the key n_embed wins over hidden_size when present",
        "num_kv_heads": "num_attention_heads when null (then used only with new_decoder_architecture, or without multi_query)",
        "ffn_hidden_size": "4 * hidden_size when null",
        "head_dim": "property: hidden_size // num_attention_heads",
        "rotary": "property: not alibi",
    },
    "gemma": {"hidden_act": "'gelu' becomes 'gelu_pytorch_tanh'"},
    "gemma2": {"layer_types": "when null: even layers (0, 2, ..) sliding_attention, odd ones full_attention"},
    "gemma3_text": {
        "layer_types": "when null: layer i full_attention if (i + 1) % sliding_window_pattern == 0 (key "
        "sliding_window_pattern, default 6), else sliding_attention",
        "_sliding_window_pattern": "sliding_window_pattern of the config.json, default 6",
        "sliding_window": "sliding_window // 2 + 1 with use_bidirectional_attention",
        "rope_parameters": "one dict per layer type; full_attention: rope_theta (1e6 default) and rope_scaling; "
        "sliding_attention: rope_local_base_freq (1e4 default)",
    },
    "glm": {"rope_parameters": ROPE_PARTIAL, "eos_token_id": "[151329, 151336, 151338] when null"},
    "glm4": {"rope_parameters": ROPE_PARTIAL, "eos_token_id": "[151329, 151336, 151338] when null"},
    "glm4_moe": {
        "rope_parameters": ROPE_PARTIAL,
        "num_mtp_layers": "attribute_map spells it num_nextn_predict_layers; no multi-token-prediction layer is built by "
        "Glm4MoeForCausalLM",
    },
    "cwm": {
        "num_key_value_heads": KV,
        "head_dim": HD,
        "rope_parameters": "llama3 with factor 16 when null",
        "layer_types": "when null: layer i full_attention if i % 4 == 0, else sliding_attention",
        "eos_token_id": "three ids when null",
        "sliding_window": "null when 0",
    },
    "dots1": {
        "num_key_value_heads": KV,
        "layer_types": "when null: sliding_attention for layers i >= max_window_layers with a sliding_window, else full_attention",
    },
    "exaone_moe": {
        "num_key_value_heads": KV,
        "mlp_layer_types": "when null: 'dense' for the first first_k_dense_replace layers, then 'sparse'",
        "sliding_window_pattern": "0 when sliding_window is null",
        "layer_types": "when null: full_attention at every sliding_window_pattern-th layer, else sliding_attention",
    },
    "flex_olmo": {"num_key_value_heads": KV},
    "granitemoehybrid": {
        "num_key_value_heads": KV,
        "mamba_d_head": "mamba_expand * hidden_size // mamba_n_heads when auto",
        "layer_types": "all linear_attention when null",
        "time_step_limit": "a tuple",
    },
    "granitemoeshared": {"num_key_value_heads": KV},
    "ministral": {
        "num_key_value_heads": "8 by default; " + KV,
        "head_dim": "stays null, and the class cannot be built without it: published configs give it",
        "layer_types": "when null: sliding_attention with a sliding_window, else full_attention",
    },
    "vaultgemma": {"layer_types": "when null: sliding_attention and full_attention in turn"},
    "glm4_moe_lite": {
        "qk_head_dim": QKHD,
        "mlp_layer_types": "when null: layer 0 'dense', the others 'sparse' (first_k_dense_replace is not read)",
    },
    "glm_moe_dsa": {
        "qk_head_dim": QKHD,
        "head_dim": "always qk_rope_head_dim",
        "mlp_layer_types": DENSE_FIRST,
        "layer_types": "all 'indexed_attention' when null",
        "indexer_types": "when null: from index_topk_pattern (F = full, S = shared); else layer i 'full' if max(i - "
        "index_skip_topk_offset + 1, 0) % index_topk_freq == 0 (offset 2, freq 1 by default), else 'shared'",
        "n_routed_experts": "the key num_experts wins when present",
    },
    "gpt_bigcode": {"num_key_value_heads": "1 with multi_query, else n_head"},
    "gpt_neo": {
        "attention_types": "[[['global', 'local'], 12]] when null, whatever num_layers is",
        "attention_layers": "attention_types expanded; its length must equal num_layers",
    },
    "gpt_neox": {
        "rope_parameters": "theta from rotary_emb_base (default 10000), partial_rotary_factor from rotary_pct (default 0.25)"
    },
    "gpt_oss": {
        "num_key_value_heads": KV,
        "head_dim": HD,
        "layer_types": "when null: even layers (0, 2, ..) sliding_attention, odd ones full_attention",
        "rope_parameters": "yarn, factor 32 of 4096 when null",
    },
    "granite": {"num_key_value_heads": KV},
    "granitemoe": {"num_key_value_heads": KV},
    "hunyuan_v1_dense": {
        "num_key_value_heads": KV,
        "head_dim": "stays null, and the class cannot be built without it: published configs give it",
    },
    "hunyuan_v1_moe": {
        "num_key_value_heads": KV,
        "head_dim": "stays null, and the class cannot be built without it: published configs give it",
    },
    "llama": {"num_key_value_heads": KV, "head_dim": HD},
    "llama4_text": {
        "num_key_value_heads": KV,
        "head_dim": HD,
        "no_rope_layers": "when null or empty: 0 (= no rope) at every no_rope_layer_interval-th layer, else 1",
        "moe_layers": "range(interleave_moe_layer_step - 1, num_hidden_layers, interleave_moe_layer_step) when null",
        "layer_types": "when null: chunked_attention where no_rope_layers is 1, full_attention where it is 0",
    },
    "marian": {"decoder_vocab_size": "vocab_size when null or 0"},
    "mistral": {"num_key_value_heads": "8 by default; " + KV, "head_dim": HD},
    "mixtral": {
        "num_key_value_heads": "8 by default; " + KV,
        "head_dim": "stays null here; the model takes hidden_size // num_attention_heads",
    },
    "modernbert": {
        "layer_types": "when null: layer i full_attention if i % global_attn_every_n_layers == 0 (key "
        "global_attn_every_n_layers, default 3), else sliding_attention",
        "rope_parameters": "one dict per layer type; theta from global_rope_theta (160000) and local_rope_theta (10000)",
        "sliding_window": "property: local_attention // 2 (the half window)",
    },
    "mpt": {"attn_config": "MptAttentionConfig() when null"},
    "mt5": T5_DERIVED,
    "nemotron": {"head_dim": HD, "rope_parameters": ROPE_PARTIAL},
    "nomic_bert": {"head_dim": HD},
    "olmo": {"num_key_value_heads": KV},
    "olmo2": {"num_key_value_heads": KV},
    "olmo3": {
        "num_key_value_heads": KV,
        "rope_parameters": ROPE2,
        "layer_types": "when null: layer i full_attention if (i + 1) % 4 == 0, else sliding_attention",
    },
    "olmoe": {"num_key_value_heads": KV},
    "opt": {"word_embed_proj_dim": "hidden_size when null"},
    "persimmon": {"rope_parameters": ROPE_PARTIAL},
    "phi": {"num_key_value_heads": KV, "rope_parameters": ROPE_PARTIAL},
    "phi3": {
        "num_key_value_heads": KV,
        "rope_parameters": "partial_rotary_factor 1.0 by default; rope types su and yarn are read as longrope",
    },
    "phimoe": {
        "num_key_value_heads": "8 by default; " + KV,
        "original_max_position_embeddings": "copied out of rope_parameters when it has one",
    },
    "qwen2": {
        "num_key_value_heads": "32 by default; " + KV,
        "sliding_window": "null unless use_sliding_window",
        "layer_types": "when null: sliding_attention for layers i >= max_window_layers with use_sliding_window, else full_attention",
    },
    "qwen2_moe": {
        "mlp_only_layers": "[] when null",
        "sliding_window": "0 unless use_sliding_window",
        "layer_types": "when null: sliding_attention for even layers i < max_window_layers with use_sliding_window, else "
        "full_attention",
    },
    "qwen3": {
        "num_key_value_heads": "32 by default; " + KV,
        "sliding_window": "null unless use_sliding_window",
        "layer_types": "when null: sliding_attention for layers i >= max_window_layers with use_sliding_window, else full_attention",
    },
    "qwen3_moe": {"mlp_only_layers": "[] when null", "sliding_window": "null unless use_sliding_window"},
    "roformer": {"embedding_size": "hidden_size when null"},
    "seed_oss": {"num_key_value_heads": "8 by default; " + KV, "head_dim": "128 by default; " + HD},
    "siglip": {"text_config": "SiglipTextConfig() when null", "vision_config": "SiglipVisionConfig() when null"},
    "siglip_text_model": {"projection_size": "hidden_size when null"},
    "smollm3": {
        "num_key_value_heads": "4 by default; " + KV,
        "no_rope_layers": "when null: 0 (= no rope) at every no_rope_layer_interval-th layer, else 1",
        "layer_types": "when null: sliding_attention for layers without rope, with use_sliding_window and a sliding_window; else "
        "full_attention",
    },
    "stablelm": {"rope_parameters": "partial_rotary_factor defaults to 0.25 and goes into rope_parameters"},
    "switch_transformers": {
        "num_decoder_layers": "12 by default; num_layers when null",
        "encoder_sparse_step": "num_layers // num_sparse_encoder_layers (num_layers when that is 0)",
        "decoder_sparse_step": "num_decoder_layers // num_sparse_decoder_layers (num_decoder_layers when that is 0)",
    },
    "t5": T5_SCALED,
    "umt5": T5_SCALED,
    "vit": {"pooler_output_size": "hidden_size when null or 0"},
}
NOISE = {"transformers_version", "_name_or_path", "model_type", "label2id"}


def plain(value):
    if isinstance(value, PreTrainedConfig):
        return clean(value.to_dict())
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    return value


BASE = {k: plain(v) for k, v in PreTrainedConfig().to_dict().items() if k not in NOISE}


def clean(d):
    """A config's dict without noise and without what the base class says anyway."""
    out = {}
    for k, v in d.items():
        v = plain(v)
        if k in NOISE or (k in BASE and BASE[k] == v):
            continue
        out[k] = clean(v) if isinstance(v, dict) and k.endswith("_config") else v
    return out


def own_source(cls):
    return "\n".join(
        textwrap.dedent(inspect.getsource(c))
        for c in cls.__mro__
        if issubclass(c, PreTrainedConfig) and c is not PreTrainedConfig
    )


def describe(model_type):
    cls = CONFIG_MAPPING[model_type]
    source = own_source(cls)
    values = clean(cls().to_dict())
    if cls().num_labels != 2:
        values["num_labels"] = cls().num_labels
    fields = {f.name: plain(f.default) for f in cls.__dataclass_fields__.values() if f.name in values}
    entry = {"class": cls.__name__}
    if cls.attribute_map:
        entry["attribute_map"] = dict(sorted(cls.attribute_map.items()))
    values.pop("id2label", None)
    entry["defaults"] = values
    declared = {k: v for k, v in fields.items() if k in values and v != values[k]}
    if declared:
        entry["declared"] = declared
    computed = sorted(k for k in values if k not in cls.__dataclass_fields__)
    if computed:
        entry["computed"] = computed
    legacy = set(re.findall(r"kwargs\.(?:get|pop|setdefault)\(\s*[\"'](\w+)[\"']", source))
    legacy |= {"rope_theta", "rope_scaling"} if "rope_parameters" in cls.__dataclass_fields__ else set()
    legacy -= set(cls.__dataclass_fields__)
    if legacy:
        entry["legacy_keys"] = sorted(legacy)
    if "rope_parameters" in cls.__dataclass_fields__ and getattr(cls, "default_theta", 10000.0) != 10000.0:
        entry["default_theta"] = cls.default_theta
    entry["derived"] = dict(DERIVED.get(model_type, {}))
    for key, text in entry["derived"].items():
        if text.endswith("when null") and key in cls.__dataclass_fields__ and values.get(key) is not None:
            try:
                cls(**{key: None})
            except Exception:  # the field's type does not admit null
                entry["derived"][key] = text + " (an explicit null is refused: leave the key out)"
    if not entry["derived"]:
        del entry["derived"]
    # every attribute that __post_init__ assigns must be explained
    assigned = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name == "__post_init__":
            for sub in ast.walk(node):
                for target in getattr(sub, "targets", []):
                    if (
                        isinstance(target, ast.Attribute)
                        and isinstance(target.value, ast.Name)
                        and target.value.id == "self"
                    ):
                        assigned.add(target.attr)
    missing = assigned - set(entry.get("derived", {}))
    if missing:
        raise SystemExit(f"{model_type}: __post_init__ sets {sorted(missing)}, which DERIVED does not explain")
    return entry


LITERAL = re.compile(r"kwargs\.(?:get|pop|setdefault)\(\s*[\"'](\w+)[\"'],\s*([^()]*?)\s*\)")


def further_keys(cls):
    """Keys that __post_init__ takes out of what is no argument, with what it takes where they are missing."""
    for key, value in LITERAL.findall(own_source(cls)):
        try:
            yield key, eval(value, {"self": cls, "__builtins__": {}})
        except (NameError, AttributeError):  # it follows from other keys
            continue


def keys_of(cls):
    """The raw defaults of a configuration class."""
    base = {f.name: f for f in PreTrainedConfig.__dataclass_fields__.values()}
    found = {}
    if "rope_parameters" in cls.__dataclass_fields__:
        theta = getattr(cls, "default_theta", 10000.0)  # of each kind of layer, in some
        found |= {"rope_scaling": None} | ({} if isinstance(theta, dict) else {"rope_theta": theta})
    found |= {key: value for key, value in further_keys(cls) if key not in base and not key.startswith("out_")}
    for field in cls.__dataclass_fields__.values():
        value = field.default
        if value is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        if value is dataclasses.MISSING or field.name in NOISE or field.name.endswith(("out_features", "out_indices")):
            continue
        if field.name not in base or value != base[field.name].default:
            found[field.name] = plain(value)
    turned = plain(getattr(cls(), "rope_parameters", None)) if "rope_parameters" in found else None
    if turned and turned.get("rope_type", "default") != "default":  # where the class has a scaling of its own
        found["rope_parameters"] = {key: value for key, value in turned.items() if key != "rope_theta"}
    return dict(sorted(found.items()))


def data_of(model_type, group):
    """What the package reads of a model type."""
    cls = CONFIG_MAPPING[ALIKE.get(model_type, model_type)]
    names = dict(cls.attribute_map)
    keys = keys_of(cls)
    backwards = {a: k for a, k in names.items() if a in keys and k not in keys}  # which transformers reads as it writes
    names = {a: k for a, k in names.items() if a not in backwards} | {k: a for a, k in backwards.items()}
    inner = {name: of for name, of in cls.sub_configs.items() if of.model_type not in CONFIG_MAPPING}
    data = {"transformers": transformers.__version__, "class": cls.__name__, "group": group, "keys": keys}
    return data | {"aliases": dict(sorted(names.items())), "parts": {name: keys_of(of) for name, of in inner.items()}}


def written(data):
    """As it stands in its file."""
    return json.dumps({key: value for key, value in data.items() if value}, indent=1, ensure_ascii=False) + "\n"


def groups():
    """Model type -> the module where its record stands."""
    from transformer_calc.sources import families

    found = {}
    for path in sorted(pathlib.Path(families.__file__).parent.glob("*.py")):
        module = importlib.import_module(f"{families.__name__}.{path.stem}")
        found |= dict.fromkeys(getattr(module, "TYPES", ()), path.stem)
    return found


def wrapped(mapping, indent, width=132):
    """A JSON object on as few lines as fit, keys sorted."""
    items = [f"{json.dumps(k)}: {json.dumps(mapping[k], sort_keys=True, ensure_ascii=False)}" for k in sorted(mapping)]
    lines, line = [], ""
    for item in items:
        if line and len(line) + len(item) + 2 > width - indent:
            lines.append(line)
            line = ""
        line += (", " if line else "") + item
    lines.append(line)
    pad = " " * indent
    return "{\n" + ",\n".join(pad + text for text in lines) + "\n" + pad[:-1] + "}"


def main():
    here = pathlib.Path(__file__).resolve()
    folder = here.parents[2] / "transformer_calc" / "sources" / "families" / "defaults"
    for model_type, group in groups().items():
        (folder / f"{model_type}.json").write_text(written(data_of(model_type, group)))
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here.parents[1] / "golden" / "hf_defaults.json"
    families = {m: describe(m) for m in sorted(FAMILIES)}
    parts = [
        '{\n"versions": '
        + json.dumps({"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__}),
        '"base": ' + wrapped(BASE, 1),
        '"absent": ' + wrapped(ABSENT, 1),
    ]
    blocks = []
    for name, entry in families.items():
        rows = [
            f"  {json.dumps(k)}: "
            + (
                wrapped(v, 4)
                if isinstance(v, dict) and len(json.dumps(v)) > 110
                else json.dumps(v, sort_keys=True, ensure_ascii=False)
            )
            for k, v in entry.items()
        ]
        blocks.append(f" {json.dumps(name)}: {{\n" + ",\n".join(rows) + "\n }")
    parts.append('"families": {\n' + ",\n".join(blocks) + "\n}")
    text = ",\n".join(parts) + "\n}\n"
    json.loads(text)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text)
    print(
        f"{out.name}: {len(families)} model types, {len(text)} bytes, {sum(len(f['defaults']) for f in families.values())} defaults"
    )


if __name__ == "__main__":
    main()
