"""Other decoders with rotary positions: what each does differently from Llama."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

from transformer_calc.sources.families.base import (
    Attention,
    Config,
    Family,
    InputError,
    Layer,
    Layers,
    Mlp,
    Model,
    Norm,
    Rotary,
    by_rule,
    heads,
    rotary,
)
from transformer_calc.sources.families.llama import (
    EXPERT_FLAGS,
    LAYER_TYPES,
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
from transformer_calc.spec import Moe, Router

GATE_UP = {"ffn.gate + ffn.up": "mlp.gate_up_proj"}
SANDWICH = NAMES | {
    "attn_out_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "ffn_out_norm": "post_feedforward_layernorm",
}


def _layer_norm(c: Config, key: str = "layer_norm_eps", **more: Any) -> Norm:
    return Norm(kind="layernorm", eps=c.num(key), **more)


def _uniform(c: Config, layer: Layer) -> Layers:
    return Layers.uniform(layer, c.int("num_hidden_layers"))


def _mlp(c: Config, bias: bool) -> Mlp:
    return Mlp(d_ff=c.int("intermediate_size"), activation=c.activation(), bias_in=bias, bias_out=bias)


def gemma_model(c: Config, layers: Layers, names: dict[str, str] = NAMES, **more: Any) -> Model:
    """A decoder whose embedding is scaled, and whose norms are about one."""
    return model(c, layers, rms(c, offset=1.0), names, embed_scale=c.int("hidden_size") ** 0.5, **more)


def _gemma(c: Config) -> Model:
    c.must("use_bidirectional_attention", False)
    bias, ffn = c.flag("attention_bias"), gated(c)
    if ffn.activation == "gelu":  # the first configs said gelu and meant the tanh form
        ffn = replace(ffn, activation="gelu_tanh")
    layer = Layer(mixer=attention(c, qkv=bias, o=bias), ffn=ffn, norm=rms(c, offset=1.0))
    return gemma_model(c, _uniform(c, layer))


def gemma2_layer(c: Config, **more: Any) -> Layer:
    """Gemma 2's layer: norms before and after each part, and queries scaled by a number of their own."""
    bias, norm, scalar = c.flag("attention_bias"), rms(c, offset=1.0), c.num("query_pre_attn_scalar")
    mixer = attention(c, qkv=bias, o=bias, **more)
    if scalar != mixer.d_head:
        mixer = replace(mixer, scale=scalar**-0.5)
    return Layer(mixer=mixer, ffn=gated(c, activation="hidden_activation"), norm=norm, place="sandwich")


def _gemma2(c: Config) -> Model:
    c.must("use_bidirectional_attention", False)
    layer = gemma2_layer(c, softcap=c.maybe_num("attn_logit_softcapping"))
    layers = windowed(c, layer, every=2)
    return gemma_model(c, layers, SANDWICH, softcap=c.maybe_num("final_logit_softcapping"))


def _gemma3(c: Config) -> Model:
    c.must("attn_logit_softcapping", None, "the class passes it over")
    d_head = c.int("head_dim")
    far = rotary(c, d_head, theta=c.num("rope_theta"), kind="full_attention")
    near = rotary(c, d_head, theta=c.num("rope_local_base_freq"), kind="sliding_attention", scaled=False)
    causal = not c.flag("use_bidirectional_attention")
    layer = gemma2_layer(c, qk_norm=rms(c, offset=1.0), rotary=near, causal=causal)
    assert isinstance(layer.mixer, Attention)
    layers = windowed(c, layer, every=c.int("sliding_window_pattern"), full=replace(layer.mixer, rotary=far))
    return gemma_model(c, layers, SANDWICH, softcap=c.maybe_num("final_logit_softcapping"))


def _phi(c: Config) -> Model:
    norm, drop = _layer_norm(c), c.num("resid_pdrop")
    qk_norm = norm if c.flag("qk_layernorm") else None
    mixer = attention(c, qkv=True, o=True, part=c.num("partial_rotary_factor"), qk_norm=qk_norm)
    layer = Layer(mixer=mixer, ffn=_mlp(c, True), norm=norm, parallel="shared", dropout=drop)
    return model(c, _uniform(c, layer), norm, PHI_NAMES, bias=True, embed_dropout=c.num("embd_pdrop"))


