"""Decoders from before Llama: learned, ALiBi or GPT-J positions, LayerNorm, plain feed-forward."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from transformer_calc.errors import did_you_mean
from transformer_calc.sources.families.legacy import (
    Attention,
    Config,
    Dense,
    Entry,
    Head,
    InputError,
    Layer,
    Layers,
    Mlp,
    Model,
    Norm,
    Positions,
    Rotary,
    Stack,
    Tokens,
    causal_heads,
    divide,
    is_number,
    named,
    rotary,
)
from transformer_calc.spec import Act

HEADS = {
    "head.lm": "lm_head",
    "head.score": "score",
    "head.classifier": "classifier",
    "head.qa": "qa_outputs",
}

GPT2_NAMES = HEADS | {
    "embed.tokens": "~wte",
    "embed.positions": "~wpe",
    "layers": "~h.*",
    "attn_norm": "ln_1",
    "attn.q + attn.k + attn.v": "attn.c_attn",
    "attn.o": "attn.c_proj",
    "cross_norm": "ln_cross_attn",
    "cross.q": "crossattention.q_attn",
    "cross.k + cross.v": "crossattention.c_attn",
    "cross.o": "crossattention.c_proj",
    "ffn_norm": "ln_2",
    "ffn.up": "mlp.c_fc",
    "ffn.down": "mlp.c_proj",
    "final_norm": "~ln_f",
    "choice.summary": "multiple_choice_head.summary",
}

BLOOM_NAMES = HEADS | {
    "embed.tokens": "~word_embeddings",
    "embed.norm": "~word_embeddings_layernorm",
    "layers": "~h.*",
    "attn_norm": "input_layernorm",
    "attn.q + attn.k + attn.v by heads": "self_attention.query_key_value",
    "attn.o": "self_attention.dense",
    "ffn_norm": "post_attention_layernorm",
    "ffn.up": "mlp.dense_h_to_4h",
    "ffn.down": "mlp.dense_4h_to_h",
    "final_norm": "~ln_f",
}

NEOX_NAMES = HEADS | {
    "embed.tokens": "~embed_in",
    "layers": "~layers.*",
    "attn_norm": "input_layernorm",
    "attn.q + attn.k + attn.v by heads": "attention.query_key_value",
    "attn.o": "attention.dense",
    "ffn_norm": "post_attention_layernorm",
    "ffn.up": "mlp.dense_h_to_4h",
    "ffn.down": "mlp.dense_4h_to_h",
    "final_norm": "~final_layer_norm",
}

OPT_NAMES = {
    "embed.tokens": "~embed_tokens",
    "embed.positions": "~embed_positions",
    "embed.project": "~project_in",
    "layers": "~layers.*",
    "attn_norm": "self_attn_layer_norm",
    "attn.q": "self_attn.q_proj",
    "attn.k": "self_attn.k_proj",
    "attn.v": "self_attn.v_proj",
    "attn.o": "self_attn.out_proj",
    "cross_norm": "encoder_attn_layer_norm",
    "cross.q": "encoder_attn.q_proj",
    "cross.k": "encoder_attn.k_proj",
    "cross.v": "encoder_attn.v_proj",
    "cross.o": "encoder_attn.out_proj",
    "ffn_norm": "final_layer_norm",
    "ffn.up": "fc1",
    "ffn.down": "fc2",
}


def model(
    c: Config,
    layers: Layers,
    embedding: Tokens,
    norm: Norm | None,
    names: dict[str, str],
    *,
    base: str = "transformer.",
    layout: str = "out_in",
    heads: tuple[Head, ...] | None = None,
    **more: Any,
) -> Model:
    """A decoder around its layers; `more` goes to `causal_heads`, in whose place `heads` can stand."""
    mixer = layers.kinds[0].mixer
    assert isinstance(mixer, Attention)
    d_model = mixer.n_heads * mixer.d_head
    if heads is None:
        heads = causal_heads(c, d_model, embedding.vocab, tied=c.flag("tie_word_embeddings"), **more)
    stack = Stack(name="decoder", d_model=d_model, embedding=embedding, layers=layers, final_norm=norm)
    family = c.family.model_type
    names_of = named(c, names, base)
    return Model(
        name=family,
        family=family,
        stacks=(stack,),
        heads=heads,
        layout=layout,
        head_layout="out_in",
        tensor_names=names_of,
    )


def attention(c: Config, width: str, n: str, *, qkv: bool, o: bool, **more: Any) -> Attention:
    """Attention whose heads share out the model's width."""
    n_heads = c.int(n)
    d_head = divide(width, c.int(width), n, n_heads)
    return Attention(n_heads=n_heads, d_head=d_head, bias_q=qkv, bias_k=qkv, bias_v=qkv, bias_o=o, **more)


