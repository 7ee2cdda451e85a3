"""Decoders that are mixtures of experts: their routers, and which of their layers are sparse."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

from transformer_calc.errors import InputError, shown
from transformer_calc.sources.families import parts
from transformer_calc.sources.families.base import Config
from transformer_calc.sources.families.decoders import (
    GRANITE,
    LLAMA,
    OLMO2,
    as_wide,
    hunyuan_attention,
    pattern,
    unturned,
)
from transformer_calc.sources.families.rope import rotary
from transformer_calc.spec import Attention, Indexer, LatentAttention, Layer, Layers, Moe, Mtp, Norm, Router

ROUTER_LOSS = "router_aux_loss_coef output_router_logits"  # of training only
# of training, and of layers for multi-token prediction, which stand in no checkpoint's class
UNUSED = f"{ROUTER_LOSS} num_nextn_predict_layers num_mtp_layers num_mtp_modules use_mtp mtp_transformer_layers"
_normalize = parts.flag("norm_topk_prob")
_jitter = parts.number("router_jitter_noise")


def sparse_layers(c: Config, layer: Layer, *, alternating: bool = False) -> Layers:
    """Qwen's order: experts in every decoder_sparse_step-th layer, but for those that mlp_only_layers names.

    A window is in all layers; `alternating`: where layer_types says so, or in every other of the first ones.
    """
    n, step, types = c.int("layers"), c.int("decoder_sparse_step"), c.words("layer_types", parts.LAYER_TYPES, None)
    window = c.maybe_int("window", minimum=0) if c.flag("use_sliding_window") else None
    only = {i for i in c.numbers("mlp_only_layers") or () if i < n}
    turns = c.int("max_window_layers", minimum=0) if alternating and window else 0  # of these every other one is local
    assert isinstance(layer.mixer, Attention)
    local = replace(layer.mixer, window=window or None)
    layer = layer if alternating else replace(layer, mixer=local)  # whatever layer_types says
    moe = replace(layer, ffn=c.family.experts(c)) if c.int("experts", minimum=0) else layer
    kinds = {"dense": replace(layer, name="dense"), "moe": replace(moe, name="moe")}
    if types or turns:
        kinds |= {f"local_{k}": replace(v, name=f"local_{k}", mixer=local) for k, v in kinds.items()}

    def kind(i: int) -> str:
        is_local = types[i] == "sliding_attention" if types else i % 2 == 0 and i < turns
        return ("local_" if is_local else "") + ("moe" if i not in only and (i + 1) % step == 0 else "dense")

    if types:
        return parts.by_type(c, kinds, [kind(i) for i in range(len(types))], n, ())
    head = max(max(only, default=-1) + 1, min(turns, n))
    return parts.by_rule(c, kinds, kind, n, period=math.lcm(step, 2) if turns else step, head=head)


# --- DeepSeek and what is built like it -----------------------------------------------------------------------------


def grouped(c: Config, **more: Any) -> Router:
    """Experts out of the best groups of them, from DeepSeek's keys."""
    groups, best = c.maybe_int("n_group") or 1, c.maybe_int("topk_group") or 1
    if best > groups:
        raise InputError(f"{c.where}topk_group is {best}; it must be at most n_group, {groups}")
    return Router(groups=groups, top_groups=best, scaling=c.num("routed_scaling_factor"), **more)


def by_sigmoid(c: Config) -> Router:
    """DeepSeek-V3's router."""
    return grouped(c, scoring="sigmoid", normalize=_normalize(c), correction=True)


def corrected(c: Config) -> Router:
    """The same where the config names it."""
    if c.raw("scoring_func", "sigmoid") != "noaux_tc" or c.family.model_type != "dots1":
        c.must("scoring_func", "sigmoid")
    for key, value in (("topk_method", "noaux_tc"), ("moe_layer_freq", 1)):
        c.must(key, value)
    return by_sigmoid(c)


def _shared(key: str) -> Callable[[Config], int | None]:
    """The width of so many experts that every token passes through, as one feed-forward part."""
    return lambda c: c.int("d_expert") * c.int(key, minimum=0) or None