PHI_NAMES = NAMES | {
    "norm": "input_layernorm",
    "attn.o": "self_attn.dense",
    "attn.q_norm": "self_attn.q_layernorm",
    "attn.k_norm": "self_attn.k_layernorm",
    "ffn.up": "mlp.fc1",
    "ffn.down": "mlp.fc2",
    "final_norm": "~final_layernorm",
}


def _phi3(c: Config) -> Model:
    mixer = attention(c, part=c.num("partial_rotary_factor"))
    kind = dict(mixer.rotary.scaling).get("rope_type", "longrope") if mixer.rotary else "longrope"
    if kind != "longrope":
        raise InputError(f"{c.where}rope_scaling type is {kind!r}; phi3 understands only longrope")
    # embd_pdrop is read by the config class, and by no module
    layer = Layer(mixer=mixer, ffn=gated(c), norm=rms(c), dropout=c.num("resid_pdrop"))
    names = NAMES | GATE_UP | {"attn.q + attn.k + attn.v": "self_attn.qkv_proj"}
    return model(c, windowed(c, layer), rms(c), names)


def _phimoe(c: Config) -> Model:
    norm, bias = _layer_norm(c, "rms_norm_eps"), c.flag("attention_bias")
    c.must("num_experts_per_tok", 2, "sparsemixer takes two")
    experts = Moe(
        n_experts=c.int("num_local_experts"),
        top_k=2,
        d_expert=c.int("intermediate_size"),
        activation=c.activation(),
        router=Router(scoring="sparsemixer", jitter=c.num("router_jitter_noise")),
    )
    mixer = attention(c, qkv=bias, o=bias)
    assert mixer.rotary
    scaling: dict[str, Any] = dict(mixer.rotary.scaling)
    if scaling:
        # the class computes the frequencies without a length, and so by the short factors; their sizes are given
        if scaling.get("short_mscale") is None or scaling.get("long_mscale") is None:
            raise InputError(f"{c.where}rope_scaling needs short_mscale and long_mscale")
        scaling |= {"long_factor": scaling.get("short_factor"), "attention_factor": None}
        mixer = replace(mixer, rotary=replace(mixer.rotary, scaling=tuple(sorted(scaling.items()))))
    layer = Layer(mixer=mixer, ffn=experts, norm=norm)
    names = NAMES | {"ffn.router": "mlp.router"}
    return model(c, windowed(c, layer), norm, names, bias=c.flag("lm_head_bias"))


def _cohere(c: Config) -> Model:
    norm, bias = _layer_norm(c, bias=False), c.flag("attention_bias")
    qk_norm = norm if c.flag("use_qk_norm") else None
    mixer = attention(c, qkv=bias, o=bias, interleaved=True, qk_norm=qk_norm, qk_norm_over="heads")
    layer = Layer(mixer=mixer, ffn=gated(c), norm=norm, parallel="shared")
    return model(c, _uniform(c, layer), norm, ONE_NORM, scale=c.num("logit_scale"))


ONE_NORM = NAMES | {"norm": "input_layernorm"}


def _cohere2(c: Config) -> Model:
    norm, bias, window = _layer_norm(c, bias=False), c.flag("attention_bias"), c.maybe_int("sliding_window")
    mixer = attention(c, qkv=bias, o=bias, interleaved=True)
    far = replace(mixer, rotary=None)  # only layers with a window have positions
    layer = Layer(mixer=mixer if window else far, ffn=gated(c), norm=norm, parallel="shared")
    layers = windowed(c, layer, every=c.int("sliding_window_pattern"), full=far)
    return model(c, layers, norm, ONE_NORM, scale=c.num("logit_scale"))


def _olmo(c: Config) -> Model:
    norm, bias = Norm(kind="layernorm", weight=False, eps=1e-5), c.flag("attention_bias")
    mixer = attention(c, qkv=bias, o=bias, clip_qkv=c.maybe_num("clip_qkv"))
    return model(c, _uniform(c, Layer(mixer=mixer, ffn=gated(c), norm=norm)), norm)


