"""Writes tests/golden/hf_variants.json: parameter tensors of small config variants, read off instantiated transformers classes.

    python tests/oracle/variants.py [output.json]

Needs transformers 5.24 and torch 2.13 CPU, no network. Every class is built on torch.device("meta"), so nothing is allocated.

Per variant: name, config (only the keys that differ from the family's defaults, as they would stand in a config.json), architecture
(the class that was built; the all-defaults rows have no "architectures" in their config), total_params and params: [name with layer
numbers as *, shape, count] of the unique parameters (tied ones once, under the name that named_parameters() gives first; buffers
excluded). Sizes differ from one another so that no two axes can be confused.

Rows with "further" are of model types beyond the reference's. Rows with "tie": T5-family configs with tie_word_embeddings false. transformers constructs them tied, from_pretrained unties them when
the checkpoint holds two matrices; total_params and params count lm_head.weight, total_params_as_constructed does not.
"""

import json
import os
import pathlib
import re
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch  # noqa: E402
import transformers  # noqa: E402
from transformers.models.auto.configuration_auto import CONFIG_MAPPING  # noqa: E402

transformers.logging.set_verbosity_error()

ROWS = []
FURTHER = set()


def family(model_type, prefix, main, base, *variants, default=True):
    """All-defaults row, then one row per (suffix, class name without prefix or None for main, overrides of base)."""
    if default:
        ROWS.append(
            (f"{model_type}/defaults", main if main.startswith(prefix) else prefix + main, {"model_type": model_type})
        )
    for suffix, cls, over in variants:
        arch = prefix + (cls or main)
        config = {"model_type": model_type, "architectures": [arch], **base, **over}
        ROWS.append((f"{model_type}/{suffix}", arch, {k: v for k, v in config.items() if v is not ...}))


LS = dict(
    vocab_size=1009,
    hidden_size=48,
    intermediate_size=88,
    num_hidden_layers=3,
    num_attention_heads=6,
    num_key_value_heads=2,
    max_position_embeddings=70,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
)
MHA = dict(LS, num_key_value_heads=...)
ID3 = {"0": "no", "1": "maybe", "2": "yes"}
ID5 = {str(i): f"tag{i}" for i in range(5)}
HD = dict(head_dim=10)
TIE, UNTIE = dict(tie_word_embeddings=True), dict(tie_word_embeddings=False)


def heads(*kinds):
    """Task heads of a Llama-like decoder."""
    rows = {
        "S": ("seq-classification-3", "ForSequenceClassification", dict(id2label=ID3)),
        "T": ("token-classification-5", "ForTokenClassification", dict(id2label=ID5)),
        "Q": ("question-answering", "ForQuestionAnswering", dict(num_labels=7)),
    }
    return [rows[k] for k in kinds[0]] if kinds else []


# ---------------------------------------------------------------- decoders
family(
    "llama",
    "Llama",
    "ForCausalLM",
    LS,
    ("gqa", None, {}),
    ("mha", None, dict(num_key_value_heads=...)),
    ("mqa", None, dict(num_key_value_heads=1)),
    ("tied", None, TIE),
    ("head-dim", None, HD),
    ("attention-bias", None, dict(attention_bias=True)),
    ("mlp-bias", None, dict(mlp_bias=True)),
    ("all-biases-head-dim-tied", None, dict(attention_bias=True, mlp_bias=True, **HD, **TIE)),
    ("model-only", "Model", UNTIE),
    (
        "legacy-rope-keys",
        None,
        dict(
            rope_theta=500000.0,
            rope_scaling=dict(rope_type="linear", factor=2.0),
            pretraining_tp=2,
            torch_dtype="bfloat16",
        ),
    ),
    *heads("STQ"),
    ("seq-classification-default-labels", "ForSequenceClassification", {}),
    ("seq-classification-num-labels", "ForSequenceClassification", dict(num_labels=5)),
    ("seq-classification-num-labels-beats-id2label", "ForSequenceClassification", dict(num_labels=5, id2label=ID3)),
    ("token-classification-no-bias", "ForTokenClassification", dict(num_labels=3, token_classification_bias=False)),
)
family(
    "mistral",
    "Mistral",
    "ForCausalLM",
    LS,
    ("window", None, dict(sliding_window=32)),
    ("no-window-head-dim", None, dict(sliding_window=None, **HD)),
    ("head-dim-null", None, dict(head_dim=None, num_key_value_heads=1)),
    ("default-kv-heads", None, dict(num_key_value_heads=..., num_attention_heads=16)),
    ("tied", None, TIE),
    ("model-only", "Model", {}),
    *heads("STQ"),
)
MOE4 = dict(LS, num_local_experts=5, num_experts_per_tok=2)
family(
    "mixtral",
    "Mixtral",
    "ForCausalLM",
    MOE4,
    ("moe", None, {}),
    ("head-dim-window-tied", None, dict(sliding_window=32, **HD, **TIE)),
    ("one-expert", None, dict(num_local_experts=1, num_experts_per_tok=1)),
    ("num-experts-alias", None, dict(num_local_experts=..., num_experts=7)),
    ("model-only", "Model", {}),
    *heads("STQ"),
)
family(
    "qwen2",
    "Qwen2",
    "ForCausalLM",
    LS,
    ("gqa", None, {}),
    ("mha-tied", None, dict(num_key_value_heads=6, **TIE)),
    ("kv-heads-null", None, dict(num_key_value_heads=None)),
    ("head-dim-extra-key", None, HD),
    ("sliding", None, dict(use_sliding_window=True, sliding_window=16, max_window_layers=1)),
    (
        "layer-types",
        None,
        dict(
            use_sliding_window=True,
            sliding_window=16,
            layer_types=["full_attention", "sliding_attention", "full_attention"],
        ),
    ),
    ("model-only", "Model", {}),
    *heads("STQ"),
)
family(
    "qwen3",
    "Qwen3",
    "ForCausalLM",
    dict(LS, **HD),
    ("gqa", None, {}),
    ("default-head-dim", None, dict(head_dim=...)),
    ("attention-bias-tied", None, dict(attention_bias=True, **TIE)),
    ("sliding", None, dict(use_sliding_window=True, sliding_window=16, max_window_layers=2)),
    ("model-only", "Model", {}),
    *heads("STQ"),
)
QMOE = dict(LS, num_experts=5, num_experts_per_tok=2, moe_intermediate_size=26, num_hidden_layers=6)
family(
    "qwen2_moe",
    "Qwen2Moe",
    "ForCausalLM",
    dict(QMOE, shared_expert_intermediate_size=34),
    ("moe", None, {}),
    ("no-qkv-bias", None, dict(qkv_bias=False)),
    ("sparse-step-2", None, dict(decoder_sparse_step=2)),
    ("mlp-only-layers", None, dict(mlp_only_layers=[0, 3])),
    ("step-and-only", None, dict(decoder_sparse_step=3, mlp_only_layers=[2, 4])),
    ("no-experts", None, dict(num_experts=0)),
    ("head-dim-tied", None, dict(**HD, **TIE)),
    ("sliding", None, dict(use_sliding_window=True, sliding_window=16, max_window_layers=4)),
    ("model-only", "Model", {}),
    *heads("STQ"),
)
family(
    "qwen3_moe",
    "Qwen3Moe",
    "ForCausalLM",
    dict(QMOE, **HD),
    ("moe", None, {}),
    ("no-head-dim", None, dict(head_dim=...)),
    ("attention-bias", None, dict(attention_bias=True)),
    ("sparse-step-2", None, dict(decoder_sparse_step=2)),
    ("mlp-only-layers", None, dict(mlp_only_layers=[1, 5])),
    ("num-local-experts-key", None, dict(num_experts=..., num_local_experts=7)),
    ("tied", None, TIE),
    ("model-only", "Model", {}),
    *heads("STQ"),
)
for mt, pre in (("gemma", "Gemma"), ("gemma2", "Gemma2")):
    family(
        mt,
        pre,
        "ForCausalLM",
        dict(LS, **HD),
        ("gqa", None, {}),
        ("untied", None, UNTIE),
        ("attention-bias", None, dict(attention_bias=True)),
        ("default-head-dim", None, dict(head_dim=...)),
        ("model-only", "Model", {}),
        *heads("ST"),
    )
