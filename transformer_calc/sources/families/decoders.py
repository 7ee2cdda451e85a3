"""Decoders with rotary positions and one feed-forward part: what each does differently from Llama."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

from transformer_calc.errors import InputError
from transformer_calc.sources.families import parts
from transformer_calc.sources.families.base import Config
from transformer_calc.sources.families.rope import rotary
from transformer_calc.spec import Attention, Layer, Layers, Mlp, Norm, Rotary

GATE_UP = {"ffn.gate + ffn.up": "mlp.gate_up_proj"}
SANDWICH = {
    "attn_out_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "ffn_out_norm": "post_feedforward_layernorm",
}
SHORT_NAMES = {"ffn.{up,down}": "mlp.fc{1,2}", "attn.o": "self_attn.dense", "final_norm": "~final_layernorm"}
LAYER_NORM = "rms_norm_eps"  # which these classes have no use for

LLAMA = parts.DECODER.but(
    base="model.",
    names={
        "{embed.tokens,layers,final_norm}": "~{embed_tokens,layers.*,norm}",
        "{attn,ffn}_norm": "{input,post_attention}_layernorm",
        "attn.{q,k,v,o}": "self_attn.{}_proj",
        "attn.{q,k}_norm": "self_attn.{}_norm",
        "ffn.{gate,up,down}": "mlp.{}_proj",
        "ffn.router": "mlp.gate",
        "ffn.experts.gate.weight + ffn.experts.up.weight": "mlp.experts.gate_up_proj",
        "ffn.experts.down.weight": "mlp.experts.down_proj",
        "ffn.shared.{gate,up,down}": "mlp.shared_expert.{}_proj",
        "ffn.shared_gate": "mlp.shared_expert_gate",
        "head.{lm,score,classifier,qa}": "{lm_head,score,score,qa_outputs}",
        # what predicts further tokens, as DeepSeek-V3's checkpoints name it: layers behind the model's own
        "mtp": "~layers.*",
        "mtp.{embed,enorm,hnorm,eh_proj}": "{embed_tokens,enorm,hnorm,eh_proj}",
        "mtp.{norm,head.lm}": "shared_head.{norm,head}",
    },
)
QWEN = LLAMA.but(
    mixer=partial(parts.attention, qkv=True, o=False), qa_base="transformer.", inert="dual_chunk_attention_config"
)

# --- Gemma: norms about one, a scaled embedding ---------------------------------------------------------------------

about_one = partial(parts.norm, offset=1.0)


def gemma_attention(c: Config, **more: Any) -> Attention:
    """Attention whose queries are scaled by a number of their own."""
    mixer, scalar = parts.attention(c, **more), c.num("query_pre_attn_scalar")
    return mixer if scalar == mixer.d_head else replace(mixer, scale=scalar**-0.5)


def _gemma3_turned(c: Config, kind: str) -> Rotary:
    theta = c.num("rope_theta" if kind == "full_attention" else "rope_local_base_freq")
    return rotary(c, c.int("head_dim"), theta=theta, kind=kind, scaled=kind == "full_attention")


GEMMA = LLAMA.but(norm=about_one, tokens={"scale": lambda c: c.int("d_model") ** 0.5})
GEMMA2 = GEMMA.but(
    mixer=partial(gemma_attention, softcap=parts.maybe("attn_logit_softcapping")),
    layer={"place": "sandwich"},
    layers=partial(parts.windowed, every=2),
    head={"softcap": parts.maybe("final_logit_softcapping")},
    names=SANDWICH,
    inert="hidden_act cache_implementation",
)


def _gemma_ffn(c: Config) -> Mlp:
    ffn = parts.gated(c, activation=c.activation("hidden_act"))  # whatever hidden_activation says
    # the first configs said gelu and meant the tanh form
    return replace(ffn, activation="gelu_tanh") if ffn.activation == "gelu" else ffn


# --- OLMo, Granite, Hunyuan and others: their own words -------------------------------------------------------------


def olmo3_turned(c: Config, kind: str) -> Rotary:
    """Layers with a window have theta 500,000, whatever rope_theta says."""
    near: dict[str, Any] = {"theta": 500000.0, "scaled": False} if kind == "sliding_attention" else {}
    return rotary(c, parts.heads(c)[2], kind=kind, **near)


def as_wide(c: Config, **more: Any) -> Attention:
    """Attention whose heads are together as wide as the model: other classes build what they cannot run."""
    mixer = parts.attention(c, **more)
    if mixer.n_heads * mixer.d_head != c.int("d_model"):
        raise InputError(f"{c.where}num_attention_heads x head_dim must be hidden_size for {c.family.model_type}")
    return mixer


def hunyuan_attention(c: Config) -> Attention:
    """A norm after the rotation; labelled dynamic, but with an alpha it is one larger theta for every length."""
    width = parts.heads(c)[2]
    turn = rotary(c, width)
    scaling: dict[str, Any] = dict(turn.scaling)
    if scaling.get("rope_type") == "dynamic" and (alpha := scaling.get("alpha")):
        if width == 2:
            raise InputError(f"{c.where}head_dim is 2; rope_scaling's alpha needs more than one pair to turn")
        turn = replace(turn, theta=turn.theta * alpha ** (width / (width - 2)), scaling=())
    return parts.attention(c, rotary=turn, qk_norm=parts.norm, qk_norm_after_rotary=True)


def pattern(c: Config) -> int:
    """Each which layer sees everything: from a number, or from a word like LLLG."""
    word = c.raw("sliding_window_pattern")
    if c.maybe_int("window") is None or c.raw("layer_types") is not None:
        return 1
    if isinstance(word, str) and word and word == "L" * (len(word) - 1) + "G":
        return len(word)
    return c.int("sliding_window_pattern")


def _phi3_attention(c: Config) -> Attention:
    mixer = parts.attention(c)
    kind = dict(mixer.rotary.scaling).get("rope_type", "longrope") if mixer.rotary else "longrope"
    if kind != "longrope":
        raise InputError(f"{c.where}rope_scaling type is {kind!r}; phi3 understands only longrope")
    return mixer


def _nemotron(c: Config) -> None:
    c.int("num_key_value_heads")  # the class has no default for it
    for key in ("partial_rotary_percent", "rope_percent"):  # other names, which the class does not read
        c.must(key, c.num("turned"))


def _cwm_layers(c: Config, layer: Layer) -> Layers:
    """A window in all layers but each fourth, counted from the first."""
    if c.raw("layer_types") is not None:
        return parts.windowed(c, layer)
    window = c.maybe_int("window", minimum=0) or None
    local = replace(layer, name="local", mixer=replace(layer.mixer, window=window))  # type: ignore[type-var]
    kinds = {True: replace(layer, name="global"), False: local}
    return parts.by_rule(c, kinds, lambda i: i % 4 == 0, c.int("layers"), period=4)


def unturned(
    c: Config, spans: dict[bool, str], types: tuple[str, ...]
) -> tuple[Callable[[int], tuple[bool, str]], int, int]:
    """Whether a layer has rotary positions, and its type: from no_rope_layers (1: it has) and layer_types, or from
    no_rope_layer_interval and `spans`; with the period of that rule and how many layers come before it holds.
    """
    n, interval = c.int("layers"), c.int("no_rope_layer_interval")
    turned, listed = c.numbers("no_rope_layers"), c.words("layer_types", types)
    for key, values in (("no_rope_layers", turned), ("layer_types", listed)):
        if values and len(values) < n:
            raise InputError(f"{c.where}{key} names {len(values)} layers, but there are {n} (num_hidden_layers)")

    def kind(i: int) -> tuple[bool, str]:
        rope = bool(turned[i]) if turned else (i + 1) % interval != 0
        return rope, listed[i] if listed else spans[rope]

    return kind, interval, n if turned or listed else 0


def _smollm3_layers(c: Config, layer: Layer) -> Layers:
    window = c.maybe_int("window") if c.flag("use_sliding_window") else None
    full, local = parts.LAYER_TYPES
    kind, period, head = unturned(c, {True: full, False: local if window else full}, parts.LAYER_TYPES)
    mixer = layer.mixer
    assert isinstance(mixer, Attention)

    def made(rope: bool, span: str) -> Layer:
        attn = replace(mixer, rotary=mixer.rotary if rope else None, window=window if span == local else None)
        return replace(layer, name=("rope" if rope else "nope") + ("_local" if span == local else ""), mixer=attn)

    kinds = {key: made(*key) for key in product((True, False), parts.LAYER_TYPES)}
    return parts.by_rule(c, kinds, kind, c.int("layers"), period=period, head=head)


COHERE = LLAMA.but(
    mixer=partial(parts.attention, interleaved=True),
    norm=partial(parts.norm, bias=False),
    layer={"parallel": "shared"},
    head={"scale": parts.number("logit_scale")},
    names={"norm": "input_layernorm"},
    execution={"norm": "chain"},
    inert=LAYER_NORM,
)
OLMO2 = LLAMA.but(
    mixer=partial(parts.attention, qk_norm=parts.norm, qk_norm_over="inner"),
    layer={"place": "output"},
    names=SANDWICH,
    execution={"norm": "product_float32", "tables_float32": True},
)
GRANITE = LLAMA.but(
    mixer=partial(parts.attention, scale=parts.number("attention_multiplier")),
    layer={"residual_scale": parts.number("residual_multiplier")},
    tokens={"scale": parts.number("embedding_multiplier")},
    head={"scale": lambda c: 1 / c.num("logits_scaling")},
)
GLM = LLAMA.but(
    mixer=partial(parts.attention, o=False, interleaved=True),
    names=GATE_UP,
    execution={"tables": "layer", "heads_first": True},
)
PARTLY = {"heads_first": True}
bare_norm = partial(parts.norm, kind="layernorm", weight=False)


TYPES = {
    "llama": LLAMA.but(qa_base="transformer.", must={"activation": "swiglu"}),  # as Falcon 3's configs say
    "mistral": LLAMA,
    "ministral": LLAMA.but(qa_base="transformer."),
    "qwen2": QWEN,
    "qwen3": QWEN.but(mixer=partial(parts.attention, qk_norm=parts.norm)),
    "cwm": LLAMA.but(layers=_cwm_layers),
    "gemma": GEMMA.but(must={"use_bidirectional_attention": False}, ffn=_gemma_ffn, inert="hidden_activation"),
    "gemma2": GEMMA2.but(must={"use_bidirectional_attention": False}, inert="sliding_window_size"),
    "gemma3_text": GEMMA2.but(
        check=lambda c: c.must("attn_logit_softcapping", None, "the class passes it over"),
        mixer=partial(
            gemma_attention,
            qk_norm=about_one,
            rotary=lambda c: _gemma3_turned(c, "sliding_attention"),
            causal=lambda c: not c.flag("use_bidirectional_attention"),
        ),
        layers=partial(
            parts.windowed,
            every=lambda c: c.int("sliding_window_pattern"),
            full={"rotary": lambda c: _gemma3_turned(c, "full_attention")},
        ),
        classes="gemma3 gemma3text",
        inert="_sliding_window_pattern",
    ),
    "vaultgemma": GEMMA2.but(
        layer={"place": "pre"}, names={"{attn,ffn}_out_norm": ""}, inert="use_bidirectional_attention"
    ),
    "phi": LLAMA.but(
        mixer=partial(parts.attention, qkv=True, qk_norm=parts.normed_if("qk_layernorm")),
        ffn=partial(parts.plain, bias=True),
        layer={"parallel": "shared"},
        tokens={"dropout": parts.number("embd_pdrop")},
        head={"bias": True},
        names=SHORT_NAMES | {"norm": "input_layernorm", "attn.{q,k}_norm": "self_attn.{}_layernorm"},
        execution=PARTLY,
        inert=LAYER_NORM,
    ),
    "phi3": LLAMA.but(
        mixer=_phi3_attention,
        names=GATE_UP | {"attn.q + attn.k + attn.v": "self_attn.qkv_proj"},
        execution={"fused_qkv": True, "heads_first": True},
        inert="interpolate_factor attention_bias mlp_bias lm_head_bias",
    ),
    "cohere": COHERE.but(
        mixer=partial(COHERE.mixer, qk_norm=parts.normed_if("use_qk_norm", bias=False), qk_norm_over="heads")
    ),
    "cohere2": COHERE.but(
        # only layers with a window have positions
        mixer=lambda c: parts.attention(c, interleaved=True, **({} if c.maybe_int("window") else {"rotary": None})),
        layers=partial(parts.windowed, every=lambda c: c.int("sliding_window_pattern"), full={"rotary": None}),
        inert="cache_implementation order_of_interleaved_layers rotary_pct use_embedding_sharing use_gated_activation "
        "use_parallel_block use_parallel_embedding position_embedding_type layer_switch use_qk_norm",
        renamed={"_sliding_window_pattern": "sliding_window_pattern"},
    ),
    "olmo": LLAMA.but(
        mixer=partial(parts.attention, clip_qkv=parts.maybe("clip_qkv")),
        norm=lambda c: Norm(weight=False),
        execution={"norm": "input_float32", "tables_float32": True},
        inert=LAYER_NORM,
    ),
    "olmo2": OLMO2,
    "olmo3": OLMO2.but(
        mixer=partial(OLMO2.mixer, rotary=lambda c: olmo3_turned(c, "sliding_attention")),
        layers=partial(parts.windowed, every=4, full={"rotary": lambda c: olmo3_turned(c, "full_attention")}),
        execution={"tables": "kind"},
    ),
    "stablelm": LLAMA.but(
        must={"hidden_dropout": 0.0},
        mixer=partial(
            parts.attention, o=False, qk_norm=parts.normed_if("qk_layernorm", bias=False), qk_norm_over="heads"
        ),
        layer={"parallel": lambda c: "shared" if c.flag("use_parallel_residual") else "no"},
        names={"norm": "input_layernorm", "attn.{q,k}_norm": "self_attn.{}_layernorm.norms.#"},
        execution=PARTLY,
        classes="stablelm stablelmepoch",  # StableLMEpochForCausalLM: its code before transformers had it
        inert=f"head_dim rotary_scaling_factor {LAYER_NORM}",
    ),
    "starcoder2": LLAMA.but(
        must={"mlp_type": "default", "norm_type": "layer_norm"},
        ffn=parts.plain,
        tokens={"dropout": parts.number("embedding_dropout")},
        names={"ffn.{up,down}": "mlp.{c_fc,c_proj}"},
        inert="activation_function layer_norm_epsilon attention_softmax_in_fp32 scale_attention_softmax_in_fp32 "
        f"scale_attn_weights {LAYER_NORM}",
    ),
    "granite": GRANITE,
    "glm": GLM,
    "glm4": GLM.but(
        layer={"place": "sandwich"},
        names={"attn_out_norm": "post_self_attn_layernorm", "ffn_out_norm": "post_mlp_layernorm"},
    ),
    "exaone4": LLAMA.but(
        mixer=partial(parts.attention, qk_norm=parts.norm),
        layer={"place": "output"},
        names=SANDWICH,
        # beside layers with a window, those without one have no positions either
        layers=lambda c, layer: parts.windowed(
            c, layer, every=pattern, full={"rotary": None} if c.maybe_int("window") else None
        ),
        qa_base="transformer.",
    ),
    "nemotron": LLAMA.but(
        check=_nemotron, norm=about_one, ffn=parts.plain, qa_base="transformer.", execution=PARTLY, inert=LAYER_NORM
    ),
    "smollm3": LLAMA.but(layers=_smollm3_layers, inert="max_window_layers"),
    "seed_oss": LLAMA.but(mixer=partial(parts.attention, o=parts.flag("attention_out_bias"))),
    "ernie4_5": LLAMA.but(
        mixer=partial(parts.attention, interleaved=True),
        execution={"tables": "layer", "tables_float32": True},
        inert="attention_dropout",
    ),
    "helium": LLAMA.but(
        mixer=partial(as_wide, o=False, interleaved=True), execution={"norm": "weight_float32", "tables": "layer"}
    ),
    "arcee": LLAMA.but(ffn=parts.plain),
    "hunyuan_v1_dense": LLAMA.but(
        must={"use_qk_norm": True, "use_rotary_pos_emb": True, "num_experts": 1, "use_cla": False},
        mixer=hunyuan_attention,
        names={"attn.{q,k}_norm": "self_attn.{query,key}_layernorm"},
        classes="hunyuandensev1",
        inert="attention_head_dim cla_share_factor dense_list num_shared_expert num_media_embeds class_num norm_type "
        "pool_type org_vocab_size anyres_pooling_size vit_input_resolution vit_mapping_type vit_norm_type vit_patch "
        "vit_token eod_token_id",
    ),
}