def _olmo2(c: Config) -> Model:
    bias = c.flag("attention_bias")
    mixer = attention(c, qkv=bias, o=bias, qk_norm=rms(c), qk_norm_over="inner")
    layer = Layer(mixer=mixer, ffn=gated(c), norm=rms(c), place="output")
    return model(c, _uniform(c, layer), rms(c), SANDWICH)


def _olmo3(c: Config) -> Model:
    bias, width = c.flag("attention_bias"), heads(c)[2]
    far = rotary(c, width, kind="full_attention")
    near = rotary(c, width, theta=500000.0, kind="sliding_attention", scaled=False)  # whatever rope_theta says
    mixer = attention(c, qkv=bias, o=bias, rotary=near, qk_norm=rms(c), qk_norm_over="inner")
    layer = Layer(mixer=mixer, ffn=gated(c), norm=rms(c), place="output")
    return model(c, windowed(c, layer, every=4, full=replace(mixer, rotary=far)), rms(c), SANDWICH)


def _olmoe(c: Config) -> Model:
    bias, clip = c.flag("attention_bias"), c.maybe_num("clip_qkv")
    mixer = attention(c, qkv=bias, o=bias, clip_qkv=clip, qk_norm=rms(c), qk_norm_over="inner")
    _as_wide(c, mixer)  # its norm of q has hidden_size weights
    experts = Moe(
        n_experts=c.int("num_experts"),
        top_k=c.int("num_experts_per_tok"),
        d_expert=c.int("intermediate_size"),
        activation=c.activation(),
        router=Router(normalize=c.flag("norm_topk_prob")),
    )
    return model(c, _uniform(c, Layer(mixer=mixer, ffn=experts, norm=rms(c))), rms(c))


def _stablelm(c: Config) -> Model:
    c.must("hidden_dropout", 0.0)
    norm, part = _layer_norm(c), c.num("partial_rotary_factor")
    qk_norm = replace(norm, bias=False) if c.flag("qk_layernorm") else None
    more: dict[str, Any] = {"qk_norm": qk_norm, "qk_norm_over": "heads", "d_head": ""}
    mixer = attention(c, qkv=c.flag("use_qkv_bias"), part=part, **more)
    parallel = "shared" if c.flag("use_parallel_residual") else "no"
    layer = Layer(mixer=mixer, ffn=gated(c), norm=norm, parallel=parallel)
    names = {f"attn.{x}_norm": f"self_attn.{x}_layernorm.norms.#" for x in "qk"}
    return model(c, _uniform(c, layer), norm, ONE_NORM | names)


def _starcoder2(c: Config) -> Model:
    for key, value in (("mlp_type", "default"), ("norm_type", "layer_norm")):
        c.must(key, value)
    norm, bias, drop = _layer_norm(c, "norm_epsilon"), c.flag("use_bias"), c.num("residual_dropout")
    layer = Layer(mixer=attention(c, qkv=bias, o=bias), ffn=_mlp(c, bias), norm=norm, dropout=drop)
    names = NAMES | {"ffn.up": "mlp.c_fc", "ffn.down": "mlp.c_proj"}
    return model(c, windowed(c, layer), norm, names, embed_dropout=c.num("embedding_dropout"))


def _granite(c: Config) -> Model:
    return granite_model(c, gated(c, bias=c.flag("mlp_bias")), NAMES)


def _granitemoe(c: Config) -> Model:
    return granite_model(c, *granite_experts(c))


def granite_experts(c: Config) -> tuple[Moe, dict[str, str]]:
    """Granite's experts, and the names of all tensors with them."""
    experts = Moe(
        n_experts=c.int("num_local_experts"),
        top_k=c.int("num_experts_per_tok"),
        d_expert=c.int("intermediate_size"),
        activation=c.activation(),
        router=Router(scoring="softmax-topk"),
    )
    names = {part: name.replace("mlp.", "block_sparse_moe.") for part, name in NAMES.items()}
    return experts, names | {"ffn.router": "block_sparse_moe.router"}


