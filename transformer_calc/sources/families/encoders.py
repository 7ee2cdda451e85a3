"""Encoders: BERT and what came of it, DeBERTa, ModernBERT."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

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
    NormStep,
    Positions,
    Stack,
    Tokens,
    by_rule,
    by_type,
    divide,
    named,
    rotary,
    unknown_architecture,
)
from transformer_calc.sources.families.classic import summary
from transformer_calc.spec import Act, Convolution, Disentangled, Pool, RelativeBias

Steps = tuple[Dense | NormStep | Pool | Act, ...]

# --- heads ----------------------------------------------------------------------------------------------------


def heads(
    c: Config,
    own: Mapping[str, tuple[Head, ...]],
    *,
    sentence: Callable[[int], Steps],
    choice: Callable[[int], Steps] | None = None,
    choice_take: str = "first",
    before: Steps = (),
    dropout: float = 0.0,
) -> tuple[Head, ...]:
    """The heads of a config's class: `own` ones by how its name ends, else a task's.

    `sentence` makes the steps from the first token's vector to so many scores, `choice` those of a choice where they
    differ; `before` stands before the scores of each token.
    """
    name = c.architecture or f"…{next(iter(own))}"
    for ending, found in own.items():
        if name.endswith(ending):
            return found
    if name.endswith("ForSequenceClassification"):
        return (Head(take="first", steps=sentence(c.n_labels)),)
    if name.endswith("ForMultipleChoice"):
        return (Head(take=choice_take, steps=(choice or sentence)(1)),)
    if name.endswith("ForTokenClassification"):
        scores = Dense(name="classifier", width=c.n_labels, dropout=dropout)
        return (Head(steps=(*before, scores)),)
    if name.endswith("ForQuestionAnswering"):
        return (Head(steps=(*before, Dense(name="qa", width=c.n_labels))),)
    tasks = ["SequenceClassification", "TokenClassification", "QuestionAnswering", "MultipleChoice"]
    raise unknown_architecture(c, ", ".join(f"…{ending}" for ending in [*own, *(f"For{task}" for task in tasks)]))


def task(c: Config) -> bool:
    """The config's class is no language model, but the bare model or one with a task's head."""
    return bool(c.architecture) and not c.architecture.endswith(("ForMaskedLM", "ForCausalLM"))


def masked_lm(
    c: Config, width: int, activation: str, norm: Norm, *, spare: bool = True, tied: bool | None = None
) -> tuple[Head, ...]:
    """A transform and the token table with a bias; `spare`: untied, the class keeps one more that it never reads."""
    tied = c.flag("tie_word_embeddings") if tied is None else tied
    steps = (
        Dense(name="transform", width=width, activation=activation),
        NormStep(name="norm", norm=norm),
        Dense(name="lm", tied=tied, spare_bias=spare and not tied),
    )
    return (Head(steps=steps, softmax=True),)


def lm_names(c: Config, bias: str, transform: str, norm: str, decoder: str) -> dict[str, str]:
    """Names of a masked_lm head: the bias is stored by itself, and as the decoder's only where that is not tied."""
    tied = c.flag("tie_word_embeddings")
    return {
        "head.transform": transform,
        "head.norm": norm,
        "head.lm": decoder,
        "head.lm_spare": bias,
        "head.lm.bias": f"{bias if tied else decoder}.bias",
    }


# --- BERT and its kin -----------------------------------------------------------------------------------------

LAYER = {
    "layers": "~encoder.layer.*",
    "attn.q": "attention.self.query",
    "attn.k": "attention.self.key",
    "attn.v": "attention.self.value",
    "attn.o": "attention.output.dense",
    "attn_norm": "attention.output.LayerNorm",
    "cross.q": "crossattention.self.query",
    "cross.k": "crossattention.self.key",
    "cross.v": "crossattention.self.value",
    "cross.o": "crossattention.output.dense",
    "cross_norm": "crossattention.output.LayerNorm",
    "ffn.up": "intermediate.dense",
    "ffn.down": "output.dense",
    "ffn_norm": "output.LayerNorm",
}
NAMES = LAYER | {
    "embed.tokens": "~embeddings.word_embeddings",
    "embed.positions": "~embeddings.position_embeddings",
    "embed.segments": "~embeddings.token_type_embeddings",
    "embed.norm": "~embeddings.LayerNorm",
    "embed.project": "~embeddings_project",
    "head.pooler": "~pooler.dense",
    "head.classifier": "classifier",
    "head.dense": "classifier.dense",
    "head.out_proj": "classifier.out_proj",
    "head.qa": "qa_outputs",
}