def layer_norm(c: Config, **more: Any) -> Norm:
    """LayerNorm, from the usual key."""
    return Norm(eps=c.num("layer_norm_epsilon"), **more)


def summary(c: Config, name: str, d_model: int, labels: int) -> Head:
    """One vector for a sequence, projected (`SequenceSummary`); cls_index is the last token unless told otherwise."""
    function = c.activation("summary_activation") if c.raw("summary_activation") else ""
    takes, kind = (
        {"last": "last", "first": "first", "mean": "mean", "cls_index": "last"},
        c.text("summary_type"),
    )
    if kind not in takes:
        raise InputError(f"{c.where}summary_type is {kind!r:.60}; it must be one of {', '.join(takes)}")
    take = takes[kind]
    if not c.flag("summary_use_proj"):
        return Head(name=name, take=take, steps=(Act(function=function),) if function else ())
    width = labels if c.flag("summary_proj_to_labels", False) else d_model
    dropout = c.maybe_num("summary_first_dropout", None) or 0.0
    return Head(
        name=name,
        take=take,
        steps=(Dense(name="summary", width=width, activation=function, dropout=dropout),),
    )


# --- GPT, GPT-2 and what is built like it ---------------------------------------------------------------------


def _gpt2_embedding(c: Config) -> Tokens:
    return Tokens(
        vocab=c.int("vocab_size"),
        positions=Positions(count=c.int("n_positions")),
        dropout=c.num("embd_pdrop"),
    )


def _gpt2_heads(c: Config, d_model: int, vocab: int) -> tuple[Head, ...] | None:
    """DoubleHeads: the language model, and one score for a whole sequence; None: the usual heads."""
    if not c.architecture.endswith("DoubleHeadsModel"):
        return None
    lm = Dense(name="lm", bias=False, tied=c.flag("tie_word_embeddings"))
    return Head(steps=(lm,), softmax=True), summary(c, "choice", d_model, 1)


def _gpt2(c: Config) -> Model:
    big_code = c.family.model_type == "gpt_bigcode"
    multi_query = big_code and c.flag("multi_query")
    d_model = c.int("n_embd")
    mixer = attention(
        c,
        "n_embd",
        "n_head",
        qkv=True,
        o=True,
        n_kv_heads=1 if multi_query else None,
        scale=None if c.flag("scale_attn_weights") else 1.0,
        scale_by_layer=not big_code and c.flag("scale_attn_by_inverse_layer_idx"),
        dropout=c.num("attn_pdrop"),
    )
    crossed = c.flag("add_cross_attention")
    if crossed and multi_query:
        raise InputError(f"{c.where}add_cross_attention is true; with multi_query there is none")
    layer = Layer(
        mixer=mixer,
        cross=replace(mixer, causal=False) if crossed else None,
        ffn=Mlp(d_ff=c.maybe_int("n_inner") or 4 * d_model, activation=c.activation("activation_function")),
        norm=layer_norm(c),
        dropout=c.num("resid_pdrop"),
    )
    names = dict(GPT2_NAMES)
    if big_code and not multi_query:  # the class splits heads first, then each into its q, k and v
        names["attn.q + attn.k + attn.v by heads"] = names.pop("attn.q + attn.k + attn.v")
    embedding = _gpt2_embedding(c)
    return model(
        c,
        Layers.uniform(layer, c.int("n_layer")),
        embedding,
        layer_norm(c),
        names,
        layout="out_in" if big_code else "in_out",
        heads=_gpt2_heads(c, d_model, embedding.vocab),
    )


