"""Llama and its closest relatives: pre-norm RMSNorm, rotary, gated feed-forward; dense or a mixture of experts."""

from __future__ import annotations

from typing import Any

from transformer_calc.sources.families.base import (
    Attention,
    Config,
    Family,
    Layer,
    Layers,
    Mlp,
    Model,
    Norm,
    Stack,
    Tokens,
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
    scale = more.pop("embed_scale", 1.0)
    stack = Stack(
        name="decoder",
        d_model=d_model,
        embedding=Tokens(vocab=vocab, scale=scale),
        layers=layers,
        final_norm=norm,
    )
    base = "model."
    if c.architecture.endswith("ForQuestionAnswering") and c.family.model_type in QA_UNDER_TRANSFORMER:
        base = "transformer."
    return Model(
        name=c.family.model_type,
        family=c.family.model_type,
        stacks=(stack,),
        heads=causal_heads(c, d_model, vocab, tied=tied, **more),
        layout="out_in",
        tensor_names=named(c, names, base),
    )


QA_UNDER_TRANSFORMER = ("llama", "qwen2", "qwen3", "qwen3_moe", "exaone4", "nemotron")


def attention(c: Config, *, qkv: bool = False, o: bool = False, **more: Any) -> Attention:
    """Grouped attention with rotary positions, from the usual keys."""
    n, kv, width = heads(c)
    settings: dict[str, Any] = {"rotary": rotary(c, width), "dropout": c.num("attention_dropout")} | more
    return Attention(
        n_heads=n, n_kv_heads=kv, d_head=width, bias_q=qkv, bias_k=qkv, bias_v=qkv, bias_o=o, **settings
    )


def gated(c: Config, *, bias: bool = False) -> Mlp:
    """The gated feed-forward part, from the usual keys."""
    return Mlp(
        d_ff=c.int("intermediate_size"), activation=c.activation(), gated=True, bias_in=bias, bias_out=bias
    )


def rms(c: Config, **more: Any) -> Norm:
    """RMSNorm, from the usual key."""
    return Norm(kind="rmsnorm", eps=c.num("rms_norm_eps"), **more)


def windowed(c: Config, layer: Layer, *, on: bool = True, first: int = 0) -> Layers:
    """Layers with a sliding window as layer_types says, or after the first `first`; equal ones where it is off."""
    from dataclasses import replace

    n, window = c.int("num_hidden_layers"), c.maybe_int("sliding_window", None) if on else None
    order = c.words("layer_types", ("full_attention", "sliding_attention"), None)
    assert isinstance(layer.mixer, Attention)
    local = replace(layer, name="local", mixer=replace(layer.mixer, window=window))
    kinds = {"full_attention": replace(layer, name="global"), "sliding_attention": local}
    if order is None:
        return Layers.cycle([kinds["full_attention"], local], [1], n, head=[0] * min(first, n))
    return by_type(c, kinds, order, n, ())


def _llama(c: Config) -> Model:
    bias = c.flag("attention_bias")
    layer = Layer(mixer=attention(c, qkv=bias, o=bias), ffn=gated(c, bias=c.flag("mlp_bias")), norm=rms(c), place="pre")
    return model(c, Layers.uniform(layer, c.int("num_hidden_layers")), rms(c))


def _mistral(c: Config) -> Model:
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
        _mistral,
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
        flags={"experts": "num_local_experts", "experts_per_token": "num_experts_per_tok", "d_expert": "intermediate_size"},
        inert="router_aux_loss_coef output_router_logits",
        aliases={"num_experts": "num_local_experts"},
    ),
]
