"""Decoders that put together parts of other families: what each takes from which."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

from transformer_calc.sources.families.base import (
    Config,
    Family,
    InputError,
    Layer,
    Layers,
    Mlp,
    Model,
    by_rule,
    heads,
    predicting,
)
from transformer_calc.sources.families.decoders import (
    GEMMA2,
    GRANITE,
    SANDWICH,
    gemma2_layer,
    gemma_model,
    granite_experts,
    granite_model,
    hunyuan_rotary,
    spans_of_pattern,
)
from transformer_calc.sources.families.experts import CORRECTED, DEEPSEEK_FLAGS, grouped
from transformer_calc.sources.families.llama import (
    EXPERT_FLAGS,
    LAYER_TYPES,
    MIXTRAL_FLAGS,
    NAMES,
    ROUTER_LOSS,
    SIZES,
    attention,
    gated,
    mistral,
    model,
    rms,
    windowed,
)
from transformer_calc.spec import Moe, Router


def _crossed(c: Config, layer: Layer, experts: Moe, dense: int, every: int = 0, first: int = 0, **full: Any) -> Layers:
    """Layers of which the first `dense` ones have no experts, and some a window: as layer_types says, or all but each
    `every`-th one, or those from number `first` on. mlp_layer_types, where there are some, go before `dense`.
    """
    n, window = c.int("num_hidden_layers"), c.maybe_int("sliding_window")
    spans, feeds = c.words("layer_types", LAYER_TYPES, None), c.words("mlp_layer_types", ("dense", "sparse"), None)
    for key, values in (("layer_types", spans), ("mlp_layer_types", feeds)):
        if values and len(values) != n:
            raise InputError(f"{c.where}{key} names {len(values)} layers, but there are {n} (num_hidden_layers)")

    def kind(i: int) -> tuple[bool, bool]:
        local = bool((i + 1) % every) if every else i >= first
        if spans:
            local = spans[i] == "sliding_attention"
        return local and window is not None, feeds[i] == "sparse" if feeds else i >= dense

    def made(local: bool, sparse: bool) -> Layer:
        mixer = replace(layer.mixer, window=window) if local else replace(layer.mixer, **full)  # type: ignore[type-var]
        name = "_".join([*(["local" if local else "global"] if window else []), "moe" if sparse else "dense"])
        return replace(layer, name=name, mixer=mixer, ffn=experts if sparse else layer.ffn)

    kinds = {key: made(*key) for key in product((True, False), repeat=2)}
    head = n if spans or feeds else max(dense, first)
    return by_rule(c, kinds, kind, n, period=every or 1, head=head)


def _cwm(c: Config) -> Model:
    """Llama, with a window in all layers but each fourth, counted from the first."""
    layer = Layer(mixer=attention(c), ffn=gated(c, bias=c.flag("mlp_bias")), norm=rms(c))
    if c.raw("layer_types") is not None:
        return model(c, windowed(c, layer), rms(c))
    window = c.maybe_int("sliding_window", minimum=0) or None
    local = replace(layer, name="local", mixer=replace(layer.mixer, window=window))  # type: ignore[type-var]
    kinds = {True: replace(layer, name="global"), False: local}
    return model(c, by_rule(c, kinds, lambda i: i % 4 == 0, c.int("num_hidden_layers"), period=4), rms(c))


def _routed(c: Config, router: Router, n_experts: str, shared: int) -> Moe:
    width = c.int("moe_intermediate_size")
    return Moe(
        n_experts=c.int(n_experts),
        top_k=c.int("num_experts_per_tok"),
        d_expert=width,
        activation=c.activation(),
        router=router,
        d_shared=width * shared or None,
    )


def _v3_router(c: Config) -> Router:
    if c.raw("scoring_func", "sigmoid") != "noaux_tc":  # as dots.llm1's config says, and means sigmoid
        c.must("scoring_func", "sigmoid")
    for key, value in (("topk_method", "noaux_tc"), ("moe_layer_freq", 1)):
        c.must(key, value)
    return grouped(c, scoring="sigmoid", normalize=c.flag("norm_topk_prob"), correction=True)


def _dots1(c: Config) -> Model:
    """Qwen3's attention and DeepSeek-V3's experts."""
    bias = c.flag("attention_bias")
    mixer = attention(c, qkv=bias, o=bias, qk_norm=rms(c))
    experts = _routed(c, _v3_router(c), "n_routed_experts", c.int("n_shared_experts", minimum=0))
    layer, dense = Layer(mixer=mixer, ffn=gated(c), norm=rms(c)), c.maybe_int("first_k_dense_replace", minimum=0) or 0
    layers = _crossed(c, layer, experts, dense, first=c.int("max_window_layers", minimum=0))
    return model(c, layers, rms(c), CORRECTED)


def _solar_open(c: Config) -> Model:
    """GLM 4.5 with experts in every layer."""
    c.must("first_k_dense_replace", 0)
    c.must("use_qk_norm", False)
    mixer = attention(c, qkv=c.flag("attention_bias"), part=c.num("partial_rotary_factor", 1.0))
    experts = _routed(c, _v3_router(c), "n_routed_experts", c.int("n_shared_experts", minimum=0))
    layer = Layer(mixer=mixer, ffn=experts, norm=rms(c))
    return model(c, Layers.uniform(layer, c.int("num_hidden_layers")), rms(c), CORRECTED)


def _exaone_moe(c: Config) -> Model:
    """EXAONE 4's attention, in pre-norm layers with DeepSeek-V3's experts."""
    every = spans_of_pattern(c)
    mixer = attention(c, qk_norm=rms(c))
    experts = _routed(c, _v3_router(c), "num_experts", c.int("num_shared_experts", minimum=0))
    full: dict[str, Any] = {"rotary": None} if c.maybe_int("sliding_window") else {}
    layer, dense = Layer(mixer=mixer, ffn=gated(c), norm=rms(c)), c.int("first_k_dense_replace", minimum=0)
    names = CORRECTED | {"ffn.route.correction": "mlp.e_score_correction_bias"} | EXAONE_MTP
    # vLLM, exaone_moe_mtp.py: a dense layer; norms and projection stand once, so that more than one share them
    one = c.maybe_int("num_nextn_predict_layers", None, minimum=0) == 1
    mtp = predicting(c, layer, rms(c), copies=False) if one else None
    return model(c, _crossed(c, layer, experts, dense, every, **full), rms(c), names, mtp=mtp)


EXAONE_MTP = {
    "mtp": "mtp.layers.*",
    "mtp.enorm": "/mtp.pre_fc_norm_embedding",
    "mtp.hnorm": "/mtp.pre_fc_norm_hidden",
    "mtp.eh_proj": "/mtp.fc",
    "mtp.norm": "/mtp.norm",
}


def _minimax_m2(c: Config) -> Model:
    """Mixtral with a norm across all heads of q and of k, part of each head turned, and sigmoid scores."""
    for key, value in (("use_qk_norm", True), ("qk_norm_type", "per_layer"), ("scoring_func", "sigmoid")):
        c.must(key, value)
    c.must("use_routing_bias", True)
    c.must("shared_intermediate_size", 0)
    for kind in ("full_attention", "linear_attention", "mlp"):
        c.must(f"layernorm_{kind}_beta", 1.0)
    if any(kind != 1 for kind in c.numbers("attn_type_list", None) or ()):
        raise InputError(f"{c.where}attn_type_list names linear attention, which MiniMax-M2's class does not have")
    width = heads(c)[2]
    part = (c.maybe_int("rotary_dim", None) or width) / width
    experts = Moe(
        n_experts=c.int("num_local_experts"),
        top_k=c.int("num_experts_per_tok"),
        d_expert=c.int("intermediate_size"),
        activation=c.activation(),
        router=Router(scoring="sigmoid", normalize=True, correction=True, jitter=c.num("router_jitter_noise")),
    )
    mixer = attention(c, part=part, qk_norm=rms(c), qk_norm_over="inner")
    layers = Layers.uniform(Layer(mixer=mixer, ffn=experts, norm=rms(c)), c.int("num_hidden_layers"))
    names = NAMES | {"ffn.route.correction": "block_sparse_moe.e_score_correction_bias"}
    return model(c, layers, rms(c), names)


def _flex_olmo(c: Config) -> Model:
    """OLMo 2 with OLMoE's experts."""
    bias = c.flag("attention_bias")
    mixer = attention(c, qkv=bias, o=bias, qk_norm=rms(c), qk_norm_over="inner")
    experts = Moe(
        n_experts=c.int("num_experts"),
        top_k=c.int("num_experts_per_tok"),
        d_expert=c.int("intermediate_size"),
        activation=c.activation(),
        router=Router(normalize=c.flag("norm_topk_prob")),
    )
    layer = Layer(mixer=mixer, ffn=experts, norm=rms(c), place="output")
    names = SANDWICH | {"ffn_norm": NAMES["ffn_norm"]}
    return model(c, Layers.uniform(layer, c.int("num_hidden_layers")), rms(c), names)


