"""Measures what autograd keeps, family by family: tests/golden/activations_by_family.json.

    python tests/oracle/measure_activations.py [NAME ...]
    python tests/oracle/measure_activations.py --trace NAME ATTENTION DTYPE

Needs transformers 5.24 and torch 2.13 CPU, no network. Small models of each family in training mode, without dropout
unless their name says so, run forward under torch.autograd.graph.saved_tensors_hooks. Counted is every storage that is
handed to the hooks, once, with all its bytes; parameters, buffers and the inputs handed in (ids, labels, pixels) are
not. The experts of a mixture run as the class chooses on its own, `grouped_mm`. `--trace` says what each storage is:
its shape and the line that keeps it.

Of the models in CHECKPOINTED also the bytes that are alive after a forward pass with gradient checkpointing, while only
the loss is held: checkpointed inputs do not pass through the hooks.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
import transformers
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

OUT = Path(__file__).resolve().parents[1] / "golden" / "activations_by_family.json"
SIZES = ((3, 40, 24), (1, 96, 56))  # batch, seq, target
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
ATTENTION = ("eager", "sdpa")

IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
VOCAB, LAYERS, D, HEADS, FF, POSITIONS = 331, 2, 96, 6, 176, 128
BERT = {
    "vocab_size": VOCAB,
    "hidden_size": D,
    "intermediate_size": FF,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": POSITIONS,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    **IDS,
}
LLAMA = {key: value for key, value in BERT.items() if not key.endswith("_prob")} | {"num_key_value_heads": 2}
OLD = {**LLAMA, "num_key_value_heads": HEADS}
NEOX = {key: value for key, value in LLAMA.items() if key != "num_key_value_heads"}
GPT2 = {
    "vocab_size": VOCAB,
    "n_positions": POSITIONS,
    "n_embd": D,
    "n_layer": LAYERS,
    "n_head": HEADS,
    "n_inner": FF,
    "attn_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "resid_pdrop": 0.0,
    **IDS,
}
BART = {
    "vocab_size": VOCAB,
    "d_model": D,
    "encoder_layers": LAYERS,
    "decoder_layers": LAYERS,
    "encoder_ffn_dim": FF,
    "decoder_ffn_dim": 208,
    "encoder_attention_heads": HEADS,
    "decoder_attention_heads": HEADS,
    "max_position_embeddings": POSITIONS,
    "dropout": 0.0,
    "encoder_layerdrop": 0.0,
    "decoder_layerdrop": 0.0,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": 2,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
}
T5 = {
    "vocab_size": VOCAB,
    "d_model": D,
    "d_kv": 16,
    "d_ff": FF,
    "num_layers": LAYERS,
    "num_decoder_layers": LAYERS,
    "num_heads": HEADS,
    "dropout_rate": 0.0,
    "decoder_start_token_id": 0,
    **IDS,
}
VIT = {
    "hidden_size": D,
    "intermediate_size": FF,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "image_size": 32,
    "patch_size": 4,
}
EXPERTS = {"num_local_experts": 8, "num_experts_per_tok": 2}
QWEN = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 56}
DEEPSEEK = {
    **OLD,
    "first_k_dense_replace": 1,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 56,
    "n_group": 4,
    "topk_group": 2,
    "kv_lora_rank": 28,
    "q_lora_rank": 36,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 8,
    "v_head_dim": 14,
}
DEEPSEEK_MOE = {k: v for k, v in DEEPSEEK.items() if "lora" not in k and "_head_dim" not in k}
SLIDING = {"sliding_window": 17, "layer_types": ["sliding_attention", "full_attention"]}
HEAD = {"head_dim": 20}
NEO = {
    "vocab_size": VOCAB,
    "hidden_size": D,
    "num_layers": LAYERS,
    "num_heads": HEADS,
    "intermediate_size": FF,
    "window_size": 17,
    "attention_types": [[["global", "local"], 1]],
    "max_position_embeddings": POSITIONS,
    "attention_dropout": 0.0,
    "embed_dropout": 0.0,
    "resid_dropout": 0.0,
    **IDS,
}
GPTJ = GPT2 | {"rotary_dim": 8}
BLOOM = {"vocab_size": VOCAB, "hidden_size": D, "n_layer": LAYERS, "n_head": HEADS}
BLOOM |= {"attention_dropout": 0.0, "hidden_dropout": 0.0, **IDS}
OPT = {key: value for key, value in NEOX.items() if key != "intermediate_size"}
OPT |= {"ffn_dim": FF, "dropout": 0.0, "attention_dropout": 0.0, "word_embed_proj_dim": D}
FALCON = {"vocab_size": VOCAB, "hidden_size": D, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
FALCON |= {"attention_dropout": 0.0, "hidden_dropout": 0.0, **IDS}
MPT = {"vocab_size": VOCAB, "d_model": D, "n_heads": HEADS, "n_layers": LAYERS}
DISTIL = {
    "vocab_size": VOCAB,
    "dim": D,
    "n_layers": LAYERS,
    "n_heads": HEADS,
    "hidden_dim": FF,
    "max_position_embeddings": POSITIONS,
    "dropout": 0.0,
    "attention_dropout": 0.0,
}
MODERN = {
    **{key: value for key, value in BERT.items() if not key.endswith("_prob")},
    "num_hidden_layers": 3,
    "local_attention": 18,
    "cls_token_id": 1,
    "sep_token_id": 2,
}
DEBERTA = {**BERT, "relative_attention": True, "pos_att_type": "c2p|p2c", "norm_rel_ebd": "layer_norm"}
DEBERTA |= {"share_att_key": True, "position_buckets": 12, "position_biased_input": False, "type_vocab_size": 0}
WHISPER = {key: value for key, value in BART.items() if key != "max_position_embeddings"}
WHISPER |= {"num_mel_bins": 10, "max_source_positions": 40, "max_target_positions": 64, "begin_suppress_tokens": [3]}
CLIP_TEXT = {**NEOX, "eos_token_id": 5}

# name: (class, model_type, config)
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt2": ("GPT2LMHeadModel", "gpt2", GPT2),
    "gpt2_dropout": ("GPT2LMHeadModel", "gpt2", GPT2 | dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.1)),
    "gptj": ("GPTJForCausalLM", "gptj", GPTJ),
    "gptj_dropout": ("GPTJForCausalLM", "gptj", GPTJ | dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.1)),
    "codegen": ("CodeGenForCausalLM", "codegen", {**GPTJ, "n_head": 8}),
    "gpt_neo": ("GPTNeoForCausalLM", "gpt_neo", NEO),
    "gpt_neox": ("GPTNeoXForCausalLM", "gpt_neox", {**NEOX, "rotary_pct": 0.5}),
    "gpt_bigcode": ("GPTBigCodeForCausalLM", "gpt_bigcode", GPT2),
    "openai-gpt": ("OpenAIGPTLMHeadModel", "openai-gpt", {**GPT2, "afn": "gelu"}),
    "opt": ("OPTForCausalLM", "opt", OPT),
    "opt_dropout": ("OPTForCausalLM", "opt", OPT | {"dropout": 0.1, "attention_dropout": 0.1}),
    "xglm": (
        "XGLMForCausalLM",
        "xglm",
        {
            "vocab_size": VOCAB,
            "d_model": D,
            "ffn_dim": FF,
            "num_layers": LAYERS,
            "attention_heads": HEADS,
            "max_position_embeddings": POSITIONS,
            "dropout": 0.0,
            "attention_dropout": 0.0,
            **IDS,
        },
    ),
    "biogpt": ("BioGptForCausalLM", "biogpt", {**BERT}),
    "bloom": ("BloomForCausalLM", "bloom", BLOOM),
    "falcon": ("FalconForCausalLM", "falcon", {**FALCON, "multi_query": True}),
    "falcon_new": ("FalconForCausalLM", "falcon", {**FALCON, "num_kv_heads": 2, "new_decoder_architecture": True}),
    "falcon_alibi": (
        "FalconForCausalLM",
        "falcon",
        {**FALCON, "multi_query": False, "alibi": True, "parallel_attn": False, "bias": True},
    ),
    "mpt": ("MptForCausalLM", "mpt", MPT),
    "persimmon": ("PersimmonForCausalLM", "persimmon", {**OLD, "hidden_dropout": 0.0, "attention_dropout": 0.0}),
    "llama": ("LlamaForCausalLM", "llama", LLAMA),
    "mistral": ("MistralForCausalLM", "mistral", {**LLAMA, "sliding_window": None}),
    "mistral_window": ("MistralForCausalLM", "mistral", {**LLAMA, "sliding_window": 17}),
    "mixtral": ("MixtralForCausalLM", "mixtral", {**LLAMA, **EXPERTS}),
    "qwen2": ("Qwen2ForCausalLM", "qwen2", LLAMA),
    "qwen2_moe": (
        "Qwen2MoeForCausalLM",
        "qwen2_moe",
        {**LLAMA, **QWEN, "shared_expert_intermediate_size": 72, "mlp_only_layers": [0]},
    ),
    "qwen3": ("Qwen3ForCausalLM", "qwen3", {**LLAMA, **HEAD}),
    "qwen3_moe": ("Qwen3MoeForCausalLM", "qwen3_moe", {**LLAMA, **QWEN, **HEAD}),
    "qwen3_moe_normalised": ("Qwen3MoeForCausalLM", "qwen3_moe", {**LLAMA, **QWEN, **HEAD, "norm_topk_prob": True}),
    "gemma": ("GemmaForCausalLM", "gemma", {**LLAMA, **HEAD}),
    "gemma2": ("Gemma2ForCausalLM", "gemma2", {**LLAMA, **HEAD, **SLIDING}),
    "gemma3": ("Gemma3ForCausalLM", "gemma3_text", {**LLAMA, **HEAD, **SLIDING}),
    "phi": ("PhiForCausalLM", "phi", {**OLD, "partial_rotary_factor": 0.5}),
    "phi3": ("Phi3ForCausalLM", "phi3", {**LLAMA, "sliding_window": None}),
    "phi3_window": ("Phi3ForCausalLM", "phi3", {**LLAMA, "sliding_window": 17}),
    "phimoe": ("PhimoeForCausalLM", "phimoe", {**LLAMA, **EXPERTS, "attention_bias": True, "lm_head_bias": True}),
    "cohere": ("CohereForCausalLM", "cohere", {**LLAMA, "use_qk_norm": True}),
    "cohere2": ("Cohere2ForCausalLM", "cohere2", {**LLAMA, **SLIDING}),
    "olmo": ("OlmoForCausalLM", "olmo", {**OLD, "clip_qkv": 8.0}),
    "olmo2": ("Olmo2ForCausalLM", "olmo2", LLAMA),
    "olmo3": ("Olmo3ForCausalLM", "olmo3", {**LLAMA, **SLIDING}),
    "olmoe": ("OlmoeForCausalLM", "olmoe", {**OLD, "num_experts": 8, "num_experts_per_tok": 2}),
    "stablelm": ("StableLmForCausalLM", "stablelm", {**OLD, "qk_layernorm": True}),
    "starcoder2": ("Starcoder2ForCausalLM", "starcoder2", {**LLAMA, "sliding_window": 17}),
    "granite": ("GraniteForCausalLM", "granite", {**LLAMA, "logits_scaling": 3.0, "residual_multiplier": 0.3}),
    "granitemoe": ("GraniteMoeForCausalLM", "granitemoe", {**LLAMA, **EXPERTS}),
    "glm": ("GlmForCausalLM", "glm", {**LLAMA, **HEAD}),
    "glm4": ("Glm4ForCausalLM", "glm4", {**LLAMA, **HEAD}),
    "glm4_moe": (
        "Glm4MoeForCausalLM",
        "glm4_moe",
        {**LLAMA, **EXPERTS, "n_routed_experts": 8, "moe_intermediate_size": 56, "use_qk_norm": True},
    ),
    "deepseek_v2": ("DeepseekV2ForCausalLM", "deepseek_v2", {**DEEPSEEK, "topk_method": "group_limited_greedy"}),
    "deepseek_v3": ("DeepseekV3ForCausalLM", "deepseek_v3", DEEPSEEK),
    "gpt_oss": ("GptOssForCausalLM", "gpt_oss", {**LLAMA, **EXPERTS, **HEAD, **SLIDING}),
    "llama4": (
        "Llama4ForCausalLM",
        "llama4_text",
        {
            **LLAMA,
            **EXPERTS,
            **HEAD,
            "intermediate_size_mlp": 208,
            "num_experts_per_tok": 1,
            "interleave_moe_layer_step": 2,
            "attention_chunk_size": 17,
            "no_rope_layer_interval": 2,
        },
    ),
    "nemotron": ("NemotronForCausalLM", "nemotron", LLAMA),
    "exaone4": (
        "Exaone4ForCausalLM",
        "exaone4",
        {**LLAMA, "sliding_window": None, "layer_types": ["full_attention"] * 2},
    ),
    "smollm3": ("SmolLM3ForCausalLM", "smollm3", {**LLAMA, "no_rope_layers": [1, 0]}),
    "seed_oss": ("SeedOssForCausalLM", "seed_oss", {**LLAMA, **HEAD}),
    "helium": ("HeliumForCausalLM", "helium", {**LLAMA, "head_dim": 16}),
    "arcee": ("ArceeForCausalLM", "arcee", LLAMA),
    "ernie4_5": ("Ernie4_5ForCausalLM", "ernie4_5", {**LLAMA, "head_dim": 16}),
    "hunyuan_v1_dense": ("HunYuanDenseV1ForCausalLM", "hunyuan_v1_dense", {**LLAMA, "head_dim": 16}),
    "gemma_long": ("GemmaForCausalLM", "gemma", {**LLAMA, "head_dim": 288}),
    "llama_dropout": ("LlamaForCausalLM", "llama", {**LLAMA, "attention_dropout": 0.1}),
    "mistral_wide_window": ("MistralForCausalLM", "mistral", {**LLAMA, "sliding_window": 60}),
    "vaultgemma": ("VaultGemmaForCausalLM", "vaultgemma", {**LLAMA, **HEAD, **SLIDING}),
    "cwm": ("CwmForCausalLM", "cwm", {**LLAMA, **SLIDING}),
    "ministral": ("MinistralForCausalLM", "ministral", {**LLAMA, **SLIDING, "head_dim": 16}),
    "granitemoeshared": (
        "GraniteMoeSharedForCausalLM",
        "granitemoeshared",
        {**LLAMA, **EXPERTS, "shared_intermediate_size": 72},
    ),
    "ernie4_5_moe": (
        "Ernie4_5_MoeForCausalLM",
        "ernie4_5_moe",
        {**LLAMA, "moe_num_experts": 8, "moe_k": 2, "moe_intermediate_size": 56, "moe_num_shared_experts": 1},
    ),
    "flex_olmo": ("FlexOlmoForCausalLM", "flex_olmo", {**OLD, "num_experts": 8, "num_experts_per_tok": 2}),
    "hunyuan_v1_moe": (
        "HunYuanMoEV1ForCausalLM",
        "hunyuan_v1_moe",
        {**LLAMA, "num_experts": 8, "moe_topk": 2, "head_dim": 16},
    ),
    "minimax_m2": ("MiniMaxM2ForCausalLM", "minimax_m2", {**LLAMA, **EXPERTS, "head_dim": 20, "rotary_dim": 8}),
    "dots1": ("Dots1ForCausalLM", "dots1", {**DEEPSEEK_MOE, "head_dim": 16}),
    "exaone_moe": (
        "ExaoneMoeForCausalLM",
        "exaone_moe",
        {**LLAMA, **QWEN, "num_shared_experts": 1, "sliding_window": 17},
    ),
    "glm4_moe_lite": ("Glm4MoeLiteForCausalLM", "glm4_moe_lite", DEEPSEEK),
    "gpt2_by_layer": ("GPT2LMHeadModel", "gpt2", {**GPT2, "scale_attn_by_inverse_layer_idx": True}),
    "gpt2_relu": ("GPT2LMHeadModel", "gpt2", {**GPT2, "activation_function": "relu"}),
    "gpt2_silu": ("GPT2LMHeadModel", "gpt2", {**GPT2, "activation_function": "silu"}),
    "gpt2_fast": ("GPT2LMHeadModel", "gpt2", {**GPT2, "activation_function": "gelu_fast"}),
    "gpt2_python": ("GPT2LMHeadModel", "gpt2", {**GPT2, "activation_function": "gelu_python"}),
    "gpt2_tanh": ("GPT2LMHeadModel", "gpt2", {**GPT2, "activation_function": "gelu_pytorch_tanh"}),
    "gpt2_quick": ("GPT2LMHeadModel", "gpt2", {**GPT2, "activation_function": "quick_gelu"}),
    "gpt_neox_serial": (
        "GPTNeoXForCausalLM",
        "gpt_neox",
        {**NEOX, "rotary_pct": 1.0, "use_parallel_residual": False, "attention_dropout": 0.1, "hidden_dropout": 0.1},
    ),
    "gptj_full": ("GPTJForCausalLM", "gptj", {**GPTJ, "rotary_dim": 16}),
    "opt_projected": (
        "OPTForCausalLM",
        "opt",
        {**OPT, "do_layer_norm_before": False, "word_embed_proj_dim": 28, "enable_bias": False},
    ),
    "bloom_dropout": ("BloomForCausalLM", "bloom", {**BLOOM, "attention_dropout": 0.1, "hidden_dropout": 0.1}),
    "mpt_clipped": ("MptForCausalLM", "mpt", {**MPT, "attn_config": {"clip_qkv": 0.7}}),
    "falcon_dropout": (
        "FalconForCausalLM",
        "falcon",
        {
            **FALCON,
            "num_kv_heads": 2,
            "new_decoder_architecture": True,
            "attention_dropout": 0.1,
            "hidden_dropout": 0.1,
        },
    ),
    "phi_normed": (
        "PhiForCausalLM",
        "phi",
        {**OLD, "partial_rotary_factor": 0.5, "qk_layernorm": True, "attention_dropout": 0.1, "resid_pdrop": 0.1},
    ),
    "phi3_partial": ("Phi3ForCausalLM", "phi3", {**LLAMA, "sliding_window": None, "partial_rotary_factor": 0.5}),
    "cohere_plain": ("CohereForCausalLM", "cohere", {**LLAMA, "use_qk_norm": False, "attention_bias": True}),
    "stablelm_parallel": (
        "StableLmForCausalLM",
        "stablelm",
        {**LLAMA, "use_parallel_residual": True, "partial_rotary_factor": 1.0},
    ),
    "qwen2_window": (
        "Qwen2ForCausalLM",
        "qwen2",
        {**LLAMA, "use_sliding_window": True, "max_window_layers": 1, "sliding_window": 17},
    ),
    "deepseek_v2_lite": (
        "DeepseekV2ForCausalLM",
        "deepseek_v2",
        {**DEEPSEEK, "q_lora_rank": None, "topk_method": "greedy", "n_group": 1, "topk_group": 1},
    ),
    "deepseek_v3_ungrouped": (
        "DeepseekV3ForCausalLM",
        "deepseek_v3",
        {**DEEPSEEK, "n_group": 1, "topk_group": 1, "norm_topk_prob": False},
    ),
    "gpt_oss_dropout": (
        "GptOssForCausalLM",
        "gpt_oss",
        {**LLAMA, **EXPERTS, **HEAD, **SLIDING, "attention_dropout": 0.1},
    ),
    "mixtral_dropout": (
        "MixtralForCausalLM",
        "mixtral",
        {**LLAMA, **EXPERTS, "attention_dropout": 0.1, "sliding_window": 17},
    ),
    "deepseek_v3_one_width": ("DeepseekV3ForCausalLM", "deepseek_v3", {**DEEPSEEK, "v_head_dim": 20}),
    "glm4_moe_plain": (
        "Glm4MoeForCausalLM",
        "glm4_moe",
        {
            **LLAMA,
            "n_routed_experts": 8,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 56,
            "norm_topk_prob": False,
        },
    ),
    "exaone4_hybrid": ("Exaone4ForCausalLM", "exaone4", {**LLAMA, **SLIDING}),
    "starcoder2_dropout": (
        "Starcoder2ForCausalLM",
        "starcoder2",
        {**LLAMA, "sliding_window": None, "attention_dropout": 0.1, "residual_dropout": 0.1},
    ),
    "bart_decoder": ("BartForCausalLM", "bart", BART),
    "bert_decoder": ("BertLMHeadModel", "bert", {**BERT, "is_decoder": True}),
    "bert_model": ("BertModel", "bert", BERT),
    "llama_model": ("LlamaModel", "llama", LLAMA),
    "solar_open": ("SolarOpenForCausalLM", "solar_open", {**DEEPSEEK_MOE, "head_dim": 16, "first_k_dense_replace": 0}),
    "granitemoehybrid": (
        "GraniteMoeHybridForCausalLM",
        "granitemoehybrid",
        {
            **LLAMA,
            **EXPERTS,
            "layer_types": ["attention"] * 2,
            "shared_intermediate_size": 72,
            "mamba_n_heads": 6,
        },
    ),
    "deepseek_v32": (
        "DeepseekV32ForCausalLM",
        "deepseek_v32",
        {**DEEPSEEK, "index_n_heads": 3, "index_head_dim": 20, "index_topk": 9},
    ),
    "glm_moe_dsa": (
        "GlmMoeDsaForCausalLM",
        "glm_moe_dsa",
        {
            **DEEPSEEK,
            "index_n_heads": 3,
            "index_head_dim": 20,
            "index_topk": 9,
            "indexer_types": ["full", "full"],
        },
    ),
    "dbrx": (
        "DbrxForCausalLM",
        "dbrx",
        {
            "vocab_size": VOCAB,
            "d_model": D,
            "n_heads": HEADS,
            "n_layers": LAYERS,
            "max_seq_len": POSITIONS,
            "resid_pdrop": 0.0,
            "emb_pdrop": 0.0,
            "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 1e4},
            "ffn_config": {"ffn_hidden_size": 56, "moe_num_experts": 8, "moe_top_k": 2},
        },
    ),
    "granitemoe_dropout": ("GraniteMoeForCausalLM", "granitemoe", {**LLAMA, **EXPERTS, "attention_dropout": 0.1}),
    "switch": (
        "SwitchTransformersForConditionalGeneration",
        "switch_transformers",
        {**T5, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1, "num_experts": 4},
    ),
    "bert": ("BertForMaskedLM", "bert", BERT),
    "albert_dropout": (
        "AlbertForMaskedLM",
        "albert",
        {**BERT, "embedding_size": 28, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1},
    ),
    "distilbert_dropout": ("DistilBertForMaskedLM", "distilbert", {**DISTIL, "dropout": 0.1, "attention_dropout": 0.1}),
    "deberta_dropout": (
        "DebertaV2ForMaskedLM",
        "deberta-v2",
        {**DEBERTA, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1},
    ),
    "deberta_convolution": ("DebertaV2ForMaskedLM", "deberta-v2", {**DEBERTA, "conv_kernel_size": 3}),
    "modernbert_dropout": (
        "ModernBertForMaskedLM",
        "modernbert",
        {**MODERN, "attention_dropout": 0.1, "embedding_dropout": 0.1, "mlp_dropout": 0.1},
    ),
    "data2vec": ("Data2VecTextForMaskedLM", "data2vec-text", {**BERT, "pad_token_id": 1}),
    "xlm-roberta-xl": ("XLMRobertaXLForMaskedLM", "xlm-roberta-xl", {**BERT, "pad_token_id": 1}),
    "ernie": ("ErnieForMaskedLM", "ernie", BERT),
    "megatron-bert": ("MegatronBertForMaskedLM", "megatron-bert", BERT),
    "roberta-prelayernorm": ("RobertaPreLayerNormForMaskedLM", "roberta-prelayernorm", {**BERT, "pad_token_id": 1}),
    "xlm-roberta": ("XLMRobertaForMaskedLM", "xlm-roberta", {**BERT, "pad_token_id": 1}),
    "camembert": ("CamembertForMaskedLM", "camembert", {**BERT, "pad_token_id": 1}),
    "deberta_own": (
        "DebertaV2ForMaskedLM",
        "deberta-v2",
        {**BERT, "relative_attention": True, "pos_att_type": "c2p|p2c", "max_relative_positions": 9},
    ),
    "bert_dropout": (
        "BertForMaskedLM",
        "bert",
        BERT | {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1},
    ),
    "roberta": ("RobertaForMaskedLM", "roberta", {**BERT, "pad_token_id": 1}),
    "albert": ("AlbertForMaskedLM", "albert", {**BERT, "embedding_size": 28}),
    "distilbert": ("DistilBertForMaskedLM", "distilbert", DISTIL),
    "electra": ("ElectraForMaskedLM", "electra", {**BERT, "embedding_size": 28}),
    "deberta-v2": ("DebertaV2ForMaskedLM", "deberta-v2", DEBERTA),
    "modernbert": ("ModernBertForMaskedLM", "modernbert", MODERN),
    "mpnet": ("MPNetForMaskedLM", "mpnet", BERT),
    "t5": ("T5ForConditionalGeneration", "t5", T5),
    "flan-t5": ("T5ForConditionalGeneration", "t5", {**T5, "feed_forward_proj": "gated-gelu"}),
    "umt5": ("UMT5ForConditionalGeneration", "umt5", T5),
    "mt5": ("MT5ForConditionalGeneration", "mt5", T5),
    "t5_dropout": ("T5ForConditionalGeneration", "t5", {**T5, "dropout_rate": 0.1}),
    "bart": ("BartForConditionalGeneration", "bart", BART),
    "bart_dropout": (
        "BartForConditionalGeneration",
        "bart",
        BART | {"dropout": 0.1, "attention_dropout": 0.1, "activation_dropout": 0.1},
    ),
    "mbart": ("MBartForConditionalGeneration", "mbart", BART),
    "m2m_100": (
        "M2M100ForConditionalGeneration",
        "m2m_100",
        {**BART, "scale_embedding": True} | {"attention_dropout": 0.0, "activation_dropout": 0.0},
    ),
    "blenderbot-small": ("BlenderbotSmallForConditionalGeneration", "blenderbot-small", BART),
    "m2m_100_dropout": (
        "M2M100ForConditionalGeneration",
        "m2m_100",
        {**BART, "dropout": 0.1, "attention_dropout": 0.1, "activation_dropout": 0.1},
    ),
    "whisper_dropout": (
        "WhisperForConditionalGeneration",
        "whisper",
        {**WHISPER, "dropout": 0.1, "attention_dropout": 0.1, "activation_dropout": 0.1},
    ),
    "umt5_dropout": ("UMT5ForConditionalGeneration", "umt5", {**T5, "dropout_rate": 0.1}),
    "pegasus": ("PegasusForConditionalGeneration", "pegasus", BART),
    "marian": ("MarianMTModel", "marian", {**BART, "decoder_vocab_size": VOCAB}),
    "blenderbot": ("BlenderbotForConditionalGeneration", "blenderbot", BART),
    "whisper": ("WhisperForConditionalGeneration", "whisper", WHISPER),
    "vit": ("ViTForImageClassification", "vit", {**VIT, "num_labels": 7}),
    "deit": ("DeiTForImageClassification", "deit", {**VIT, "num_labels": 7}),
    "dinov2": (
        "Dinov2ForImageClassification",
        "dinov2",
        {**{k: v for k, v in VIT.items() if k != "intermediate_size"}, "num_labels": 7},
    ),
    "dinov2_gated": (
        "Dinov2ForImageClassification",
        "dinov2",
        {**{k: v for k, v in VIT.items() if k != "intermediate_size"}, "num_labels": 7, "use_swiglu_ffn": True},
    ),
    "vit_dropout": (
        "ViTForImageClassification",
        "vit",
        {**VIT, "num_labels": 7, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1},
    ),
    "siglip_text": ("SiglipTextModel", "siglip_text_model", {**CLIP_TEXT, "projection_size": D}),
    "clip_text": ("CLIPTextModel", "clip_text_model", CLIP_TEXT),
    "clip_vision": ("CLIPVisionModel", "clip_vision_model", VIT),
    "siglip_vision": ("SiglipVisionModel", "siglip_vision_model", VIT),
    "clip": ("CLIPModel", "clip", {"text_config": CLIP_TEXT, "vision_config": VIT, "projection_dim": 44}),
    "siglip": (
        "SiglipModel",
        "siglip",
        {"text_config": {**CLIP_TEXT, "projection_size": D}, "vision_config": VIT},
    ),
}


# one key/value head, which is spread to all query heads without a copy where a kernel takes the view
ONE = {"num_key_value_heads": 1}
for _name in """llama llama_dropout mistral mistral_window mixtral starcoder2 qwen3 gemma gemma_long gemma2 gemma3 phi3
phi3_window cohere2 olmo3 exaone4_hybrid gpt_oss llama4 ministral cwm smollm3 glm stablelm minimax_m2""".split():
    _class, _kind, _given = CASES[_name]
    CASES[f"{_name}_one_head"] = (_class, _kind, {**_given, **ONE})
for _name in "mistral_window gemma3 cohere2 phi3_window".split():
    _class, _kind, _given = CASES[_name]
    CASES[f"{_name}_one_head_dropout"] = (_class, _kind, {**_given, **ONE, "attention_dropout": 0.1})
CASES["gpt_bigcode_heads"] = ("GPTBigCodeForCausalLM", "gpt_bigcode", {**GPT2, "multi_query": False})
CASES["gpt_bigcode_dropout"] = ("GPTBigCodeForCausalLM", "gpt_bigcode", {**GPT2, "attn_pdrop": 0.1})
CASES["falcon_multi_query_dropout"] = (
    "FalconForCausalLM",
    "falcon",
    {**FALCON, "multi_query": True, "attention_dropout": 0.1},
)
CASES["dbrx_one_head"] = (
    "DbrxForCausalLM",
    "dbrx",
    {**CASES["dbrx"][2], "attn_config": {**CASES["dbrx"][2]["attn_config"], "kv_n_heads": 1}},
)

# sequences of one token, whose rows are laid out as they come
SINGLE = "llama gemma_long gemma3_one_head phi3 phi3_window_one_head glm mistral_window".split()

CHECKPOINTED = """gpt2 llama mistral_window gemma3 mixtral glm deepseek_v3 ernie4_5 falcon cohere phi3 gpt_neo
t5 umt5 bart whisper""".split()


def build(name: str, attn: str, dtype: str) -> Any:
    """The model of a case."""
    cls, kind, given = CASES[name]
    torch.manual_seed(0)
    config = CONFIG_MAPPING[kind].from_dict({**given})
    model = getattr(transformers, cls)._from_config(config, attn_implementation=attn, dtype=DTYPES[dtype])
    return model.train()


def inputs_of(model: Any, batch: int, seq: int, target: int) -> dict[str, Any]:
    """Random inputs, and labels where the class is a language model or a classifier."""
    config, made = model.config, {}
    text, vision = getattr(config, "text_config", config), getattr(config, "vision_config", config)
    dtype = model.dtype
    if hasattr(vision, "image_size"):
        made["pixel_values"] = torch.randn(batch, 3, vision.image_size, vision.image_size, dtype=dtype)
    if config.model_type == "whisper":
        made["input_features"] = torch.randn(batch, config.num_mel_bins, 2 * config.max_source_positions, dtype=dtype)
    elif hasattr(text, "vocab_size"):
        made["input_ids"] = torch.randint(6, VOCAB, (batch, seq))
    if config.is_encoder_decoder:
        made["decoder_input_ids"] = torch.randint(6, VOCAB, (batch, target))
        made["labels"] = torch.randint(6, VOCAB, (batch, target))
    elif type(model).__name__.endswith("Classification"):
        made["labels"] = torch.randint(0, config.num_labels, (batch,))
    elif "pixel_values" not in made and type(model).__name__.removesuffix("LMHeadModel")[-5:] != "Model":
        made["labels"] = torch.randint(6, VOCAB, (batch, seq))
    return made


class Keeper:
    """Every storage that autograd keeps, once, and with `trace` who keeps it."""

    def __init__(self, model: Any, inputs: dict[str, Any], *, trace: bool = False) -> None:
        known = [*model.parameters(), *model.buffers(), *inputs.values()]
        self.known = {t.untyped_storage().data_ptr() for t in known}
        self.found: dict[int, tuple[Any, str]] = {}  # the tensor itself, so that its address is not used again
        self.trace = trace

    def pack(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.known and storage.nbytes() and storage.data_ptr() not in self.found:
            self.found[storage.data_ptr()] = (tensor, self.where() if self.trace else "")
        return tensor

    def forget(self, model: Any) -> None:
        """Leave out what has become a parameter: Switch's class casts its router in the forward pass."""
        for parameter in model.parameters():
            self.found.pop(parameter.untyped_storage().data_ptr(), None)

    @staticmethod
    def where() -> str:
        """The innermost lines of the class."""
        frames = [f for f in traceback.extract_stack() if "/transformers/" in f.filename]
        frames = [f for f in frames if "/utils/" not in f.filename][-2:]
        return " < ".join(f"{Path(f.filename).name}:{f.lineno} {(f.line or '').strip()}" for f in reversed(frames))

    @property
    def bytes(self) -> int:
        return sum(tensor.untyped_storage().nbytes() for tensor, _ in self.found.values())


