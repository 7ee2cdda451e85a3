"""Writes tests/golden/numerics_more/: tiny Hugging Face models with random weights, and what they compute.

    python tests/oracle/numerics.py [NAME ...]

Needs transformers 5.23, torch 2.13 CPU and safetensors, no network. Run it again after a change of CASES; seeds are
fixed, so that a model which has not changed comes out the same.

A folder holds what the reference's numerics do: config.json, model.safetensors (by save_pretrained, with checkpoint
names) and reference.npz: the inputs and the outputs of the class in float64, with eager attention. All weights are
redrawn, so that no zeros and ones are left from initialisers; windows are shorter than the sequence; the second row of
an encoder's input is padded, and so is a decoder's where CASES say so.
"""

from __future__ import annotations

import os
import shutil
import sys
import zlib
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import numpy as np
import torch
import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

OUT = Path(__file__).resolve().parents[1] / "golden" / "numerics_more"
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

# name: (class, model_type, config, which rows of a decoder's input are padded on the right)
CASES: dict[str, tuple[str, str, dict[str, Any], bool]] = {
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
    "opt": (
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

BUFFERS = ("e_score_correction_bias", "final_logits_bias")
ENCODERS = ("xlm-roberta", "deberta-v2", "modernbert", "albert", "distilbert", "electra", "clip")


def redraw(model: Any, seed: int) -> None:
    """New values for every weight: norms around one, biases and tables of ordinary size, matrices by their width."""
    g = torch.Generator().manual_seed(seed)
    weights = dict(model.named_parameters())
    weights |= {name: buffer for name, buffer in model.named_buffers() if name.endswith(BUFFERS)}
    for name, weight in weights.items():
        if "Marian" in type(model).__name__ and "embed_positions" in name:
            continue  # the file leaves these out: they are sines and cosines
        r = torch.randn(weight.shape, generator=g, dtype=torch.float64)
        if "logit_scale" in name or (weight.ndim <= 1 and name.endswith("weight")) or "lambda" in name:
            value = 1 + 0.1 * r
        elif weight.ndim <= 1:
            value = 0.2 * r
        elif any(word in name for word in ("embed", "wte", "wpe", "token", "shared.weight")):
            value = 0.5 * r
        else:
            inner = weight[0].numel() if weight.ndim in (3, 4) else weight.shape[-1]
            value = r / inner**0.5
        weight.data.copy_(value.float().to(weight.dtype))


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
    vision = getattr(config, "vision_config", config)
    if hasattr(vision, "image_size"):
        made["pixel_values"] = rng.normal(size=(3, 3, vision.image_size, vision.image_size)).astype(np.float32)
    if kind == "whisper":
        size = (2, config.num_mel_bins, 2 * config.max_source_positions)
        made["input_features"] = rng.normal(size=size).astype(np.float32)
    elif hasattr(text, "vocab_size"):
        ids = rng.integers(6, VOCAB, (2, SEQ))
        if kind == "bart":
            ids[:, 4] = ids[0, -1] = ids[1, SEQ - PADDED - 1] = text.eos_token_id
        if kind == "clip":
            ids[0, -1] = ids[1, SEQ - PADDED - 1] = text.eos_token_id
        if padded or kind in ENCODERS or config.is_encoder_decoder:
            made["attention_mask"] = np.ones_like(ids)
            made["attention_mask"][1, SEQ - PADDED :] = 0
            ids[1, SEQ - PADDED :] = text.pad_token_id or 0
        made["input_ids"] = ids
        if getattr(config, "type_vocab_size", 0) and kind in ENCODERS:
            made["token_type_ids"] = rng.integers(0, config.type_vocab_size, ids.shape)
    if config.is_encoder_decoder and not name.endswith("Classification"):
        made["decoder_input_ids"] = rng.integers(6, VOCAB, (2, TARGET))
    if name.endswith("MultipleChoice"):
        made = {key: np.stack([value, np.roll(value, 1, axis=0)], axis=1) for key, value in made.items()}
    return made


def make(name: str) -> None:
    """One folder."""
    cls, kind, given, padded = CASES[name]
    seed = zlib.crc32(name.encode())
    torch.manual_seed(seed)
    config = CONFIG_MAPPING[kind].from_dict({**given})
    dtype = torch.bfloat16 if given.get("dtype") == "bfloat16" else torch.float32
    model = getattr(transformers, cls)._from_config(config, attn_implementation="eager", dtype=dtype).eval()
    redraw(model, seed)
    if name.endswith("_untied"):
        untie(model, seed)
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    model = model.double()
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")
    arrays = inputs_of(model, kind, padded, np.random.default_rng(seed))
    tensors = {key: torch.tensor(array) for key, array in arrays.items()}
    tensors = {key: tensor.double() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}
    with torch.no_grad():
        out = model(**tensors)
    for key in ("logits", "start_logits", "end_logits", "logits_per_text", "logits_per_image"):
        if out.get(key) is not None:
            arrays[key] = out[key].numpy()
            assert np.isfinite(arrays[key]).all(), f"{name}: {key}"
    np.savez_compressed(folder / "reference.npz", **arrays)


def main() -> None:
    for name in sys.argv[1:] or CASES:
        make(name)
    size = sum(file.stat().st_size for file in OUT.rglob("*") if file.is_file())
    print(f"{len(CASES)} models, {size:,} bytes")


if __name__ == "__main__":
    main()