def _granitemoeshared(c: Config, **more: Any) -> Model:
    """Granite's experts, and a part that every token passes through."""
    experts, names = granite_experts(c)
    experts = replace(experts, d_shared=c.int("shared_intermediate_size", minimum=0) or None)
    rest = {part: name for part, name in names.items() if not part.startswith("ffn.shared.")}
    return granite_model(c, experts, rest | _shared_names("ffn.shared"), **more)


def _shared_names(part: str) -> dict[str, str]:
    return {f"{part}.gate + {part}.up": "shared_mlp.input_linear", f"{part}.down": "shared_mlp.output_linear"}


def _granitemoehybrid(c: Config) -> Model:
    """Granite 4 where all layers are attention, as in its smallest models; without experts only the shared part."""
    order = c.words("layer_types", ("attention", "full_attention", "mamba", "linear_attention"), None)
    if not order or {"mamba", "linear_attention"} & set(order):
        raise InputError(
            f"{c.where}model_type is 'granitemoehybrid' with state-space layers, which are not supported yet",
            hint="those whose layer_types are all attention are known",
        )
    n = c.int("num_hidden_layers")
    if len(order) != n:
        raise InputError(f"{c.where}layer_types names {len(order)} layers, but there are {n} (num_hidden_layers)")
    still = {} if c.raw("position_embedding_type") == "rope" else {"rotary": None}
    if c.maybe_int("num_local_experts", minimum=0):
        return _granitemoeshared(c, **still)
    ffn = Mlp(
        d_ff=c.int("shared_intermediate_size"), activation=c.activation(), gated=True, bias_in=False, bias_out=False
    )
    names = {part: name for part, name in NAMES.items() if not part.startswith("ffn.")}
    return granite_model(c, ffn, names | _shared_names("ffn"), **still)