family(
    "gemma2",
    "Gemma2",
    "ForCausalLM",
    dict(LS, **HD),
    (
        "layer-types",
        None,
        dict(
            layer_types=["full_attention"] * 2 + ["sliding_attention"],
            sliding_window=16,
            final_logit_softcapping=None,
            attn_logit_softcapping=None,
            query_pre_attn_scalar=24,
        ),
    ),
    default=False,
)
family(
    "gemma3_text",
    "Gemma3",
    "ForCausalLM",
    dict(LS, **HD),
    ("gqa", None, {}),
    ("untied-bias", None, dict(attention_bias=True, **UNTIE)),
    ("pattern-2", None, dict(sliding_window_pattern=2, sliding_window=16)),
    (
        "layer-types",
        None,
        dict(
            layer_types=["sliding_attention", "full_attention", "full_attention"],
            rope_local_base_freq=5000,
            rope_theta=10000,
        ),
    ),
    ("model-only", "TextModel", {}),
    ("seq-classification-3", "TextForSequenceClassification", dict(id2label=ID3)),
)
family(
    "phi",
    "Phi",
    "ForCausalLM",
    MHA,
    ("mha", None, {}),
    ("gqa", None, dict(num_key_value_heads=2)),
    ("qk-layernorm", None, dict(qk_layernorm=True, num_key_value_heads=3)),
    ("tied", None, TIE),
    ("partial-rotary", None, dict(partial_rotary_factor=0.25)),
    ("model-only", "Model", {}),
    *heads("ST"),
)
family(
    "phi3",
    "Phi3",
    "ForCausalLM",
    MHA,
    ("mha", None, {}),
    ("gqa-tied", None, dict(num_key_value_heads=2, **TIE)),
    ("window-partial-rotary", None, dict(sliding_window=16, partial_rotary_factor=0.5)),
    ("head-dim", None, dict(head_dim=10, num_key_value_heads=3)),
    ("model-only", "Model", {}),
    *heads("ST"),
)
family(
    "phimoe",
    "Phimoe",
    "ForCausalLM",
    MOE4,
    ("moe", None, {}),
    ("attention-bias", None, dict(attention_bias=True)),
    ("lm-head-bias", None, dict(lm_head_bias=True)),
    ("all-biases-tied", None, dict(attention_bias=True, lm_head_bias=True, **TIE)),
    ("model-only", "Model", dict(lm_head_bias=True)),
    *heads("S"),
)
family(
    "cohere",
    "Cohere",
    "ForCausalLM",
    LS,
    ("gqa", None, {}),
    ("mha", None, dict(num_key_value_heads=...)),
    ("untied", None, UNTIE),
    ("qk-norm", None, dict(use_qk_norm=True)),
    ("attention-bias-qk-norm", None, dict(attention_bias=True, use_qk_norm=True)),
    ("head-dim-extra-key", None, HD),
    ("model-only", "Model", {}),
)
family(
    "olmo",
    "Olmo",
    "ForCausalLM",
    MHA,
    ("mha", None, {}),
    ("gqa-tied", None, dict(num_key_value_heads=2, **TIE)),
    ("attention-bias-clip", None, dict(attention_bias=True, clip_qkv=8.0)),
    ("model-only", "Model", {}),
    *heads("S"),
)
family(
    "olmo2",
    "Olmo2",
    "ForCausalLM",
    MHA,
    ("mha", None, {}),
    ("gqa", None, dict(num_key_value_heads=2)),
    ("tied-bias", None, dict(attention_bias=True, **TIE)),
    ("head-dim-extra-key", None, dict(num_key_value_heads=3, **HD)),
    ("model-only", "Model", {}),
    *heads("S"),
)
family(
    "stablelm",
    "StableLm",
    "ForCausalLM",
    LS,
    ("gqa", None, {}),
    ("qkv-bias", None, dict(use_qkv_bias=True)),
    ("qk-layernorm", None, dict(qk_layernorm=True)),
    ("parallel-residual", None, dict(use_parallel_residual=True)),
    (
        "parallel-qk-bias-tied",
        None,
        dict(use_parallel_residual=True, qk_layernorm=True, use_qkv_bias=True, num_key_value_heads=6, **TIE),
    ),
    ("head-dim-ignored", None, HD),
    ("model-only", "Model", {}),
    *heads("ST"),
)
family(
    "starcoder2",
    "Starcoder2",
    "ForCausalLM",
    LS,
    ("gqa", None, {}),
    ("no-bias", None, dict(use_bias=False)),
    ("untied-window", None, dict(sliding_window=16, num_key_value_heads=3, **UNTIE)),
    ("model-only", "Model", {}),
    *heads("ST"),
)
family(
    "granite",
    "Granite",
    "ForCausalLM",
    MHA,
    ("mha", None, {}),
    (
        "gqa-tied-multipliers",
        None,
        dict(
            num_key_value_heads=2,
            embedding_multiplier=12.0,
            logits_scaling=8.0,
            residual_multiplier=0.2,
            attention_multiplier=0.01,
            **TIE,
        ),
    ),
    ("attention-bias", None, dict(attention_bias=True)),
    ("mlp-bias", None, dict(mlp_bias=True)),
    ("model-only", "Model", {}),
)
family(
    "glm4",
    "Glm4",
    "ForCausalLM",
    dict(LS, **HD),
    ("gqa", None, {}),
    ("no-attention-bias", None, dict(attention_bias=False)),
    ("default-head-dim", None, dict(head_dim=...)),
    ("tied", None, TIE),
    ("model-only", "Model", {}),
    *heads("ST"),
)
GMOE = dict(LS, n_routed_experts=5, num_experts_per_tok=2, moe_intermediate_size=26, num_hidden_layers=5)
family(
    "glm4_moe",
    "Glm4Moe",
    "ForCausalLM",
    dict(GMOE, **HD),
    ("moe", None, {}),
    ("qk-norm", None, dict(use_qk_norm=True)),
    ("attention-bias", None, dict(attention_bias=True)),
    ("first-3-dense-2-shared", None, dict(first_k_dense_replace=3, n_shared_experts=2)),
    ("all-sparse", None, dict(first_k_dense_replace=0)),
    ("all-dense", None, dict(first_k_dense_replace=5)),
    ("no-head-dim-mtp-tied", None, dict(head_dim=..., num_nextn_predict_layers=2, **TIE)),
    ("model-only", "Model", {}),
)
family(
    "exaone4",
    "Exaone4",
    "ForCausalLM",
    LS,
    ("gqa", None, {}),
    ("pattern-3", None, dict(sliding_window=16, sliding_window_pattern=3)),
    ("no-window", None, dict(sliding_window=None, layer_types=["full_attention"] * 3)),
    (
        "layer-types-tied-head-dim",
        None,
        dict(layer_types=["full_attention", "sliding_attention", "sliding_attention"], **HD, **TIE),
    ),
    ("model-only", "Model", {}),
    *heads("STQ"),
)
family(
    "nemotron",
    "Nemotron",
    "ForCausalLM",
    LS,
    ("gqa", None, {}),
    ("head-dim", None, HD),
    ("biases", None, dict(attention_bias=True, mlp_bias=True)),
    ("attention-bias-tied", None, dict(attention_bias=True, **TIE)),
    ("mlp-bias-head-dim", None, dict(mlp_bias=True, **HD)),
    ("model-only", "Model", {}),
    *heads("STQ"),
    default=False,
)
MLA = dict(
    GMOE, num_key_value_heads=6, q_lora_rank=22, kv_lora_rank=14, qk_nope_head_dim=9, qk_rope_head_dim=4, v_head_dim=11
)
family(
    "deepseek_v2",
    "DeepseekV2",
    "ForCausalLM",
    MLA,
    ("mla", None, {}),
    ("no-q-lora", None, dict(q_lora_rank=None)),
    ("attention-bias", None, dict(attention_bias=True)),
    ("mlp-bias-dense-1", None, dict(mlp_bias=True, first_k_dense_replace=1)),
    ("attention-bias-no-q-lora", None, dict(attention_bias=True, q_lora_rank=None)),
    ("dense-2-shared-3-tied", None, dict(first_k_dense_replace=2, n_shared_experts=3, **TIE)),
    ("all-dense", None, dict(first_k_dense_replace=9)),
    ("gqa-key-ignored", None, dict(num_key_value_heads=2)),
    ("model-only", "Model", {}),
    *heads("S"),
)
family(
    "deepseek_v3",
    "DeepseekV3",
    "ForCausalLM",
    dict(MLA, n_group=1, topk_group=1),
    ("mla", None, {}),
    ("no-q-lora", None, dict(q_lora_rank=None)),
    ("attention-bias", None, dict(attention_bias=True)),
    ("dense-1-shared-2", None, dict(first_k_dense_replace=1, n_shared_experts=2)),
    ("all-sparse-tied", None, dict(first_k_dense_replace=0, **TIE)),
    ("mtp-layers-ignored", None, dict(num_nextn_predict_layers=3)),
    ("num-local-experts-alias", None, dict(n_routed_experts=..., num_local_experts=7)),
    ("model-only", "Model", {}),
    *heads("ST"),
)
family(
    "llama4_text",
    "Llama4",
    "ForCausalLM",
    dict(MOE4, intermediate_size_mlp=104, num_hidden_layers=6, num_experts_per_tok=1, **HD),
    ("moe", None, {}),
    ("interleave-2", None, dict(interleave_moe_layer_step=2)),
    ("interleave-4", None, dict(interleave_moe_layer_step=4)),
    ("moe-layers", None, dict(moe_layers=[0, 1, 4, 5])),
    ("no-moe-layers", None, dict(moe_layers=[])),
    ("attention-bias-tied", None, dict(attention_bias=True, **TIE)),
    ("no-qk-norm", None, dict(use_qk_norm=False, no_rope_layer_interval=2)),
    ("model-only", "TextModel", {}),
)
family(
    "gpt_oss",
    "GptOss",
    "ForCausalLM",
    dict(MOE4, **HD),
    ("moe", None, {}),
    ("no-attention-bias", None, dict(attention_bias=False)),
    ("default-head-dim-tied", None, dict(head_dim=..., **TIE)),
    (
        "layer-types",
        None,
        dict(layer_types=["full_attention", "sliding_attention", "full_attention"], sliding_window=16),
    ),
    ("model-only", "Model", {}),
    *heads("ST"),
)
G2 = dict(vocab_size=1009, n_positions=70, n_embd=48, n_layer=3, n_head=6, bos_token_id=1, eos_token_id=2)
family(
    "gpt2",
    "GPT2",
    "LMHeadModel",
    G2,
    ("small", None, {}),
    ("untied", None, UNTIE),
    ("n-inner", None, dict(n_inner=88)),
    ("cross-attention", None, dict(add_cross_attention=True)),
    (
        "aliases",
        None,
        dict(
            n_embd=...,
            n_layer=...,
            n_head=...,
            n_positions=...,
            hidden_size=48,
            num_hidden_layers=3,
            num_attention_heads=6,
            max_position_embeddings=70,
        ),
    ),
    ("alias-beats-own-key", None, dict(hidden_size=36)),
    ("model-only", "Model", {}),
    ("double-heads", "DoubleHeadsModel", dict(num_labels=5)),
    ("double-heads-no-labels-projection", "DoubleHeadsModel", dict(summary_proj_to_labels=False)),
    ("double-heads-no-projection", "DoubleHeadsModel", dict(summary_use_proj=False)),
    *heads("STQ"),
)
GN = dict(
    vocab_size=1009,
    max_position_embeddings=70,
    hidden_size=48,
    num_layers=3,
    num_heads=6,
    attention_types=[[["global"], 3]],
    bos_token_id=1,
    eos_token_id=2,
)
family(
    "gpt_neo",
    "GPTNeo",
    "ForCausalLM",
    GN,
    ("global", None, {}),
    ("local-untied", None, dict(num_layers=4, attention_types=[[["global", "local"], 2]], window_size=16, **UNTIE)),
    ("intermediate", None, dict(intermediate_size=88)),
    ("model-only", "Model", {}),
    *heads("STQ"),
)
GX = dict(
    vocab_size=1009,
    hidden_size=48,
    num_hidden_layers=3,
    num_attention_heads=6,
    intermediate_size=88,
    max_position_embeddings=70,
    bos_token_id=1,
    eos_token_id=2,
)
family(
    "gpt_neox",
    "GPTNeoX",
    "ForCausalLM",
    GX,
    ("parallel", None, dict(rotary_pct=0.5)),
    ("sequential", None, dict(use_parallel_residual=False)),
    ("no-attention-bias", None, dict(attention_bias=False)),
    ("tied", None, TIE),
    ("model-only", "Model", {}),
    *heads("STQ"),
)
family(
    "gptj",
    "GPTJ",
    "ForCausalLM",
    dict(G2, rotary_dim=4),
    ("small", None, {}),
    ("tied", None, TIE),
    ("n-inner", None, dict(n_inner=88)),
    ("model-only", "Model", {}),
    *heads("SQ"),
)
family(
    "gpt_bigcode",
    "GPTBigCode",
    "ForCausalLM",
    G2,
    ("multi-query", None, {}),
    ("multi-head", None, dict(multi_query=False)),
    ("untied-n-inner", None, dict(n_inner=88, **UNTIE)),
    ("cross-attention", None, dict(multi_query=False, add_cross_attention=True)),
    ("model-only", "Model", {}),
    *heads("ST"),
)
FA = dict(vocab_size=1009, hidden_size=48, num_hidden_layers=3, num_attention_heads=6, bos_token_id=1, eos_token_id=2)
NEWF = dict(new_decoder_architecture=True, num_kv_heads=2)
family(
    "falcon",
    "Falcon",
    "ForCausalLM",
    FA,
    ("multi-query", None, {}),
    ("untied-bias", None, dict(bias=True, **UNTIE)),
    ("multi-head", None, dict(multi_query=False)),
    ("multi-head-kv-heads-ignored", None, dict(multi_query=False, num_kv_heads=2)),
    ("multi-query-kv-heads-ignored", None, dict(num_kv_heads=2)),
    ("new-architecture", None, NEWF),
    ("new-architecture-one-norm", None, dict(NEWF, num_ln_in_parallel_attn=1)),
    ("old-architecture-two-norms", None, dict(num_ln_in_parallel_attn=2)),
    ("new-architecture-sequential", None, dict(NEWF, parallel_attn=False)),
    ("new-architecture-no-kv-heads", None, dict(new_decoder_architecture=True)),
    ("sequential-alibi-bias", None, dict(parallel_attn=False, alibi=True, bias=True, multi_query=False)),
    ("ffn-hidden-size", None, dict(ffn_hidden_size=88)),
    ("n-embed", None, dict(n_embed=36)),
    ("model-only", "Model", {}),
    *heads("STQ"),
)
BL = dict(vocab_size=1009, hidden_size=48, n_layer=3, n_head=6)
family(
    "bloom",
    "Bloom",
    "ForCausalLM",
    BL,
    ("small", None, {}),
    ("untied", None, dict(apply_residual_connection_post_layernorm=True, **UNTIE)),
    ("n-embed", None, dict(n_embed=36)),
    ("aliases", None, dict(n_layer=..., n_head=..., num_hidden_layers=4, num_attention_heads=3)),
    ("model-only", "Model", {}),
    *heads("STQ"),
)
MP = dict(vocab_size=1009, d_model=48, n_heads=6, n_layers=3, max_seq_len=70)
family(
    "mpt",
    "Mpt",
    "ForCausalLM",
    MP,
    ("small", None, {}),
    ("untied", None, UNTIE),
    ("expansion-ratio-ignored", None, dict(expansion_ratio=3)),
    ("biases-ignored", None, dict(no_bias=False)),
    ("attention-config", None, dict(attn_config=dict(alibi=False, clip_qkv=8.0, qk_ln=True))),
    ("no-learned-positions", None, dict(learned_pos_emb=False)),
    ("model-only", "Model", {}),
    *heads("STQ"),
)
OP = dict(
    vocab_size=1009,
    hidden_size=48,
    num_hidden_layers=3,
    ffn_dim=88,
    max_position_embeddings=70,
    num_attention_heads=6,
    pad_token_id=1,
)
family(
    "opt",
    "OPT",
    "ForCausalLM",
    OP,
    ("pre-norm", None, {}),
    ("post-norm-projection", None, dict(do_layer_norm_before=False, word_embed_proj_dim=20)),
    ("projection-untied", None, dict(word_embed_proj_dim=20, **UNTIE)),
    ("post-norm", None, dict(do_layer_norm_before=False)),
    ("no-final-norm", None, dict(_remove_final_layer_norm=True)),
    ("no-bias", None, dict(enable_bias=False)),
    ("no-affine", None, dict(layer_norm_elementwise_affine=False)),
    ("model-only", "Model", {}),
    *heads("SQ"),
    ("seq-classification-projection", "ForSequenceClassification", dict(word_embed_proj_dim=20, num_labels=3)),
    ("question-answering-projection", "ForQuestionAnswering", dict(word_embed_proj_dim=20)),
)