def granite_model(c: Config, ffn: Mlp | Moe, names: dict[str, str], **more: Any) -> Model:
    """Llama with multipliers; `more` goes to the attention."""
    bias, residual = c.flag("attention_bias"), c.num("residual_multiplier")
    mixer = attention(c, qkv=bias, o=bias, scale=c.num("attention_multiplier"), **more)
    layer = Layer(mixer=mixer, ffn=ffn, norm=rms(c), residual_scale=residual)
    scales = {"embed_scale": c.num("embedding_multiplier"), "scale": 1 / c.num("logits_scaling")}
    return model(c, _uniform(c, layer), rms(c), names, **scales)


def _glm(c: Config) -> Model:
    mixer = attention(c, qkv=c.flag("attention_bias"), part=c.num("partial_rotary_factor"), interleaved=True)
    return model(c, _uniform(c, Layer(mixer=mixer, ffn=gated(c), norm=rms(c))), rms(c), NAMES | GATE_UP)


def _glm4(c: Config) -> Model:
    mixer = attention(c, qkv=c.flag("attention_bias"), part=c.num("partial_rotary_factor"), interleaved=True)
    layer = Layer(mixer=mixer, ffn=gated(c), norm=rms(c), place="sandwich")
    after = {"attn_out_norm": "post_self_attn_layernorm", "ffn_out_norm": "post_mlp_layernorm"}
    return model(c, _uniform(c, layer), rms(c), NAMES | GATE_UP | after)


def spans_of_pattern(c: Config) -> int:
    """Each which layer sees everything: from a number, or from a word like LLLG."""
    pattern = c.raw("sliding_window_pattern")
    if c.maybe_int("sliding_window") is None or c.raw("layer_types") is not None:
        return 1
    if isinstance(pattern, str) and pattern and pattern == "L" * (len(pattern) - 1) + "G":
        return len(pattern)
    return c.int("sliding_window_pattern")


def _exaone4(c: Config) -> Model:
    window, every = c.maybe_int("sliding_window"), spans_of_pattern(c)
    mixer = attention(c, qk_norm=rms(c))
    layer = Layer(mixer=mixer, ffn=gated(c), norm=rms(c), place="output")
    # beside layers with a window, those without one have no positions either
    full = mixer if window is None else replace(mixer, rotary=None)
    return model(c, windowed(c, layer, every=every, full=full), rms(c), SANDWICH)


def _nemotron(c: Config) -> Model:
    c.int("num_key_value_heads")  # the class has no default for it
    for key in ("partial_rotary_percent", "rope_percent"):  # other names, which the class does not read
        c.must(key, c.num("partial_rotary_factor"))
    norm, bias = _layer_norm(c, "norm_eps", offset=1.0), c.flag("attention_bias")
    mixer = attention(c, qkv=bias, o=bias, part=c.num("partial_rotary_factor"))
    return model(c, _uniform(c, Layer(mixer=mixer, ffn=_mlp(c, c.flag("mlp_bias")), norm=norm)), norm)


def _smollm3(c: Config) -> Model:
    bias, window = (
        c.flag("attention_bias"),
        c.maybe_int("sliding_window") if c.flag("use_sliding_window") else None,
    )
    full, local = LAYER_TYPES
    kind, period, head = unturned(c, {True: full, False: local if window else full}, LAYER_TYPES)
    mixer, ffn = attention(c, qkv=bias, o=bias), gated(c, bias=c.flag("mlp_bias"))

    def layer(rope: bool, span: str) -> Layer:
        attn = replace(mixer, rotary=mixer.rotary if rope else None, window=window if span == local else None)
        name = ("rope" if rope else "nope") + ("_local" if span == local else "")
        return Layer(name=name, mixer=attn, ffn=ffn, norm=rms(c))

    kinds = {key: layer(*key) for key in product((True, False), LAYER_TYPES)}
    return model(c, by_rule(c, kinds, kind, c.int("num_hidden_layers"), period=period, head=head), rms(c))


def _seed_oss(c: Config) -> Model:
    mixer = attention(c, qkv=c.flag("attention_bias"), o=c.flag("attention_out_bias"))
    ffn, drop = gated(c, bias=c.flag("mlp_bias")), c.num("residual_dropout")
    return model(c, _uniform(c, Layer(mixer=mixer, ffn=ffn, norm=rms(c), dropout=drop)), rms(c))