def model(
    c: Config,
    layers: Layers,
    embedding: Tokens,
    heads: tuple[Head, ...],
    names: Mapping[str, str],
    base: str,
    **stack: Any,
) -> Model:
    """An encoder around its layers, or with is_decoder a decoder of the same build; `stack`: more of its fields."""
    mixer = layers.kinds[0].mixer
    assert isinstance(mixer, Attention)
    tower = Stack(
        name="decoder" if mixer.causal else "encoder",
        d_model=mixer.n_heads * mixer.d_head,
        embedding=embedding,
        layers=layers,
        **stack,
    )
    family = c.family.model_type
    return Model(
        name=family,
        family=family,
        stacks=(tower,),
        heads=heads,
        layout="out_in",
        tensor_names=named(c, names, base),
    )


def norm_of(c: Config) -> Norm:
    """LayerNorm, from the usual key."""
    return Norm(eps=c.num("layer_norm_eps"))


def bert_layer(c: Config, **more: Any) -> Layer:
    """Post-norm attention and feed-forward with biases; `more` goes to the attention."""
    n_heads, d_model = c.int("num_attention_heads"), c.int("hidden_size")
    mixer = Attention(
        n_heads=n_heads,
        d_head=divide("hidden_size", d_model, "num_attention_heads", n_heads),
        causal=c.flag("is_decoder", False) and c.family.model_type not in NO_DECODERS,
        bias_q=True,
        bias_k=True,
        bias_v=True,
        bias_o=True,
        dropout=c.num("attention_probs_dropout_prob"),
        **more,
    )
    crossed = c.flag("add_cross_attention", False)
    if crossed and not mixer.causal:
        raise InputError(f"{c.where}add_cross_attention is true; it needs is_decoder, too")
    return Layer(
        mixer=mixer,
        cross=replace(mixer, causal=False) if crossed else None,
        ffn=Mlp(d_ff=c.int("intermediate_size"), activation=c.activation()),
        norm=norm_of(c),
        place="post",
        dropout=c.num("hidden_dropout_prob"),
    )


# classes that take no notice of is_decoder
NO_DECODERS = ("albert", "deberta-v2", "mpnet")


def bert_embedding(c: Config, **more: Any) -> Tokens:
    """Token, position and segment tables, their sum normed."""
    settings: dict[str, Any] = {
        "positions": Positions(count=c.int("max_position_embeddings")),
        "segments": c.int("type_vocab_size", 0, minimum=0),
        "norm": norm_of(c),
        "dropout": c.num("hidden_dropout_prob"),
    }
    return Tokens(vocab=c.int("vocab_size"), **settings | more)


def padded_positions(c: Config, padding: int) -> Positions:
    """RoBERTa counts positions from after the padding token's id; max_position_embeddings are all rows."""
    rows = c.int("max_position_embeddings")
    if rows <= padding + 1:
        raise InputError(f"{c.where}max_position_embeddings is {rows}; the first {padding + 1} rows hold no position")
    return Positions(count=rows - padding - 1, offset=padding + 1, counted="ids", pad=padding)


def task_dropout(c: Config) -> float:
    """Of the scores of a task: classifier_dropout, or else as everywhere."""
    given = c.maybe_num("classifier_dropout", None)
    return c.num("hidden_dropout_prob") if given is None else given


