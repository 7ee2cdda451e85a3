"""Hugging Face families: which config.json key is which field, and what a missing key means.

A family is found by its `model_type`; only the module that holds it is imported.
"""

from __future__ import annotations

MODULES = {
    "encoders": "bert roberta xlm-roberta camembert mpnet albert distilbert electra deberta-v2 modernbert",
    "classic": "gpt2 gpt_bigcode openai-gpt gpt_neo gptj codegen gpt_neox persimmon falcon bloom mpt opt xglm biogpt",
    "llama": "llama mistral mixtral qwen2 qwen3 qwen2_moe qwen3_moe",
    "decoders": "gemma gemma2 gemma3_text phi phi3 phimoe cohere cohere2 olmo olmo2 olmo3 olmoe stablelm starcoder2 "
    "granite granitemoe glm glm4 exaone4 nemotron smollm3 seed_oss ernie4_5 helium arcee hunyuan_v1_dense",
    "experts": "glm4_moe glm4_moe_lite deepseek_v2 deepseek_v3 deepseek_v32 kimi_k2 llama4_text gpt_oss "
    "ernie4_5_moe dbrx",
    "seq2seq": "t5 mt5 umt5 switch_transformers bart mbart m2m_100 pegasus marian blenderbot blenderbot-small whisper",
    "vision": "vit deit dinov2 clip clip_text_model clip_vision_model siglip siglip_text_model siglip_vision_model",
}


def module_of(model_type: str) -> str | None:
    """The module of `families` that holds a model_type."""
    return next((module for module, types in MODULES.items() if model_type in types.split()), None)


def known() -> list[str]:
    """Every model_type that is understood."""
    return sorted(t for types in MODULES.values() for t in types.split())