def _hunyuan_moe(c: Config) -> Model:
    """Hunyuan's dense model with experts in every layer, beside one feed-forward part for every token."""
    for key, value in (
        ("use_qk_norm", True),
        ("use_rotary_pos_emb", True),
        ("use_cla", False),
        ("use_mla", False),
        ("use_mixed_mlp_moe", True),
        ("moe_layer_num_skipped", 0),
        ("group_limited_greedy", False),
        ("norm_topk_prob", True),
    ):
        c.must(key, value)
    d_ff = c.int("intermediate_size")
    if _alike(c, "moe_intermediate_size", d_ff) != d_ff or _alike(c, "num_shared_expert", 1) != 1:
        raise InputError(f"{c.where}moe_intermediate_size must be intermediate_size, and num_shared_expert 1")
    experts = Moe(
        n_experts=_alike(c, "num_experts"),
        top_k=_alike(c, "moe_topk"),
        d_expert=d_ff,
        activation=c.activation(),
        router=Router(normalize=True),
        d_shared=d_ff,
    )
    bias = c.flag("attention_bias")
    if c.maybe_int("head_dim") is None:
        raise InputError(f"{c.where}head_dim is missing; hunyuan_v1_moe has no default for it")
    mixer = attention(c, qkv=bias, o=bias, rotary=hunyuan_rotary(c), qk_norm=rms(c), qk_norm_after_rotary=True)
    layers = Layers.uniform(Layer(mixer=mixer, ffn=experts, norm=rms(c)), c.int("num_hidden_layers"))
    return model(c, layers, rms(c), HUNYUAN_MOE_NAMES)


