"""Writes tests/golden/numerics.json and numerics/: tiny Hugging Face models with drawn weights, and what they compute.

    python tests/oracle/numerics.py [NAME ...]

Needs transformers 5.24, torch 2.13 CPU and safetensors, no network. Run it again after a change of CASES: what has not
changed comes out the same.

Weights are drawn from the names of a checkpoint's tensors (tests/tiny.py), so that no zeros and ones are left from
initialisers, and no weights need be stored: kept are config.json and the tensors' names, shapes and types, as
save_pretrained writes them. With these weights from_pretrained loads the class again, and numerics/NAME.npz has its
inputs and its outputs in float64, with eager attention. Windows are shorter than the sequence; the second row of an
encoder's input is padded, and so is a decoder's where CASES say so.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import numpy as np
import torch
import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tiny

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

OUT = Path(__file__).resolve().parents[1] / "golden" / "numerics"
SEQ, TARGET, PADDED, VOCAB = 20, 9, 6, 61

IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LLAMA = {
    "vocab_size": VOCAB,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    **IDS,
}
BERT = {key: value for key, value in LLAMA.items() if key != "num_key_value_heads"} | {"type_vocab_size": 2}
BART = {
    "vocab_size": VOCAB,
    "d_model": 24,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_ffn_dim": 36,
    "decoder_ffn_dim": 40,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 6,
    "max_position_embeddings": 40,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": 2,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
}
T5 = {
    "vocab_size": VOCAB,
    "d_model": 24,
    "d_kv": 6,
    "d_ff": 40,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "num_heads": 4,
    **IDS,
}
T5 |= {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 12, "decoder_start_token_id": 0}
VISION = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 16,
    "patch_size": 4,
}
TEXT = {**BERT, "num_attention_heads": 4, "max_position_embeddings": SEQ, "eos_token_id": 5}
TEXT.pop("type_vocab_size")
EXPERTS = {"num_local_experts": 6, "num_experts_per_tok": 2}
YARN = {
    "rope_type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 16,
    "mscale": 1.2,
    "mscale_all_dim": 0.6,
}
LABELS = {"num_labels": 3}

PLAIN_IDS = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
PLAIN = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    **PLAIN_IDS,
}

# name: (class, model_type, config, which rows of a decoder's input are padded on the right)
CASES: dict[str, tuple[str, str, dict[str, Any], bool]] = {
    "bart": (
        "BartForConditionalGeneration",
        "bart",
        {
            **PLAIN_IDS,
            "vocab_size": 97,
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "max_position_embeddings": 64,
            "decoder_start_token_id": 2,
            "forced_eos_token_id": 2,
        },
        False,
    ),
    "bert": ("BertForMaskedLM", "bert", {**PLAIN, "intermediate_size": 96, "type_vocab_size": 2}, False),
    "bloom": (
        "BloomForCausalLM",
        "bloom",
        {**PLAIN_IDS, "vocab_size": 97, "hidden_size": 48, "n_layer": 2, "n_head": 6},
        False,
    ),
    "deepseek_v3": (
        "DeepseekV3ForCausalLM",
        "deepseek_v3",
        {
            **PLAIN,
            "num_hidden_layers": 3,
            "intermediate_size": 80,
            "moe_intermediate_size": 24,
            "first_k_dense_replace": 1,
            "n_routed_experts": 8,
            "num_experts_per_tok": 2,
            "n_group": 4,
            "topk_group": 2,
            "n_shared_experts": 1,
            "routed_scaling_factor": 2.5,
            "norm_topk_prob": True,
            "q_lora_rank": 24,
            "kv_lora_rank": 16,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 4,
            "v_head_dim": 8,
            "num_key_value_heads": 4,
            "rope_scaling": None,
            "tie_word_embeddings": False,
        },
        False,
    ),
    "falcon_mqa": (
        "FalconForCausalLM",
        "falcon",
        {
            **PLAIN_IDS,
            "vocab_size": 97,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "multi_query": True,
            "parallel_attn": True,
            "new_decoder_architecture": False,
            "bias": False,
            "alibi": False,
        },
        False,
    ),
    "gemma2": (
        "Gemma2ForCausalLM",
        "gemma2",
        {
            **PLAIN,
            "num_hidden_layers": 4,
            "intermediate_size": 80,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "sliding_window": 8,
            "query_pre_attn_scalar": 12,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 3.0,
        },
        False,
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        "gpt2",
        {**PLAIN_IDS, "vocab_size": 97, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
        False,
    ),
    "gpt_neox": (
        "GPTNeoXForCausalLM",
        "gpt_neox",
        {
            **PLAIN,
            "intermediate_size": 128,
            "rotary_pct": 0.25,
            "use_parallel_residual": True,
            "tie_word_embeddings": False,
        },
        False,
    ),
    "gpt_oss": (
        "GptOssForCausalLM",
        "gpt_oss",
        {
            **PLAIN,
            "intermediate_size": 24,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "sliding_window": 8,
            "rope_scaling": None,
            "rope_theta": 10000.0,
            "tie_word_embeddings": False,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        False,
    ),
    "gptj": (
        "GPTJForCausalLM",
        "gptj",
        {
            **PLAIN_IDS,
            "vocab_size": 97,
            "n_embd": 32,
            "n_layer": 2,
            "n_head": 4,
            "n_positions": 64,
            "rotary_dim": 4,
            "tie_word_embeddings": False,
        },
        False,
    ),
    "llama": (
        "LlamaForCausalLM",
        "llama",
        {**PLAIN, "intermediate_size": 80, "num_key_value_heads": 4, "tie_word_embeddings": False},
        False,
    ),
    "llama_gqa_tied": (
        "LlamaForCausalLM",
        "llama",
        {
            **PLAIN,
            "intermediate_size": 80,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "tie_word_embeddings": True,
            "attention_bias": True,
            "mlp_bias": True,
            "rope_theta": 500000.0,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
                "rope_theta": 500000.0,
            },
        },
        False,
    ),
    "mistral": (
        "MistralForCausalLM",
        "mistral",
        {**PLAIN, "intermediate_size": 80, "num_key_value_heads": 2, "sliding_window": 8, "tie_word_embeddings": False},
        False,
    ),
    "mixtral": (
        "MixtralForCausalLM",
        "mixtral",
        {
            **PLAIN,
            "intermediate_size": 48,
            "num_key_value_heads": 2,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "sliding_window": None,
            "tie_word_embeddings": False,
        },
        False,
    ),
    "opt": (
        "OPTForCausalLM",
        "opt",
        {**PLAIN, "ffn_dim": 96, "word_embed_proj_dim": 32, "do_layer_norm_before": True},
        False,
    ),
    "qwen3": (
        "Qwen3ForCausalLM",
        "qwen3",
        {**PLAIN, "intermediate_size": 80, "num_key_value_heads": 2, "head_dim": 16, "tie_word_embeddings": True},
        False,
    ),
    "t5": (
        "T5ForConditionalGeneration",
        "t5",
        {
            **PLAIN_IDS,
            "vocab_size": 97,
            "d_model": 32,
            "d_kv": 8,
            "d_ff": 64,
            "num_layers": 2,
            "num_decoder_layers": 2,
            "num_heads": 4,
            "relative_attention_num_buckets": 8,
            "relative_attention_max_distance": 16,
            "decoder_start_token_id": 0,
        },
        False,
    ),
    "vit": (
        "ViTForImageClassification",
        "vit",
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "image_size": 16,
            "patch_size": 4,
            "num_channels": 3,
            "num_labels": 5,
        },
        False,
    ),
    "xlm_roberta": ("XLMRobertaForMaskedLM", "xlm-roberta", {**BERT, "pad_token_id": 3}, False),
    "deberta_v2": (
        "DebertaV2ForMaskedLM",
        "deberta-v2",
        {
            **BERT,
            "relative_attention": True,
            "pos_att_type": "c2p|p2c",
            "share_att_key": True,
            "position_buckets": 6,
            "norm_rel_ebd": "layer_norm",
            "position_biased_input": False,
            "conv_kernel_size": 3,
            "conv_groups": 2,
        },
        False,
    ),
    "deberta_v2_own_projections": (
        "DebertaV2ForTokenClassification",
        "deberta-v2",
        {**BERT, **LABELS, "relative_attention": True, "pos_att_type": "c2p|p2c", "max_relative_positions": 9},
        False,
    ),
    "modernbert_classification": (
        "ModernBertForSequenceClassification",
        "modernbert",
        {
            **{key: value for key, value in BERT.items() if key != "type_vocab_size"},
            **LABELS,
            "num_hidden_layers": 4,
            "local_attention": 12,
            "classifier_pooling": "mean",
            "global_rope_theta": 5000.0,
            "local_rope_theta": 100.0,
            "cls_token_id": 1,
            "sep_token_id": 2,
        },
        False,
    ),
    "albert_groups": (
        "AlbertForMaskedLM",
        "albert",
        {**BERT, "num_hidden_layers": 4, "embedding_size": 10, "num_hidden_groups": 2, "inner_group_num": 2},
        False,
    ),
    "distilbert_answers": (
        "DistilBertForQuestionAnswering",
        "distilbert",
        {"vocab_size": VOCAB, "dim": 24, "n_layers": 2, "n_heads": 4, "hidden_dim": 40, "max_position_embeddings": 32},
        False,
    ),
    "electra_choice": ("ElectraForMultipleChoice", "electra", {**BERT, "embedding_size": 10}, False),
    "llama_dynamic_classification": (
        "LlamaForSequenceClassification",
        "llama",
        {**LLAMA, **LABELS, "max_position_embeddings": 12, "rope_scaling": {"rope_type": "dynamic", "factor": 3.0}},
        True,
    ),
    "llama_bfloat16": ("LlamaForCausalLM", "llama", {**LLAMA, "dtype": "bfloat16"}, False),
    "phi3_longrope": (
        "Phi3ForCausalLM",
        "phi3",
        {
            **LLAMA,
            "head_dim": 8,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "partial_rotary_factor": 0.5,
            "sliding_window": 8,
            "original_max_position_embeddings": 16,
            "rope_scaling": {"rope_type": "longrope", "short_factor": [1.0, 1.1], "long_factor": [2.0, 3.5]},
        },
        False,
    ),
    "gemma3": (
        "Gemma3ForCausalLM",
        "gemma3_text",
        {
            **LLAMA,
            "head_dim": 8,
            "num_hidden_layers": 3,
            "query_pre_attn_scalar": 20,
            "sliding_window": 6,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
            "final_logit_softcapping": 4.0,
        },
        False,
    ),
    "cohere2": (
        "Cohere2ForCausalLM",
        "cohere2",
        {**LLAMA, "sliding_window": 9, "logit_scale": 0.3, "layer_types": ["sliding_attention", "full_attention"]},
        True,
    ),
    "llama4": (
        "Llama4ForCausalLM",
        "llama4_text",
        {
            **LLAMA,
            **EXPERTS,
            "head_dim": 8,
            "intermediate_size_mlp": 36,
            "num_experts_per_tok": 1,
            "interleave_moe_layer_step": 2,
            "attention_chunk_size": 7,
            "floor_scale": 5,
            "attn_scale": 0.3,
            "no_rope_layer_interval": 2,
        },
        False,
    ),
    "deepseek_v2": (
        "DeepseekV2ForCausalLM",
        "deepseek_v2",
        {
            **LLAMA,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "first_k_dense_replace": 1,
            "n_routed_experts": 8,
            "n_shared_experts": 2,
            "num_experts_per_tok": 3,
            "moe_intermediate_size": 10,
            "topk_method": "group_limited_greedy",
            "n_group": 4,
            "topk_group": 2,
            "routed_scaling_factor": 1.7,
            "q_lora_rank": None,
            "kv_lora_rank": 12,
            "qk_nope_head_dim": 6,
            "qk_rope_head_dim": 4,
            "v_head_dim": 5,
            "rope_scaling": YARN,
        },
        False,
    ),
    "qwen3_yarn": ("Qwen3ForCausalLM", "qwen3", {**LLAMA, "head_dim": 8, "rope_scaling": YARN}, False),
    "granitemoeshared": (
        "GraniteMoeSharedForCausalLM",
        "granitemoeshared",
        {
            **LLAMA,
            **EXPERTS,
            "intermediate_size": 16,
            "shared_intermediate_size": 10,
            "embedding_multiplier": 6.0,
            "logits_scaling": 3.0,
            "residual_multiplier": 0.3,
            "attention_multiplier": 0.2,
        },
        False,
    ),
    "phimoe": (
        "PhimoeForCausalLM",
        "phimoe",
        {
            **LLAMA,
            **EXPERTS,
            "intermediate_size": 16,
            "attention_bias": True,
            "lm_head_bias": True,
            "router_jitter_noise": 0.3,
            "original_max_position_embeddings": 16,
            "rope_scaling": {
                "rope_type": "longrope",
                "short_factor": [1.0, 1.1],
                "long_factor": [2.0, 3.5],
                "short_mscale": 1.1,
                "long_mscale": 1.3,
                "original_max_position_embeddings": 16,
            },
        },
        False,
    ),
    "ernie4_5_moe": (
        "Ernie4_5_MoeForCausalLM",
        "ernie4_5_moe",
        {
            **LLAMA,
            "moe_num_experts": 6,
            "moe_k": 2,
            "moe_intermediate_size": 10,
            "moe_num_shared_experts": 1,
            "moe_norm_min": 0.4,
        },
        False,
    ),
    "mpt": (
        "MptForCausalLM",
        "mpt",
        {
            "vocab_size": VOCAB,
            "d_model": 24,
            "n_heads": 6,
            "n_layers": 2,
            "max_seq_len": 40,
            "attn_config": {"alibi": True, "alibi_bias_max": 8, "clip_qkv": 0.7, "softmax_scale": 0.3},
        },
        False,
    ),
    "opt_projected": (
        "OPTForCausalLM",
        "opt",
        {
            "vocab_size": VOCAB,
            "hidden_size": 24,
            "num_hidden_layers": 2,
            "ffn_dim": 40,
            "num_attention_heads": 4,
            "max_position_embeddings": 40,
            "word_embed_proj_dim": 10,
            "do_layer_norm_before": False,
            "pad_token_id": 1,
        },
        True,
    ),
    "gpt2_by_layer": (
        "GPT2LMHeadModel",
        "gpt2",
        {
            "vocab_size": VOCAB,
            "n_positions": 40,
            "n_embd": 24,
            "n_layer": 3,
            "n_head": 4,
            "scale_attn_by_inverse_layer_idx": True,
        },
        True,
    ),
    "falcon_new": (
        "FalconForCausalLM",
        "falcon",
        {
            "vocab_size": VOCAB,
            "hidden_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 6,
            "num_kv_heads": 2,
            "new_decoder_architecture": True,
        },
        False,
    ),
    "marian": ("MarianMTModel", "marian", {**BART, "decoder_vocab_size": VOCAB, "scale_embedding": True}, False),
    "m2m_100": ("M2M100ForConditionalGeneration", "m2m_100", {**BART, "scale_embedding": True}, False),
    "blenderbot_small": (
        "BlenderbotSmallForConditionalGeneration",
        "blenderbot-small",
        {**BART, "scale_embedding": True},
        False,
    ),
    "bart_classification": ("BartForSequenceClassification", "bart", {**BART, **LABELS}, False),
    "umt5_untied": ("UMT5ForConditionalGeneration", "umt5", T5, False),
    "switch": (
        "SwitchTransformersForConditionalGeneration",
        "switch_transformers",
        {**T5, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1, "num_experts": 4},
        False,
    ),
    "whisper": (
        "WhisperForConditionalGeneration",
        "whisper",
        {
            **{key: value for key, value in BART.items() if key != "max_position_embeddings"},
            "num_mel_bins": 7,
            "max_source_positions": 15,
            "max_target_positions": 20,
            "begin_suppress_tokens": [3],
        },
        False,
    ),
    "whisper_classification": (
        "WhisperForAudioClassification",
        "whisper",
        {
            **{key: value for key, value in BART.items() if key != "max_position_embeddings"},
            **LABELS,
            "encoder_layers": 2,
            "num_mel_bins": 7,
            "max_source_positions": 15,
            "max_target_positions": 20,
            "begin_suppress_tokens": [3],
            "classifier_proj_size": 10,
            "use_weighted_layer_sum": True,
        },
        False,
    ),
    "clip": ("CLIPModel", "clip", {"text_config": TEXT, "vision_config": VISION, "projection_dim": 14}, False),
    "siglip": (
        "SiglipModel",
        "siglip",
        {"text_config": {**TEXT, "projection_size": 24}, "vision_config": VISION},
        False,
    ),
    "dinov2_gated": (
        "Dinov2ForImageClassification",
        "dinov2",
        {**{k: v for k, v in VISION.items() if k != "intermediate_size"}, **LABELS, "use_swiglu_ffn": True},
        False,
    ),
}

ENCODERS = ("bert", "xlm-roberta", "deberta-v2", "modernbert", "albert", "distilbert", "electra", "clip")


def untie(model: Any, seed: int) -> None:
    """Give the head a matrix of its own; classes of T5's family are built tied, and loaded untied from such a file."""
    g = torch.Generator().manual_seed(seed + 1)
    model.lm_head.weight = torch.nn.Parameter(0.3 * torch.randn(model.lm_head.weight.shape, generator=g))
    for names in ("_tied_weights_keys", "all_tied_weights_keys"):
        setattr(model, names, {key: value for key, value in getattr(model, names).items() if "lm_head" not in key})