def run(model: Any, size: tuple[int, int, int], *, trace: bool = False) -> Keeper:
    """One forward pass."""
    torch.manual_seed(1)
    inputs = inputs_of(model, *size)
    keeper = Keeper(model, inputs, trace=trace)
    with torch.autograd.graph.saved_tensors_hooks(keeper.pack, lambda tensor: tensor):
        model(**inputs, use_cache=False) if "pixel_values" not in inputs else model(**inputs)
    keeper.forget(model)
    return keeper


class Alive(TorchDispatchMode):
    """Every storage that an operator makes, without keeping it."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[StorageWeakRef, int]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.made.append((StorageWeakRef(storage), storage.nbytes()))
        return out


def alive(model: Any, size: tuple[int, int, int]) -> int:
    """Bytes that are there after a forward pass with gradient checkpointing, but for the loss itself."""
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    torch.manual_seed(1)
    inputs = inputs_of(model, *size)
    known = {t.untyped_storage()._cdata for t in [*model.parameters(), *model.buffers(), *inputs.values()]}
    with Alive() as found:
        loss = model(**inputs, use_cache=False)["loss"]
    gc.collect()
    held = {ref.cdata: size for ref, size in found.made if not ref.expired() and ref.cdata not in known}
    return sum(held.values()) - loss.untyped_storage().nbytes()


def trace(name: str, attn: str, dtype: str) -> None:
    """What every storage is, those alike together."""
    keeper = run(build(name, attn, dtype), SIZES[0], trace=True)
    lines = Counter(
        (t.untyped_storage().nbytes(), str(tuple(t.shape)), str(t.dtype).removeprefix("torch."), where)
        for t, where in keeper.found.values()
    )
    for (size, shape, kind, where), count in lines.items():
        print(f"{size}\t{count}\t{shape}\t{kind}\t{where}")
    print(f"{keeper.bytes}\t0\ttotal\t\t")


def measure(name: str) -> dict[str, Any]:
    """The bytes of both sizes, by attention and type; a class without one of the attentions has none for it."""
    found: dict[str, list[int]] = {}
    for attn in ATTENTION:
        for dtype in DTYPES:
            try:
                model = build(name, attn, dtype)
            except ValueError as error:
                if "does not support an attention implementation" not in str(error):
                    raise
                continue
            found[f"{attn} {dtype}"] = [run(model, size).bytes for size in SIZES]
            if name in SINGLE:
                found[f"{attn} {dtype} single"] = [run(model, (batch, 1, 1)).bytes for batch, *_ in SIZES]
            if name in CHECKPOINTED:
                found[f"{attn} {dtype} checkpointed"] = [alive(model, size) for size in SIZES]
    return found


def main() -> None:
    if sys.argv[1:2] == ["--trace"]:
        trace(*sys.argv[2:5])
        return
    names = sys.argv[1:] or list(CASES)
    old = json.loads(OUT.read_text())["models"] if OUT.exists() else {}
    rows = []
    for name, (cls, kind, given) in CASES.items():
        found = measure(name) if name in names or name not in old else old[name]["saved_bytes"]
        print(name, flush=True)
        row = {"config": {"architectures": [cls], "model_type": kind, **given}, "saved_bytes": found}
        rows.append(f"{json.dumps(name)}: {json.dumps(row)}")
    head = {"torch": torch.__version__, "transformers": transformers.__version__, "device": "cpu", "sizes": SIZES}
    OUT.write_text(json.dumps(head)[:-1] + ', "models": {\n' + ",\n".join(rows) + "\n}}\n")
    print(f"{len(rows)} models in {OUT}, {OUT.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
