"""How the classes of Hugging Face transformers 5.24 compute when PyTorch runs them operator by operator.

Only what shows in the tensors that autograd keeps, and does not follow from the graph: where a class writes an
operation out as a chain, casts, copies, or makes again what others make once. A family without an entry computes as
its graph says, the way Llama's class does. Each fact was read in the family's modeling file; autograd confirms it.
"""

from __future__ import annotations

from typing import NamedTuple


class Eager(NamedTuple):
    """The facts of one class; the defaults are those of most."""

    # attention
    softmax: str = ""  # float32: computed so and cast back | own: in the activations' type | empty: float32 if rotary
    scores_float32: bool = False  # queries and keys are cast to float32 for their product
    scores_clamped: bool = False  # torch.max(scores, the least number), which keeps both
    keys_scaled: bool = False  # the scores' scale divides a copy of the keys
    filled_mask: str = ""  # masked_fill keeps its mask: one for the model (once), or one a layer (layer)
    fused_qkv: bool = False  # queries, keys and values are views of one tensor: who keeps one keeps all
    kv_picked: bool = False  # but where they are grouped, keys and values are picked out of it by lists of indices
    probe_written_out: bool = False  # the pooling query's attention never goes through PyTorch's fused one
    # what is handed to scaled_dot_product_attention
    heads_first: bool = False  # queries in a layout of heads first, which the output takes, to be copied for W_o
    rotated_as_made: bool = False  # queries are rotated before heads come first: their layout stays, in parts or not
    mask_always: bool = False  # a mask even where it says no more than causal
    shared_key_broadcast: bool = False  # one key head for all query heads, without saying so: computed plainly
    # rotary tables
    tables: str = "model"  # made once for the model, for each kind of layer, in each layer, or at each use
    tables_float32: bool = False
    tables_half: bool = False  # a cosine and a sine for each pair of entries, not for each entry
    # norms: own (PyTorch's operator, or Llama's chain) | product_float32 (the weight's product in float32) |
    # weight_float32 (and the weight cast for it) | input_float32 (the operator on a float32 copy) | chain (LayerNorm
    # written out in float32)
    norm: str = "own"
    lengths: int = 1  # numbers that are kept of each vector which is brought to length 1: its square, too
    # mixtures of experts
    router: str = (
        "own"  # the router's matrix: own type | float32, as it is stored (_keep_in_fp32_modules), and its input
    )
    route_own: bool = False  # the scores' softmax is in the activations' type
    weights_float32: bool = False  # the experts' outputs are multiplied by float32 weights
    grouped_choice: bool = False  # experts are chosen by groups even where there is one
    experts: str = "grouped"  # grouped: tokens sorted by expert, multiplied by groups | loop: one expert after another
    # | all: every token through every expert, most of them weighted by 0
    # ids and loss
    positions: str = "row"  # ids as a row for all sequences, one for each (batch; encoder: only there), or a buffer
    segments: str = "row"  # ids as a row for all sequences, or one for each (batch)
    loss: str = ""  # float32: of logits that are cast | own: of the logits as they are, to labels as they are given;
    # empty: float32 where the model continues its input


_BART = Eager(loss="own")
_BERT_LIKE = Eager(positions="buffer")
_ROBERTA = Eager(positions="batch", segments="batch")
_COHERE = Eager(norm="chain")
_OLMO_2 = Eager(norm="product_float32", tables_float32=True)
_GLM = Eager(tables="layer", heads_first=True)
_DEEPSEEK_3 = Eager(router="float32", weights_float32=True, grouped_choice=True)
_ERNIE = Eager(tables="layer", tables_float32=True)
_CLIP = Eager(softmax="float32", positions="buffer", lengths=2)
_SIGLIP = Eager(softmax="float32", positions="buffer", probe_written_out=True)

