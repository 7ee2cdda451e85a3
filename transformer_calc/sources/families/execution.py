"""How the class of each model type computes: what of it is otherwise than in Llama's class."""

from __future__ import annotations

from transformer_calc.spec import Execution

_LLAMA = Execution()  # as the graph says
_BART = Execution(loss="own")
_BERT_LIKE = Execution(positions="buffer")
_ROBERTA = Execution(positions="batch", segments="batch")
_COHERE = Execution(norm="chain")
_OLMO_2 = Execution(norm="product_float32", tables_float32=True)
_GLM = Execution(tables="layer", heads_first=True)
_DEEPSEEK_3 = Execution(router="float32", weights_float32=True, grouped_choice=True)
_ERNIE = Execution(tables="layer", tables_float32=True)
_CLIP = Execution(softmax="float32", positions="buffer", lengths=2)
_SIGLIP = Execution(softmax="float32", positions="buffer", probe_written_out=True)

CLASSES: dict[str, Execution] = {
    **dict.fromkeys(
        "llama mistral ministral cwm qwen2 qwen3 qwen2_moe qwen3_moe gemma gemma2 gemma3_text".split(), _LLAMA
    ),
    **dict.fromkeys("gemma gemma2 gemma3_text vaultgemma phimoe olmoe starcoder2 granite granitemoe".split(), _LLAMA),
    **dict.fromkeys("granitemoeshared exaone4 smollm3 seed_oss arcee hunyuan_v1_dense".split(), _LLAMA),
    **dict.fromkeys("bert ernie albert electra biogpt m2m_100 dinov2".split(), _LLAMA),
    **dict.fromkeys("t5 mt5 umt5".split(), Execution(ties_head=True)),
    "gpt2": Execution(fused_qkv=True),
    "gpt_bigcode": Execution(fused_qkv=True, softmax="float32"),
    "openai-gpt": Execution(fused_qkv=True, positions="buffer"),
    "gpt_neo": Execution(scores_float32=True, softmax="float32"),
    "gptj": Execution(scores_float32=True, tables="use", rotated_as_made=True),
    "codegen": Execution(scores_float32=True, tables="use", tables_float32=True, rotated_as_made=True),
    "gpt_neox": Execution(fused_qkv=True, heads_first=True),
    "persimmon": Execution(fused_qkv=True, heads_first=True),
    "falcon": Execution(fused_qkv=True, kv_picked=True, softmax="own", mask_always=True, shared_key_broadcast=True),
    "bloom": Execution(fused_qkv=True, softmax="float32"),
    "mpt": Execution(fused_qkv=True, softmax="float32", filled_mask="once"),
    "opt": Execution(softmax="float32", positions="batch"),
    "xglm": Execution(scores_clamped=True),
    "phi": Execution(heads_first=True),
    "stablelm": Execution(heads_first=True),
    "nemotron": Execution(heads_first=True),
    "phi3": Execution(fused_qkv=True, heads_first=True),
    "cohere": _COHERE,
    "cohere2": _COHERE,
    "olmo": Execution(norm="input_float32", tables_float32=True),
    "olmo2": _OLMO_2,
    "olmo3": _OLMO_2.changed(tables="kind"),
    "flex_olmo": _OLMO_2,
    "helium": Execution(norm="weight_float32", tables="layer"),
    "glm": _GLM,
    "glm4": _GLM,
    "glm4_moe": _DEEPSEEK_3.changed(heads_first=True),
    "granitemoehybrid": Execution(softmax="float32"),
    "glm4_moe_lite": _DEEPSEEK_3,
    "dots1": _DEEPSEEK_3,
    "solar_open": _DEEPSEEK_3,
    "exaone_moe": _DEEPSEEK_3,
    "ernie4_5": _ERNIE,
    "ernie4_5_moe": _ERNIE.changed(router="float32"),
    "mixtral": Execution(weights_float32=True),
    "hunyuan_v1_moe": Execution(router="float32", weights_float32=True),
    "minimax_m2": Execution(heads_first=True, weights_float32=True),
    "deepseek_v2": Execution(
        router="float32", weights_float32=True, tables_half=True, tables_float32=True
    ),  # tables of complex numbers
    "deepseek_v3": _DEEPSEEK_3,
    "deepseek_v32": _DEEPSEEK_3,
    "kimi_k2": _DEEPSEEK_3,
    "glm_moe_dsa": _DEEPSEEK_3,
    "gpt_oss": Execution(softmax="own", norm="product_float32", tables_half=True, route_own=True),
    "llama4_text": Execution(softmax="own", tables_half=True, tables_float32=True, experts="all"),
    "distilbert": _BERT_LIKE,
    "mpnet": Execution(positions="batch"),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "xlm-roberta-xl": _ROBERTA,
    "roberta-prelayernorm": _ROBERTA,
    "camembert": _ROBERTA,
    "data2vec-text": _ROBERTA,
    "megatron-bert": Execution(segments="batch"),
    "deberta-v2": Execution(positions="buffer", keys_scaled=True, filled_mask="layer"),
    "modernbert": Execution(fused_qkv=True, loss="float32"),
    "dbrx": Execution(fused_qkv=True, experts="loop", route_own=True),
    "switch_transformers": Execution(router="float32", experts="loop"),
    "bart": Execution(positions="encoder", loss="own"),
    "mbart": Execution(positions="encoder", loss="own"),
    "pegasus": _BART,
    "marian": _BART,
    "blenderbot": _BART,
    "blenderbot-small": _BART,
    "whisper": Execution(loss="own", positions="batch", heads_first=True),
    "vit": Execution(softmax="float32"),
    "deit": Execution(softmax="float32"),
    "clip": _CLIP,
    "clip_text_model": _CLIP,
    "clip_vision_model": _CLIP,
    "siglip": _SIGLIP,
    "siglip_text_model": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
}