def inputs_of(model: Any, kind: str, padded: bool, rng: np.random.Generator) -> dict[str, Any]:
    """Random inputs of every sort that the class takes."""
    config, name = model.config, type(model).__name__
    text = getattr(config, "text_config", config)
    made: dict[str, Any] = {}
    seq, target = (24, 11) if getattr(text, "vocab_size", 0) == 97 else (SEQ, TARGET)
    vision = getattr(config, "vision_config", config)
    if hasattr(vision, "image_size"):
        made["pixel_values"] = rng.normal(size=(3, 3, vision.image_size, vision.image_size)).astype(np.float32)
    if kind == "whisper":
        size = (2, config.num_mel_bins, 2 * config.max_source_positions)
        made["input_features"] = rng.normal(size=size).astype(np.float32)
    elif hasattr(text, "vocab_size"):
        ids = rng.integers(6, text.vocab_size, (2, seq))
        if kind == "bart":
            ids[:, 4] = ids[0, -1] = ids[1, seq - PADDED - 1] = text.eos_token_id
        if kind == "clip":
            ids[0, -1] = ids[1, seq - PADDED - 1] = text.eos_token_id
        if padded or kind in ENCODERS or config.is_encoder_decoder:
            made["attention_mask"] = np.ones_like(ids)
            made["attention_mask"][1, seq - PADDED :] = 0
            ids[1, seq - PADDED :] = text.pad_token_id or 0
        made["input_ids"] = ids
        if getattr(config, "type_vocab_size", 0) and kind in ENCODERS:
            made["token_type_ids"] = rng.integers(0, config.type_vocab_size, ids.shape)
    if config.is_encoder_decoder and not name.endswith("Classification"):
        made["decoder_input_ids"] = rng.integers(6, text.vocab_size, (2, target))
    if name.endswith("MultipleChoice"):
        made = {key: np.stack([value, np.roll(value, 1, axis=0)], axis=1) for key, value in made.items()}
    return made