CLASSES: dict[str, Eager] = {
    "gpt2": Eager(fused_qkv=True),
    "gpt_bigcode": Eager(fused_qkv=True, softmax="float32"),
    "openai-gpt": Eager(fused_qkv=True, positions="buffer"),
    "gpt_neo": Eager(scores_float32=True, softmax="float32"),
    "gptj": Eager(scores_float32=True, tables="use", rotated_as_made=True),
    "codegen": Eager(scores_float32=True, tables="use", tables_float32=True, rotated_as_made=True),
    "gpt_neox": Eager(fused_qkv=True, heads_first=True),
    "persimmon": Eager(fused_qkv=True, heads_first=True),
    "falcon": Eager(fused_qkv=True, kv_picked=True, softmax="own", mask_always=True, shared_key_broadcast=True),
    "bloom": Eager(fused_qkv=True, softmax="float32"),
    "mpt": Eager(fused_qkv=True, softmax="float32", filled_mask="once"),
    "opt": Eager(softmax="float32", positions="batch"),
    "xglm": Eager(scores_clamped=True),
    "phi": Eager(heads_first=True),
    "stablelm": Eager(heads_first=True),
    "nemotron": Eager(heads_first=True),
    "phi3": Eager(fused_qkv=True, heads_first=True),
    "cohere": _COHERE,
    "cohere2": _COHERE,
    "olmo": Eager(norm="input_float32", tables_float32=True),
    "olmo2": _OLMO_2,
    "olmo3": _OLMO_2._replace(tables="kind"),
    "flex_olmo": _OLMO_2,
    "helium": Eager(norm="weight_float32", tables="layer"),
    "glm": _GLM,
    "glm4": _GLM,
    "glm4_moe": _DEEPSEEK_3._replace(heads_first=True),
    "granitemoehybrid": Eager(softmax="float32"),
    "glm4_moe_lite": _DEEPSEEK_3,
    "dots1": _DEEPSEEK_3,
    "solar_open": _DEEPSEEK_3,
    "exaone_moe": _DEEPSEEK_3,
    "ernie4_5": _ERNIE,
    "ernie4_5_moe": _ERNIE._replace(router="float32"),
    "mixtral": Eager(weights_float32=True),
    "hunyuan_v1_moe": Eager(router="float32", weights_float32=True),
    "minimax_m2": Eager(heads_first=True, weights_float32=True),
    "deepseek_v2": Eager(
        router="float32", weights_float32=True, tables_half=True, tables_float32=True
    ),  # tables of complex numbers
    "deepseek_v3": _DEEPSEEK_3,
    "deepseek_v32": _DEEPSEEK_3,
    "kimi_k2": _DEEPSEEK_3,
    "glm_moe_dsa": _DEEPSEEK_3,
    "gpt_oss": Eager(softmax="own", norm="product_float32", tables_half=True, route_own=True),
    "llama4": Eager(softmax="own", tables_half=True, tables_float32=True, experts="all"),
    "llama4_text": Eager(softmax="own", tables_half=True, tables_float32=True, experts="all"),
    "distilbert": _BERT_LIKE,
    "mpnet": Eager(positions="batch"),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "xlm-roberta-xl": _ROBERTA,
    "roberta-prelayernorm": _ROBERTA,
    "camembert": _ROBERTA,
    "data2vec-text": _ROBERTA,
    "megatron-bert": Eager(segments="batch"),
    "deberta-v2": Eager(positions="buffer", keys_scaled=True, filled_mask="layer"),
    "modernbert": Eager(fused_qkv=True, loss="float32"),
    "dbrx": Eager(fused_qkv=True, experts="loop", route_own=True),
    "switch_transformers": Eager(router="float32", experts="loop"),
    "bart": Eager(positions="encoder", loss="own"),
    "mbart": Eager(positions="encoder", loss="own"),
    "pegasus": _BART,
    "marian": _BART,
    "blenderbot": _BART,
    "blenderbot-small": _BART,
    "whisper": Eager(loss="own", positions="batch", heads_first=True),
    "vit": Eager(softmax="float32"),
    "deit": Eager(softmax="float32"),
    "clip": _CLIP,
    "clip_text_model": _CLIP,
    "clip_vision_model": _CLIP,
    "siglip": _SIGLIP,
    "siglip_text_model": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
}
