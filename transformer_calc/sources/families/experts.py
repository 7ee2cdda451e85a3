"""Families that are mixtures of experts, with their own routers: DeepSeek, GLM 4.5, Llama 4, gpt-oss."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from typing import Any

from transformer_calc.errors import shown
from transformer_calc.sources.families.base import (
    Attention,
    Config,
    Family,
    InputError,
    Layer,
    Layers,
    Model,
    by_rule,
    by_type,
    heads,
    predicting,
    rotary,
)
from transformer_calc.sources.families.llama import (
    EXPERT_FLAGS,
    MIXTRAL_FLAGS,
    NAMES,
    ROUTER_LOSS,
    SIZES,
    attention,
    gated,
    model,
    rms,
    unturned,
    windowed,
)
from transformer_calc.spec import Indexer, LatentAttention, Moe, Mtp, Norm, Router

SHARED = NAMES | {f"ffn.shared.{part}": f"mlp.shared_experts.{part}_proj" for part in ("gate", "up", "down")}
CORRECTED = SHARED | {"ffn.route.correction": "mlp.gate.e_score_correction_bias"}
LATENT = {
    "attn.q_down": "self_attn.q_a_proj",
    "attn.q_norm": "self_attn.q_a_layernorm",
    "attn.q_up": "self_attn.q_b_proj",
    "attn.kv_down + attn.k_rope": "self_attn.kv_a_proj_with_mqa",
    "attn.kv_norm": "self_attn.kv_a_layernorm",
    "attn.k_up + attn.v_up by heads": "self_attn.kv_b_proj",
    "attn.indexer.q": "self_attn.indexer.wq_b",
    "attn.indexer.k": "self_attn.indexer.wk",
    "attn.indexer.k_norm": "self_attn.indexer.k_norm",
    "attn.indexer.weights": "self_attn.indexer.weights_proj",
}


def _latent(c: Config, *, interleaved: bool) -> LatentAttention:
    """DeepSeek's attention; num_key_value_heads and head_dim say nothing there."""
    nope, rope = c.int("qk_nope_head_dim"), c.int("qk_rope_head_dim")
    turn, scale = rotary(c, rope, interleaved=interleaved), None
    scaling: dict[str, Any] = dict(turn.scaling)
    if (stretch := scaling.get("mscale_all_dim")) and scaling.get("factor", 1) > 1:
        # YaRN's temperature (arXiv 2309.00071, §3.4), here in the scores and not in the rotation
        scale = (nope + rope) ** -0.5 * (0.1 * stretch * math.log(scaling["factor"]) + 1.0) ** 2
    return LatentAttention(
        n_heads=c.int("num_attention_heads"),
        q_rank=c.maybe_int("q_lora_rank"),
        kv_rank=c.int("kv_lora_rank"),
        d_nope=nope,
        d_rope=rope,
        d_value=c.int("v_head_dim"),
        bias=c.flag("attention_bias"),
        norm=Norm(kind="rmsnorm", eps=1e-6),  # whatever rms_norm_eps says
        rotary=turn,
        scale=scale,
        dropout=c.maybe_num("attention_dropout") or 0.0,
    )


def _routed(c: Config, router: Router) -> Moe:
    """Experts and, as one feed-forward part, those that every token passes through."""
    width = c.int("moe_intermediate_size")
    return Moe(
        n_experts=c.int("n_routed_experts"),
        top_k=c.int("num_experts_per_tok"),
        d_expert=width,
        activation=c.activation(),
        router=router,
        d_shared=width * c.int("n_shared_experts", minimum=0) or None,
    )


def grouped(c: Config, **more: Any) -> Router:
    """Experts out of the best groups of them, from DeepSeek's keys."""
    groups, best = c.maybe_int("n_group") or 1, c.maybe_int("topk_group") or 1
    if best > groups:
        raise InputError(f"{c.where}topk_group is {best}; it must be at most n_group, {groups}")
    return Router(groups=groups, top_groups=best, scaling=c.num("routed_scaling_factor"), **more)