# ---------------------------------------------------------------- encoders
BE = dict(
    vocab_size=1009,
    hidden_size=48,
    num_hidden_layers=3,
    num_attention_heads=6,
    intermediate_size=88,
    max_position_embeddings=70,
    type_vocab_size=3,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
)


def encoder_heads(qa=7):
    return [
        ("seq-classification-3", "ForSequenceClassification", dict(id2label=ID3)),
        ("token-classification-5", "ForTokenClassification", dict(id2label=ID5)),
        ("question-answering", "ForQuestionAnswering", {}),
        ("multiple-choice", "ForMultipleChoice", dict(num_labels=4)),
    ] + ([("question-answering-num-labels", "ForQuestionAnswering", dict(num_labels=qa))] if qa else [])


CROSS = dict(is_decoder=True, add_cross_attention=True)
family(
    "bert",
    "Bert",
    "ForMaskedLM",
    BE,
    ("small", None, {}),
    ("untied", None, UNTIE),
    ("one-token-type", None, dict(type_vocab_size=1)),
    ("relative-key-ignored", None, dict(position_embedding_type="relative_key")),
    ("model-only", "Model", {}),
    ("pretraining", "ForPreTraining", {}),
    ("pretraining-untied", "ForPreTraining", UNTIE),
    ("next-sentence", "ForNextSentencePrediction", dict(num_labels=5)),
    ("lm-head-decoder", "LMHeadModel", dict(is_decoder=True)),
    ("lm-head-cross-attention", "LMHeadModel", CROSS),
    ("model-cross-attention", "Model", CROSS),
    *encoder_heads(),
)
for mt, pre in (("roberta", "Roberta"), ("xlm-roberta", "XLMRoberta")):
    family(
        mt,
        pre,
        "ForMaskedLM",
        BE,
        ("small", None, {}),
        ("untied", None, UNTIE),
        ("model-only", "Model", dict(type_vocab_size=1)),
        ("causal-lm", "ForCausalLM", dict(is_decoder=True)),
        ("causal-lm-cross-attention", "ForCausalLM", CROSS),
        *encoder_heads(),
    )