def tensors_of(path: Path) -> list[list[Any]]:
    """Name, shape and type of every tensor of a safetensors file."""
    with path.open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    return [[name, entry["shape"], entry["dtype"]] for name, entry in sorted(header.items()) if name != "__metadata__"]


def make(name: str) -> dict[str, Any]:
    """What is kept of a model, once its outputs are written."""
    cls, kind, given, padded = CASES[name]
    seed = zlib.crc32(name.encode())
    torch.manual_seed(seed)
    dtype = torch.bfloat16 if given.get("dtype") == "bfloat16" else torch.float32
    how = {"attn_implementation": "eager", "dtype": dtype}
    model = getattr(transformers, cls)._from_config(CONFIG_MAPPING[kind].from_dict({**given}), **how)
    if name.endswith("_untied"):
        untie(model, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        model.save_pretrained(path)
        config = json.loads((path / "config.json").read_text())
        tensors = tensors_of(path / "model.safetensors")
        (path / "model.safetensors").write_bytes(tiny.checkpoint(tensors))
        model, said = getattr(transformers, cls).from_pretrained(path, output_loading_info=True, **how)
    assert not any(said[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), said
    model = model.eval().double()
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")
    arrays = inputs_of(model, kind, padded, np.random.default_rng(seed))
    inputs = {key: torch.tensor(array) for key, array in arrays.items()}
    inputs = {key: tensor.double() if tensor.is_floating_point() else tensor for key, tensor in inputs.items()}
    with torch.no_grad():
        out = model(**inputs)
    for key in ("logits", "start_logits", "end_logits", "logits_per_text", "logits_per_image"):
        if out.get(key) is not None:
            arrays[key] = out[key].numpy()
            assert np.isfinite(arrays[key]).all(), f"{name}: {key}"
    np.savez_compressed(OUT / f"{name}.npz", **arrays)
    return {"config": config, "tensors": tensors}


def main() -> None:
    """Make all models, or those that are named."""
    models = {name: tiny.MODELS[name] for name in CASES if name in tiny.MODELS}
    OUT.mkdir(exist_ok=True)
    for name in sys.argv[1:] or CASES:
        models[name] = make(name)
    versions = json.dumps({"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__})
    lines = [
        f"{json.dumps(name)}:{json.dumps(models[name], separators=(',', ':'))}" for name in CASES if name in models
    ]
    file = OUT.with_suffix(".json")
    file.write_text('{"versions":' + versions + ',\n"models":{\n' + ",\n".join(lines) + "\n}}\n")
    size = sum(path.stat().st_size for path in (file, *OUT.iterdir()))
    print(f"{len(lines)} models, {size:,} bytes")


if __name__ == "__main__":
    main()