def _gpt(c: Config) -> Model:
    d_model, known = c.int("n_embd"), {"relu": "relu", "silu": "silu", "swish": "silu", "gelu": "gelu_new"}
    function = c.text("afn")
    if function not in known:
        hint = did_you_mean(function, known) or f"known: {', '.join(known)}"
        raise InputError(f"{c.where}afn is {function!r:.60}, which is not a known activation", hint=hint)
    layer = Layer(
        mixer=attention(c, "n_embd", "n_head", qkv=True, o=True, dropout=c.num("attn_pdrop")),
        ffn=Mlp(d_ff=4 * d_model, activation=known[function]),
        norm=layer_norm(c),
        place="post",
        dropout=c.num("resid_pdrop"),
    )
    embedding = _gpt2_embedding(c)
    return model(
        c,
        Layers.uniform(layer, c.int("n_layer")),
        embedding,
        None,
        GPT2_NAMES | {"embed.tokens": "~tokens_embed", "embed.positions": "~positions_embed"},
        layout="in_out",
        heads=_gpt2_heads(c, d_model, embedding.vocab),
    )


def _gpt_neo(c: Config) -> Model:
    d_model, n = c.int("hidden_size"), c.int("num_layers")
    layer = Layer(
        mixer=attention(
            c, "hidden_size", "num_heads", qkv=False, o=True, scale=1.0, dropout=c.num("attention_dropout")
        ),
        ffn=Mlp(
            d_ff=c.maybe_int("intermediate_size") or 4 * d_model,
            activation=c.activation("activation_function"),
        ),
        norm=layer_norm(c),
        dropout=c.num("resid_dropout"),
    )
    kinds = {"global": replace(layer, name="global")}
    assert isinstance(layer.mixer, Attention)
    kinds["local"] = replace(
        layer, name="local", mixer=replace(layer.mixer, window=c.int("window_size"), cache_all=True)
    )
    names = GPT2_NAMES | {
        "attn.q": "attn.attention.q_proj",
        "attn.k": "attn.attention.k_proj",
        "attn.v": "attn.attention.v_proj",
        "attn.o": "attn.attention.out_proj",
    }
    names.pop("attn.q + attn.k + attn.v")
    positions = Positions(count=c.int("max_position_embeddings"))
    embedding = Tokens(vocab=c.int("vocab_size"), positions=positions, dropout=c.num("embed_dropout"))
    return model(c, _neo_layers(c, kinds, n), embedding, layer_norm(c), names)


def _neo_layers(c: Config, kinds: dict[str, Layer], n: int) -> Layers:
    """attention_types: [[kinds of layers in turn, times], …], which have to be all layers."""
    spans, order = c.raw("attention_types"), list(kinds)
    if spans is None:
        return Layers.cycle(list(kinds.values()), (0, 1), n)
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
    return Layers.spans(list(kinds.values()), *(([order.index(k) for k in cycle], times) for cycle, times in spans))


def _gptj(c: Config) -> Model:
    d_model = c.int("n_embd")
    turned = Rotary(dims=c.int("rotary_dim"), interleaved=True)
    layer = Layer(
        mixer=attention(c, "n_embd", "n_head", qkv=False, o=False, rotary=turned, dropout=c.num("attn_pdrop")),
        ffn=Mlp(d_ff=c.maybe_int("n_inner") or 4 * d_model, activation=c.activation("activation_function")),
        norm=layer_norm(c),
        parallel="shared",
        dropout=c.num("resid_pdrop"),
    )
    names = GPT2_NAMES | {
        "norm": "ln_1",
        "attn.o": "attn.out_proj",
        "ffn.up": "mlp.fc_in",
        "ffn.down": "mlp.fc_out",
    }
    if c.family.model_type == "codegen":  # four parts, one for each core of the TPU that it was trained on
        divide("n_head", c.int("n_head"), "the four parts of qkv_proj", 4)
        names["attn.q + attn.v + attn.k by 4"] = "attn.qkv_proj"
    else:
        names |= {f"attn.{part}": f"attn.{part}_proj" for part in "qkv"}
    names.pop("attn.q + attn.k + attn.v")
    embedding = Tokens(vocab=c.int("vocab_size"), dropout=c.num("embd_pdrop"))
    layers = Layers.uniform(layer, c.int("n_layer"))
    return model(c, layers, embedding, layer_norm(c), names, bias=True)