def routed(
    c: Config, router: Callable[[Config], Router] = corrected, shared: str = "n_shared_experts", **more: Any
) -> Moe:
    """Experts, and those that every token passes through."""
    return parts.experts(c, router(c), d_shared=_shared(shared), **more)


def after_dense(c: Config, layer: Layer, *, listed: bool = False, dense: int | None = None) -> Layers:
    """Dense layers first, then experts in every layer; or (`listed`) as mlp_layer_types has them."""
    n, moe = c.int("layers"), c.family.experts(c)
    kinds = {"dense": replace(layer, name="dense"), "sparse": replace(layer, name="moe", ffn=moe)}
    order = c.words("mlp_layer_types", tuple(kinds), None) if listed else None
    if dense is None:
        dense = c.maybe_int("first_k_dense_replace", minimum=0) or 0
    if order is not None:
        return parts.by_type(c, kinds, order, n, ())
    return Layers.spans(list(kinds.values()), ((0,), min(dense, n)), ((1,), n - dense))


def next_layers(c: Config, layer: Layer, *, copies: bool = True, dense: int | None = None) -> Mtp | None:
    """Further tokens' layers: as the layer would be that followed the last one."""
    first = (c.maybe_int("first_k_dense_replace", minimum=0) or 0) if dense is None else dense
    sparse = c.int("layers") >= first
    return parts.predicting(c, replace(layer, ffn=c.family.experts(c)) if sparse else layer, copies=copies)


def latent(c: Config, *, interleaved: bool | None = None, **indexed: Any) -> LatentAttention:
    """DeepSeek's attention; num_key_value_heads and head_dim say nothing there. `indexed`: of the indexer, if any."""
    nope, rope = c.int("qk_nope_head_dim"), c.int("qk_rope_head_dim")
    turn, scale = rotary(c, rope, interleaved=interleaved or c.flag("rope_interleave")), None
    scaling: dict[str, Any] = dict(turn.scaling)
    if (stretch := scaling.get("mscale_all_dim")) and scaling.get("factor", 1) > 1:
        # YaRN's temperature (arXiv 2309.00071, §3.4), here in the scores and not in the rotation
        scale = (nope + rope) ** -0.5 * (0.1 * stretch * math.log(scaling["factor"]) + 1.0) ** 2
    indexer = None
    if indexed:
        c.words("layer_types", ("indexed_attention",))
        c.int("q_lora_rank")  # which the indexer reads
        indexer = Indexer(
            n_heads=c.int("index_n_heads"),
            d_head=c.int("index_head_dim"),
            top_k=c.int("index_topk"),
            rotary=replace(turn, interleaved=indexed["indexer_interleaved"]),
        )
    return LatentAttention(
        n_heads=c.int("heads"),
        q_rank=c.maybe_int("q_lora_rank"),
        kv_rank=c.int("kv_lora_rank"),
        d_nope=nope,
        d_rope=rope,
        d_value=c.int("v_head_dim"),
        bias=c.flag("attention_bias"),
        norm=Norm(kind="rmsnorm", eps=1e-6),  # whatever rms_norm_eps says
        rotary=turn,
        scale=scale,
        indexer=indexer,
        dropout=c.maybe_num("attn_dropout") or 0.0,
    )


def _v2_router(c: Config) -> Router:
    c.must("norm_topk_prob", False, "the class does not normalize")
    router = replace(grouped(c), group_score="max")
    if c.text("topk_method") == "greedy":
        return replace(router, groups=1, top_groups=1)
    c.must("topk_method", "group_limited_greedy")
    return router


def _own_index(c: Config) -> None:
    """Refuse layers that share another's index."""
    c.int("index_skip_topk_offset", 2, minimum=0)  # from where on layers may share
    types = c.words("indexer_types", ("full", "shared"), None) or ()
    pattern = c.raw("index_topk_pattern", None) or ()
    letters = ("F", "S", "full", "shared")
    if not (isinstance(pattern, str | list | tuple) and all(letter in letters for letter in pattern)):
        raise InputError(
            f"{c.where}index_topk_pattern is {shown(str(pattern))}; it must be an F (full) or S (shared) for each layer"
        )
    often = not types and not pattern and c.int("index_topk_freq", 1) > 1
    if "shared" in types or {"S", "shared"} & set(pattern) or often:
        raise InputError(
            f"{c.where}layers that share another's index are not supported yet", hint="index_topk_freq = 1"
        )


