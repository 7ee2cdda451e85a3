"""Decoders from before Llama: learned, ALiBi or GPT-J positions, LayerNorm, plain feed-forward."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from transformer_calc.errors import InputError, did_you_mean
from transformer_calc.sources.families import parts
from transformer_calc.sources.families.base import Config, is_number
from transformer_calc.sources.families.rope import rotary
from transformer_calc.spec import Act, Attention, Dense, Head, Layer, Layers, Norm, Rotary, divide


def summary(c: Config, name: str, labels: int) -> Head:
    """One vector for a sequence, projected (`SequenceSummary`); cls_index is the last token unless told otherwise."""
    function = c.activation("summary_activation") if c.raw("summary_activation") else ""
    takes = {"last": "last", "first": "first", "mean": "mean", "cls_index": "last"}
    kind = c.text("summary_type")
    if kind not in takes:
        raise InputError(f"{c.where}summary_type is {kind!r:.60}; it must be one of {', '.join(takes)}")
    if not c.flag("summary_use_proj"):
        return Head(name=name, take=takes[kind], steps=(Act(function=function),) if function else ())
    width = labels if c.flag("summary_proj_to_labels", False) else c.int("d_model")
    dropout = c.maybe_num("summary_first_dropout", None) or 0.0
    steps = (Dense(name="summary", width=width, activation=function, dropout=dropout),)
    return Head(name=name, take=takes[kind], steps=steps)


def _gpt2_heads(c: Config) -> tuple[Head, ...]:
    """DoubleHeads: the language model, and one score for a whole sequence."""
    if not c.architecture.endswith("DoubleHeadsModel"):
        return parts.causal_heads(c)
    lm = Dense(name="lm", bias=False, tied=c.flag("tie_word_embeddings"))
    return Head(steps=(lm,), softmax=True), summary(c, "choice", 1)


def _afn(c: Config) -> str:
    function, known = c.text("afn"), {"relu": "relu", "silu": "silu", "swish": "silu", "gelu": "gelu_new"}
    if function not in known:
        hint = did_you_mean(function, known) or f"known: {', '.join(known)}"
        raise InputError(f"{c.where}afn is {function!r:.60}, which is not a known activation", hint=hint)
    return known[function]


def _neo_layers(c: Config, layer: Layer) -> Layers:
    """attention_types: [[kinds of layers in turn, times], …], which have to be all layers."""
    assert isinstance(layer.mixer, Attention)
    local = replace(layer.mixer, window=c.int("window"), cache_all=True)
    kinds = (replace(layer, name="global"), replace(layer, name="local", mixer=local))
    spans, order, n = c.raw("attention_types"), ["global", "local"], c.int("layers")
    if spans is None:
        return Layers.cycle(kinds, (0, 1), n)
    ok = isinstance(spans, list) and all(
        isinstance(span, list)
        and len(span) == 2
        and isinstance(span[0], list)
        and all(kind in order for kind in span[0])
        and type(span[1]) is int
        and span[1] >= 0
        for span in spans
    )
    if not ok:
        raise InputError(f'{c.where}attention_types must be like [[["global", "local"], {n // 2}]]')
    total = sum(len(cycle) * times for cycle, times in spans)
    if total != n:
        raise InputError(f"{c.where}attention_types names {total:,} layers, but there are {n:,} (num_layers)")
    return Layers.spans(kinds, *(([order.index(k) for k in cycle], times) for cycle, times in spans))


def _neox_rotary(c: Config) -> Rotary:
    """Later configs say both numbers twice; the class reads rotary_pct and rotary_emb_base."""
    part, theta = c.num("rotary_pct"), c.num("rotary_emb_base")
    c.must("partial_rotary_factor", part)
    if "rope_theta" in c.given:
        c.must("rope_theta", theta)
    return rotary(c, parts.heads(c)[2], part=part, theta=theta)


def _falcon_attention(c: Config) -> Attention:
    n, _, width = parts.heads(c)
    alibi, new = c.flag("alibi"), c.flag("new_decoder_architecture")
    shared = 1 if c.flag("multi_query") else n
    more: dict[str, Any] = {"rotary": None} if alibi else {"dropout": 0.0}  # which the class leaves out then
    kv_heads = (c.maybe_int("num_kv_heads") or n) if new else shared
    return parts.attention(c, n_kv_heads=kv_heads, cache_repeated=new, alibi=alibi, alibi_scale=width**-0.5, **more)


def _falcon_parallel(c: Config) -> str:
    norms = c.maybe_int("num_ln_in_parallel_attn") or (2 if c.flag("new_decoder_architecture") else 1)
    return ("separate" if norms == 2 else "shared") if c.flag("parallel_attn") else "no"


def _falcon_names(c: Config) -> dict[str, str]:
    """Two norms of parallel parts have names of their own, and grouped heads stand by groups."""
    several = _falcon_parallel(c) == "separate"
    names = {"{attn,ffn}_norm": "ln_{attn,mlp}"} if several else {}
    mixer = _falcon_attention(c)
    if mixer.kv_heads != mixer.n_heads:
        names |= {_BY_HEADS: "", "attn.q + attn.k + attn.v by kv_heads": "self_attention.query_key_value"}
    return names


def _mpt_config(c: Config, key: str, least: float, most: float) -> Any:
    """Of attn_config transformers' class reads three; it always has ALiBi, and neither biases nor wpe."""
    value = c.mapping("attn_config").get(key)
    if value is not None and not (is_number(value) and least <= value <= most):
        wanted = f"a number between {least:g} and {most:g}, or null"
        raise InputError(f"{c.where}attn_config.{key} is {value!r:.60}; it must be {wanted}")
    return value


