"""Hugging Face families: which config.json key is which field, and what a missing key means.

A family is found by its `model_type`; only the module that holds it is imported.
"""

from __future__ import annotations

MODULES = {
    "encoders": "bert ernie megatron-bert roberta xlm-roberta camembert data2vec-text roberta-prelayernorm "
    "xlm-roberta-xl mpnet albert distilbert electra deberta-v2 modernbert",
    "classic": "gpt2 gpt_bigcode openai-gpt gpt_neo gptj codegen gpt_neox persimmon falcon bloom mpt opt xglm biogpt",
    "llama": "llama mistral mixtral qwen2 qwen3 qwen2_moe qwen3_moe",
    "decoders": "gemma gemma2 gemma3_text phi phi3 phimoe cohere cohere2 olmo olmo2 olmo3 olmoe stablelm starcoder2 "
    "granite granitemoe glm glm4 exaone4 nemotron smollm3 seed_oss ernie4_5 helium arcee hunyuan_v1_dense",
    "experts": "glm4_moe glm4_moe_lite deepseek_v2 deepseek_v3 deepseek_v32 kimi_k2 llama4_text gpt_oss "
    "ernie4_5_moe dbrx glm_moe_dsa",
    "relatives": "ministral cwm dots1 solar_open exaone_moe minimax_m2 flex_olmo granitemoeshared "
    "granitemoehybrid hunyuan_v1_moe vaultgemma",
    "seq2seq": "t5 mt5 umt5 switch_transformers bart mbart m2m_100 pegasus marian blenderbot blenderbot-small whisper",
    "vision": "vit deit dinov2 clip clip_text_model clip_vision_model siglip siglip_text_model siglip_vision_model",
}


def module_of(model_type: str) -> str | None:
    """The module of `families` that holds a model_type."""
    return next((module for module, types in MODULES.items() if model_type in types.split()), None)


def known() -> list[str]:
    """Every model_type that is understood."""
    return sorted(t for types in MODULES.values() for t in types.split())


# model types around a text model, whose own config stands under this key
WRAPPERS = dict.fromkeys(
    "gemma3 gemma3n gemma4 llama4 mistral3 qwen2_vl qwen2_5_vl qwen3_vl qwen3_vl_moe qwen2_5_omni mllama llava "
    "llava_next llava_onevision paligemma idefics2 idefics3 smolvlm internvl aya_vision cohere2_vision glm4v glm4v_moe "
    "kimi_k25 kimi_vl ernie4_5_vl_moe qwen3_5 qwen3_5_moe pixtral vipllava video_llava got_ocr2 fuyu aria".split(),
    "text_config",
)
# names from before a family's code came into transformers, with other keys -> the family's name there
FORMER = {"RefinedWeb": "falcon", "RefinedWebModel": "falcon", "phi-msft": "phi", "stablelm_epoch": "stablelm"}