def crossed(c: Config, layer: Layer, *, first: Any = None, every: Any = None) -> Layers:
    """Layers of which the first first_k_dense_replace have no experts, and some a window: as layer_types says, or all
    but each `every`-th one, or those from number `first` on. mlp_layer_types, where there are some, decide on experts.
    """
    n, window, dense = c.int("layers"), c.maybe_int("window"), c.maybe_int("first_k_dense_replace", minimum=0) or 0
    start, each, full = c.int(first, minimum=0) if first else 0, every(c) if every else 0, dict[str, Any]()
    if every and window:  # layers without a window have no positions either
        full = {"rotary": None}
    spans, feeds = (
        c.words("layer_types", parts.LAYER_TYPES, None),
        c.words("mlp_layer_types", ("dense", "sparse"), None),
    )
    for key, values in (("layer_types", spans), ("mlp_layer_types", feeds)):
        if values and len(values) != n:
            raise InputError(f"{c.where}{key} names {len(values)} layers, but there are {n} (num_hidden_layers)")
    moe = c.family.experts(c)

    def kind(i: int) -> tuple[bool, bool]:
        local = bool((i + 1) % each) if each else i >= start
        if spans:
            local = spans[i] == "sliding_attention"
        return local and window is not None, feeds[i] == "sparse" if feeds else i >= dense

    def made(local: bool, sparse: bool) -> Layer:
        mixer = replace(layer.mixer, window=window) if local else replace(layer.mixer, **full)  # type: ignore[type-var]
        name = "_".join([*(["local" if local else "global"] if window else []), "moe" if sparse else "dense"])
        return replace(layer, name=name, mixer=mixer, ffn=moe if sparse else layer.ffn)

    kinds = {key: made(*key) for key in product((True, False), repeat=2)}
    return parts.by_rule(c, kinds, kind, n, period=each or 1, head=n if spans or feeds else max(dense, start))


# --- ERNIE, Llama 4, DBRX and others: their own words ---------------------------------------------------------------


def _ernie_layers(c: Config, layer: Layer) -> Layers:
    n, moe = c.int("layers"), c.family.experts(c)
    kinds = {False: replace(layer, name="dense"), True: replace(layer, name="moe", ffn=moe)}
    first, last = c.int("moe_layer_start_index", minimum=0), c.int("moe_layer_end_index", minimum=-1)
    last, every = n - 1 if last == -1 else last, c.int("moe_layer_interval")
    through = last >= n - 1
    order = {"period": every if through else 1, "head": first if through else last + 1}
    return parts.by_rule(c, kinds, lambda i: first <= i <= last and (i + 1) % every == 0, n, **order)


def _llama4_layers(c: Config, layer: Layer) -> Layers:
    """Layers with positions see a chunk; those without see all, with queries that grow; experts in each step-th."""
    n, mixer, moe = c.int("layers"), layer.mixer, c.family.experts(c)
    assert isinstance(mixer, Attention)
    own = Norm(kind="rmsnorm", weight=False, eps=c.num("eps")) if c.flag("use_qk_norm") else None
    # any number but 0 turns it on: the first configs said 4
    growth = (c.num("floor_scale"), c.num("attn_scale")) if c.raw("attn_temperature_tuning") else None
    near = replace(mixer, qk_norm=own, qk_norm_after_rotary=True)
    far = replace(mixer, rotary=None, temperature=growth)
    chunk = {"chunked_attention": c.maybe_int("attention_chunk_size"), "full_attention": None}
    dense = parts.gated(c, d_ff=c.int("intermediate_size_mlp"))
    attn, interval, head = unturned(c, {True: "chunked_attention", False: "full_attention"}, tuple(chunk))
    listed, step = c.numbers("moe_layers"), c.int("interleave_moe_layer_step")
    sparse = None if listed is None else frozenset(i for i in listed if i < n)

    def kind(i: int) -> tuple[bool, str, bool]:
        return *attn(i), (i + 1) % step == 0 if sparse is None else i in sparse

    def made(rope: bool, span: str, is_sparse: bool) -> Layer:
        words = ["local" if span == "chunked_attention" else "global"]
        words += [] if rope == (span == "chunked_attention") else ["rope" if rope else "nope"]
        words += [] if sparse is None and step == 1 else ["moe" if is_sparse else "dense"]
        attention = replace(near if rope else far, chunk=chunk[span])
        return replace(layer, name="_".join(words), mixer=attention, ffn=moe if is_sparse else dense)

    kinds = {key: made(*key) for key in product((True, False), chunk, (True, False))}
    head = max(head, max(sparse or (), default=-1) + 1)
    return parts.by_rule(c, kinds, kind, n, period=math.lcm(interval, step), head=head)