def _bert(c: Config) -> Model:
    """BERT; Megatron's has its norms before each part and a last one, ERNIE's is the same without task ids."""
    d_model, dropout, layer = c.int("hidden_size"), task_dropout(c), bert_layer(c)
    family, more, stack = c.family.model_type, dict[str, Any](), dict[str, Any]()
    if family == "ernie":
        c.must("use_task_id", False)
    if family == "megatron-bert":
        dropout = c.num("hidden_dropout_prob")  # which has no classifier_dropout
        layer, more, stack = replace(layer, place="pre"), {"norm": None}, {"final_norm": norm_of(c)}
    pooler = Dense(name="pooler", width=d_model, activation="tanh")
    lm = masked_lm(c, d_model, c.activation(), norm_of(c))
    next_sentence = Head(name="pooled", take="first", steps=(pooler, Dense(name="next", width=2)))
    found = heads(
        c,
        {
            "ForMaskedLM": lm,
            "LMHeadModel": lm,
            "ForPreTraining": (*lm, next_sentence),
            "ForNextSentencePrediction": (next_sentence,),
            "Model": (Head(take="first", steps=(pooler,)),),
        },
        sentence=lambda n: (pooler, Dense(name="classifier", width=n, dropout=dropout)),
        dropout=dropout,
    )
    names = (
        NAMES
        | {"pooled.pooler": "~pooler.dense", "pooled.next": "cls.seq_relationship"}
        | lm_names(
            c,
            "cls.predictions",
            "cls.predictions.transform.dense",
            "cls.predictions.transform.LayerNorm",
            "cls.predictions.decoder",
        )
    )
    if family == "megatron-bert":
        names |= {"attn_norm": "attention.ln", "cross_norm": "crossattention.ln", "ffn_norm": "ln"}
        names |= {"final_norm": "~encoder.ln"}
    layers = Layers.uniform(layer, c.int("num_hidden_layers"))
    base = "ernie." if family == "ernie" else "bert."
    return model(c, layers, bert_embedding(c, **more), found, names, base, **stack)


def _roberta(c: Config) -> Model:
    d_model, dropout, layer = c.int("hidden_size"), task_dropout(c), bert_layer(c)
    fixed, stack = dict[str, Any](), dict[str, Any]()
    names = NAMES | lm_names(c, "lm_head", "lm_head.dense", "lm_head.layer_norm", "lm_head.decoder")
    family, padding = c.family.model_type, 1
    if family in ("xlm-roberta", "camembert") and c.flag("tie_word_embeddings") and not task(c):
        names["embed.tokens"] = "lm_head.decoder"  # these classes build the head before the encoder
    if family == "mpnet":
        c.must("relative_attention_num_buckets", 32, "the class counts in 32")
        assert isinstance(layer.mixer, Attention)
        layer = replace(layer, mixer=replace(layer.mixer, relative_bias=RelativeBias()))
        fixed = {"segments": 0}
        names |= {f"attn.{part}": f"attention.attn.{part}" for part in "qkvo"}
        names |= {"attn_norm": "attention.LayerNorm", "relative_bias": "~encoder.relative_attention_bias"}
    else:
        padding = c.int("pad_token_id", minimum=0)
    if family in PRE_NORM:
        layer, stack = replace(layer, place="pre"), {"final_norm": norm_of(c)}
        names |= PRE_NORM[family]
        fixed = {"norm": None} if family == "xlm-roberta-xl" else {}
        layer = replace(layer, dropped="mixer") if family == "xlm-roberta-xl" else layer
    pooler = Dense(name="pooler", width=d_model, activation="tanh")
    lm = masked_lm(c, d_model, "gelu", norm_of(c))
    found = heads(
        c,
        {"ForMaskedLM": lm, "ForCausalLM": lm, "Model": (Head(take="first", steps=(pooler,)),)},
        sentence=lambda n: (
            Dense(name="dense", width=d_model, activation="tanh", dropout=dropout),
            Dense(name="out_proj", width=n, dropout=dropout),
        ),
        choice=lambda n: (pooler, Dense(name="classifier", width=n, dropout=c.num("hidden_dropout_prob"))),
        dropout=dropout,
    )
    embedding = bert_embedding(c, positions=padded_positions(c, padding), **fixed)
    layers = Layers.uniform(layer, c.int("num_hidden_layers"))
    return model(c, layers, embedding, found, names, f"{ROBERTA_BASES.get(family, 'roberta')}.", **stack)


ROBERTA_BASES = {
    "mpnet": "mpnet",
    "data2vec-text": "data2vec_text",
    "roberta-prelayernorm": "roberta_prelayernorm",
}
# norms before each part, and a last one
PRE_NORM = {
    "roberta-prelayernorm": {
        "attn_norm": "attention.LayerNorm",
        "cross_norm": "crossattention.LayerNorm",
        "ffn_norm": "intermediate.LayerNorm",
        "final_norm": "~LayerNorm",
    },
    "xlm-roberta-xl": {
        "attn_norm": "attention.self_attn_layer_norm",
        "cross_norm": "crossattention.self_attn_layer_norm",
        "ffn_norm": "LayerNorm",
        "final_norm": "~encoder.LayerNorm",
    },
}