def _mpt_dropout(c: Config) -> float:
    return _mpt_config(c, "attn_pdrop", 0, 0.999) or 0.0


def _opt_heads(c: Config) -> tuple[Head, ...]:
    """Back to the token table's width first, where that is not the model's."""
    found, d_embed = parts.causal_heads(c), _opt_width(c)
    if d_embed == c.int("d_model"):
        return found
    back = Dense(name="project_out", width=d_embed, bias=False)
    return tuple(replace(head, steps=(back, *head.steps)) for head in found or (Head(),))


def _opt_width(c: Config) -> int:
    return c.maybe_int("word_embed_proj_dim") or c.int("d_model")


def _opt_norm(c: Config) -> Norm:
    return Norm(weight=c.flag("layer_norm_elementwise_affine"))


def _opt_final(c: Config) -> Norm | None:
    before = c.flag("do_layer_norm_before") and not c.flag("_remove_final_layer_norm")
    return _opt_norm(c) if before else None


def _scaled(c: Config) -> float:
    return c.int("d_model") ** 0.5 if c.flag("scale_embedding") else 1.0


_JOINED, _BY_HEADS = "attn.q + attn.k + attn.v", "attn.q + attn.k + attn.v by heads"
SUMMARY = "summary_type summary_use_proj summary_activation summary_proj_to_labels summary_first_dropout"
FAIRSEQ_NAMES = {
    "embed.{tokens,positions,project}": "~{embed_tokens,embed_positions,project_in}",
    "layers": "~layers.*",
    "{attn,cross,ffn}_norm": "{self_attn,encoder_attn,final}_layer_norm",
    "attn.{q,k,v,o}": "self_attn.{q_proj,k_proj,v_proj,out_proj}",
    "cross.{q,k,v,o}": "encoder_attn.{q_proj,k_proj,v_proj,out_proj}",
    "ffn.{up,down}": "fc{1,2}",
}
CLASSIC = parts.DECODER.but(
    base="transformer.",
    ffn=partial(parts.plain, bias=True),
    layers=parts.uniform,
    names={"head.{lm,score,classifier,qa}": "{lm_head,score,classifier,qa_outputs}"},
    model={"head_layout": "out_in"},
)
GPT2 = CLASSIC.but(
    mixer=partial(
        parts.attention,
        qkv=True,
        scale=lambda c: None if c.flag("scale_attn_weights") else 1.0,
        scale_by_layer=parts.flag("scale_attn_by_inverse_layer_idx", False),
    ),
    ffn=partial(parts.plain, bias=True, d_ff=parts.fourfold),
    crosses=True,
    tokens={"positions": parts.positions, "dropout": parts.number("embed_dropout")},
    heads=_gpt2_heads,
    names={
        "embed.{tokens,positions}": "~{wte,wpe}",
        "{layers,final_norm}": "~{h.*,ln_f}",
        "{attn,ffn,cross}_norm": "ln_{1,2,cross_attn}",
        _JOINED: "attn.c_attn",
        "attn.o": "attn.c_proj",
        "{cross.q,cross.k + cross.v,cross.o}": "crossattention.{q_attn,c_attn,c_proj}",
        "ffn.{up,down}": "mlp.{c_fc,c_proj}",
        "choice.summary": "multiple_choice_head.summary",
    },
    model={"layout": "in_out"},
    execution={"fused_qkv": True},
    inert="reorder_and_upcast_attn predict_special_tokens summary_last_dropout",
)
GPTJ = GPT2.but(
    mixer=partial(parts.attention, qkv=False, rotary=lambda c: Rotary(dims=c.int("rotary_dim"), interleaved=True)),
    crosses=False,
    layer={"parallel": "shared"},
    tokens={"positions": None},
    heads=parts.causal_heads,
    head={"bias": True},
    names={
        "norm": "ln_1",
        _JOINED: "",
        "attn.{q,k,v}": "attn.{}_proj",
        "attn.o": "attn.out_proj",
        "ffn.{up,down}": "mlp.fc_{in,out}",
    },
    model={"layout": "out_in"},
    execution={"fused_qkv": False, "scores_float32": True, "tables": "use", "rotated_as_made": True},
    inert=f"rotary scale_attn_weights {SUMMARY}",
)
BLOOM = CLASSIC.but(
    names={
        "embed.{tokens,norm}": "~{word_embeddings,word_embeddings_layernorm}",
        "{layers,final_norm}": "~{h.*,ln_f}",
        "{attn,ffn}_norm": "{input,post_attention}_layernorm",
        _BY_HEADS: "self_attention.query_key_value",
        "attn.o": "self_attention.dense",
        "ffn.{up,down}": "mlp.{dense_h_to_4h,dense_4h_to_h}",
    },
    execution={"fused_qkv": True},
    renamed={"n_embed": "hidden_size"},
)
NEOX = CLASSIC.but(
    base="gpt_neox.",
    mixer=partial(parts.attention, rotary=_neox_rotary),
    layer={"parallel": lambda c: "separate" if c.flag("use_parallel_residual") else "no"},
    tokens={"dropout": parts.number("dropout")},
    names={
        **BLOOM.names,
        "embed.norm": "",
        "{embed.tokens,layers,final_norm}": "~{embed_in,layers.*,final_layer_norm}",
        _BY_HEADS: "attention.query_key_value",
        "attn.o": "attention.dense",
    },
    execution={"fused_qkv": True, "heads_first": True},
)
XGLM = CLASSIC.but(
    base="model.",
    mixer=partial(parts.attention, qkv=True),
    norm=lambda c: Norm(),
    tokens={"scale": _scaled, "dropout": parts.number("dropout")},
    names=FAIRSEQ_NAMES | {"final_norm": "~layer_norm"},
)