def _dbrx_attention(c: Config) -> Attention:
    a, (n, _, width) = c.part("attn_config"), parts.heads(c)
    return Attention(
        n_heads=n,
        n_kv_heads=a.int("kv_n_heads"),
        d_head=width,
        rotary=rotary(c, width, theta=a.num("rope_theta", c.num("rope_theta"))),
        clip_qkv=a.maybe_num("clip_qkv"),
        dropout=a.num("attn_pdrop"),
    )


def _dbrx_experts(c: Config) -> Moe:
    f = c.part("ffn_config", inert="hidden_size moe_loss_weight", own={"ffn_act_fn": {"name": "silu"}})
    act = f.part("ffn_act_fn", own={"name": "silu"}).activation("name")
    scale = f.maybe_num("moe_normalize_expert_weights")
    if scale not in (None, 1.0):
        f.must("moe_normalize_expert_weights", 1.0)
    router = Router(normalize=scale is not None, jitter=f.maybe_num("moe_jitter_eps") or 0.0)
    return parts.experts(f, router, d_expert=f.int("ffn_hidden_size"), activation=act, layout="rows")


def _phimoe_attention(c: Config) -> Attention:
    mixer = parts.attention(c)
    assert mixer.rotary
    scaling: dict[str, Any] = dict(mixer.rotary.scaling)
    if not scaling:
        return mixer
    # the class computes the frequencies without a length, and so by the short factors; their sizes are given
    if scaling.get("short_mscale") is None or scaling.get("long_mscale") is None:
        raise InputError(f"{c.where}rope_scaling needs short_mscale and long_mscale")
    scaling |= {"long_factor": scaling.get("short_factor"), "attention_factor": None}
    return replace(mixer, rotary=replace(mixer.rotary, scaling=tuple(sorted(scaling.items()))))


def _minimax(c: Config) -> None:
    for kind in ("full_attention", "linear_attention", "mlp"):
        c.must(f"layernorm_{kind}_beta", 1.0)
    if any(kind != 1 for kind in c.numbers("attn_type_list", None) or ()):
        raise InputError(f"{c.where}attn_type_list names linear attention, which MiniMax-M2's class does not have")


def _minimax_attention(c: Config) -> Attention:
    width = parts.heads(c)[2]
    turned = (c.maybe_int("rotary_dim", None) or width) / width
    return parts.attention(c, turned=turned, qk_norm=parts.norm, qk_norm_over="inner")


def _granite_hybrid(c: Config) -> None:
    """Granite 4 where all layers are attention, as in its smallest models."""
    order = c.words("layer_types", ("attention", "full_attention", "mamba", "linear_attention"), None)
    if not order or {"mamba", "linear_attention"} & set(order):
        raise InputError(
            f"{c.where}model_type is 'granitemoehybrid' with state-space layers, which are not supported yet",
            hint="those whose layer_types are all attention are known",
        )
    n = c.int("layers")
    if len(order) != n:
        raise InputError(f"{c.where}layer_types names {len(order)} layers, but there are {n} (num_hidden_layers)")


def _granite_shared(c: Config) -> Moe:
    return parts.experts(c, {"scoring": "softmax-topk"}, d_shared=c.int("shared_intermediate_size", minimum=0) or None)