def _ernie4_5(c: Config) -> Model:
    bias = c.flag("use_bias")
    mixer = attention(c, qkv=bias, o=bias, interleaved=True, dropout=0.0)
    return model(c, _uniform(c, Layer(mixer=mixer, ffn=gated(c, bias=bias), norm=rms(c))), rms(c))


def _as_wide(c: Config, mixer: Attention) -> None:
    """Refuse heads that are not as wide as the model together: the class builds what it cannot run."""
    if mixer.n_heads * mixer.d_head != c.int("hidden_size"):
        raise InputError(f"{c.where}num_attention_heads x head_dim must be hidden_size for {c.family.model_type}")


def _helium(c: Config) -> Model:
    mixer = attention(c, qkv=c.flag("attention_bias"), interleaved=True)
    _as_wide(c, mixer)
    layer = Layer(mixer=mixer, ffn=gated(c, bias=c.flag("mlp_bias")), norm=rms(c))
    return model(c, _uniform(c, layer), rms(c))


def _arcee(c: Config) -> Model:
    bias = c.flag("attention_bias")
    layer = Layer(mixer=attention(c, qkv=bias, o=bias), ffn=_mlp(c, c.flag("mlp_bias")), norm=rms(c))
    return model(c, _uniform(c, layer), rms(c))


def hunyuan_rotary(c: Config) -> Rotary:
    """Labelled dynamic, but with an alpha it is one larger theta for every length."""
    width = heads(c)[2]
    turn = rotary(c, width)
    scaling: dict[str, Any] = dict(turn.scaling)
    if scaling.get("rope_type") == "dynamic" and (alpha := scaling.get("alpha")):
        if width == 2:
            raise InputError(f"{c.where}head_dim is 2; rope_scaling's alpha needs more than one pair to turn")
        turn = replace(turn, theta=turn.theta * alpha ** (width / (width - 2)), scaling=())
    return turn


def _hunyuan(c: Config) -> Model:
    for key, value in (
        ("use_qk_norm", True),
        ("use_rotary_pos_emb", True),
        ("num_experts", 1),
        ("use_cla", False),
    ):
        c.must(key, value)
    bias = c.flag("attention_bias")
    mixer = attention(c, qkv=bias, o=bias, rotary=hunyuan_rotary(c), qk_norm=rms(c), qk_norm_after_rotary=True)
    names = {"attn.q_norm": "self_attn.query_layernorm", "attn.k_norm": "self_attn.key_layernorm"}
    return model(c, _uniform(c, Layer(mixer=mixer, ffn=gated(c), norm=rms(c))), rms(c), NAMES | names)


GEMMA = SIZES | {
    "vocab_size": 256000,
    "head_dim": 256,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "use_bidirectional_attention": None,
}
GEMMA2 = GEMMA | {
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "hidden_activation": "gelu_pytorch_tanh",
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "layer_types": None,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
}
BIASED = {"attention_bias": False}
HALF_ROTARY = {"partial_rotary_factor": 0.5}
COHERE = (
    SIZES
    | BIASED
    | {
        "vocab_size": 256000,
        "hidden_size": 8192,
        "intermediate_size": 22528,
        "num_hidden_layers": 40,
        "num_attention_heads": 64,
        "max_position_embeddings": 8192,
        "layer_norm_eps": 1e-5,
        "logit_scale": 0.0625,
        "tie_word_embeddings": True,
    }
)
GRANITE = (
    SIZES
    | BIASED
    | {
        "attention_multiplier": 1.0,
        "embedding_multiplier": 1.0,
        "residual_multiplier": 1.0,
        "logits_scaling": 1.0,
    }
)
GLM4 = (
    SIZES
    | HALF_ROTARY
    | {
        "vocab_size": 151552,
        "intermediate_size": 13696,
        "num_hidden_layers": 40,
        "num_key_value_heads": 2,
        "head_dim": 128,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1.5625e-07,
        "attention_bias": True,
    }
)