def _albert(c: Config) -> Model:
    groups, inner, n = c.int("num_hidden_groups"), c.int("inner_group_num"), c.int("num_hidden_layers")
    d_model, d_embed, dropout = (
        c.int("hidden_size"),
        c.int("embedding_size"),
        c.num("classifier_dropout_prob"),
    )
    pooler = Dense(name="pooler", width=d_model, activation="tanh")
    lm = masked_lm(c, d_embed, c.activation(), norm_of(c))
    width = c.n_labels if c.architecture.endswith("ForPreTraining") else 2
    sentences = Dense(name="order", width=width, dropout=dropout)
    order = Head(name="pooled", take="first", steps=(pooler, sentences))
    found = heads(
        c,
        {
            "ForMaskedLM": lm,
            "ForPreTraining": (*lm, order),
            "Model": (Head(take="first", steps=(pooler,)),),
        },
        sentence=lambda n: (pooler, Dense(name="classifier", width=n, dropout=dropout)),
        dropout=dropout,
    )
    names = NAMES | {
        "embed.project": "~encoder.embedding_hidden_mapping_in",
        "layers": "~encoder.albert_layer_groups.*.albert_layers.*",
        "attn.q": "attention.query",
        "attn.k": "attention.key",
        "attn.v": "attention.value",
        "attn.o": "attention.dense",
        "attn_norm": "attention.LayerNorm",
        "ffn.up": "ffn",
        "ffn.down": "ffn_output",
        "ffn_norm": "full_layer_layer_norm",
        "head.pooler": "~pooler",
        "pooled.pooler": "~pooler",
        "pooled.order": "sop_classifier.classifier",
    }
    names |= lm_names(c, "predictions", "predictions.dense", "predictions.LayerNorm", "predictions.decoder")
    return model(
        c,
        Layers.uniform(replace(bert_layer(c), dropped="mixer"), n * inner),
        bert_embedding(c, d_embed=d_embed, project=True, project_bias=True),
        found,
        names,
        "albert.",
        share_layers=groups * inner,
        share_inner=inner,
    )


def _distilbert(c: Config) -> Model:
    n_heads, d_model, norm = c.int("n_heads"), c.int("dim"), Norm(eps=1e-12)
    layer = Layer(
        mixer=Attention(
            n_heads=n_heads,
            d_head=divide("dim", d_model, "n_heads", n_heads),
            causal=False,
            bias_q=True,
            bias_k=True,
            bias_v=True,
            bias_o=True,
            dropout=c.num("attention_dropout"),
        ),
        ffn=Mlp(d_ff=c.int("hidden_dim"), activation=c.activation("activation")),
        norm=norm,
        place="post",
        dropout=c.num("dropout"),
        dropped="ffn",
    )
    kind = "fixed" if c.flag("sinusoidal_pos_embds") else "learned"
    positions = Positions(kind=kind, count=c.int("max_position_embeddings"))
    embedding = Tokens(vocab=c.int("vocab_size"), positions=positions, norm=norm, dropout=c.num("dropout"))
    if c.architecture.endswith("ForQuestionAnswering") and c.n_labels != 2:
        raise InputError(f"{c.where}num_labels is {c.n_labels}; the class answers questions with 2: start and end")
    lm = masked_lm(c, d_model, c.activation("activation"), norm, spare=False)
    found = heads(
        c,
        {"ForMaskedLM": lm, "Model": ()},
        sentence=lambda n: (
            Dense(name="first", width=d_model, activation="relu"),
            Dense(name="classifier", width=n, dropout=c.num("seq_classif_dropout")),
        ),
        dropout=c.num("dropout"),
    )
    names = NAMES | {
        "layers": "~transformer.layer.*",
        "attn.q": "attention.q_lin",
        "attn.k": "attention.k_lin",
        "attn.v": "attention.v_lin",
        "attn.o": "attention.out_lin",
        "attn_norm": "sa_layer_norm",
        "ffn.up": "ffn.lin1",
        "ffn.down": "ffn.lin2",
        "ffn_norm": "output_layer_norm",
        "head.transform": "vocab_transform",
        "head.norm": "vocab_layer_norm",
        "head.lm": "vocab_projector",
        "head.first": "pre_classifier",
    }
    return model(c, Layers.uniform(layer, c.int("n_layers")), embedding, found, names, "distilbert.")