def _granite_hybrid_ffn(c: Config) -> Any:
    """Without experts only the part that every token passes through."""
    if c.maybe_int("num_local_experts", minimum=0):
        return _granite_shared(c)
    return parts.gated(c, bias=False, d_ff=c.int("shared_intermediate_size"))


def _granite_hybrid_attention(c: Config) -> Attention:
    still: dict[str, Any] = {} if c.raw("position_embedding_type") == "rope" else {"rotary": None}
    return parts.attention(c, scale=c.num("attention_multiplier"), **still)


def _alike(c: Config, key: str, default: int | None = None) -> int:
    """A whole number, or a list with the same one for each layer."""
    value = c.raw(key, default)
    if isinstance(value, list):
        n = c.int("layers")
        if len(value) < n or len(set(map(str, value[:n]))) != 1 or type(value[0]) is not int:
            raise InputError(f"{c.where}{key} must be one whole number, or the same one for each of the {n} layers")
        return int(value[0])
    return c.int(key, default)


def _hunyuan_experts(c: Config) -> Moe:
    d_ff = c.int("d_ff")
    if _alike(c, "moe_intermediate_size", d_ff) != d_ff or _alike(c, "num_shared_expert", 1) != 1:
        raise InputError(f"{c.where}moe_intermediate_size must be intermediate_size, and num_shared_expert 1")
    sizes = {"n_experts": _alike(c, "num_experts"), "top_k": _alike(c, "moe_topk"), "d_expert": d_ff, "d_shared": d_ff}
    return parts.experts(c, {"normalize": True}, **sizes)


def _hunyuan_width(c: Config) -> None:
    if c.maybe_int("head_dim") is None:
        raise InputError(f"{c.where}head_dim is missing; hunyuan_v1_moe has no default for it")


# --- the types ------------------------------------------------------------------------------------------------------

SHARED = {"ffn.shared.{gate,up,down}": "mlp.shared_experts.{}_proj"}
CORRECTION = {"ffn.route.correction": "mlp.gate.e_score_correction_bias"}
LATENT = {
    "attn.{q_down,q_norm,q_up}": "self_attn.{q_a_proj,q_a_layernorm,q_b_proj}",
    "attn.kv_down + attn.k_rope": "self_attn.kv_a_proj_with_mqa",
    "attn.kv_norm": "self_attn.kv_a_layernorm",
    "attn.k_up + attn.v_up by heads": "self_attn.kv_b_proj",
    "attn.indexer.{q,k,k_norm,weights}": "self_attn.indexer.{wq_b,wk,k_norm,weights_proj}",
}
# vLLM, ernie_mtp.py: a dense layer, and the model's head without a norm of its own
ERNIE_MTP = {"mtp": "~mtp_block.*", "mtp.{enorm,hnorm,eh_proj}": "/~mtp_{emb_norm,hidden_norm,linear_proj}.*"}
# vLLM, exaone_moe_mtp.py: a dense layer; norms and projection stand once, so that more than one share them
EXAONE_MTP = {
    "mtp": "mtp.layers.*",
    "mtp.{enorm,hnorm}": "/mtp.pre_fc_norm_{embedding,hidden}",
    "mtp.{eh_proj,norm}": "/mtp.{fc,norm}",
}
BLOCK_SPARSE = {part: name.replace("mlp.", "block_sparse_moe.") for part, name in LLAMA.names.items()}


def _shared_mlp(part: str) -> dict[str, str]:
    return {f"{part}.gate + {part}.up": "shared_mlp.input_linear", f"{part}.down": "shared_mlp.output_linear"}


def _exaone_mtp(c: Config, layer: Layer) -> Mtp | None:
    one = c.maybe_int("num_nextn_predict_layers", None, minimum=0) == 1
    return parts.predicting(c, layer, copies=False) if one else None