AL = dict(BE, embedding_size=20)
family(
    "albert",
    "Albert",
    "ForMaskedLM",
    AL,
    ("small", None, {}),
    ("untied", None, UNTIE),
    ("groups-2", None, dict(num_hidden_groups=2)),
    ("inner-groups", None, dict(num_hidden_groups=3, inner_group_num=2)),
    ("embedding-equals-hidden", None, dict(embedding_size=48)),
    ("layers-9", None, dict(num_hidden_layers=9)),
    ("model-only", "Model", {}),
    ("pretraining", "ForPreTraining", {}),
    ("pretraining-labels", "ForPreTraining", dict(num_labels=4)),
    *encoder_heads(),
)
DB = dict(vocab_size=1009, dim=48, n_layers=3, n_heads=6, hidden_dim=88, max_position_embeddings=70)
family(
    "distilbert",
    "DistilBert",
    "ForMaskedLM",
    DB,
    ("small", None, {}),
    ("untied", None, UNTIE),
    ("sinusoidal", None, dict(sinusoidal_pos_embds=True)),
    ("model-only", "Model", {}),
    *encoder_heads(qa=None),
)
EL = dict(BE, embedding_size=20)
family(
    "electra",
    "Electra",
    "ForPreTraining",
    EL,
    ("discriminator", None, {}),
    ("generator", "ForMaskedLM", {}),
    ("generator-untied", "ForMaskedLM", UNTIE),
    ("embedding-equals-hidden", None, dict(embedding_size=48)),
    ("model-only", "Model", {}),
    ("causal-lm", "ForCausalLM", dict(is_decoder=True)),
    ("causal-lm-cross-attention", "ForCausalLM", CROSS),
    ("multiple-choice-no-projection", "ForMultipleChoice", dict(summary_use_proj=False)),
    *encoder_heads(),
)
DE = dict(
    vocab_size=1009,
    hidden_size=48,
    num_hidden_layers=3,
    num_attention_heads=6,
    intermediate_size=88,
    max_position_embeddings=70,
)
REL = dict(relative_attention=True, pos_att_type="c2p|p2c")
family(
    "deberta-v2",
    "DebertaV2",
    "ForMaskedLM",
    DE,
    ("absolute", None, {}),
    ("relative-not-shared", None, REL),
    ("relative-c2p-only", None, dict(relative_attention=True, pos_att_type=["c2p"])),
    ("relative-p2c-only", None, dict(relative_attention=True, pos_att_type="p2c", max_relative_positions=33)),
    (
        "v3-style",
        None,
        dict(
            REL,
            share_att_key=True,
            position_buckets=12,
            norm_rel_ebd="layer_norm",
            position_biased_input=False,
            max_relative_positions=-1,
        ),
    ),
    (
        "v2-style-conv",
        None,
        dict(
            REL,
            share_att_key=True,
            position_buckets=12,
            norm_rel_ebd="layer_norm",
            position_biased_input=False,
            conv_kernel_size=3,
            conv_act="gelu",
        ),
    ),
    ("conv-groups", None, dict(conv_kernel_size=5, conv_groups=4)),
    ("token-types", None, dict(type_vocab_size=3)),
    ("embedding-size", None, dict(embedding_size=20, type_vocab_size=2)),
    ("rel-norm-without-relative", None, dict(norm_rel_ebd="layer_norm")),
    ("untied", None, UNTIE),
    ("new-head", None, dict(legacy=False)),
    ("model-only", "Model", REL),
    ("pooler-size", "ForSequenceClassification", dict(pooler_hidden_size=30)),
    *encoder_heads(),
)
MB = dict(
    vocab_size=1009,
    hidden_size=48,
    num_hidden_layers=4,
    num_attention_heads=6,
    intermediate_size=88,
    max_position_embeddings=70,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
    cls_token_id=1,
    sep_token_id=2,
)
family(
    "modernbert",
    "ModernBert",
    "ForMaskedLM",
    MB,
    ("small", None, {}),
    ("untied", None, UNTIE),
    ("norm-bias", None, dict(norm_bias=True)),
    ("attention-bias", None, dict(attention_bias=True)),
    ("mlp-bias", None, dict(mlp_bias=True)),
    ("classifier-bias-no-decoder-bias", None, dict(classifier_bias=True, decoder_bias=False)),
    ("global-every-2", None, dict(global_attn_every_n_layers=2, local_attention=16)),
    ("model-only", "Model", {}),
    (
        "all-biases-seq-classification",
        "ForSequenceClassification",
        dict(norm_bias=True, attention_bias=True, mlp_bias=True, classifier_bias=True, num_labels=5),
    ),
    *encoder_heads(),
)