def _electra(c: Config) -> Model:
    d_model, d_embed, dropout = c.int("hidden_size"), c.int("embedding_size"), task_dropout(c)
    lm = masked_lm(c, d_embed, "gelu", norm_of(c), spare=False)
    which = (Dense(name="dense", width=d_model, activation=c.activation()), Dense(name="prediction", width=1))
    discriminating = not c.architecture or c.architecture.endswith("ForPreTraining")
    own = {"ForPreTraining": (Head(steps=which),), "ForMaskedLM": lm, "ForCausalLM": lm, "Model": ()}
    if c.architecture.endswith("ForMultipleChoice"):
        whole = summary(c, "head", d_model, c.n_labels)
        own["ForMultipleChoice"] = (replace(whole, steps=(*whole.steps, Dense(name="classifier", width=1))),)
    found = heads(
        c,
        own,
        sentence=lambda n: (
            Dense(name="dense", width=d_model, activation="gelu", dropout=dropout),
            Dense(name="out_proj", width=n, dropout=dropout),
        ),
        dropout=dropout,
    )
    names = NAMES | {
        "head.dense": "discriminator_predictions.dense" if discriminating else "classifier.dense",
        "head.prediction": "discriminator_predictions.dense_prediction",
        "head.transform": "generator_predictions.dense",
        "head.norm": "generator_predictions.LayerNorm",
        "head.lm": "generator_lm_head",
        "head.summary": "sequence_summary.summary",
    }
    embedding = bert_embedding(c, d_embed=d_embed, project_bias=True)
    layers = Layers.uniform(bert_layer(c), c.int("num_hidden_layers"))
    return model(c, layers, embedding, found, names, "electra.")


# --- DeBERTa --------------------------------------------------------------------------------------------------


def _deberta(c: Config) -> Model:
    d_model, n_heads = c.int("hidden_size"), c.int("num_attention_heads")
    d_embed, d_head = (
        c.int("embedding_size", d_model),
        divide("hidden_size", d_model, "num_attention_heads", n_heads),
    )
    c.must("attention_head_size", d_head, "heads share out hidden_size")
    relative, kinds, normed = (
        c.flag("relative_attention"),
        _kinds(c, "pos_att_type"),
        _kinds(c, "norm_rel_ebd"),
    )
    rows, reach = c.int("max_position_embeddings"), c.int("max_relative_positions", minimum=-1)
    reach, buckets = reach if reach > 0 else rows, c.int("position_buckets", -1, minimum=-1)
    if buckets > 0 and reach <= buckets // 2 + 1:
        key = "max_position_embeddings" if reach == rows else "max_relative_positions"
        raise InputError(
            f"{c.where}{key} is {reach}; with {buckets} position_buckets it must be more than {buckets // 2 + 1}"
        )
    positions = Disentangled(
        positions=2 * (buckets if buckets > 0 else reach),
        log_distance=reach if buckets > 0 else None,
        content_to_position="c2p" in kinds,
        position_to_content="p2c" in kinds,
        shared_projections=c.flag("share_att_key", False),
        dropout=c.num("hidden_dropout_prob"),
    )
    parts = 1 + ("c2p" in kinds) + ("p2c" in kinds)  # the scores' variance grows with them, related or not
    scale = (d_head * parts) ** -0.5 if parts > 1 else None
    layer = bert_layer(c, disentangled=positions if relative else None, scale=scale, mask_queries=True)
    n, kernel = c.int("num_hidden_layers"), c.int("conv_kernel_size", 0, minimum=0)
    layers = Layers.uniform(layer, n)
    if kernel:
        groups = c.int("conv_groups", 1)
        if kernel % 2 == 0:
            raise InputError(
                f"{c.where}conv_kernel_size is {kernel}; it must be odd, so that the sequence keeps its length"
            )
        divide("hidden_size", d_model, "conv_groups", groups)
        conv = Convolution(
            kernel=kernel,
            groups=groups,
            activation=c.activation("conv_act"),
            norm=norm_of(c),
            dropout=c.num("hidden_dropout_prob"),
        )
        first = replace(layer, name="first", convolution=conv)
        layers = Layers.cycle([first, replace(layer, name="other")], [1], n, head=[0])
    embedding = bert_embedding(
        c,
        d_embed=d_embed,
        norm_last=True,
        zero_padding=True,
        **({} if c.flag("position_biased_input") else {"positions": None}),
    )
    names = DEBERTA_NAMES | lm_names(
        c,
        "cls.predictions",
        "cls.predictions.transform.dense",
        "cls.predictions.transform.LayerNorm",
        "cls.predictions.decoder",
    )
    legacy = c.flag("legacy")
    if not legacy:
        names |= {
            "head.transform": "lm_predictions.lm_head.dense",
            "head.norm": "lm_predictions.lm_head.LayerNorm",
            "head.lm": "lm_predictions.lm_head",
            "head.lm.bias": "lm_predictions.lm_head.bias",
        }
    normed_table = relative and "layer_norm" in normed
    names["relative_table" if normed_table else "relative"] = "~encoder.rel_embeddings"
    if "layer_norm" in normed:
        names["relative"] = "~encoder.LayerNorm"
    return model(
        c,
        layers,
        embedding,
        _deberta_heads(c, d_model, d_embed, legacy=legacy),
        names,
        "deberta.",
        relative_norm=norm_of(c) if "layer_norm" in normed else None,
    )