# --- GPT-NeoX, Falcon, BLOOM, MPT -----------------------------------------------------------------------------


def _gpt_neox(c: Config) -> Model:
    bias, part, theta = c.flag("attention_bias"), c.num("rotary_pct"), c.num("rotary_emb_base")
    width = divide("hidden_size", c.int("hidden_size"), "num_attention_heads", c.int("num_attention_heads"))
    # later configs say both twice; the class reads rotary_pct and rotary_emb_base
    c.must("partial_rotary_factor", part)
    c.must("rope_theta", theta)
    mixer = attention(
        c,
        "hidden_size",
        "num_attention_heads",
        qkv=bias,
        o=bias,
        rotary=rotary(c, width, part=part, theta=theta),
        dropout=c.num("attention_dropout"),
    )
    norm, dropout = Norm(eps=c.num("layer_norm_eps")), c.num("hidden_dropout")
    layer = Layer(
        mixer=mixer,
        ffn=Mlp(d_ff=c.int("intermediate_size"), activation=c.activation()),
        norm=norm,
        parallel="separate" if c.flag("use_parallel_residual") else "no",
        dropout=dropout,
    )
    embedding = Tokens(vocab=c.int("vocab_size"), dropout=dropout)
    layers = Layers.uniform(layer, c.int("num_hidden_layers"))
    return model(c, layers, embedding, norm, NEOX_NAMES, base="gpt_neox.")


def _persimmon(c: Config) -> Model:
    n_heads, norm = c.int("num_attention_heads"), Norm(eps=c.num("layer_norm_eps"))
    width = divide("hidden_size", c.int("hidden_size"), "num_attention_heads", n_heads)
    mixer = attention(
        c,
        "hidden_size",
        "num_attention_heads",
        qkv=True,
        o=True,
        rotary=rotary(c, width, part=c.num("partial_rotary_factor")),
        qk_norm=norm if c.flag("qk_layernorm") else None,
        dropout=c.num("attention_dropout"),
    )
    ffn = Mlp(d_ff=c.int("intermediate_size"), activation=c.activation())
    layer = Layer(mixer=mixer, ffn=ffn, norm=norm, dropout=c.num("hidden_dropout"), dropped="ffn")
    layers = Layers.uniform(layer, c.int("num_hidden_layers"))
    names = NEOX_NAMES | {
        "embed.tokens": "~embed_tokens",
        "attn.q + attn.k + attn.v by heads": "self_attn.query_key_value",
        "attn.o": "self_attn.dense",
        "attn.q_norm": "self_attn.q_layernorm",
        "attn.k_norm": "self_attn.k_layernorm",
        "final_norm": "~final_layernorm",
        "head.classifier": "score",
    }
    return model(c, layers, Tokens(vocab=c.int("vocab_size")), norm, names, base="model.")


def _falcon(c: Config) -> Model:
    n_heads, d_model = c.int("num_attention_heads"), c.int("hidden_size")
    width = divide("hidden_size", d_model, "num_attention_heads", n_heads)
    bias, alibi, new = c.flag("bias"), c.flag("alibi"), c.flag("new_decoder_architecture")
    shared = 1 if c.flag("multi_query") else n_heads
    kv_heads = (c.maybe_int("num_kv_heads") or n_heads) if new else shared
    mixer = attention(
        c,
        "hidden_size",
        "num_attention_heads",
        qkv=bias,
        o=bias,
        n_kv_heads=kv_heads,
        cache_repeated=new,
        rotary=None if alibi else rotary(c, width),
        alibi=alibi,
        alibi_scale=width**-0.5,
        dropout=c.num("attention_dropout") if alibi else 0.0,  # the class leaves it out without
    )
    norms = c.maybe_int("num_ln_in_parallel_attn") or (2 if new else 1)
    parallel = ("separate" if norms == 2 else "shared") if c.flag("parallel_attn") else "no"
    layer = Layer(
        mixer=mixer,
        ffn=Mlp(
            d_ff=c.maybe_int("ffn_hidden_size") or 4 * d_model,
            activation=c.activation("activation"),
            bias_in=bias,
            bias_out=bias,
        ),
        norm=layer_norm(c),
        parallel=parallel,
        dropout=c.num("hidden_dropout"),
        dropped="both" if parallel == "no" else "sum",
    )
    names = BLOOM_NAMES | {"norm": "input_layernorm"}
    if parallel == "separate":
        names |= {"attn_norm": "ln_attn", "ffn_norm": "ln_mlp"}
    if kv_heads != n_heads:
        names["attn.q + attn.k + attn.v by kv_heads"] = names.pop("attn.q + attn.k + attn.v by heads")
    layers = Layers.uniform(layer, c.int("num_hidden_layers"))
    return model(c, layers, Tokens(vocab=c.int("vocab_size")), layer_norm(c), names)