# ---------------------------------------------------------------- encoder-decoders
T5B = dict(vocab_size=1009, d_model=48, d_kv=10, d_ff=88, num_layers=3, num_heads=6, relative_attention_num_buckets=14)
for mt, pre in (("t5", "T5"), ("mt5", "MT5")):
    gated = "relu" if mt == "mt5" else "gated-gelu"
    family(
        mt,
        pre,
        "ForConditionalGeneration",
        T5B,
        ("small", None, {}),
        ("other-activation", None, dict(feed_forward_proj=gated)),
        ("gated-silu", None, dict(feed_forward_proj="gated-silu")),
        ("decoder-layers", None, dict(num_decoder_layers=5)),
        ("untied-decoder-layers", None, dict(num_decoder_layers=2, **UNTIE)),
        ("untied", None, UNTIE),
        ("tied", None, TIE),
        ("model-only", "Model", dict(num_decoder_layers=2)),
        ("model-only-untied", "Model", UNTIE),
        ("encoder-only", "EncoderModel", {}),
        ("seq-classification-3", "ForSequenceClassification", dict(num_labels=3)),
        ("token-classification-5", "ForTokenClassification", dict(id2label=ID5)),
        ("question-answering", "ForQuestionAnswering", {}),
        ("question-answering-3", "ForQuestionAnswering", dict(num_labels=3)),
    )