def _after_dense(c: Config, layer: Layer, experts: Moe, *, listed: bool = False, dense: int | None = None) -> Layers:
    """Dense layers first, then experts in every layer; or (`listed`) as mlp_layer_types has them."""
    n = c.int("num_hidden_layers")
    kinds = {"dense": replace(layer, name="dense"), "sparse": replace(layer, name="moe", ffn=experts)}
    order = c.words("mlp_layer_types", tuple(kinds), None) if listed else None
    if dense is None:
        dense = c.maybe_int("first_k_dense_replace", minimum=0) or 0
    if order is not None:
        return by_type(c, kinds, order, n, ())
    return Layers.spans(list(kinds.values()), ((0,), min(dense, n)), ((1,), n - dense))


def _glm4_moe(c: Config) -> Model:
    qk_norm = rms(c) if c.flag("use_qk_norm") else None
    width = c.int("hidden_size") // c.int("num_attention_heads")  # the class rounds down, at its own defaults too
    part = c.num("partial_rotary_factor")
    mixer = attention(c, qkv=c.flag("attention_bias"), part=part, default=width, qk_norm=qk_norm)
    router = grouped(c, scoring="sigmoid", normalize=c.flag("norm_topk_prob"), correction=True)
    layer, experts = Layer(mixer=mixer, ffn=gated(c), norm=rms(c)), _routed(c, router)
    # GLM 4.5's files hold the copies, GLM 4.6's do not
    mtp = _further(c, layer, experts, copies=True)
    return model(c, _after_dense(c, layer, experts), rms(c), CORRECTED, mtp=mtp)


def _further(c: Config, layer: Layer, experts: Moe, *, copies: bool, dense: int | None = None) -> Mtp | None:
    """Further tokens' layers: as the layer would be that followed the last one."""
    first = (c.maybe_int("first_k_dense_replace", minimum=0) or 0) if dense is None else dense
    sparse = c.int("num_hidden_layers") >= first
    return predicting(c, replace(layer, ffn=experts) if sparse else layer, rms(c), copies=copies)


def _deepseek_v2(c: Config) -> Model:
    c.must("moe_layer_freq", 1)
    c.must("scoring_func", "softmax")
    c.must("norm_topk_prob", False, "the class does not normalize")
    router = replace(grouped(c), group_score="max")
    if c.text("topk_method") == "greedy":
        router = replace(router, groups=1, top_groups=1)
    else:
        c.must("topk_method", "group_limited_greedy")
    bias = c.flag("mlp_bias")
    layer = Layer(mixer=_latent(c, interleaved=True), ffn=gated(c, bias=bias), norm=rms(c))
    experts = replace(_routed(c, router), shared_bias=bias)
    return model(c, _after_dense(c, layer, experts), rms(c), SHARED | LATENT)


def _deepseek_v3(c: Config) -> Model:
    return _v3(c, _latent(c, interleaved=c.flag("rope_interleave")))


def _v3(c: Config, mixer: LatentAttention, *, copies: bool = True, **order: Any) -> Model:
    for key, value in (("moe_layer_freq", 1), ("scoring_func", "sigmoid"), ("topk_method", "noaux_tc")):
        c.must(key, value)
    router = grouped(c, scoring="sigmoid", normalize=c.flag("norm_topk_prob"), correction=True)
    layer, experts = Layer(mixer=mixer, ffn=gated(c), norm=rms(c)), _routed(c, router)
    mtp = _further(c, layer, experts, copies=copies, dense=order.get("dense"))
    return model(c, _after_dense(c, layer, experts, **order), rms(c), CORRECTED | LATENT, mtp=mtp)