def _bloom(c: Config) -> Model:
    mixer = attention(c, "hidden_size", "n_head", qkv=True, o=True, alibi=True, dropout=c.num("attention_dropout"))
    norm = layer_norm(c)
    layer = Layer(
        mixer=mixer,
        ffn=Mlp(d_ff=4 * c.int("hidden_size"), activation="gelu_tanh"),
        norm=norm,
        residual_from_norm=c.flag("apply_residual_connection_post_layernorm"),
        dropout=c.num("hidden_dropout"),
    )
    embedding = Tokens(vocab=c.int("vocab_size"), norm=norm)
    return model(c, Layers.uniform(layer, c.int("n_layer")), embedding, norm, BLOOM_NAMES)


def _mpt(c: Config) -> Model:
    # of attn_config, transformers' class reads these alone; it always has ALiBi, and neither biases nor wpe
    given = c.mapping("attn_config")
    for key, least, most in (("clip_qkv", 0, 1e9), ("softmax_scale", 1e-9, 1e9), ("attn_pdrop", 0, 0.999)):
        value = given.get(key)
        if value is not None and not (is_number(value) and least <= value <= most):
            wanted = f"a number between {least:g} and {most:g}, or null"
            raise InputError(f"{c.where}attn_config.{key} is {value!r:.60}; it must be {wanted}")
    dropout, norm = given.get("attn_pdrop") or 0.0, layer_norm(c, bias=False)
    mixer = attention(
        c,
        "d_model",
        "n_heads",
        qkv=False,
        o=False,
        alibi=True,
        clip_qkv=given.get("clip_qkv") or None,
        scale=given.get("softmax_scale"),
        dropout=dropout,
    )
    ffn = Mlp(d_ff=4 * c.int("d_model"), bias_in=False, bias_out=False)
    names = HEADS | {
        "embed.tokens": "~wte",
        "layers": "~blocks.*",
        "attn_norm": "norm_1",
        "attn.q + attn.k + attn.v": "attn.Wqkv",
        "attn.o": "attn.out_proj",
        "ffn_norm": "norm_2",
        "ffn.up": "ffn.up_proj",
        "ffn.down": "ffn.down_proj",
        "final_norm": "~norm_f",
    }
    layers = Layers.uniform(Layer(mixer=mixer, ffn=ffn, norm=norm, dropout=dropout), c.int("n_layers"))
    return model(c, layers, Tokens(vocab=c.int("vocab_size")), norm, names)


# --- OPT and its kin: fairseq's names and position offsets ----------------------------------------------------