def _alike(c: Config, key: str, default: int | None = None) -> int:
    """A whole number, or a list with the same one for each layer."""
    value = c.raw(key, default)
    if isinstance(value, list):
        n = c.int("num_hidden_layers")
        if len(value) < n or len(set(map(str, value[:n]))) != 1 or type(value[0]) is not int:
            raise InputError(f"{c.where}{key} must be one whole number, or the same one for each of the {n} layers")
        return int(value[0])
    return c.int(key, default)


HUNYUAN_MOE_NAMES = NAMES | {
    "attn.q_norm": "self_attn.query_layernorm",
    "attn.k_norm": "self_attn.key_layernorm",
    "ffn.router": "mlp.gate.wg",
    **{f"ffn.shared.{part}": f"mlp.shared_mlp.{part}_proj" for part in ("gate", "up", "down")},
}


def _vaultgemma(c: Config) -> Model:
    """Gemma 2 without the norms on what each part gives out."""
    layer = replace(gemma2_layer(c, softcap=c.maybe_num("attn_logit_softcapping")), place="pre")
    names = NAMES | {"ffn_norm": "pre_feedforward_layernorm"}
    return gemma_model(c, windowed(c, layer, every=2), names, softcap=c.maybe_num("final_logit_softcapping"))


# of training, and of layers for multi-token prediction, which stand in no checkpoint's class
UNUSED = f"{ROUTER_LOSS} num_nextn_predict_layers num_mtp_layers num_mtp_modules use_mtp mtp_transformer_layers"
LONG_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 16.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}