def _kinds(c: Config, key: str) -> list[str]:
    """Words in a list, or in one string with bars between them."""
    value = c.raw(key)
    words = value.lower().split("|") if isinstance(value, str) else value or []
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InputError(f"{c.where}{key} is {value!r:.60}; it must be words with | between them")
    return [word.strip() for word in words]


def _deberta_heads(c: Config, d_model: int, d_embed: int, *, legacy: bool) -> tuple[Head, ...]:
    norm, dropout = norm_of(c), c.num("hidden_dropout_prob")
    lm = (
        masked_lm(c, d_embed, c.activation(), norm)
        if legacy
        else masked_lm(c, d_model, c.activation(), norm, spare=False, tied=True)
    )
    c.must("pooler_hidden_size", d_model, "the class cannot run with another width")
    scored = c.maybe_num("cls_dropout", None)

    def sentence(n: int) -> Steps:
        function = c.activation("pooler_hidden_act")
        first = Dense(name="pooler", width=d_model, activation=function, dropout=c.num("pooler_dropout"))
        return first, Dense(name="classifier", width=n, dropout=dropout if scored is None else scored)

    return heads(c, {"ForMaskedLM": lm, "Model": ()}, sentence=sentence, dropout=dropout)


DEBERTA_NAMES = NAMES | {
    "embed.project": "~embeddings.embed_proj",
    "attn.q": "attention.self.query_proj",
    "attn.k": "attention.self.key_proj",
    "attn.v": "attention.self.value_proj",
    "attn.pos_q": "attention.self.pos_query_proj",
    "attn.pos_k": "attention.self.pos_key_proj",
    "conv.conv": "/~encoder.conv.conv",
    "conv.norm": "/~encoder.conv.LayerNorm",
    "head.pooler": "pooler.dense",
}


# --- ModernBERT -----------------------------------------------------------------------------------------------


def _modernbert(c: Config) -> Model:
    d_model, n_heads, n = c.int("hidden_size"), c.int("num_attention_heads"), c.int("num_hidden_layers")
    d_head = divide("hidden_size", d_model, "num_attention_heads", n_heads)
    bias, inner = c.flag("attention_bias"), c.flag("mlp_bias")
    norm = Norm(eps=c.num("norm_eps"), bias=c.flag("norm_bias"))
    ffn = Mlp(
        d_ff=c.int("intermediate_size"),
        activation=c.activation("hidden_activation"),
        gated=True,
        bias_in=inner,
        bias_out=inner,
        dropout=c.num("mlp_dropout"),
    )

    def layer(kind: str, theta: str, window: int | None) -> Layer:
        mixer = Attention(
            n_heads=n_heads,
            d_head=d_head,
            causal=False,
            window=window,
            bias_q=bias,
            bias_k=bias,
            bias_v=bias,
            bias_o=bias,
            rotary=rotary(c, d_head, kind=kind, theta=c.num(theta)),
            dropout=c.num("attention_dropout"),
        )
        return Layer(
            name="local" if window else "global",
            mixer=mixer,
            ffn=ffn,
            norm=norm,
            dropout=c.num("attention_dropout"),
            dropped="mixer",
        )

    kinds = {
        "full_attention": layer("full_attention", "global_rope_theta", None),
        "sliding_attention": layer("sliding_attention", "local_rope_theta", c.int("local_attention")),
    }
    order, every = c.words("layer_types", tuple(kinds), None), c.int("global_attn_every_n_layers")
    first = order[0] if order else "full_attention"
    every_kind = kinds | {"first": replace(kinds[first], name="first", mixer_norm=False)}
    if order:
        layers = by_type(c, every_kind, ["first", *order[1:]], n, ())
    else:
        kind_of = lambda i: ("sliding_attention" if i % every else "full_attention") if i else "first"  # noqa: E731
        layers = by_rule(c, every_kind, kind_of, n, period=every, head=1)
    return model(
        c,
        layers,
        Tokens(vocab=c.int("vocab_size"), norm=norm, dropout=c.num("embedding_dropout")),
        _modernbert_heads(c, d_model, norm),
        MODERN_NAMES,
        "model.",
        final_norm=norm,
    )