TYPES = {
    "gpt2": GPT2,
    "gpt_bigcode": GPT2.but(
        mixer=partial(GPT2.mixer, n_kv_heads=lambda c: 1 if c.flag("multi_query") else None, scale_by_layer=False),
        heads=parts.causal_heads,
        # where heads have keys of their own, the class splits heads first, then each into its q, k and v
        names={
            _JOINED: lambda c: "attn.c_attn" if c.flag("multi_query") else "",
            _BY_HEADS: lambda c: "" if c.flag("multi_query") else "attn.c_attn",
        },
        model={"layout": "out_in"},
        execution={"softmax": "float32"},
        inert=f"""attention_softmax_in_fp32 scale_attention_softmax_in_fp32 num_key_value_heads inference_runner
            validate_runner_input pre_allocate_kv_cache max_sequence_length max_batch_size pad_key_length {SUMMARY}""",
    ),
    "openai-gpt": GPT2.but(
        mixer=partial(parts.attention, qkv=True),
        ffn=partial(parts.plain, bias=True, d_ff=parts.fourfold, activation=_afn),
        crosses=False,
        layer={"place": "post"},
        final=lambda c: None,
        names={"embed.{tokens,positions}": "~{}_embed"},
        execution={"positions": "buffer"},
        classes="openaigpt",
        inert="n_special n_inner activation_function",
    ),
    "gpt_neo": GPT2.but(
        mixer=partial(parts.attention, qkv=False, o=True, scale=1.0),
        crosses=False,
        layers=_neo_layers,
        heads=parts.causal_heads,
        names={_JOINED: "", "attn.{q,k,v,o}": "attn.attention.{q_proj,k_proj,v_proj,out_proj}"},
        model={"layout": "out_in"},
        execution={"fused_qkv": False, "scores_float32": True, "softmax": "float32"},
        inert=f"attention_layers {SUMMARY}",
    ),
    "gptj": GPTJ,
    "codegen": GPTJ.but(
        # four parts, one for each core of the TPU that it was trained on
        check=lambda c: divide("n_head", c.int("n_head"), "the four parts of qkv_proj", 4),
        names={"attn.{q,k,v}": "", "attn.q + attn.v + attn.k by 4": "attn.qkv_proj"},
        execution={"tables_float32": True},
    ),
    "gpt_neox": NEOX.but(inert="is_decoder"),
    "persimmon": NEOX.but(
        base="model.",
        mixer=partial(parts.attention, qkv=True, qk_norm=parts.normed_if("qk_layernorm")),
        layer={"parallel": "no", "dropped": "ffn"},
        tokens={"dropout": 0.0},
        names={
            "{embed.tokens,final_norm}": "~{embed_tokens,final_layernorm}",
            _BY_HEADS: "self_attn.query_key_value",
            "attn.{o,q_norm,k_norm}": "self_attn.{dense,q_layernorm,k_layernorm}",
            "head.classifier": "score",
        },
        inert="num_key_value_heads",
    ),
    "falcon": BLOOM.but(
        mixer=_falcon_attention,
        ffn=partial(parts.plain, d_ff=parts.fourfold),
        layer={"parallel": _falcon_parallel, "dropped": lambda c: "both" if _falcon_parallel(c) == "no" else "sum"},
        names={"norm": "input_layernorm"},
        names_of=_falcon_names,
        execution={"kv_picked": True, "softmax": "own", "mask_always": True, "shared_key_broadcast": True},
        flags={"kv_heads": "num_kv_heads"},
        classes="falcon rw",  # RWForCausalLM: its code before transformers had it
        inert="apply_residual_connection_post_layernorm ff_factor",
    ),
    "bloom": BLOOM.but(
        mixer=partial(parts.attention, qkv=True, alibi=True),
        ffn=partial(parts.plain, bias=True, d_ff=lambda c: 4 * c.int("d_model"), activation="gelu_tanh"),
        layer={"residual_from_norm": parts.flag("apply_residual_connection_post_layernorm")},
        tokens={"norm": parts.norm},
        execution={"softmax": "float32"},
        inert="""n_inner offset_alibi attention_softmax_in_fp32 bias_dropout_fusion masked_softmax_fusion skip_bias_add
            skip_bias_add_qkv slow_but_exact""",
    ),
    "mpt": CLASSIC.but(
        mixer=partial(
            parts.attention,
            qkv=False,
            alibi=True,
            clip_qkv=lambda c: _mpt_config(c, "clip_qkv", 0, 1e9) or None,
            scale=lambda c: _mpt_config(c, "softmax_scale", 1e-9, 1e9),
            dropout=_mpt_dropout,
        ),
        ffn=partial(parts.plain, bias=False, d_ff=lambda c: 4 * c.int("d_model"), activation="gelu"),
        norm=partial(parts.norm, bias=False),
        layer={"dropout": _mpt_dropout},
        names={
            "{embed.tokens,layers,final_norm}": "~{wte,blocks.*,norm_f}",
            "{attn,ffn}_norm": "norm_{1,2}",
            _JOINED: "attn.Wqkv",
            "{attn.o,ffn.up,ffn.down}": "{attn.out_proj,ffn.up_proj,ffn.down_proj}",
        },
        execution={"fused_qkv": True, "softmax": "float32", "filled_mask": "once"},
        own={"max_seq_len": None},  # which bounds nothing
        inert="""expansion_ratio no_bias learned_pos_emb norm_type logit_scale embedding_fraction emb_pdrop
            resid_pdrop init_device init_config ffn_config fc_type use_pad_tok_in_ffn verbose""",
    ),
    "opt": CLASSIC.but(
        base="model.",
        ffn=parts.plain,
        norm=_opt_norm,
        final=_opt_final,
        layer={"place": lambda c: "pre" if c.flag("do_layer_norm_before") else "post"},
        tokens={"d_embed": _opt_width, "positions": partial(parts.positions, offset=2, counted="kept")},
        heads=_opt_heads,
        names={
            part: name.replace("~", "~decoder.")
            for part, name in FAIRSEQ_NAMES.items()
            | {"final_norm": "~final_layer_norm", "head.project_out": "~project_out"}.items()
        },
        execution={"softmax": "float32", "positions": "batch"},
        inert="activation_dropout layerdrop learned_embeddings scale_embeddings output_projection",
    ),
    "xglm": XGLM.but(
        crosses=True,
        tokens={"positions": partial(parts.positions, kind="sinusoidal", offset=2, order="halves", spread=1)},
        execution={"scores_clamped": True},
        inert="layerdrop",
    ),
    "biogpt": XGLM.but(
        base="biogpt.",
        tokens={"positions": partial(parts.positions, offset=2)},
        names={"head.lm": "output_projection"},
        inert="layerdrop layer_norm_eps",
    ),
}