def _deepseek_v32(c: Config, *, interleaved: bool = False, copies: bool = True) -> Model:
    c.words("layer_types", ("indexed_attention",))
    c.int("q_lora_rank")  # which the indexer reads
    mixer = _latent(c, interleaved=True)
    assert mixer.rotary
    indexer = Indexer(
        n_heads=c.int("index_n_heads"),
        d_head=c.int("index_head_dim"),
        top_k=c.int("index_topk"),
        rotary=replace(mixer.rotary, interleaved=interleaved),
    )
    return _v3(c, replace(mixer, indexer=indexer), listed=True, copies=copies)


def _glm_moe_dsa(c: Config) -> Model:
    c.int("index_skip_topk_offset", 2, minimum=0)  # from where on layers may share
    types = c.words("indexer_types", ("full", "shared"), None) or ()
    pattern = c.raw("index_topk_pattern", None) or ()
    letters = ("F", "S", "full", "shared")
    if not (isinstance(pattern, str | list | tuple) and all(letter in letters for letter in pattern)):
        raise InputError(
            f"{c.where}index_topk_pattern is {shown(str(pattern))}; it must be an F (full) or S (shared) for each layer"
        )
    if (
        "shared" in types
        or {"S", "shared"} & set(pattern)
        or (not types and not pattern and c.int("index_topk_freq", 1) > 1)
    ):
        raise InputError(
            f"{c.where}layers that share another's index are not supported yet", hint="index_topk_freq = 1"
        )
    return _deepseek_v32(c, interleaved=True, copies=False)


def _glm4_moe_lite(c: Config) -> Model:
    c.must("partial_rotary_factor", 1.0)
    return _v3(c, _latent(c, interleaved=c.flag("rope_interleave")), listed=True, dense=1)


def _ernie4_5_moe(c: Config) -> Model:
    n, bias, width = c.int("num_hidden_layers"), c.flag("use_bias"), c.int("moe_intermediate_size")
    experts = Moe(
        n_experts=c.int("moe_num_experts"),
        top_k=c.int("moe_k"),
        d_expert=width,
        activation=c.activation(),
        router=Router(normalize=True, least_sum=c.num("moe_norm_min"), correction=True, correction_counts=True),
        d_shared=width * (c.maybe_int("moe_num_shared_experts", minimum=0) or 0) or None,
        shared_bias=bias,
    )
    attn = attention(c, qkv=bias, o=bias, interleaved=True, dropout=0.0)
    layer = Layer(mixer=attn, ffn=gated(c, bias=bias), norm=rms(c))
    kinds = {False: replace(layer, name="dense"), True: replace(layer, name="moe", ffn=experts)}
    first, last = c.int("moe_layer_start_index", minimum=0), c.int("moe_layer_end_index", minimum=-1)
    last, every = n - 1 if last == -1 else last, c.int("moe_layer_interval")
    layers = by_rule(
        c,
        kinds,
        lambda i: first <= i <= last and (i + 1) % every == 0,
        n,
        period=every if last >= n - 1 else 1,
        head=first if last >= n - 1 else last + 1,
    )
    correction = {"ffn.route.correction": "mlp.gate.moe_statics.e_score_correction_bias"}
    mtp = predicting(c, layer, rms(c), copies=False, final=False)
    return model(c, layers, rms(c), SHARED | correction | ERNIE_MTP, bias=bias, mtp=mtp)


# vLLM, ernie_mtp.py: a dense layer, and the model's head without a norm of its own
ERNIE_MTP = {
    "mtp": "~mtp_block.*",
    "mtp.enorm": "/~mtp_emb_norm.*",
    "mtp.hnorm": "/~mtp_hidden_norm.*",
    "mtp.eh_proj": "/~mtp_linear_proj.*",
}