def _modernbert_heads(c: Config, d_model: int, norm: Norm) -> tuple[Head, ...]:
    dense = Dense(
        name="dense",
        width=d_model,
        bias=c.flag("classifier_bias"),
        activation=c.activation("classifier_activation"),
    )
    before: Steps = (dense, NormStep(name="norm", norm=norm))
    dropout, tied = c.num("classifier_dropout"), c.flag("tie_word_embeddings")
    lm = Dense(name="lm", bias=c.flag("decoder_bias"), tied=tied)
    pooling, pools = c.text("classifier_pooling"), {"cls": "first", "mean": "kept_mean"}
    if pooling not in pools:
        raise InputError(f"{c.where}classifier_pooling is {pooling!r:.60}; it must be one of {', '.join(pools)}")
    found = heads(
        c,
        {"ForMaskedLM": (Head(steps=(*before, lm), softmax=True),), "Model": ()},
        sentence=lambda n: (*before, Dense(name="classifier", width=n, dropout=dropout)),
        before=before,
        dropout=dropout,
        choice_take=pools[pooling],
    )
    if c.architecture.endswith("ForSequenceClassification"):
        found = tuple(replace(head, take=pools[pooling]) for head in found)
    return found


MODERN_NAMES = {
    "embed.tokens": "~embeddings.tok_embeddings",
    "embed.norm": "~embeddings.norm",
    "layers": "~layers.*",
    "attn_norm": "attn_norm",
    "attn.q + attn.k + attn.v": "attn.Wqkv",
    "attn.o": "attn.Wo",
    "ffn_norm": "mlp_norm",
    "ffn.gate + ffn.up": "mlp.Wi",
    "ffn.down": "mlp.Wo",
    "final_norm": "~final_norm",
    "head.dense": "head.dense",
    "head.norm": "head.norm",
    "head.lm": "decoder",
    "head.classifier": "classifier",
    "head.qa": "classifier",
}


# --- the entries ----------------------------------------------------------------------------------------------

SIZES: dict[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "tie_word_embeddings": True,
}
DECODING: dict[str, Any] = {"is_decoder": False, "add_cross_attention": False, "classifier_dropout": None}
# keys of Google's first checkpoints, and one that transformers no longer reads
OLD_KEYS = """directionality pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head
    pooler_type position_embedding_type"""