S2 = dict(
    vocab_size=1009,
    d_model=48,
    encoder_layers=2,
    decoder_layers=3,
    encoder_ffn_dim=88,
    decoder_ffn_dim=104,
    encoder_attention_heads=4,
    decoder_attention_heads=6,
    max_position_embeddings=70,
    pad_token_id=1,
    bos_token_id=0,
    eos_token_id=2,
    decoder_start_token_id=2,
    forced_eos_token_id=2,
)
family(
    "bart",
    "Bart",
    "ForConditionalGeneration",
    S2,
    ("small", None, {}),
    ("untied", None, UNTIE),
    ("scale-embedding", None, dict(scale_embedding=True)),
    ("alias-beats-own-key", None, dict(num_hidden_layers=5)),
    ("model-only", "Model", {}),
    ("model-only-untied", "Model", UNTIE),
    ("causal-lm", "ForCausalLM", {}),
    ("causal-lm-untied", "ForCausalLM", UNTIE),
    ("seq-classification", "ForSequenceClassification", {}),
    ("seq-classification-5", "ForSequenceClassification", dict(num_labels=5)),
    ("question-answering", "ForQuestionAnswering", dict(num_labels=5)),
)
family(
    "m2m_100",
    "M2M100",
    "ForConditionalGeneration",
    S2,
    ("small", None, {}),
    ("untied", None, UNTIE),
    ("model-only", "Model", {}),
)
family(
    "pegasus",
    "Pegasus",
    "ForConditionalGeneration",
    S2,
    ("small", None, {}),
    ("untied", None, UNTIE),
    ("model-only", "Model", {}),
    ("causal-lm", "ForCausalLM", {}),
    ("causal-lm-untied", "ForCausalLM", UNTIE),
)
NOSHARE = dict(share_encoder_decoder_embeddings=False, decoder_vocab_size=1013)
family(
    "marian",
    "Marian",
    "MTModel",
    dict(S2, decoder_vocab_size=1009),
    ("small", None, {}),
    ("untied", None, UNTIE),
    ("separate-vocabularies", None, NOSHARE),
    ("separate-vocabularies-untied", None, dict(NOSHARE, **UNTIE)),
    ("no-decoder-vocab-size", None, dict(decoder_vocab_size=...)),
    ("model-only", "Model", {}),
    ("model-separate-vocabularies", "Model", NOSHARE),
    ("causal-lm", "ForCausalLM", {}),
)
WH = dict(
    vocab_size=1009,
    num_mel_bins=13,
    d_model=48,
    encoder_layers=2,
    decoder_layers=3,
    encoder_ffn_dim=88,
    decoder_ffn_dim=104,
    encoder_attention_heads=4,
    decoder_attention_heads=6,
    max_source_positions=50,
    max_target_positions=70,
    pad_token_id=1,
    bos_token_id=0,
    eos_token_id=2,
    decoder_start_token_id=2,
    begin_suppress_tokens=[3],
)
family(
    "whisper",
    "Whisper",
    "ForConditionalGeneration",
    WH,
    ("small", None, {}),
    ("untied", None, UNTIE),
    ("median-filter", None, dict(median_filter_width=5, apply_spec_augment=True)),
    ("model-only", "Model", {}),
    ("causal-lm", "ForCausalLM", {}),
    ("audio-classification-3", "ForAudioClassification", dict(num_labels=3, classifier_proj_size=30)),
    (
        "audio-classification-weighted",
        "ForAudioClassification",
        dict(id2label=ID5, classifier_proj_size=30, use_weighted_layer_sum=True),
    ),
)

# ---------------------------------------------------------------- vision, dual
VI = dict(
    hidden_size=48,
    num_hidden_layers=3,
    num_attention_heads=6,
    intermediate_size=88,
    image_size=40,
    patch_size=8,
    num_channels=5,
)
family(
    "vit",
    "ViT",
    "ForImageClassification",
    VI,
    ("small", None, {}),
    ("labels-5", None, dict(id2label=ID5)),
    ("no-labels", None, dict(num_labels=0)),
    ("no-qkv-bias", None, dict(qkv_bias=False)),
    ("rectangular", None, dict(image_size=[40, 54], patch_size=[8, 9])),
    ("ragged", None, dict(image_size=43)),
    ("model-only", "Model", {}),
    ("model-pooler-size", "Model", dict(pooler_output_size=30)),
    ("masked-image", "ForMaskedImageModeling", dict(encoder_stride=8)),
)
CT = dict(
    vocab_size=1009,
    hidden_size=36,
    intermediate_size=58,
    num_hidden_layers=2,
    num_attention_heads=4,
    max_position_embeddings=21,
    pad_token_id=1,
    bos_token_id=0,
    eos_token_id=2,
)
CV = dict(
    hidden_size=48,
    intermediate_size=88,
    num_hidden_layers=3,
    num_attention_heads=6,
    image_size=40,
    patch_size=8,
    num_channels=5,
)
family(
    "clip",
    "CLIP",
    "Model",
    dict(text_config=CT, vision_config=CV, projection_dim=26),
    ("small", None, {}),
    ("default-projection", None, dict(projection_dim=...)),
    (
        "inner-projections-ignored",
        None,
        dict(text_config=dict(CT, projection_dim=17), vision_config=dict(CV, projection_dim=19)),
    ),
    ("text-config-dict-wins", None, dict(text_config_dict=dict(CT, hidden_size=44))),
    ("image-classification-5", "ForImageClassification", dict(num_labels=5)),
)
family(
    "clip_text_model",
    "CLIP",
    "TextModel",
    CT,
    ("small", None, {}),
    ("projection", "TextModelWithProjection", dict(projection_dim=26)),
)
family(
    "clip_vision_model",
    "CLIP",
    "VisionModel",
    CV,
    ("small", None, {}),
    ("projection", "VisionModelWithProjection", dict(projection_dim=26)),
)


# ---------------------------------------------------------------- further model types (rows have "further": true)
def further(model_type, prefix, main, base, *variants, default=True):
    FURTHER.add(model_type)
    family(model_type, prefix, main, base, *variants, default=default)


