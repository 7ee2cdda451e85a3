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