FAMILIES = [
    Family(
        "gemma",
        GEMMA
        | {
            "hidden_size": 3072,
            "intermediate_size": 24576,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "hidden_act": "gelu_pytorch_tanh",
        },
        _gemma,
        inert="hidden_activation",
    ),
    Family("gemma2", GEMMA2, _gemma2, inert="hidden_act sliding_window_size cache_implementation"),
    Family(
        "gemma3_text",
        GEMMA2
        | {
            "vocab_size": 262208,
            "max_position_embeddings": 131072,
            "rope_theta": 1e6,
            "rope_local_base_freq": 10000.0,
            "use_bidirectional_attention": False,
            "sliding_window_pattern": 6,
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
        },
        _gemma3,
        inert="hidden_act cache_implementation _sliding_window_pattern",
    ),
    Family(
        "phi",
        SIZES
        | HALF_ROTARY
        | {
            "vocab_size": 51200,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 24,
            "hidden_act": "gelu_new",
            "layer_norm_eps": 1e-5,
            "qk_layernorm": False,
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
        },
        _phi,
    ),
    Family(
        "phi3",
        SIZES
        | {
            "vocab_size": 32064,
            "hidden_size": 3072,
            "intermediate_size": 8192,
            "max_position_embeddings": 4096,
            "original_max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "sliding_window": None,
            "partial_rotary_factor": 1.0,
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
        },
        _phi3,
        inert="interpolate_factor attention_bias mlp_bias lm_head_bias",
    ),
    Family(
        "phimoe",
        SIZES
        | BIASED
        | {
            "vocab_size": 32064,
            "intermediate_size": 6400,
            "num_key_value_heads": 8,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "rope_theta": 1e6,
            "sliding_window": None,
            "num_local_experts": 16,
            "num_experts_per_tok": 2,
            "router_jitter_noise": 0.01,
            "lm_head_bias": False,
        },
        _phimoe,
        flags={k: v for k, v in MIXTRAL_FLAGS.items() if k != "experts_per_token"},
        inert=f"{ROUTER_LOSS} input_jitter_noise hidden_dropout",
    ),
    Family("cohere", COHERE | {"rope_theta": 500000.0, "use_qk_norm": False}, _cohere),
    Family(
        "cohere2",
        COHERE | {"sliding_window": 4096, "sliding_window_pattern": 4, "layer_types": None},
        _cohere2,
        inert="cache_implementation order_of_interleaved_layers rotary_pct use_embedding_sharing "
        "use_gated_activation use_parallel_block use_parallel_embedding position_embedding_type layer_switch "
        "use_qk_norm",
        aliases={"_sliding_window_pattern": "sliding_window_pattern"},
    ),
    Family("olmo", SIZES | BIASED | {"vocab_size": 50304, "clip_qkv": None}, _olmo),
    Family("olmo2", SIZES | BIASED | {"vocab_size": 50304, "rms_norm_eps": 1e-5}, _olmo2),
    Family(
        "olmo3",
        SIZES
        | BIASED
        | {
            "vocab_size": 50304,
            "rms_norm_eps": 1e-5,
            "rope_theta": 500000.0,
            "sliding_window": 4096,
            "layer_types": None,
        },
        _olmo3,
    ),
    Family(
        "olmoe",
        SIZES
        | BIASED
        | {
            "vocab_size": 50304,
            "hidden_size": 2048,
            "intermediate_size": 2048,
            "num_hidden_layers": 16,
            "num_attention_heads": 16,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "clip_qkv": None,
            "num_experts": 64,
            "num_experts_per_tok": 8,
            "norm_topk_prob": False,
        },
        _olmoe,
        flags=EXPERT_FLAGS | {"d_expert": "intermediate_size"},
        inert=ROUTER_LOSS,
        aliases={"num_local_experts": "num_experts"},
    ),
    Family(
        "stablelm",
        SIZES
        | {
            "vocab_size": 50304,
            "hidden_size": 2560,
            "intermediate_size": 6912,
            "num_key_value_heads": 32,
            "max_position_embeddings": 4096,
            "layer_norm_eps": 1e-5,
            "partial_rotary_factor": 0.25,
            "use_qkv_bias": False,
            "qk_layernorm": False,
            "use_parallel_residual": False,
        },
        _stablelm,
        inert="head_dim rotary_scaling_factor",
    ),
    Family(
        "starcoder2",
        SIZES
        | {
            "vocab_size": 49152,
            "hidden_size": 3072,
            "intermediate_size": 12288,
            "num_hidden_layers": 30,
            "num_attention_heads": 24,
            "num_key_value_heads": 2,
            "hidden_act": "gelu_pytorch_tanh",
            "max_position_embeddings": 4096,
            "norm_epsilon": 1e-5,
            "sliding_window": None,
            "use_bias": True,
            "tie_word_embeddings": True,
            "residual_dropout": 0.0,
            "embedding_dropout": 0.0,
        },
        _starcoder2,
        inert="activation_function layer_norm_epsilon attention_softmax_in_fp32 scale_attention_softmax_in_fp32 "
        "scale_attn_weights",
    ),
    Family("granite", GRANITE | {"mlp_bias": False}, _granite),
    Family(
        "granitemoe",
        GRANITE | {"num_local_experts": 8, "num_experts_per_tok": 2},
        _granitemoe,
        flags=MIXTRAL_FLAGS,
        inert=f"{ROUTER_LOSS} init_method normalization_function position_embedding_type",
    ),
    Family("glm", GLM4, _glm),
    Family("glm4", GLM4, _glm4),
    Family(
        "exaone4",
        SIZES
        | {
            "vocab_size": 102400,
            "intermediate_size": 16384,
            "num_key_value_heads": 32,
            "rms_norm_eps": 1e-5,
            "sliding_window": 4096,
            "sliding_window_pattern": 4,
            "layer_types": None,
        },
        _exaone4,
    ),
    Family(
        "nemotron",
        SIZES
        | BIASED
        | HALF_ROTARY
        | {
            "vocab_size": 256000,
            "hidden_size": 6144,
            "intermediate_size": 24576,
            "num_attention_heads": 48,
            "head_dim": None,
            "hidden_act": "relu2",
            "max_position_embeddings": 4096,
            "norm_eps": 1e-5,
            "mlp_bias": False,
        },
        _nemotron,
    ),
    Family(
        "smollm3",
        SIZES
        | BIASED
        | {
            "vocab_size": 128256,
            "hidden_size": 2048,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 4,
            "max_position_embeddings": 32768,
            "rope_theta": 2000000.0,
            "mlp_bias": False,
            "tie_word_embeddings": True,
            "use_sliding_window": False,
            "sliding_window": None,
            "no_rope_layers": None,
            "no_rope_layer_interval": 4,
            "layer_types": None,
        },
        _smollm3,
        inert="max_window_layers",
    ),
    Family(
        "seed_oss",
        SIZES
        | {
            "vocab_size": 155136,
            "intermediate_size": 27648,
            "num_hidden_layers": 64,
            "num_attention_heads": 80,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 524288,
            "attention_bias": True,
            "attention_out_bias": False,
            "mlp_bias": False,
            "attention_dropout": 0.1,
            "residual_dropout": 0.1,
        },
        _seed_oss,
    ),
    Family(
        "ernie4_5",
        SIZES
        | {
            "vocab_size": 103424,
            "hidden_size": 1024,
            "intermediate_size": 3072,
            "num_hidden_layers": 18,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "head_dim": 128,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "rope_theta": 500000.0,
            "use_bias": False,
            "tie_word_embeddings": True,
        },
        _ernie4_5,
    ),
    Family(
        "helium",
        SIZES
        | BIASED
        | {
            "vocab_size": 48000,
            "hidden_size": 2560,
            "intermediate_size": 7040,
            "num_hidden_layers": 24,
            "num_attention_heads": 20,
            "num_key_value_heads": 20,
            "head_dim": 128,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-8,
            "rope_theta": 100000.0,
            "mlp_bias": False,
        },
        _helium,
    ),
    Family(
        "arcee",
        SIZES
        | BIASED
        | {
            "hidden_size": 2560,
            "intermediate_size": 18432,
            "hidden_act": "relu2",
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "mlp_bias": False,
        },
        _arcee,
    ),
    Family(
        "hunyuan_v1_dense",
        SIZES | BIASED | {"vocab_size": 290943, "rms_norm_eps": 1e-5},
        _hunyuan,
        inert="attention_head_dim cla_share_factor dense_list num_shared_expert num_media_embeds class_num norm_type "
        "pool_type org_vocab_size anyres_pooling_size vit_input_resolution vit_mapping_type vit_norm_type vit_patch "
        "vit_token eod_token_id",
    ),
]