def _dbrx(c: Config) -> Model:
    c.must("tie_word_embeddings", False)
    a = c.part("attn_config", Family("dbrx", {"attn_pdrop": 0.0, "clip_qkv": None, "kv_n_heads": 1}, _dbrx))
    f = c.part("ffn_config", Family("dbrx", DBRX_FFN, _dbrx, inert="hidden_size moe_loss_weight"))
    n, _, d_head = heads(c, d_head="")
    mixer = Attention(
        n_heads=n,
        n_kv_heads=a.int("kv_n_heads"),
        d_head=d_head,
        rotary=rotary(c, d_head, theta=a.num("rope_theta", c.num("rope_theta"))),
        clip_qkv=a.maybe_num("clip_qkv"),
        dropout=a.num("attn_pdrop"),
    )
    act = f.part("ffn_act_fn", Family("dbrx", {"name": "silu"}, _dbrx)).activation("name")
    if f.maybe_num("moe_normalize_expert_weights") not in (None, 1.0):
        f.must("moe_normalize_expert_weights", 1.0)
    ffn = Moe(
        n_experts=f.int("moe_num_experts"),
        top_k=f.int("moe_top_k"),
        d_expert=f.int("ffn_hidden_size"),
        activation=act,
        router=Router(
            normalize=f.maybe_num("moe_normalize_expert_weights") is not None,
            jitter=f.maybe_num("moe_jitter_eps") or 0.0,
        ),
        layout="rows",
    )
    norm = Norm(kind="layernorm", bias=False)
    layer = Layer(mixer=mixer, ffn=ffn, norm=norm, dropout=c.num("resid_pdrop"))
    layers = Layers.uniform(layer, c.int("num_hidden_layers"))
    return model(c, layers, norm, DBRX_NAMES, base="transformer.", embed_dropout=c.num("emb_pdrop"))


DBRX_FFN = {
    "ffn_act_fn": {"name": "silu"},
    "ffn_hidden_size": 3584,
    "moe_num_experts": 4,
    "moe_top_k": 1,
    "moe_jitter_eps": None,
    "moe_normalize_expert_weights": 1.0,
}
DBRX_NAMES = {
    "embed.tokens": "~wte",
    "layers": "~blocks.*",
    "attn_norm": "norm_attn_norm.norm_1",
    "attn.q + attn.k + attn.v": "norm_attn_norm.attn.Wqkv",
    "attn.o": "norm_attn_norm.attn.out_proj",
    "ffn_norm": "norm_attn_norm.norm_2",
    "ffn.router": "ffn.router.layer",
    "ffn.experts.gate.weight": "ffn.experts.mlp.w1 flat",
    "ffn.experts.up.weight": "ffn.experts.mlp.v1 flat",
    "ffn.experts.down.weight": "ffn.experts.mlp.w2 flat",
    "final_norm": "~norm_f",
    "head.lm": "lm_head",
}


def _llama4(c: Config) -> Model:
    n, width, bias = c.int("num_hidden_layers"), c.int("intermediate_size"), c.flag("attention_bias")
    mixer = attention(c, qkv=bias, o=bias, interleaved=True)
    norm = Norm(kind="rmsnorm", weight=False, eps=c.num("rms_norm_eps")) if c.flag("use_qk_norm") else None
    # any number but 0 turns it on: the first configs said 4
    growth = (c.num("floor_scale"), c.num("attn_scale")) if c.raw("attn_temperature_tuning") else None
    near = replace(mixer, qk_norm=norm, qk_norm_after_rotary=True)
    far = replace(mixer, rotary=None, temperature=growth)
    chunk = {"chunked_attention": c.maybe_int("attention_chunk_size"), "full_attention": None}
    experts = Moe(
        n_experts=c.int("num_local_experts"),
        top_k=c.int("num_experts_per_tok"),
        d_expert=width,
        activation=c.activation(),
        router=Router(scoring="sigmoid-input", jitter=c.num("router_jitter_noise")),
        d_shared=width,
        layout="in_out",
    )
    dense = replace(gated(c), d_ff=c.int("intermediate_size_mlp"))

    spans = {True: "chunked_attention", False: "full_attention"}
    attn, interval, head = unturned(c, spans, tuple(chunk))
    listed, step = c.numbers("moe_layers"), c.int("interleave_moe_layer_step")
    sparse = None if listed is None else frozenset(i for i in listed if i < n)

    def kind(i: int) -> tuple[bool, str, bool]:
        return *attn(i), (i + 1) % step == 0 if sparse is None else i in sparse

    def layer(rope: bool, span: str, moe: bool) -> Layer:
        words = ["local" if span == "chunked_attention" else "global"]
        words += [] if rope == (span == "chunked_attention") else ["rope" if rope else "nope"]
        words += [] if sparse is None and step == 1 else ["moe" if moe else "dense"]
        mixer = replace(near if rope else far, chunk=chunk[span])
        return Layer(name="_".join(words), mixer=mixer, ffn=experts if moe else dense, norm=rms(c))

    kinds = {key: layer(*key) for key in product((True, False), chunk, (True, False))}
    head = max(head, max(sparse or (), default=-1) + 1)
    layers = by_rule(c, kinds, kind, n, period=math.lcm(interval, step), head=head)
    return model(c, layers, rms(c), LLAMA4_NAMES)