FAMILIES = [
    Entry("bert", SIZES | DECODING, _bert, inert=OLD_KEYS),
    Entry("ernie", SIZES | DECODING | {"use_task_id": False}, _bert, inert=f"task_type_vocab_size {OLD_KEYS}"),
    Entry(
        "megatron-bert",
        SIZES
        | {key: value for key, value in DECODING.items() if key != "classifier_dropout"}
        | {
            "vocab_size": 29056,
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "intermediate_size": 4096,
        },
        _bert,
        inert=OLD_KEYS,
    ),
    Entry("roberta", SIZES | DECODING | {"vocab_size": 50265, "pad_token_id": 1}, _roberta, inert=OLD_KEYS),
    Entry("xlm-roberta", SIZES | DECODING | {"pad_token_id": 1}, _roberta, inert=OLD_KEYS),
    Entry("camembert", SIZES | DECODING | {"pad_token_id": 1}, _roberta, inert=OLD_KEYS),
    Entry("data2vec-text", SIZES | DECODING | {"pad_token_id": 1}, _roberta, inert=OLD_KEYS),
    Entry(
        "roberta-prelayernorm",
        SIZES | DECODING | {"vocab_size": 50265, "pad_token_id": 1},
        _roberta,
        inert=OLD_KEYS,
    ),
    Entry(
        "xlm-roberta-xl",
        SIZES
        | DECODING
        | {
            "vocab_size": 250880,
            "hidden_size": 2560,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "intermediate_size": 10240,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
            "layer_norm_eps": 1e-5,
            "pad_token_id": 1,
        },
        _roberta,
        inert=OLD_KEYS,
    ),
    Entry(
        "mpnet",
        SIZES | {"vocab_size": 30527, "relative_attention_num_buckets": 32},
        _roberta,
        inert=f"type_vocab_size {OLD_KEYS}",
    ),
    Entry(
        "albert",
        SIZES
        | {
            "vocab_size": 30000,
            "embedding_size": 128,
            "hidden_size": 4096,
            "num_hidden_groups": 1,
            "inner_group_num": 1,
            "num_attention_heads": 64,
            "intermediate_size": 16384,
            "hidden_act": "gelu_new",
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "classifier_dropout_prob": 0.1,
        },
        _albert,
        inert=f"down_scale_factor gap_size net_structure_type num_memory_blocks layers_to_keep {OLD_KEYS}",
    ),
    Entry(
        "distilbert",
        {
            "vocab_size": 30522,
            "max_position_embeddings": 512,
            "sinusoidal_pos_embds": False,
            "n_layers": 6,
            "n_heads": 12,
            "dim": 768,
            "hidden_dim": 3072,
            "dropout": 0.1,
            "attention_dropout": 0.1,
            "seq_classif_dropout": 0.2,
            "activation": "gelu",
            "tie_word_embeddings": True,
        },
        _distilbert,
        flags={"layers": "n_layers", "d_model": "dim", "heads": "n_heads", "d_ff": "hidden_dim"},
        inert="qa_dropout tie_weights_",
        aliases={"hidden_size": "dim", "num_attention_heads": "n_heads", "num_hidden_layers": "n_layers"},
    ),
    Entry(
        "electra",
        SIZES
        | DECODING
        | {
            "embedding_size": 128,
            "hidden_size": 256,
            "num_attention_heads": 4,
            "intermediate_size": 1024,
            "summary_type": "first",
            "summary_use_proj": True,
            "summary_activation": "gelu",
        },
        _electra,
        inert=f"summary_last_dropout generator_size {OLD_KEYS}",
    ),
    Entry(
        "deberta-v2",
        SIZES
        | {
            "vocab_size": 128100,
            "hidden_size": 1536,
            "num_hidden_layers": 24,
            "num_attention_heads": 24,
            "intermediate_size": 6144,
            "type_vocab_size": 0,
            "layer_norm_eps": 1e-7,
            "relative_attention": False,
            "max_relative_positions": -1,
            "position_biased_input": True,
            "pos_att_type": None,
            "norm_rel_ebd": "none",
            "conv_act": "tanh",
            "pooler_dropout": 0.0,
            "pooler_hidden_act": "gelu",
            "legacy": True,
        },
        _deberta,
        inert="padding_idx",
    ),
    Entry(
        "modernbert",
        {
            "vocab_size": 50368,
            "hidden_size": 768,
            "num_hidden_layers": 22,
            "num_attention_heads": 12,
            "intermediate_size": 1152,
            "hidden_activation": "gelu",
            "max_position_embeddings": 8192,
            "global_attn_every_n_layers": 3,
            "local_attention": 128,
            "layer_types": None,
            "global_rope_theta": 160000.0,
            "local_rope_theta": 10000.0,
            "rope_scaling": None,
            "rope_parameters": None,
            "norm_eps": 1e-5,
            "norm_bias": False,
            "attention_bias": False,
            "mlp_bias": False,
            "decoder_bias": True,
            "classifier_bias": False,
            "classifier_activation": "gelu",
            "classifier_pooling": "cls",
            "classifier_dropout": 0.0,
            "embedding_dropout": 0.0,
            "attention_dropout": 0.0,
            "mlp_dropout": 0.0,
            "tie_word_embeddings": True,
        },
        _modernbert,
        flags={"window": "local_attention"},
        inert="""initializer_cutoff_factor layer_norm_eps position_embedding_type deterministic_flash_attn
            reference_compile sparse_prediction sparse_pred_ignore_index repad_logits_with_grad""",
    ),
]