STD = [("gqa", None, {}), ("tied", None, TIE), ("untied", None, UNTIE), ("model-only", "Model", {})]
further("glm", "Glm", "ForCausalLM", dict(LS, **HD), *STD, ("no-attention-bias", None, dict(attention_bias=False)))
further("olmo3", "Olmo3", "ForCausalLM", LS, *STD, ("attention-bias", None, dict(attention_bias=True)))
further(
    "olmoe",
    "Olmoe",
    "ForCausalLM",
    dict(LS, num_experts=5, num_experts_per_tok=2),
    *STD,
    ("attention-bias", None, dict(attention_bias=True)),
)
further(
    "seed_oss",
    "SeedOss",
    "ForCausalLM",
    dict(LS, **HD),
    *STD,
    ("biases", None, dict(attention_bias=False, attention_out_bias=True, mlp_bias=True)),
)
further(
    "arcee", "Arcee", "ForCausalLM", LS, *STD, ("biases-head-dim", None, dict(attention_bias=True, mlp_bias=True, **HD))
)
further(
    "apertus",
    "Apertus",
    "ForCausalLM",
    LS,
    *STD,
    ("attention-bias", None, dict(attention_bias=True)),
    ("silu", None, dict(hidden_act="silu")),
)
further(
    "helium", "Helium", "ForCausalLM", dict(LS, **HD), *STD, ("biases", None, dict(attention_bias=True, mlp_bias=True))
)
further("smollm3", "SmolLM3", "ForCausalLM", LS, *STD, ("biases", None, dict(attention_bias=True, mlp_bias=True)))
further("ernie4_5", "Ernie4_5", "ForCausalLM", dict(LS, **HD), *STD, ("bias", None, dict(use_bias=True)))
further(
    "ernie4_5_moe",
    "Ernie4_5_Moe",
    "ForCausalLM",
    dict(LS, num_hidden_layers=6, moe_num_experts=5, moe_k=2, moe_intermediate_size=26, moe_num_shared_experts=3),
    *STD,
    ("bias", None, dict(use_bias=True)),
    ("no-shared", None, dict(moe_num_shared_experts=0)),
    ("range-interval", None, dict(moe_layer_start_index=2, moe_layer_end_index=4, moe_layer_interval=2)),
)
further(
    "hunyuan_v1_dense",
    "HunYuanDenseV1",
    "ForCausalLM",
    dict(LS, **HD),
    *STD,
    ("attention-bias", None, dict(attention_bias=True)),
    default=False,
)
further(
    "hunyuan_v1_moe",
    "HunYuanMoEV1",
    "ForCausalLM",
    dict(LS, num_experts=5, moe_topk=2, **HD),
    *STD,
    ("attention-bias", None, dict(attention_bias=True)),
    default=False,
)
further("cohere2", "Cohere2", "ForCausalLM", LS, *STD, ("attention-bias", None, dict(attention_bias=True)))
further(
    "granitemoe",
    "GraniteMoe",
    "ForCausalLM",
    dict(LS, num_local_experts=5),
    *STD,
    ("attention-bias", None, dict(attention_bias=True)),
)
further("persimmon", "Persimmon", "ForCausalLM", dict(MHA), *STD, ("no-qk-layernorm", None, dict(qk_layernorm=False)))
DSA = dict(
    GMOE,
    num_key_value_heads=6,
    q_lora_rank=22,
    kv_lora_rank=14,
    qk_nope_head_dim=9,
    qk_rope_head_dim=4,
    v_head_dim=11,
    n_group=1,
    topk_group=1,
)
IDX = dict(index_head_dim=12, index_n_heads=7, index_topk=16)
further(
    "deepseek_v32",
    "DeepseekV32",
    "ForCausalLM",
    dict(DSA, **IDX),
    *STD,
    ("dense-1", None, dict(first_k_dense_replace=1)),
    ("attention-bias", None, dict(attention_bias=True)),
)
further(
    "glm4_moe_lite",
    "Glm4MoeLite",
    "ForCausalLM",
    DSA,
    *STD,
    ("mlp-layer-types", None, dict(mlp_layer_types=["dense", "sparse", "dense", "sparse", "sparse"])),
    ("no-q-lora", None, dict(q_lora_rank=None)),
)
further(
    "glm_moe_dsa",
    "GlmMoeDsa",
    "ForCausalLM",
    dict(DSA, **IDX),
    *STD,
    ("indexer-freq-2", None, dict(index_topk_freq=2)),
    ("dense-1", None, dict(first_k_dense_replace=1)),
)
further(
    "dbrx",
    "Dbrx",
    "ForCausalLM",
    dict(
        vocab_size=1009,
        d_model=48,
        n_heads=6,
        n_layers=3,
        max_seq_len=70,
        attn_config=dict(kv_n_heads=2, rope_theta=10000.0),
        ffn_config=dict(ffn_hidden_size=88, moe_num_experts=5, moe_top_k=2),
    ),
    ("gqa", None, {}),
    ("model-only", "Model", {}),
    default=False,
)
XG = dict(
    vocab_size=1009, max_position_embeddings=70, d_model=48, ffn_dim=88, num_layers=3, attention_heads=6, pad_token_id=1
)
further("xglm", "XGLM", "ForCausalLM", XG, *STD[1:], ("cross-attention", None, dict(add_cross_attention=True)))
further(
    "codegen", "CodeGen", "ForCausalLM", dict(G2, n_head=8, rotary_dim=4), *STD[1:], ("n-inner", None, dict(n_inner=88))
)
further(
    "openai-gpt",
    "OpenAIGPT",
    "LMHeadModel",
    G2,
    ("small", None, {}),
    ("untied", None, UNTIE),
    ("model-only", "Model", {}),
    ("double-heads", "DoubleHeadsModel", {}),
    ("seq-classification-3", "ForSequenceClassification", dict(num_labels=3)),
)
further(
    "ctrl",
    "CTRL",
    "LMHeadModel",
    dict(G2, dff=88),
    ("small", None, {}),
    ("untied", None, UNTIE),
    ("model-only", "Model", {}),
    ("seq-classification-3", "ForSequenceClassification", dict(num_labels=3)),
)
further(
    "biogpt",
    "BioGpt",
    "ForCausalLM",
    dict(MHA),
    *STD[1:],
    ("seq-classification-3", "ForSequenceClassification", dict(num_labels=3)),
)
for mt, pre in (("blenderbot", "Blenderbot"), ("blenderbot-small", "BlenderbotSmall"), ("mbart", "MBart")):
    further(
        mt,
        pre,
        "ForConditionalGeneration",
        S2,
        ("small", None, {}),
        ("untied", None, UNTIE),
        ("model-only", "Model", {}),
        ("causal-lm", "ForCausalLM", {}),
    )
for mt, pre in (
    ("camembert", "Camembert"),
    ("xlm-roberta-xl", "XLMRobertaXL"),
    ("mpnet", "MPNet"),
    ("roformer", "RoFormer"),
    ("roberta-prelayernorm", "RobertaPreLayerNorm"),
):
    further(
        mt,
        pre,
        "ForMaskedLM",
        BE,
        ("small", None, {}),
        ("untied", None, UNTIE),
        ("model-only", "Model", {}),
        *encoder_heads(),
    )
further(
    "nomic_bert",
    "NomicBert",
    "ForMaskedLM",
    BE,
    ("small", None, {}),
    ("untied", None, UNTIE),
    ("model-only", "Model", {}),
    *encoder_heads()[:2],
)
further(
    "umt5",
    "UMT5",
    "ForConditionalGeneration",
    T5B,
    ("small", None, {}),
    ("relu", None, dict(feed_forward_proj="relu")),
    ("untied", None, UNTIE),
    ("encoder-only", "EncoderModel", {}),
    ("model-only", "Model", dict(num_decoder_layers=2)),
)
further(
    "switch_transformers",
    "SwitchTransformers",
    "ForConditionalGeneration",
    dict(
        T5B, num_layers=6, num_decoder_layers=4, num_sparse_encoder_layers=3, num_sparse_decoder_layers=2, num_experts=5
    ),
    ("small", None, {}),
    ("untied", None, UNTIE),
    ("no-sparse-encoder", None, dict(num_sparse_encoder_layers=0)),
    ("router-bias", None, dict(router_bias=True)),
    ("encoder-only", "EncoderModel", {}),
)
further(
    "deit",
    "DeiT",
    "ForImageClassification",
    VI,
    ("small", None, {}),
    ("model-only", "Model", dict(pooler_output_size=30)),
    ("with-teacher", "ForImageClassificationWithTeacher", dict(num_labels=3)),
    ("masked-image", "ForMaskedImageModeling", dict(encoder_stride=8)),
)
further(
    "dinov2",
    "Dinov2",
    "ForImageClassification",
    dict(VI, intermediate_size=..., mlp_ratio=3),
    ("small", None, {}),
    ("swiglu", None, dict(use_swiglu_ffn=True)),
    ("no-mask-token", "Model", dict(use_mask_token=False)),
    ("no-qkv-bias", "Model", dict(qkv_bias=False)),
)
ST = dict(CT, projection_size=26)
further(
    "siglip",
    "Siglip",
    "Model",
    dict(text_config=ST, vision_config=CV),
    ("small", None, {}),
    ("no-head", None, dict(vision_config=dict(CV, vision_use_head=False))),
    ("image-classification-5", "ForImageClassification", dict(num_labels=5)),
)
further("siglip_text_model", "Siglip", "TextModel", ST, ("small", None, {}))
further(
    "siglip_vision_model",
    "Siglip",
    "VisionModel",
    CV,
    ("small", None, {}),
    ("no-head", None, dict(vision_use_head=False)),
)