LLAMA4_NAMES = {part: name.replace("mlp.", "feed_forward.") for part, name in NAMES.items()}
LLAMA4_NAMES["ffn.router"] = "feed_forward.router"


def _gpt_oss(c: Config) -> Model:
    c.must("swiglu_alpha", 1.702)
    bias = c.flag("attention_bias")
    experts = Moe(
        n_experts=c.int("num_local_experts"),
        top_k=c.int("num_experts_per_tok"),
        d_expert=c.int("intermediate_size"),
        activation="quick_gelu",  # the class takes no notice of hidden_act
        bias=True,
        limit=c.num("swiglu_limit"),
        router=Router(bias=True, scoring="softmax-topk"),
        layout="in_out",
    )
    layer = Layer(mixer=attention(c, qkv=bias, o=bias, sinks=True), ffn=experts, norm=rms(c))
    return model(c, windowed(c, layer, every=2), rms(c), GPT_OSS_NAMES)


GPT_OSS_NAMES = NAMES | {
    "attn.softmax.sinks": "self_attn.sinks",
    "ffn.router": "mlp.router",
    # stored gate, up, gate, up …
    "ffn.experts.gate.weight + ffn.experts.up.weight by d_expert": "mlp.experts.gate_up_proj",
    "ffn.experts.gate.bias + ffn.experts.up.bias by d_expert": "mlp.experts.gate_up_proj_bias",
    "ffn.experts.down.bias": "mlp.experts.down_proj_bias",
}
del GPT_OSS_NAMES["ffn.experts.gate.weight + ffn.experts.up.weight"]


# every head has keys and values of its own, expanded from the latent: num_key_value_heads says nothing
HEADS_ALIKE = {key: value for key, value in SIZES.items() if key != "num_key_value_heads"}
LATENT_SIZES = HEADS_ALIKE | {
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "attention_bias": False,
}
DEEPSEEK_V3 = LATENT_SIZES | {
    "vocab_size": 129280,
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "max_position_embeddings": 4096,
    "rope_interleave": True,
    "first_k_dense_replace": 3,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "n_group": 8,
    "topk_group": 4,
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
}
PREDICTING = {"num_nextn_predict_layers": 1}
V3_ALIASES = {"num_local_experts": "n_routed_experts", "num_mtp_layers": "num_nextn_predict_layers"}
GPT_OSS_ROPE = {
    "rope_type": "yarn",
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 4096,
}
DEEPSEEK_FLAGS = EXPERT_FLAGS | {"experts": "n_routed_experts"}
# of training, and of layers for multi-token prediction, which stand in no checkpoint's class
UNUSED = f"{ROUTER_LOSS} aux_loss_alpha seq_aux num_nextn_predict_layers num_mtp_layers"  # see sources.further
LATENT_UNUSED = f"{UNUSED} num_key_value_heads head_dim qk_head_dim"