def _opt(c: Config) -> Model:
    bias, affine, before = (
        c.flag("enable_bias"),
        c.flag("layer_norm_elementwise_affine"),
        c.flag("do_layer_norm_before"),
    )
    d_model, norm = c.int("hidden_size"), Norm(weight=affine)
    d_embed = c.maybe_int("word_embed_proj_dim") or d_model
    layer = Layer(
        mixer=attention(c, "hidden_size", "num_attention_heads", qkv=bias, o=bias, dropout=c.num("attention_dropout")),
        ffn=Mlp(d_ff=c.int("ffn_dim"), activation=c.activation("activation_function"), bias_in=bias, bias_out=bias),
        norm=norm,
        place="pre" if before else "post",
        dropout=c.num("dropout"),
    )
    embedding = Tokens(
        vocab=c.int("vocab_size"),
        d_embed=d_embed,
        positions=Positions(count=c.int("max_position_embeddings"), offset=2, counted="kept"),
    )
    heads = causal_heads(c, d_model, embedding.vocab, tied=c.flag("tie_word_embeddings"))
    if d_embed != d_model:  # back to the table's width first
        back = Dense(name="project_out", width=d_embed, bias=False)
        heads = tuple(replace(head, steps=(back, *head.steps)) for head in heads or (Head(),))
    names = HEADS | OPT_NAMES | {"final_norm": "~final_layer_norm", "head.project_out": "~project_out"}
    names = {part: name.replace("~", "~decoder.") for part, name in names.items()}
    final = norm if before and not c.flag("_remove_final_layer_norm") else None
    layers = Layers.uniform(layer, c.int("num_hidden_layers"))
    return model(c, layers, embedding, final, names, base="model.", heads=heads)


def _xglm(c: Config) -> Model:
    d_model = c.int("d_model")
    mixer = attention(c, "d_model", "attention_heads", qkv=True, o=True, dropout=c.num("attention_dropout"))
    layer = Layer(
        mixer=mixer,
        cross=replace(mixer, causal=False) if c.flag("add_cross_attention") else None,
        ffn=Mlp(
            d_ff=c.int("ffn_dim"),
            activation=c.activation("activation_function"),
            dropout=c.num("activation_dropout"),
        ),
        dropout=c.num("dropout"),
    )
    embedding = Tokens(
        vocab=c.int("vocab_size"),
        scale=d_model**0.5 if c.flag("scale_embedding") else 1.0,
        positions=Positions(
            kind="sinusoidal", count=c.int("max_position_embeddings"), offset=2, order="halves", spread=1
        ),
        dropout=c.num("dropout"),
    )
    names = HEADS | OPT_NAMES | {"final_norm": "~layer_norm"}
    return model(c, Layers.uniform(layer, c.int("num_layers")), embedding, Norm(), names, base="model.")


def _biogpt(c: Config) -> Model:
    d_model, dropout = c.int("hidden_size"), c.num("hidden_dropout_prob")
    layer = Layer(
        mixer=attention(
            c,
            "hidden_size",
            "num_attention_heads",
            qkv=True,
            o=True,
            dropout=c.num("attention_probs_dropout_prob"),
        ),
        ffn=Mlp(d_ff=c.int("intermediate_size"), activation=c.activation(), dropout=c.num("activation_dropout")),
        dropout=dropout,
    )
    embedding = Tokens(
        vocab=c.int("vocab_size"),
        scale=d_model**0.5 if c.flag("scale_embedding") else 1.0,
        positions=Positions(count=c.int("max_position_embeddings"), offset=2),
        dropout=dropout,
    )
    names = HEADS | OPT_NAMES | {"final_norm": "~layer_norm", "head.lm": "output_projection"}
    return model(c, Layers.uniform(layer, c.int("num_hidden_layers")), embedding, Norm(), names, base="biogpt.")


# --- the entries ----------------------------------------------------------------------------------------------

OLD = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}
OLD_FLAGS = {
    "layers": "n_layer",
    "d_model": "n_embd",
    "heads": "n_head",
    "d_ff": "n_inner",
    "max_positions": "n_positions",
}
OLD_SIZES: dict[str, Any] = {
    "vocab_size": 50257,
    "n_positions": 1024,
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "n_inner": None,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "embd_pdrop": 0.1,
    "attn_pdrop": 0.1,
    "resid_pdrop": 0.1,
    "tie_word_embeddings": True,
}
SUMMARY: dict[str, Any] = {
    "summary_type": "cls_index",
    "summary_use_proj": True,
    "summary_activation": None,
    "summary_proj_to_labels": True,
    "summary_first_dropout": 0.1,
}
# GPT-2's summary keys stand in many configs whose classes have no such head
SUMMARY_KEYS = " ".join(SUMMARY)