QWEN_MOE = LLAMA.but(
    layers=sparse_layers, experts=partial(parts.experts, router={"normalize": _normalize}), inert=ROUTER_LOSS
)
GRANITE_MOE = GRANITE.but(
    ffn=partial(parts.experts, router={"scoring": "softmax-topk"}),
    names=BLOCK_SPARSE | {"ffn.router": "block_sparse_moe.router"},
    inert=ROUTER_LOSS,
)
GRANITE_SHARED = GRANITE_MOE.but(
    ffn=_granite_shared, names={"ffn.shared.{gate,up,down}": ""} | _shared_mlp("ffn.shared")
)
V3 = LLAMA.but(
    experts=routed,
    layers=after_dense,
    names=SHARED | CORRECTION,
    execution={"router": "float32", "weights_float32": True, "grouped_choice": True},
    inert=f"{ROUTER_LOSS} aux_loss_alpha seq_aux",
)
MLA = V3.but(mixer=latent, mtp=next_layers, names=LATENT, inert="num_key_value_heads head_dim qk_head_dim")
INDEXED = MLA.but(
    mixer=partial(latent, interleaved=True, indexer_interleaved=False),
    layers=partial(after_dense, listed=True),
    inert="mlp_bias",
    renamed={"num_mtp_layers": "num_nextn_predict_layers"},
)