FAMILIES = [
    Family(
        "ministral",
        SIZES
        | {
            "intermediate_size": 14336,
            "num_key_value_heads": 8,
            "head_dim": None,
            "max_position_embeddings": 131072,
            "sliding_window": 4096,
            "layer_types": None,
        },
        mistral,
    ),
    Family(
        "cwm",
        SIZES
        | {
            "vocab_size": 128256,
            "hidden_size": 6144,
            "intermediate_size": 21504,
            "num_hidden_layers": 64,
            "num_attention_heads": 48,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "rope_theta": 1e6,
            "rope_parameters": LONG_LLAMA3,
            "mlp_bias": False,
            "sliding_window": 8192,
            "layer_types": None,
        },
        _cwm,
    ),
    Family(
        "dots1",
        SIZES
        | {
            "vocab_size": 152064,
            "hidden_size": 4608,
            "intermediate_size": 10944,
            "num_hidden_layers": 62,
            "num_key_value_heads": 32,
            "attention_bias": False,
            "moe_intermediate_size": 1408,
            "n_group": 1,
            "topk_group": 1,
            "first_k_dense_replace": 0,
            "norm_topk_prob": False,
            "routed_scaling_factor": 1.0,
            "sliding_window": 4096,
            "max_window_layers": 62,
            "layer_types": None,
        },
        _dots1,
        flags=DEEPSEEK_FLAGS,
        inert=UNUSED,
        aliases={"num_local_experts": "n_routed_experts"},
    ),
    Family(
        "solar_open",
        SIZES
        | {
            "vocab_size": 196608,
            "num_hidden_layers": 48,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "rope_theta": 1e6,
            "attention_bias": False,
            "moe_intermediate_size": 1280,
            "n_routed_experts": 128,
            "n_shared_experts": 1,
            "num_experts_per_tok": 8,
            "n_group": 1,
            "topk_group": 1,
            "norm_topk_prob": True,
            "routed_scaling_factor": 1.0,
        },
        _solar_open,
        flags=DEEPSEEK_FLAGS,
        inert=f"{UNUSED} intermediate_size",
        aliases={"num_local_experts": "n_routed_experts"},
    ),
    Family(
        "exaone_moe",
        SIZES
        | {
            "vocab_size": 102400,
            "intermediate_size": 16384,
            "num_key_value_heads": 32,
            "rms_norm_eps": 1e-5,
            "sliding_window": 4096,
            "sliding_window_pattern": 4,
            "layer_types": None,
            "mlp_layer_types": None,
            "first_k_dense_replace": 1,
            "moe_intermediate_size": 1024,
            "num_experts": 64,
            "num_experts_per_tok": 8,
            "num_shared_experts": 1,
            "norm_topk_prob": True,
            "routed_scaling_factor": 2.5,
            "n_group": 1,
            "topk_group": 1,
        },
        _exaone_moe,
        flags=EXPERT_FLAGS,
        inert=f"{UNUSED} is_moe_layer",
    ),
    Family(
        "minimax_m2",
        SIZES
        | {
            "vocab_size": 200064,
            "hidden_size": 3072,
            "intermediate_size": 1536,
            "num_hidden_layers": 62,
            "num_attention_heads": 48,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 196608,
            "rope_theta": 5e6,
            "num_local_experts": 256,
            "num_experts_per_tok": 8,
            "router_jitter_noise": 0.0,
        },
        _minimax_m2,
        flags=MIXTRAL_FLAGS,
        inert=UNUSED,
        aliases={"num_experts": "num_local_experts"},
    ),
    Family(
        "flex_olmo",
        SIZES
        | {
            "vocab_size": 100352,
            "max_position_embeddings": 4096,
            "rope_theta": 500000.0,
            "attention_bias": False,
            "num_experts": 7,
            "num_experts_per_tok": 5,
            "norm_topk_prob": False,
        },
        _flex_olmo,
        flags=EXPERT_FLAGS | {"d_expert": "intermediate_size"},
        inert=ROUTER_LOSS,
        aliases={"num_local_experts": "num_experts"},
    ),
    Family(
        "granitemoeshared",
        GRANITE | {"num_local_experts": 8, "num_experts_per_tok": 2, "shared_intermediate_size": 0},
        _granitemoeshared,
        flags=MIXTRAL_FLAGS | {"d_shared": "shared_intermediate_size"},
        inert=f"{ROUTER_LOSS} head_dim",
    ),
    Family(
        "granitemoehybrid",
        GRANITE
        | {
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "shared_intermediate_size": 1024,
            "position_embedding_type": None,
            "layer_types": None,
        },
        _granitemoehybrid,
        flags={"d_ff": "shared_intermediate_size"},
        inert=f"""{ROUTER_LOSS} head_dim intermediate_size num_experts_per_tok normalization_function time_step_limit
            mamba_n_heads mamba_n_groups mamba_d_state mamba_d_head mamba_d_conv mamba_expand mamba_chunk_size
            mamba_conv_bias mamba_proj_bias""",
        aliases={"layers_block_type": "layer_types"},
    ),
    Family(
        "hunyuan_v1_moe",
        SIZES
        | {
            "vocab_size": 290943,
            "head_dim": None,
            "rms_norm_eps": 1e-5,
            "attention_bias": False,
            "num_experts": 1,
            "moe_topk": 1,
        },
        _hunyuan_moe,
        flags={"experts": "num_experts", "experts_per_token": "moe_topk", "d_expert": "intermediate_size"},
        inert=f"""{ROUTER_LOSS} attention_head_dim cla_share_factor dense_list org_vocab_size pool_type num_media_embeds
            anyres_pooling_size anyres_vit_max_image_size anyres_vit_two_views skip_cls_token norm_type class_num
            eod_token_id im_end_id im_newline_id im_start_id mask_init_id pad_id text_end_id text_start_id
            moe_drop_tokens moe_random_routing_dropped_token routed_scaling_factor n_group topk_group vit_type
            vit_path vit_mapping_type vit_norm_type vit_used_rms_norm vit_remove_prenorm vit_input_resolution
            vit_patch vit_token vit_add_patchemb_bias mlp_bias xdrope_section position_embedding_xdrope""",
        aliases={"num_local_experts": "num_experts", "num_experts_per_tok": "moe_topk"},
    ),
    Family("vaultgemma", GEMMA2, _vaultgemma, inert="hidden_act cache_implementation"),
]