FAMILIES = [
    Entry(
        "gpt2",
        OLD_SIZES
        | SUMMARY
        | {
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "add_cross_attention": False,
        },
        _gpt2,
        flags=OLD_FLAGS,
        inert="reorder_and_upcast_attn predict_special_tokens summary_last_dropout",
        aliases=OLD,
    ),
    Entry(
        "gpt_bigcode",
        OLD_SIZES
        | {
            "activation_function": "gelu_pytorch_tanh",
            "scale_attn_weights": True,
            "multi_query": True,
            "add_cross_attention": False,
        },
        _gpt2,
        flags=OLD_FLAGS,
        inert=f"""attention_softmax_in_fp32 scale_attention_softmax_in_fp32 num_key_value_heads inference_runner
            validate_runner_input pre_allocate_kv_cache max_sequence_length max_batch_size pad_key_length
            {SUMMARY_KEYS}""",
        aliases=OLD,
    ),
    Entry(
        "openai-gpt",
        OLD_SIZES | SUMMARY | {"vocab_size": 40478, "n_positions": 512, "afn": "gelu"},
        _gpt,
        flags={key: name for key, name in OLD_FLAGS.items() if key != "d_ff"},
        inert="predict_special_tokens n_special",
        aliases=OLD,
    ),
    Entry(
        "gpt_neo",
        {
            "vocab_size": 50257,
            "max_position_embeddings": 2048,
            "hidden_size": 2048,
            "num_layers": 24,
            "num_heads": 16,
            "intermediate_size": None,
            "attention_types": None,
            "window_size": 256,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": 1e-5,
            "embed_dropout": 0.0,
            "attention_dropout": 0.0,
            "resid_dropout": 0.0,
            "tie_word_embeddings": True,
        },
        _gpt_neo,
        flags={"layers": "num_layers", "heads": "num_heads", "window": "window_size"},
        inert=f"attention_layers {SUMMARY_KEYS}",
        aliases={"num_attention_heads": "num_heads", "num_hidden_layers": "num_layers"},
    ),
    *(
        Entry(
            model_type,
            OLD_SIZES
            | {
                "vocab_size": 50400,
                "n_positions": 2048,
                "n_embd": 4096,
                "n_layer": 28,
                "n_head": 16,
                "rotary_dim": 64,
                "embd_pdrop": 0.0,
                "attn_pdrop": 0.0,
                "resid_pdrop": 0.0,
                "tie_word_embeddings": False,
            },
            _gptj,
            flags=OLD_FLAGS,
            inert=f"rotary scale_attn_weights {SUMMARY_KEYS}",
            aliases=OLD,
        )
        for model_type in ("gptj", "codegen")
    ),
    Entry(
        "gpt_neox",
        {
            "vocab_size": 50432,
            "hidden_size": 6144,
            "num_hidden_layers": 44,
            "num_attention_heads": 64,
            "intermediate_size": 24576,
            "hidden_act": "gelu",
            "max_position_embeddings": 2048,
            "rotary_emb_base": 10000,
            "rotary_pct": 0.25,
            "rope_scaling": None,
            "rope_parameters": None,
            "use_parallel_residual": True,
            "attention_bias": True,
            "layer_norm_eps": 1e-5,
            "attention_dropout": 0.0,
            "hidden_dropout": 0.0,
            "tie_word_embeddings": False,
        },
        _gpt_neox,
        inert="is_decoder",
    ),
    Entry(
        "persimmon",
        {
            "vocab_size": 262144,
            "hidden_size": 4096,
            "num_hidden_layers": 36,
            "num_attention_heads": 64,
            "intermediate_size": 16384,
            "hidden_act": "relu2",
            "max_position_embeddings": 16384,
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
            "rope_scaling": None,
            "rope_parameters": None,
            "qk_layernorm": True,
            "layer_norm_eps": 1e-5,
            "attention_dropout": 0.0,
            "hidden_dropout": 0.0,
            "tie_word_embeddings": False,
        },
        _persimmon,
        inert="num_key_value_heads",
    ),
    Entry(
        "falcon",
        {
            "vocab_size": 65024,
            "hidden_size": 4544,
            "num_hidden_layers": 32,
            "num_attention_heads": 71,
            "num_kv_heads": None,
            "ffn_hidden_size": None,
            "activation": "gelu",
            "max_position_embeddings": 2048,
            "rope_theta": 10000.0,
            "rope_scaling": None,
            "rope_parameters": None,
            "alibi": False,
            "new_decoder_architecture": False,
            "multi_query": True,
            "parallel_attn": True,
            "num_ln_in_parallel_attn": None,
            "bias": False,
            "layer_norm_epsilon": 1e-5,
            "attention_dropout": 0.0,
            "hidden_dropout": 0.0,
            "tie_word_embeddings": True,
        },
        _falcon,
        flags={"kv_heads": "num_kv_heads", "d_ff": "ffn_hidden_size"},
        inert="apply_residual_connection_post_layernorm ff_factor",
        aliases={"n_embed": "hidden_size"},
    ),
    Entry(
        "bloom",
        {
            "vocab_size": 250880,
            "hidden_size": 64,
            "n_layer": 2,
            "n_head": 8,
            "layer_norm_epsilon": 1e-5,
            "apply_residual_connection_post_layernorm": False,
            "attention_dropout": 0.0,
            "hidden_dropout": 0.0,
            "tie_word_embeddings": True,
        },
        _bloom,
        flags={"layers": "n_layer", "heads": "n_head"},
        inert="""n_inner offset_alibi attention_softmax_in_fp32 bias_dropout_fusion masked_softmax_fusion skip_bias_add
            skip_bias_add_qkv slow_but_exact""",
        aliases={"n_embed": "hidden_size", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head"},
    ),
    Entry(
        "mpt",
        {
            "vocab_size": 50368,
            "d_model": 2048,
            "n_layers": 24,
            "n_heads": 16,
            "attn_config": None,
            "layer_norm_epsilon": 1e-5,
            "tie_word_embeddings": True,
        },
        _mpt,
        flags={
            "layers": "n_layers",
            "d_model": "d_model",
            "heads": "n_heads",
            "max_positions": "max_seq_len",
        },
        inert="""max_seq_len expansion_ratio no_bias learned_pos_emb norm_type logit_scale embedding_fraction emb_pdrop
            resid_pdrop init_device init_config ffn_config fc_type use_pad_tok_in_ffn verbose""",
        aliases={"hidden_size": "d_model", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads"},
    ),
    Entry(
        "opt",
        {
            "vocab_size": 50272,
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "ffn_dim": 3072,
            "word_embed_proj_dim": None,
            "max_position_embeddings": 2048,
            "activation_function": "relu",
            "do_layer_norm_before": True,
            "_remove_final_layer_norm": False,
            "enable_bias": True,
            "layer_norm_elementwise_affine": True,
            "attention_dropout": 0.0,
            "dropout": 0.1,
            "tie_word_embeddings": True,
        },
        _opt,
        flags={"d_ff": "ffn_dim"},
        inert="activation_dropout layerdrop learned_embeddings scale_embeddings output_projection",
    ),
    Entry(
        "xglm",
        {
            "vocab_size": 256008,
            "d_model": 1024,
            "num_layers": 24,
            "attention_heads": 16,
            "ffn_dim": 4096,
            "max_position_embeddings": 2048,
            "activation_function": "gelu",
            "scale_embedding": True,
            "add_cross_attention": False,
            "attention_dropout": 0.1,
            "activation_dropout": 0.0,
            "dropout": 0.1,
            "tie_word_embeddings": True,
        },
        _xglm,
        flags={"layers": "num_layers", "d_model": "d_model", "heads": "attention_heads", "d_ff": "ffn_dim"},
        inert="layerdrop",
        aliases={
            "hidden_size": "d_model",
            "num_attention_heads": "attention_heads",
            "num_hidden_layers": "num_layers",
        },
    ),
    Entry(
        "biogpt",
        {
            "vocab_size": 42384,
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "intermediate_size": 4096,
            "hidden_act": "gelu",
            "max_position_embeddings": 1024,
            "scale_embedding": True,
            "attention_probs_dropout_prob": 0.1,
            "hidden_dropout_prob": 0.1,
            "activation_dropout": 0.0,
            "tie_word_embeddings": True,
        },
        _biogpt,
        inert="layerdrop layer_norm_eps",
    ),
]