# ---------------------------------------------------------------- decoders of other families' parts
L5 = dict(LS, num_hidden_layers=5)
SPANS = dict(layer_types=[*["full_attention", "sliding_attention"] * 2, "full_attention"])
V3MOE = dict(L5, n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=26)
further(
    "ministral",
    "Ministral",
    "ForCausalLM",
    dict(L5, **HD),
    *STD,
    ("no-window", None, dict(sliding_window=None)),
    ("layer-types", None, SPANS),
    *heads("STQ"),
    default=False,
)
further("cwm", "Cwm", "ForCausalLM", L5, *STD, ("layer-types", None, SPANS), ("mlp-bias", None, dict(mlp_bias=True)))
further(
    "dots1",
    "Dots1",
    "ForCausalLM",
    dict(V3MOE, n_shared_experts=2, first_k_dense_replace=1),
    *STD,
    ("attention-bias-head-dim", None, dict(attention_bias=True, **HD)),
    ("window-from-layer-3", None, dict(max_window_layers=3)),
    ("window-everywhere", None, dict(max_window_layers=0, first_k_dense_replace=2)),
    default=False,
)
further(
    "solar_open",
    "SolarOpen",
    "ForCausalLM",
    V3MOE,
    *STD,
    ("attention-bias-head-dim", None, dict(attention_bias=True, **HD)),
    ("two-shared-experts", None, dict(n_shared_experts=2)),
)
further(
    "exaone_moe",
    "ExaoneMoe",
    "ForCausalLM",
    dict(L5, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=26),
    *STD,
    ("dense-2-head-dim", None, dict(first_k_dense_replace=2, **HD)),
    ("pattern-2", None, dict(sliding_window_pattern=2)),
    ("mlp-layer-types", None, dict(mlp_layer_types=["dense", "sparse", "dense", "sparse", "sparse"])),
    ("two-shared-experts", None, dict(num_shared_experts=2)),
)
further(
    "minimax_m2",
    "MiniMaxM2",
    "ForCausalLM",
    dict(L5, num_local_experts=4, num_experts_per_tok=2, **HD),
    *STD,
    ("rotary-dim", None, dict(rotary_dim=4)),
    ("default-head-dim", None, dict(head_dim=...)),
)
further(
    "flex_olmo",
    "FlexOlmo",
    "ForCausalLM",
    dict(L5, num_experts=4, num_experts_per_tok=2),
    *STD,
    ("attention-bias", None, dict(attention_bias=True)),
)
further(
    "granitemoeshared",
    "GraniteMoeShared",
    "ForCausalLM",
    dict(L5, num_local_experts=4, num_experts_per_tok=2, shared_intermediate_size=18),
    *STD,
    ("nothing-shared", None, dict(shared_intermediate_size=0)),
    ("attention-bias", None, dict(attention_bias=True)),
)
GRANITE4 = dict(
    LS, shared_intermediate_size=90, layer_types=["attention"] * 3, mamba_n_heads=6, mamba_d_head=16, mamba_expand=2
)
further(
    "granitemoehybrid",
    "GraniteMoeHybrid",
    "ForCausalLM",
    GRANITE4,
    ("experts", None, dict(num_local_experts=4)),
    ("dense", None, dict(num_local_experts=0, num_experts_per_tok=0, position_embedding_type="rope")),
    ("dense-tied", None, dict(num_local_experts=0, attention_bias=True, **TIE)),
    default=False,
)
further(
    "vaultgemma", "VaultGemma", "ForCausalLM", dict(L5, **HD), *STD, ("attention-bias", None, dict(attention_bias=True))
)

# ---------------------------------------------------------------- encoders built like BERT and RoBERTa
PRETRAINING = [("pretraining", "ForPreTraining", {}), ("next-sentence", "ForNextSentencePrediction", {})]
for kind, title, more in (
    ("ernie", "Ernie", PRETRAINING),
    ("megatron-bert", "MegatronBert", PRETRAINING),
    ("data2vec-text", "Data2VecText", []),
):
    more = [("model-only", "Model", {}), *more, *encoder_heads()]
    further(kind, title, "ForMaskedLM", BE, ("small", None, {}), ("untied", None, UNTIE), *more)


# ---------------------------------------------------------------- measuring
def fold(name):
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", name)


def measure(arch, config):
    plain = {k: v for k, v in config.items() if k != "architectures"}
    cfg = CONFIG_MAPPING[config["model_type"]].from_dict(json.loads(json.dumps(plain)))
    with torch.device("meta"):
        model = getattr(transformers, arch)._from_config(cfg)
    groups, total = {}, 0
    for name, p in model.named_parameters():  # a tied tensor comes once
        key = (fold(name), tuple(p.shape))
        groups[key] = groups.get(key, 0) + 1
        total += p.numel()
    return total, [[n, list(s), c] for (n, s), c in groups.items()]


def main():
    here = pathlib.Path(__file__).resolve()
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here.parents[1] / "golden" / "hf_variants.json"
    names = [r[0] for r in ROWS]
    assert len(set(names)) == len(names), [n for n in names if names.count(n) > 1]
    lines, failed = [], []
    for name, arch, config in ROWS:
        try:
            total, params = measure(arch, config)
        except Exception as exc:
            failed.append(f"{name} ({arch}): {type(exc).__name__}: {str(exc)[:160]}")
            continue
        row = {"name": name, "config": config, "architecture": arch, "total_params": total, "params": params}
        if config["model_type"] in FURTHER:
            row["further"] = True
        if (
            config["model_type"] in ("t5", "mt5", "umt5")
            and arch.endswith("ForConditionalGeneration")
            and config.get("tie_word_embeddings") is False
        ):
            shape = [config["vocab_size"], config["d_model"]]
            row["tie"] = "untied as in a checkpoint with two matrices; constructed tied"
            row["total_params_as_constructed"] = total
            row["total_params"] = total + shape[0] * shape[1]
            params.append(["lm_head.weight", shape, 1])
        count = 0
        for _, shape, n in params:
            size = n
            for x in shape:
                size *= x
            count += size
        assert count == row["total_params"], name
        lines.append(json.dumps(row, separators=(",", ":")))
    versions = json.dumps({"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__})
    text = '{"versions":' + versions + ',\n"variants":[\n' + ",\n".join(lines) + "\n]}\n"
    json.loads(text)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text)
    types = {r[2]["model_type"] for r in ROWS}
    print(f"{out.name}: {len(lines)} variants of {len(types)} model types, {len(text)} bytes")
    if failed:
        print("could not be built (left out):", *failed, sep="\n  ")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