FAMILIES = [
    Family(
        "glm4_moe",
        SIZES
        | PREDICTING
        | {
            "vocab_size": 151552,
            "intermediate_size": 10944,
            "num_hidden_layers": 46,
            "num_attention_heads": 96,
            "num_key_value_heads": 8,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "partial_rotary_factor": 0.5,
            "attention_bias": False,
            "use_qk_norm": False,
            "first_k_dense_replace": 1,
            "moe_intermediate_size": 1408,
            "n_routed_experts": 128,
            "n_shared_experts": 1,
            "num_experts_per_tok": 8,
            "n_group": 1,
            "topk_group": 1,
            "norm_topk_prob": True,
            "routed_scaling_factor": 1.0,
        },
        _glm4_moe,
        flags=DEEPSEEK_FLAGS,
        inert=UNUSED,
        aliases=V3_ALIASES,
    ),
    Family(
        "deepseek_v2",
        LATENT_SIZES
        | {
            "vocab_size": 102400,
            "mlp_bias": False,
            "first_k_dense_replace": 0,
            "moe_intermediate_size": 1407,
            "n_routed_experts": 64,
            "n_shared_experts": 2,
            "n_group": None,
            "topk_group": None,
            "topk_method": "greedy",
            "norm_topk_prob": False,
            "routed_scaling_factor": 1.0,
        },
        _deepseek_v2,
        flags=DEEPSEEK_FLAGS,
        inert=LATENT_UNUSED,
        aliases={"num_experts": "n_routed_experts"},
    ),
    Family(
        "deepseek_v3",
        DEEPSEEK_V3 | PREDICTING,
        _deepseek_v3,
        flags=DEEPSEEK_FLAGS,
        inert=LATENT_UNUSED,
        aliases=V3_ALIASES,
    ),
    Family(
        "kimi_k2", DEEPSEEK_V3 | PREDICTING, _deepseek_v3, flags=DEEPSEEK_FLAGS, inert=LATENT_UNUSED, aliases=V3_ALIASES
    ),
    Family(
        "deepseek_v32",
        {k: v for k, v in DEEPSEEK_V3.items() if k != "rope_interleave"}
        | {
            "max_position_embeddings": 163840,
            "mlp_layer_types": None,
            "layer_types": None,
            "index_n_heads": 64,
            "index_head_dim": 128,
            "index_topk": 2048,
        },
        _deepseek_v32,
        flags=DEEPSEEK_FLAGS,
        inert=f"{LATENT_UNUSED} mlp_bias",
        aliases=V3_ALIASES | {"num_experts": "n_routed_experts"},
    ),
    Family(
        "glm_moe_dsa",
        DEEPSEEK_V3
        | {
            "vocab_size": 154880,
            "hidden_size": 6144,
            "intermediate_size": 12288,
            "num_hidden_layers": 78,
            "num_attention_heads": 64,
            "max_position_embeddings": 202752,
            "rms_norm_eps": 1e-5,
            "q_lora_rank": 2048,
            "qk_nope_head_dim": 192,
            "v_head_dim": 256,
            "layer_types": None,
            "mlp_layer_types": None,
            "n_group": 1,
            "topk_group": 1,
            "index_topk": 2048,
            "index_head_dim": 128,
            "index_n_heads": 32,
        },
        _glm_moe_dsa,
        flags=DEEPSEEK_FLAGS,
        inert=f"{LATENT_UNUSED} indexer_rope_interleave rope_interleave",
        aliases=V3_ALIASES,
    ),
    Family(
        "glm4_moe_lite",
        LATENT_SIZES
        | {
            "vocab_size": 154880,
            "hidden_size": 2048,
            "intermediate_size": 10240,
            "num_hidden_layers": 47,
            "num_attention_heads": 20,
            "max_position_embeddings": 202752,
            "rms_norm_eps": 1e-5,
            "q_lora_rank": 768,
            "qk_nope_head_dim": 192,
            "v_head_dim": 256,
            "rope_interleave": True,
            "mlp_layer_types": None,
            "moe_intermediate_size": 1536,
            "n_routed_experts": 64,
            "n_shared_experts": 1,
            "num_experts_per_tok": 4,
            "n_group": 1,
            "topk_group": 1,
            "norm_topk_prob": True,
            "routed_scaling_factor": 1.8,
        },
        _glm4_moe_lite,
        flags=DEEPSEEK_FLAGS,
        inert=f"{LATENT_UNUSED} first_k_dense_replace",
        aliases=V3_ALIASES | {"head_dim": "qk_rope_head_dim"},
    ),
    Family(
        "ernie4_5_moe",
        SIZES
        | {
            "vocab_size": 103424,
            "hidden_size": 2560,
            "intermediate_size": 12288,
            "num_hidden_layers": 28,
            "num_attention_heads": 20,
            "num_key_value_heads": 4,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "rope_theta": 500000.0,
            "tie_word_embeddings": True,
            "use_bias": False,
            "moe_intermediate_size": 1536,
            "moe_num_experts": 64,
            "moe_k": 6,
            "moe_num_shared_experts": 2,
            "moe_norm_min": 1e-12,
            "moe_layer_start_index": 1,
            "moe_layer_end_index": -1,
            "moe_layer_interval": 1,
        },
        _ernie4_5_moe,
        flags={
            "experts": "moe_num_experts",
            "experts_per_token": "moe_k",
            "d_expert": "moe_intermediate_size",
        },
        inert=f"{UNUSED} moe_capacity moe_gate moe_use_aux_free",
        aliases={"num_experts": "moe_num_experts", "num_experts_per_tok": "moe_k"},
    ),
    Family(
        "dbrx",
        HEADS_ALIKE
        | {
            "hidden_size": 2048,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "attn_config": None,
            "ffn_config": None,
            "resid_pdrop": 0.0,
            "emb_pdrop": 0.0,
        },
        _dbrx,
        inert=f"{ROUTER_LOSS} num_key_value_heads",
        aliases={
            "d_model": "hidden_size",
            "n_heads": "num_attention_heads",
            "n_layers": "num_hidden_layers",
            "max_seq_len": "max_position_embeddings",
        },
        own_names=False,
    ),
    Family(
        "llama4_text",
        SIZES
        | {
            "vocab_size": 202048,
            "hidden_size": 5120,
            "intermediate_size": 8192,
            "intermediate_size_mlp": 16384,
            "num_hidden_layers": 48,
            "num_attention_heads": 40,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "rope_theta": 500000.0,
            "attention_bias": False,
            "use_qk_norm": True,
            "attention_chunk_size": 8192,
            "attn_temperature_tuning": True,
            "floor_scale": 8192,
            "attn_scale": 0.1,
            "no_rope_layers": None,
            "no_rope_layer_interval": 4,
            "layer_types": None,
            "num_local_experts": 16,
            "num_experts_per_tok": 1,
            "moe_layers": None,
            "interleave_moe_layer_step": 1,
            "router_jitter_noise": 0.0,
        },
        _llama4,
        flags={"experts": "num_local_experts", "experts_per_token": "num_experts_per_tok"},
        inert=f"{ROUTER_LOSS} for_llm_compressor",
    ),
    Family(
        "gpt_oss",
        SIZES
        | {
            "vocab_size": 201088,
            "hidden_size": 2880,
            "intermediate_size": 2880,
            "num_hidden_layers": 36,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "rope_theta": 150000.0,
            "rope_parameters": GPT_OSS_ROPE,
            "attention_bias": True,
            "sliding_window": 128,
            "layer_types": None,
            "num_local_experts": 128,
            "num_experts_per_tok": 4,
            "swiglu_limit": 7.0,
            "swiglu_alpha": 1.702,
        },
        _gpt_oss,
        flags=MIXTRAL_FLAGS,
        inert=f"{ROUTER_LOSS} experts_per_token initial_context_length",
        aliases={"num_experts": "num_local_experts"},
    ),
]
