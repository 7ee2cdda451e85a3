"""Llama and its closest relatives: pre-norm RMSNorm, rotary, gated feed-forward; dense or a mixture of experts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from transformer_calc.sources.families.base import (
    MTP_NAMES,
    Attention,
    Config,
    Family,
    InputError,
    Layer,
    Layers,
    Mlp,
    Model,
    Norm,
    Stack,
    Tokens,
    by_rule,
    by_type,
    causal_heads,
    heads,
    named,
    rotary,
)
from transformer_calc.spec import Moe, Router

NAMES = {
    "embed.tokens": "~embed_tokens",
    "layers": "~layers.*",
    "attn_norm": "input_layernorm",
    "attn.q": "self_attn.q_proj",
    "attn.k": "self_attn.k_proj",
    "attn.v": "self_attn.v_proj",
    "attn.o": "self_attn.o_proj",
    "attn.q_norm": "self_attn.q_norm",
    "attn.k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn.gate": "mlp.gate_proj",
    "ffn.up": "mlp.up_proj",
    "ffn.down": "mlp.down_proj",
    "ffn.router": "mlp.gate",
    "ffn.experts.gate.weight + ffn.experts.up.weight": "mlp.experts.gate_up_proj",
    "ffn.experts.down.weight": "mlp.experts.down_proj",
    "ffn.shared.gate": "mlp.shared_expert.gate_proj",
    "ffn.shared.up": "mlp.shared_expert.up_proj",
    "ffn.shared.down": "mlp.shared_expert.down_proj",
    "ffn.shared_gate": "mlp.shared_expert_gate",
    "final_norm": "~norm",
    "head.lm": "lm_head",
    "head.score": "score",
    "head.classifier": "score",
    "head.qa": "qa_outputs",
}

SIZES: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "max_position_embeddings": 2048,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "attention_dropout": 0.0,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "rope_parameters": None,
}


def model(c: Config, layers: Layers, norm: Norm, names: dict[str, str] = NAMES, **more: Any) -> Model:
    """A decoder around its layers: token table, final norm, head; `more` goes to `causal_heads`."""
    d_model, vocab = c.int("hidden_size"), c.int("vocab_size")
    tied = c.flag("tie_word_embeddings")
    tokens = Tokens(vocab=vocab, scale=more.pop("embed_scale", 1.0), dropout=more.pop("embed_dropout", 0.0))
    stack = Stack(name="decoder", d_model=d_model, embedding=tokens, layers=layers, final_norm=norm)
    base, mtp = more.pop("base", "model."), more.pop("mtp", None)
    if mtp:
        names = MTP_NAMES | names
    if c.architecture.endswith("ForQuestionAnswering") and c.family.model_type in QA_UNDER_TRANSFORMER:
        base = "transformer."
    return Model(
        name=c.family.model_type,
        family=c.family.model_type,
        stacks=(stack,),
        heads=causal_heads(c, d_model, vocab, tied=tied, **more),
        layout="out_in",
        tensor_names=named(c, names, base),
        mtp=mtp,
    )


QA_UNDER_TRANSFORMER = ("llama", "ministral", "qwen2", "qwen3", "qwen3_moe", "exaone4", "nemotron")


def attention(
    c: Config,
    *,
    qkv: bool = False,
    o: bool = False,
    part: float | None = None,
    interleaved: bool = False,
    d_head: str = "head_dim",
    default: int | None = None,
    **more: Any,
) -> Attention:
    """Grouped attention with rotary positions, from the usual keys; `more` are further fields of it.

    `d_head`: the key of a head's width; `default`: that width where the key is missing (or d_model / heads).
    """
    n, kv, width = heads(c, d_head=d_head, default=default)
    if "rotary" not in more:
        more["rotary"] = rotary(c, width, part=part, interleaved=interleaved)
    more.setdefault("dropout", c.maybe_num("attention_dropout") or 0.0)
    return Attention(n_heads=n, n_kv_heads=kv, d_head=width, bias_q=qkv, bias_k=qkv, bias_v=qkv, bias_o=o, **more)


def gated(c: Config, *, bias: bool = False, activation: str = "hidden_act") -> Mlp:
    """The gated feed-forward part, from the usual keys."""
    act = c.activation(activation)
    return Mlp(d_ff=c.int("intermediate_size"), activation=act, gated=True, bias_in=bias, bias_out=bias)


def rms(c: Config, **more: Any) -> Norm:
    """RMSNorm, from the usual key."""
    return Norm(kind="rmsnorm", eps=c.num("rms_norm_eps"), **more)


def windowed(
    c: Config, layer: Layer, *, on: bool = True, first: int = 0, every: int = 0, full: Attention | None = None
) -> Layers:
    """Layers with a sliding window where layer_types says so; all of them have the same shapes.

    Without layer_types the first `first` layers see everything, or each `every`-th one does. `full`: their
    attention where it differs in more than the window. Not `on`: nothing has a window.
    """
    n, window = c.int("num_hidden_layers"), c.maybe_int("sliding_window", None) if on else None
    order = c.words("layer_types", LAYER_TYPES, None)
    assert isinstance(layer.mixer, Attention)
    kinds = {
        "full_attention": replace(layer, name="global", mixer=full or layer.mixer),
        "sliding_attention": replace(layer, name="local", mixer=replace(layer.mixer, window=window)),
    }
    if order is not None:
        return by_type(c, kinds, order, n, ())
    if every:
        return by_rule(c, kinds, lambda i: LAYER_TYPES[(i + 1) % every > 0], n, period=every)
    return Layers.spans(list(kinds.values()), ((0,), min(first, n)), ((1,), n - first))


def unturned(
    c: Config, spans: dict[bool, str], types: tuple[str, ...]
) -> tuple[Callable[[int], tuple[bool, str]], int, int]:
    """Whether a layer has rotary positions, and its type: from no_rope_layers (1: it has) and layer_types, or from
    no_rope_layer_interval and `spans`; with the period of that rule and how many layers come before it holds.
    """
    n, interval = c.int("num_hidden_layers"), c.int("no_rope_layer_interval")
    turned, listed = c.numbers("no_rope_layers"), c.words("layer_types", types)
    for key, values in (("no_rope_layers", turned), ("layer_types", listed)):
        if values and len(values) < n:
            raise InputError(f"{c.where}{key} names {len(values)} layers, but there are {n} (num_hidden_layers)")

    def kind(i: int) -> tuple[bool, str]:
        rope = bool(turned[i]) if turned else (i + 1) % interval != 0
        return rope, listed[i] if listed else spans[rope]

    return kind, interval, n if turned or listed else 0


LAYER_TYPES = ("full_attention", "sliding_attention")


def _llama(c: Config) -> Model:
    c.must("activation", "swiglu")  # as Falcon 3's configs say
    bias = c.flag("attention_bias")
    layer = Layer(mixer=attention(c, qkv=bias, o=bias), ffn=gated(c, bias=c.flag("mlp_bias")), norm=rms(c), place="pre")
    return model(c, Layers.uniform(layer, c.int("num_hidden_layers")), rms(c))


def mistral(c: Config) -> Model:
    """Llama without biases and with a window."""
    layer = Layer(mixer=attention(c), ffn=gated(c), norm=rms(c))
    return model(c, windowed(c, layer), rms(c))


def _qwen2(c: Config) -> Model:
    layer = Layer(mixer=attention(c, qkv=True), ffn=gated(c), norm=rms(c))
    on = c.flag("use_sliding_window")
    return model(c, windowed(c, layer, on=on, first=c.int("max_window_layers", minimum=0)), rms(c))


def _qwen3(c: Config) -> Model:
    bias = c.flag("attention_bias")
    layer = Layer(mixer=attention(c, qkv=bias, o=bias, qk_norm=rms(c)), ffn=gated(c), norm=rms(c))
    on = c.flag("use_sliding_window")
    return model(c, windowed(c, layer, on=on, first=c.int("max_window_layers", minimum=0)), rms(c))


def _mixtral(c: Config) -> Model:
    experts = Moe(
        n_experts=c.int("num_local_experts"),
        top_k=c.int("num_experts_per_tok"),
        d_expert=c.int("intermediate_size"),
        activation=c.activation(),
        router=Router(normalize=True, jitter=c.num("router_jitter_noise")),
    )
    layer = Layer(mixer=attention(c), ffn=experts, norm=rms(c))
    return model(c, windowed(c, layer), rms(c))


def _qwen2_moe(c: Config) -> Model:
    gate = {"d_shared": c.int("shared_expert_intermediate_size"), "shared_gate": True}
    layer = Layer(mixer=attention(c, qkv=c.flag("qkv_bias")), ffn=gated(c), norm=rms(c))
    window = c.maybe_int("sliding_window", minimum=0) if c.flag("use_sliding_window") else None
    alternating = c.int("max_window_layers", minimum=0) if window else 0  # of these every other one is local
    return model(c, _sparse(c, layer, gate, window or None, alternating), rms(c))


def _qwen3_moe(c: Config) -> Model:
    for key, value in (("use_qk_norm", True), ("shared_expert_intermediate_size", 0)):
        c.must(key, value)
    bias, window = (
        c.flag("attention_bias"),
        c.maybe_int("sliding_window") if c.flag("use_sliding_window") else None,
    )
    mixer = attention(c, qkv=bias, o=bias, qk_norm=rms(c), window=window)
    return model(c, _sparse(c, Layer(mixer=mixer, ffn=gated(c), norm=rms(c))), rms(c))


def _sparse(
    c: Config,
    dense: Layer,
    shared: dict[str, Any] | None = None,
    window: int | None = None,
    alternating: int = 0,
) -> Layers:
    """Qwen's order: experts in every decoder_sparse_step-th layer, but for those that mlp_only_layers names."""
    n, step = c.int("num_hidden_layers"), c.int("decoder_sparse_step")
    only = {i for i in c.numbers("mlp_only_layers") or () if i < n}
    moe = replace(dense, name="moe")
    if experts := c.int("num_experts", minimum=0):
        ffn = Moe(
            n_experts=experts,
            top_k=c.int("num_experts_per_tok"),
            d_expert=c.int("moe_intermediate_size"),
            activation=c.activation(),
            router=Router(normalize=c.flag("norm_topk_prob")),
            **shared or {},
        )
        moe = replace(dense, name="moe", ffn=ffn)
    assert isinstance(dense.mixer, Attention)
    kinds = {"dense": replace(dense, name="dense"), "moe": moe}
    types = c.words("layer_types", LAYER_TYPES, None)
    if types or alternating:
        local = replace(dense.mixer, window=window)
        kinds |= {f"local_{k}": replace(v, name=f"local_{k}", mixer=local) for k, v in kinds.items()}

    def kind(i: int) -> str:
        is_local = types[i] == "sliding_attention" if types else i % 2 == 0 and i < alternating
        return ("local_" if is_local else "") + ("moe" if i not in only and (i + 1) % step == 0 else "dense")

    if types:
        return by_type(c, kinds, [kind(i) for i in range(len(types))], n, ())
    head = max(max(only, default=-1) + 1, min(alternating, n))
    return by_rule(c, kinds, kind, n, period=math.lcm(step, 2) if alternating else step, head=head)