TYPES = {
    "mixtral": LLAMA.but(
        ffn=partial(parts.experts, router={"normalize": True, "jitter": _jitter}),
        execution={"weights_float32": True},
        inert=ROUTER_LOSS,
    ),
    "qwen2_moe": QWEN_MOE.but(
        mixer=partial(parts.attention, qkv=parts.flag("qkv_bias"), o=False),
        layers=partial(sparse_layers, alternating=True),
        experts=partial(QWEN_MOE.experts, d_shared=lambda c: c.int("d_shared"), shared_gate=True),
    ),
    "qwen3_moe": QWEN_MOE.but(
        must={"use_qk_norm": True, "shared_expert_intermediate_size": 0},
        mixer=partial(parts.attention, qk_norm=parts.norm),
        qa_base="transformer.",
        inert="max_window_layers qkv_bias dual_chunk_attention_config",
    ),
    "phimoe": LLAMA.but(
        check=lambda c: c.must("num_experts_per_tok", 2, "sparsemixer takes two"),
        mixer=_phimoe_attention,
        ffn=partial(parts.experts, router={"scoring": "sparsemixer", "jitter": _jitter}),
        norm=partial(parts.norm, kind="layernorm"),
        head={"bias": parts.flag("lm_head_bias")},
        names={"ffn.router": "mlp.router"},
        flags={"experts_per_token": ""},
        inert=f"{ROUTER_LOSS} input_jitter_noise hidden_dropout",
    ),
    "olmoe": LLAMA.but(
        # its norm of q has hidden_size weights
        mixer=partial(as_wide, clip_qkv=parts.maybe("clip_qkv"), qk_norm=parts.norm, qk_norm_over="inner"),
        ffn=QWEN_MOE.experts,
        inert=ROUTER_LOSS,
    ),
    "flex_olmo": OLMO2.but(ffn=QWEN_MOE.experts, names={"ffn_norm": "post_attention_layernorm"}, inert=ROUTER_LOSS),
    "granitemoe": GRANITE_MOE.but(inert="init_method normalization_function position_embedding_type"),
    "granitemoeshared": GRANITE_SHARED,
    "granitemoehybrid": GRANITE_SHARED.but(
        check=_granite_hybrid,
        mixer=_granite_hybrid_attention,
        ffn=_granite_hybrid_ffn,
        names={"ffn.{gate,up,down}": ""} | _shared_mlp("ffn"),
        execution={"softmax": "float32"},
        inert="normalization_function",
        flags={"d_ff": "shared_intermediate_size"}
        | dict.fromkeys("experts experts_per_token d_expert d_shared".split(), ""),
    ),
    "glm4_moe": V3.but(
        # the class rounds the width of a head down, at its own defaults too
        mixer=lambda c: parts.attention(
            c,
            o=False,
            default=c.int("d_model") // c.int("heads"),
            qk_norm=parts.norm(c) if c.flag("use_qk_norm") else None,
        ),
        experts=partial(routed, router=by_sigmoid),
        mtp=next_layers,  # GLM 4.5's files hold the copies, GLM 4.6's do not
        execution={"heads_first": True},
    ),
    "glm4_moe_lite": MLA.but(
        must={"partial_rotary_factor": 1.0},
        layers=partial(after_dense, listed=True, dense=1),
        mtp=partial(next_layers, dense=1),
        inert="first_k_dense_replace",
        renamed={"num_mtp_layers": "num_nextn_predict_layers"},
    ),
    "deepseek_v2": MLA.but(
        must={"moe_layer_freq": 1, "scoring_func": "softmax"},
        mixer=partial(latent, interleaved=True),
        experts=partial(routed, router=_v2_router, shared_bias=parts.flag("mlp_bias")),
        mtp=None,
        names={"ffn.route.correction": ""},
        execution={"grouped_choice": False, "tables_half": True, "tables_float32": True},  # tables of complex numbers
        inert="num_nextn_predict_layers num_mtp_layers",
    ),
    "deepseek_v3": MLA,
    "kimi_k2": MLA.but(classes="deepseekv3"),  # published so: its code is DeepSeek-V3's
    "deepseek_v32": INDEXED.but(renamed={"num_experts": "n_routed_experts"}),
    "glm_moe_dsa": INDEXED.but(
        check=_own_index,
        mixer=partial(latent, interleaved=True, indexer_interleaved=True),
        mtp=partial(next_layers, copies=False),
        inert="indexer_rope_interleave rope_interleave",
    ),
    "dots1": V3.but(
        mixer=partial(parts.attention, qk_norm=parts.norm),
        layers=partial(crossed, first="max_window_layers"),
        inert=UNUSED,
    ),
    "solar_open": V3.but(  # GLM 4.5 with experts in every layer
        must={"first_k_dense_replace": 0, "use_qk_norm": False},
        mixer=partial(parts.attention, o=False, turned=parts.number("partial_rotary_factor", 1.0)),
        ffn=routed,
        layers=parts.uniform,
        inert=f"{UNUSED} intermediate_size",
    ),
    "exaone_moe": V3.but(
        mixer=partial(parts.attention, qk_norm=parts.norm),
        experts=partial(routed, shared="num_shared_experts"),
        layers=partial(crossed, every=pattern),
        mtp=_exaone_mtp,
        names={"ffn.route.correction": "mlp.e_score_correction_bias"} | EXAONE_MTP,
        inert=f"{UNUSED} is_moe_layer",
    ),
    "minimax_m2": LLAMA.but(
        must={"use_qk_norm": True, "qk_norm_type": "per_layer", "scoring_func": "sigmoid", "use_routing_bias": True}
        | {"shared_intermediate_size": 0},
        check=_minimax,
        mixer=_minimax_attention,
        ffn=partial(
            parts.experts, router={"scoring": "sigmoid", "normalize": True, "correction": True, "jitter": _jitter}
        ),
        names={"ffn.route.correction": "block_sparse_moe.e_score_correction_bias"},
        execution={"heads_first": True, "weights_float32": True},
        inert=UNUSED,
    ),
    "ernie4_5_moe": LLAMA.but(
        mixer=partial(parts.attention, interleaved=True),
        experts=partial(
            parts.experts,
            router={
                "normalize": True,
                "least_sum": parts.number("moe_norm_min"),
                "correction": True,
                "correction_counts": True,
            },
            d_shared=lambda c: c.int("d_expert") * (c.maybe_int("moe_num_shared_experts", minimum=0) or 0) or None,
            shared_bias=parts.flag("use_bias"),
        ),
        layers=_ernie_layers,
        head={"bias": parts.flag("use_bias")},
        mtp=partial(parts.predicting, copies=False, final=False),
        names=SHARED | {"ffn.route.correction": "mlp.gate.moe_statics.e_score_correction_bias"} | ERNIE_MTP,
        execution={"tables": "layer", "tables_float32": True, "router": "float32"},
        inert=f"{UNUSED} attention_dropout moe_capacity moe_gate moe_use_aux_free",
    ),
    "dbrx": parts.DECODER.but(
        must={"tie_word_embeddings": False},
        base="transformer.",
        mixer=_dbrx_attention,
        ffn=_dbrx_experts,
        norm=lambda c: Norm(bias=False),
        tokens={"dropout": parts.number("emb_pdrop")},
        names={
            "{embed.tokens,layers,final_norm}": "~{wte,blocks.*,norm_f}",
            "{attn,ffn}_norm": "norm_attn_norm.norm_{1,2}",
            "{attn.q + attn.k + attn.v,attn.o}": "norm_attn_norm.attn.{Wqkv,out_proj}",
            "ffn.experts.{gate,up,down}.weight": "ffn.experts.mlp.{w1,v1,w2} flat",
            "{ffn.router,head.lm}": "{ffn.router.layer,lm_head}",
        },
        execution={"fused_qkv": True, "experts": "loop", "route_own": True},
        inert=f"{ROUTER_LOSS} num_key_value_heads",
    ),
    "llama4_text": LLAMA.but(
        mixer=partial(parts.attention, interleaved=True),
        experts=partial(
            parts.experts,
            router={"scoring": "sigmoid-input", "jitter": _jitter},
            d_shared=lambda c: c.int("d_expert"),
            layout="in_out",
        ),
        layers=_llama4_layers,
        names={part: name.replace("mlp.", "feed_forward.") for part, name in LLAMA.names.items()}
        | {"ffn.router": "feed_forward.router"},
        classes="llama4 llama4text",
        execution={"softmax": "own", "tables_half": True, "tables_float32": True, "experts": "all"},
        flags={"d_expert": ""},
        inert=ROUTER_LOSS,
    ),
    "gpt_oss": LLAMA.but(
        must={"swiglu_alpha": 1.702},
        mixer=partial(parts.attention, sinks=True),
        ffn=partial(
            parts.experts,
            router={"bias": True, "scoring": "softmax-topk"},
            activation="quick_gelu",  # the class takes no notice of hidden_act
            bias=True,
            limit=parts.number("swiglu_limit"),
            layout="in_out",
        ),
        layers=partial(parts.windowed, every=2),
        names={
            "attn.softmax.sinks": "self_attn.sinks",
            "ffn.router": "mlp.router",
            "ffn.experts.gate.weight + ffn.experts.up.weight": "",  # stored gate, up, gate, up …
            "ffn.experts.gate.{weight,bias} + ffn.experts.up.{weight,bias} by d_expert": "mlp.experts.gate_up_proj"
            "{,_bias}",
            "ffn.experts.down.bias": "mlp.experts.down_proj_bias",
        },
        execution={"softmax": "own", "norm": "product_float32", "tables_half": True, "route_own": True},
        inert=f"{ROUTER_LOSS} experts_per_token initial_context_length",
    ),
    "hunyuan_v1_moe": LLAMA.but(
        must={"use_qk_norm": True, "use_rotary_pos_emb": True, "use_cla": False, "use_mla": False}
        | {
            "use_mixed_mlp_moe": True,
            "moe_layer_num_skipped": 0,
            "group_limited_greedy": False,
            "norm_topk_prob": True,
        },
        check=_hunyuan_width,
        mixer=hunyuan_attention,
        ffn=_hunyuan_experts,
        names={
            "attn.{q,k}_norm": "self_attn.{query,key}_layernorm",
            "ffn.router": "mlp.gate.wg",
            "ffn.shared.{gate,up,down}": "mlp.shared_mlp.{}_proj",
        },
        classes="hunyuanmoev1",
        execution={"router": "float32", "weights_float32": True},
        inert=f"""{ROUTER_LOSS} attention_head_dim cla_share_factor dense_list org_vocab_size pool_type num_media_embeds
            anyres_pooling_size anyres_vit_max_image_size anyres_vit_two_views skip_cls_token norm_type class_num
            eod_token_id im_end_id im_newline_id im_start_id mask_init_id pad_id text_end_id text_start_id
            moe_drop_tokens moe_random_routing_dropped_token routed_scaling_factor n_group topk_group vit_type
            vit_path vit_mapping_type vit_norm_type vit_used_rms_norm vit_remove_prenorm vit_input_resolution
            vit_patch vit_token vit_add_patchemb_bias mlp_bias xdrope_section position_embedding_xdrope""",
    ),
}