QWEN = SIZES | {
    "vocab_size": 151936,
    "intermediate_size": 22016,
    "max_position_embeddings": 32768,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 28,
    "layer_types": None,
}
EXPERT_FLAGS = {
    "experts": "num_experts",
    "experts_per_token": "num_experts_per_tok",
    "d_expert": "moe_intermediate_size",
}
MIXTRAL_FLAGS = EXPERT_FLAGS | {"experts": "num_local_experts", "d_expert": "intermediate_size"}
ROUTER_LOSS = "router_aux_loss_coef output_router_logits"  # of training only

FAMILIES = [
    Family("llama", SIZES | {"attention_bias": False, "mlp_bias": False, "head_dim": None}, _llama),
    Family(
        "mistral",
        SIZES
        | {
            "intermediate_size": 14336,
            "num_key_value_heads": 8,
            "head_dim": None,
            "max_position_embeddings": 131072,
            "sliding_window": 4096,
        },
        mistral,
    ),
    Family("qwen2", QWEN | {"num_key_value_heads": 32}, _qwen2, inert="dual_chunk_attention_config"),
    Family(
        "qwen3",
        QWEN | {"num_key_value_heads": 32, "head_dim": 128, "attention_bias": False},
        _qwen3,
        inert="dual_chunk_attention_config",
    ),
    Family(
        "mixtral",
        SIZES
        | {
            "intermediate_size": 14336,
            "num_key_value_heads": 8,
            "head_dim": None,
            "max_position_embeddings": 131072,
            "sliding_window": None,
            "rms_norm_eps": 1e-5,
            "rope_theta": 1e6,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "router_jitter_noise": 0.0,
        },
        _mixtral,
        flags=MIXTRAL_FLAGS,
        inert=ROUTER_LOSS,
        aliases={"num_experts": "num_local_experts"},
    ),
    Family(
        "qwen2_moe",
        QWEN
        | {
            "hidden_size": 2048,
            "intermediate_size": 5632,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "num_experts": 60,
            "num_experts_per_tok": 4,
            "moe_intermediate_size": 1408,
            "shared_expert_intermediate_size": 5632,
            "norm_topk_prob": False,
            "decoder_sparse_step": 1,
            "mlp_only_layers": None,
            "qkv_bias": True,
        },
        _qwen2_moe,
        flags=EXPERT_FLAGS | {"d_shared": "shared_expert_intermediate_size"},
        inert=ROUTER_LOSS,
    ),
    Family(
        "qwen3_moe",
        QWEN
        | {
            "hidden_size": 2048,
            "intermediate_size": 6144,
            "num_hidden_layers": 24,
            "num_key_value_heads": 4,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "moe_intermediate_size": 768,
            "norm_topk_prob": False,
            "decoder_sparse_step": 1,
            "mlp_only_layers": None,
            "attention_bias": False,
        },
        _qwen3_moe,
        flags=EXPERT_FLAGS,
        inert=f"{ROUTER_LOSS} max_window_layers qkv_bias dual_chunk_attention_config",
        aliases={"num_local_experts": "num_experts"},
    ),
]
