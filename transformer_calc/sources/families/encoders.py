"""Encoders: BERT and what came of it, DeBERTa, ModernBERT."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from transformer_calc import spec
from transformer_calc.errors import InputError
from transformer_calc.sources.families import parts
from transformer_calc.sources.families.base import Config
from transformer_calc.sources.families.classic import summary
from transformer_calc.sources.families.rope import rotary

Steps = tuple[Any, ...]
Heads = Callable[["Config"], tuple[spec.Head, ...]]

# --- heads ----------------------------------------------------------------------------------------------------------


def task_dropout(c: Config) -> float:
    """Of the scores of a task: classifier_dropout, or else as everywhere."""
    own = c.maybe_num("classifier_dropout") if "classifier_dropout" in c.family.defaults else None
    return c.num("dropout") if own is None else own


def task_heads(
    c: Config,
    *,
    own: Mapping[str, Heads],
    sentence: Callable[[Config, int], Steps],
    choice: Callable[[Config, int], Steps] | None = None,
    pools: Callable[[Config, str], str] = lambda c, task: "first",
    before: Callable[[Config], Steps] = lambda c: (),
    dropout: Callable[[Config], float] = task_dropout,
) -> tuple[spec.Head, ...]:
    """The heads of a config's class: `own` ones by how its name ends, else a task's.

    `sentence` makes the steps from a vector to so many scores, `choice` those of a choice where they differ; `pools`:
    which vector, by task; `before` stands before the scores of each token.
    """
    name = c.architecture or f"…{next(iter(own))}"
    for ending, found in own.items():
        if name.endswith(ending):
            return found(c)
    if name.endswith("ForSequenceClassification"):
        return (spec.Head(take=pools(c, "sentence"), steps=sentence(c, c.n_labels)),)
    if name.endswith("ForMultipleChoice"):
        return (spec.Head(take=pools(c, "choice"), steps=(choice or sentence)(c, 1)),)
    if name.endswith("ForTokenClassification"):
        return (spec.Head(steps=(*before(c), spec.Dense(name="classifier", width=c.n_labels, dropout=dropout(c)))),)
    if name.endswith("ForQuestionAnswering"):
        return (spec.Head(steps=(*before(c), spec.Dense(name="qa", width=c.n_labels))),)
    tasks = ["SequenceClassification", "TokenClassification", "QuestionAnswering", "MultipleChoice"]
    raise parts.unknown_architecture(c, ", ".join(f"…{ending}" for ending in [*own, *(f"For{task}" for task in tasks)]))


def masked_lm(
    c: Config, *, width: str = "d_model", activation: str = "", spare: bool = True, tied: bool | None = None
) -> tuple[spec.Head, ...]:
    """A transform and the token table with a bias; `spare`: untied, the class keeps one more that it never reads."""
    tied = c.flag("tie_word_embeddings") if tied is None else tied
    steps = (
        spec.Dense(name="transform", width=c.int(width), activation=activation or c.activation()),
        spec.NormStep(name="norm", norm=c.family.norm(c)),
        spec.Dense(name="lm", tied=tied, spare_bias=spare and not tied),
    )
    return (spec.Head(steps=steps, softmax=True),)


def lm_names(bias: str, transform: str, norm: str, decoder: str) -> dict[str, Any]:
    """Names of a masked_lm head: the bias is stored by itself, and as the decoder's only where that is not tied."""
    return {
        "head.{transform,norm,lm,lm_spare}": f"{{{transform},{norm},{decoder},{bias}}}",
        "head.lm.bias": lambda c: f"{bias if c.flag('tie_word_embeddings') else decoder}.bias",
    }


def pooler(c: Config) -> spec.Dense:
    """The first token's vector through a map."""
    return spec.Dense(name="pooler", width=c.int("d_model"), activation="tanh")


def pooled(c: Config) -> tuple[spec.Head, ...]:
    """The bare model's head."""
    return (spec.Head(take="first", steps=(pooler(c),)),)


def bare(c: Config) -> tuple[spec.Head, ...]:
    """None."""
    return ()


def _bert_sentence(c: Config, n: int) -> Steps:
    return pooler(c), spec.Dense(name="classifier", width=n, dropout=task_dropout(c))


def _two_maps(activation: str) -> Callable[[Config, int], Steps]:
    """A dense map and an output map, each after a dropout."""
    return lambda c, n: (
        spec.Dense(name="dense", width=c.int("d_model"), activation=activation, dropout=task_dropout(c)),
        spec.Dense(name="out_proj", width=n, dropout=task_dropout(c)),
    )


def _next_sentence(c: Config) -> spec.Head:
    return spec.Head(name="pooled", take="first", steps=(pooler(c), spec.Dense(name="next", width=2)))


def _albert_dropout(c: Config) -> float:
    return c.num("classifier_dropout_prob")


def _sentence_order(c: Config) -> spec.Head:
    order = spec.Dense(name="order", width=c.n_labels, dropout=_albert_dropout(c))
    return spec.Head(name="pooled", take="first", steps=(pooler(c), order))


# --- BERT and its kin -----------------------------------------------------------------------------------------------


def padded_positions(c: Config, padding: int | None = None) -> spec.Positions:
    """RoBERTa counts positions from after the padding token's id; max_position_embeddings are all rows."""
    rows, padding = c.int("max_positions"), c.int("pad_token_id", minimum=0) if padding is None else padding
    if rows <= padding + 1:
        raise InputError(f"{c.where}max_position_embeddings is {rows}; the first {padding + 1} rows hold no position")
    return spec.Positions(count=rows - padding - 1, offset=padding + 1, counted="ids", pad=padding)


def _heads_build_first(c: Config) -> str:
    """These classes build the head before the encoder, so that a tied table has the head's name."""
    language = not c.architecture or c.architecture.endswith(("ForMaskedLM", "ForCausalLM"))
    tied = c.flag("tie_word_embeddings") and language
    return "lm_head.decoder" if tied else "~embeddings.word_embeddings"


# keys of Google's first checkpoints, and one that transformers no longer reads
OLD_KEYS = """directionality pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head
    pooler_type position_embedding_type"""
BERT = parts.DECODER.but(
    base="bert.",
    mixer=partial(parts.attention, qkv=True, causal=parts.flag("is_decoder", False)),
    ffn=partial(parts.plain, bias=True),
    layers=parts.uniform,
    crosses=True,
    layer={"place": "post"},
    final=lambda c: None,
    stack={"name": lambda c: "decoder" if c.flag("is_decoder", False) else "encoder"},
    tokens={
        "positions": parts.positions,
        "segments": lambda c: c.int("type_vocab_size", 0, minimum=0),
        "norm": parts.norm,
        "dropout": parts.number("dropout"),
    },
    heads=partial(
        task_heads,
        own={
            "ForMaskedLM": masked_lm,
            "LMHeadModel": masked_lm,
            "ForPreTraining": lambda c: (*masked_lm(c), _next_sentence(c)),
            "ForNextSentencePrediction": lambda c: (_next_sentence(c),),
            "Model": pooled,
        },
        sentence=_bert_sentence,
    ),
    names={
        "embed.{tokens,positions,segments}": "~embeddings.{word,position,token_type}_embeddings",
        "embed.norm": "~embeddings.LayerNorm",
        "embed.project": "~embeddings_project",
        "layers": "~encoder.layer.*",
        "attn.{q,k,v,o}": "attention.{self.query,self.key,self.value,output.dense}",
        "attn_norm": "attention.output.LayerNorm",
        "cross.{q,k,v,o}": "crossattention.{self.query,self.key,self.value,output.dense}",
        "cross_norm": "crossattention.output.LayerNorm",
        "ffn.{up,down}": "{intermediate,output}.dense",
        "ffn_norm": "output.LayerNorm",
        "head.pooler": "~pooler.dense",
        "head.classifier": "classifier",
        "head.{dense,out_proj}": "classifier.{}",
        "head.qa": "qa_outputs",
    },
    inert=OLD_KEYS,
)
BERT_LM = lm_names(
    "cls.predictions",
    "cls.predictions.transform.dense",
    "cls.predictions.transform.LayerNorm",
    "cls.predictions.decoder",
)
BERT_NAMES = BERT_LM | {"pooled.pooler": "~pooler.dense", "pooled.next": "cls.seq_relationship"}
sees_all = partial(parts.attention, qkv=True, causal=False)
ROBERTA = BERT.but(
    base="roberta.",
    tokens={"positions": padded_positions},
    heads=partial(
        task_heads,
        own={
            "ForMaskedLM": partial(masked_lm, activation="gelu"),
            "ForCausalLM": partial(masked_lm, activation="gelu"),
            "Model": pooled,
        },
        sentence=_two_maps("tanh"),
        choice=lambda c, n: (pooler(c), spec.Dense(name="classifier", width=n, dropout=c.num("dropout"))),
    ),
    names=lm_names("lm_head", "lm_head.dense", "lm_head.layer_norm", "lm_head.decoder"),
    execution={"positions": "batch", "segments": "batch"},
)


def _electra_choice(c: Config) -> tuple[spec.Head, ...]:
    whole = summary(c, "head", c.n_labels)
    return (replace(whole, steps=(*whole.steps, spec.Dense(name="classifier", width=1))),)


def _electra_which(c: Config) -> tuple[spec.Head, ...]:
    """For each token, whether it was put in place of another."""
    dense = spec.Dense(name="dense", width=c.int("d_model"), activation=c.activation())
    return (spec.Head(steps=(dense, spec.Dense(name="prediction", width=1))),)


def _electra_dense(c: Config) -> str:
    discriminating = not c.architecture or c.architecture.endswith("ForPreTraining")
    return "discriminator_predictions.dense" if discriminating else "classifier.dense"


_electra_lm = partial(masked_lm, width="embedding_size", activation="gelu", spare=False)


def _distilbert_check(c: Config) -> None:
    if c.architecture.endswith("ForQuestionAnswering") and c.n_labels != 2:
        raise InputError(f"{c.where}num_labels is {c.n_labels}; the class answers questions with 2: start and end")


def _distilbert_sentence(c: Config, n: int) -> Steps:
    first = spec.Dense(name="first", width=c.int("d_model"), activation="relu")
    return first, spec.Dense(name="classifier", width=n, dropout=c.num("seq_classif_dropout"))


# --- DeBERTa --------------------------------------------------------------------------------------------------------


def _words(c: Config, key: str) -> list[str]:
    """Words in a list, or in one string with bars between them."""
    value = c.raw(key)
    words = value.lower().split("|") if isinstance(value, str) else value or []
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InputError(f"{c.where}{key} is {value!r:.60}; it must be words with | between them")
    return [word.strip() for word in words]


def _deberta_attention(c: Config) -> spec.Attention:
    width, relative, kinds = parts.heads(c)[2], c.flag("relative_attention"), _words(c, "pos_att_type")
    c.must("attention_head_size", width, "heads share out hidden_size")
    rows, reach = c.int("max_positions"), c.int("max_relative_positions", minimum=-1)
    reach, buckets = reach if reach > 0 else rows, c.int("position_buckets", -1, minimum=-1)
    if buckets > 0 and reach <= buckets // 2 + 1:
        key = "max_position_embeddings" if reach == rows else "max_relative_positions"
        raise InputError(
            f"{c.where}{key} is {reach}; with {buckets} position_buckets it must be more than {buckets // 2 + 1}"
        )
    where = spec.Disentangled(
        positions=2 * (buckets if buckets > 0 else reach),
        log_distance=reach if buckets > 0 else None,
        content_to_position="c2p" in kinds,
        position_to_content="p2c" in kinds,
        shared_projections=c.flag("share_att_key", False),
        dropout=c.num("dropout"),
    )
    several = 1 + ("c2p" in kinds) + ("p2c" in kinds)  # the scores' variance grows with them, related or not
    scale = (width * several) ** -0.5 if several > 1 else None
    more: dict[str, Any] = {"disentangled": where if relative else None, "scale": scale, "mask_queries": True}
    return parts.attention(c, qkv=True, causal=False, **more)


def _deberta_layers(c: Config, layer: spec.Layer) -> spec.Layers:
    n, kernel = c.int("layers"), c.int("conv_kernel_size", 0, minimum=0)
    if not kernel:
        return spec.Layers.uniform(layer, n)
    groups = c.int("conv_groups", 1)
    if kernel % 2 == 0:
        raise InputError(
            f"{c.where}conv_kernel_size is {kernel}; it must be odd, so that the sequence keeps its length"
        )
    spec.divide("hidden_size", c.int("d_model"), "conv_groups", groups)
    act, drop = c.activation("conv_act", "tanh"), c.num("dropout")
    conv = spec.Convolution(kernel=kernel, groups=groups, activation=act, norm=parts.norm(c), dropout=drop)
    return spec.Layers.cycle(
        [replace(layer, name="first", convolution=conv), replace(layer, name="other")], [1], n, head=[0]
    )


def _deberta_lm(c: Config) -> tuple[spec.Head, ...]:
    return masked_lm(c, width=_embedding(c)) if c.flag("legacy") else masked_lm(c, spare=False, tied=True)


def _embedding(c: Config) -> str:
    return "embedding_size" if "embedding_size" in c.given else "d_model"


def _deberta_sentence(c: Config, n: int) -> Steps:
    function, scored = c.activation("pooler_hidden_act"), c.maybe_num("cls_dropout", None)
    first = spec.Dense(name="pooler", width=c.int("d_model"), activation=function, dropout=c.num("pooler_dropout"))
    return first, spec.Dense(name="classifier", width=n, dropout=c.num("dropout") if scored is None else scored)


def _relative_normed(c: Config) -> bool:
    return "layer_norm" in _words(c, "norm_rel_ebd")


def _deberta_names(c: Config) -> dict[str, str]:
    later = {
        "head.{transform,norm}": "lm_predictions.lm_head.{dense,LayerNorm}",
        "head.{lm,lm.bias}": "lm_predictions.{lm_head,lm_head.bias}",
    }
    normed = _relative_normed(c)
    table = "relative_table" if normed and c.flag("relative_attention") else "relative"
    names = {table: "~encoder.rel_embeddings"} | ({"relative": "~encoder.LayerNorm"} if normed else {})
    return names if c.flag("legacy") else later | names


# --- ModernBERT -----------------------------------------------------------------------------------------------------


def _modern_attention(c: Config, kind: str = "full_attention") -> spec.Attention:
    local = kind == "sliding_attention"
    turn = rotary(c, parts.heads(c)[2], kind=kind, theta=c.num("local_rope_theta" if local else "global_rope_theta"))
    return parts.attention(c, causal=False, window=c.int("window") if local else None, rotary=turn)


def _modern_layers(c: Config, layer: spec.Layer) -> spec.Layers:
    """Some see everything; the first has no norm before its attention."""
    local = replace(layer, name="local", mixer=_modern_attention(c, "sliding_attention"))
    kinds = {"full_attention": replace(layer, name="global"), "sliding_attention": local}
    n, order, every = c.int("layers"), c.words("layer_types", tuple(kinds), None), c.int("global_attn_every_n_layers")
    first = order[0] if order else "full_attention"
    every_kind = kinds | {"first": replace(kinds[first], name="first", mixer_norm=False)}
    if order:
        return parts.by_type(c, every_kind, ["first", *order[1:]], n, ())
    kind_of = lambda i: ("sliding_attention" if i % every else "full_attention") if i else "first"  # noqa: E731
    return parts.by_rule(c, every_kind, kind_of, n, period=every, head=1)


def _modern_before(c: Config) -> Steps:
    act = c.activation("classifier_activation")
    dense = spec.Dense(name="dense", width=c.int("d_model"), bias=c.flag("classifier_bias"), activation=act)
    return dense, spec.NormStep(name="norm", norm=_modern_norm(c))


def _modern_norm(c: Config) -> spec.Norm:
    return spec.Norm(eps=c.num("norm_eps"), bias=c.flag("norm_bias"))


def _modern_lm(c: Config) -> tuple[spec.Head, ...]:
    lm = spec.Dense(name="lm", bias=c.flag("decoder_bias"), tied=c.flag("tie_word_embeddings"))
    return (spec.Head(steps=(*_modern_before(c), lm), softmax=True),)


def _modern_pools(c: Config, task: str) -> str:
    return MODERN_POOLS[c.text("classifier_pooling")]


def _modern_check(c: Config) -> None:
    pooling = c.text("classifier_pooling")
    if pooling not in MODERN_POOLS:
        raise InputError(f"{c.where}classifier_pooling is {pooling!r:.60}; it must be one of {', '.join(MODERN_POOLS)}")


MODERN_POOLS = {"cls": "first", "mean": "kept_mean"}

# --- the types ------------------------------------------------------------------------------------------------------

TYPES = {
    "bert": BERT.but(names=BERT_NAMES),
    "ernie": BERT.but(base="ernie.", must={"use_task_id": False}, names=BERT_NAMES, inert="task_type_vocab_size"),
    "megatron-bert": BERT.but(
        layer={"place": "pre"},
        tokens={"norm": None},
        final=parts.norm,
        names=BERT_NAMES
        | {
            "attn_norm": "attention.ln",
            "cross_norm": "crossattention.ln",
            "ffn_norm": "ln",
            "final_norm": "~encoder.ln",
        },
        execution={"segments": "batch"},
    ),
    "roberta": ROBERTA.but(classes="roberta xlmroberta camembert"),
    "xlm-roberta": ROBERTA.but(names={"embed.tokens": _heads_build_first}, classes="xlmroberta roberta"),
    "camembert": ROBERTA.but(names={"embed.tokens": _heads_build_first}, classes="camembert roberta"),
    "data2vec-text": ROBERTA.but(base="data2vec_text."),
    "roberta-prelayernorm": ROBERTA.but(
        base="roberta_prelayernorm.",
        layer={"place": "pre"},
        final=parts.norm,
        names={
            "{attn,cross,ffn}_norm": "{attention,crossattention,intermediate}.LayerNorm",
            "final_norm": "~LayerNorm",
        },
    ),
    "xlm-roberta-xl": ROBERTA.but(
        layer={"place": "pre", "dropped": "mixer"},
        tokens={"norm": None},
        final=parts.norm,
        names={
            "{attn,cross}_norm": "{attention,crossattention}.self_attn_layer_norm",
            "ffn_norm": "LayerNorm",
            "final_norm": "~encoder.LayerNorm",
        },
    ),
    "mpnet": ROBERTA.but(
        base="mpnet.",
        check=lambda c: c.must("relative_attention_num_buckets", 32, "the class counts in 32"),
        mixer=partial(parts.attention, qkv=True, causal=False, relative_bias=spec.RelativeBias()),
        stack={"name": "encoder"},
        tokens={"positions": partial(padded_positions, padding=1), "segments": 0},
        names={
            "attn.{q,k,v,o}": "attention.attn.{}",
            "attn_norm": "attention.LayerNorm",
            "relative_bias": "~encoder.relative_attention_bias",
        },
        execution={"segments": "row"},
        inert="type_vocab_size is_decoder",
    ),
    "albert": BERT.but(
        base="albert.",
        mixer=sees_all,
        stack={
            "name": "encoder",
            "share_layers": lambda c: c.int("num_hidden_groups") * c.int("inner_group_num"),
            "share_inner": lambda c: c.int("inner_group_num"),
        },
        layers=lambda c, layer: spec.Layers.uniform(layer, c.int("layers") * c.int("inner_group_num")),
        layer={"dropped": "mixer"},
        tokens={"d_embed": lambda c: c.int("embedding_size"), "project": True, "project_bias": True},
        heads=partial(
            task_heads,
            own={
                "ForMaskedLM": partial(masked_lm, width="embedding_size"),
                "ForPreTraining": lambda c: (*masked_lm(c, width="embedding_size"), _sentence_order(c)),
                "Model": pooled,
            },
            sentence=lambda c, n: (pooler(c), spec.Dense(name="classifier", width=n, dropout=_albert_dropout(c))),
            dropout=_albert_dropout,
        ),
        names={
            "embed.project": "~encoder.embedding_hidden_mapping_in",
            "layers": "~encoder.albert_layer_groups.*.albert_layers.*",
            "attn.{q,k,v,o}": "attention.{query,key,value,dense}",
            "{attn,ffn}_norm": "{attention.LayerNorm,full_layer_layer_norm}",
            "ffn.{up,down}": "{ffn,ffn_output}",
            "{head,pooled}.pooler": "~pooler",
            "pooled.order": "sop_classifier.classifier",
        }
        | lm_names("predictions", "predictions.dense", "predictions.LayerNorm", "predictions.decoder"),
        inert="is_decoder down_scale_factor gap_size net_structure_type num_memory_blocks layers_to_keep",
    ),
    "distilbert": BERT.but(
        base="distilbert.",
        mixer=sees_all,
        stack={"name": "encoder"},
        check=_distilbert_check,
        crosses=False,
        norm=lambda c: spec.Norm(eps=1e-12),
        layer={"dropped": "ffn"},
        tokens={
            "positions": lambda c: parts.positions(c, kind="fixed" if c.flag("sinusoidal_pos_embds") else "learned"),
            "segments": 0,
            "norm": spec.Norm(eps=1e-12),
        },
        heads=partial(
            task_heads,
            own={"ForMaskedLM": partial(masked_lm, spare=False), "Model": bare},
            sentence=_distilbert_sentence,
            dropout=parts.number("dropout"),
        ),
        names={
            "layers": "~transformer.layer.*",
            "attn.{q,k,v,o}": "attention.{q_lin,k_lin,v_lin,out_lin}",
            "{attn,ffn}_norm": "{sa_layer_norm,output_layer_norm}",
            "ffn.{up,down}": "ffn.{lin1,lin2}",
            "head.{transform,norm,lm}": "vocab_{transform,layer_norm,projector}",
            "head.first": "pre_classifier",
        },
        execution={"positions": "buffer"},
        inert="qa_dropout tie_weights_",
    ),
    "electra": BERT.but(
        base="electra.",
        tokens={"d_embed": lambda c: c.int("embedding_size"), "project_bias": True},
        heads=partial(
            task_heads,
            own={
                "ForPreTraining": _electra_which,
                "ForMaskedLM": _electra_lm,
                "ForCausalLM": _electra_lm,
                "ForMultipleChoice": _electra_choice,
                "Model": bare,
            },
            sentence=_two_maps("gelu"),
        ),
        names={
            "head.dense": _electra_dense,
            "head.prediction": "discriminator_predictions.dense_prediction",
            "head.{transform,norm}": "generator_predictions.{dense,LayerNorm}",
            "head.lm": "generator_lm_head",
            "head.summary": "sequence_summary.summary",
        },
        inert="summary_last_dropout generator_size",
    ),
    "deberta-v2": BERT.but(
        base="deberta.",
        check=lambda c: c.must("pooler_hidden_size", c.int("d_model"), "the class cannot run with another width"),
        mixer=_deberta_attention,
        layers=_deberta_layers,
        stack={"name": "encoder", "relative_norm": lambda c: parts.norm(c) if _relative_normed(c) else None},
        tokens={
            "d_embed": lambda c: c.int(_embedding(c)),
            "norm_last": True,
            "zero_padding": True,
            "positions": lambda c: parts.positions(c) if c.flag("position_biased_input") else None,
        },
        heads=partial(
            task_heads,
            own={"ForMaskedLM": _deberta_lm, "Model": bare},
            sentence=_deberta_sentence,
            dropout=parts.number("dropout"),
        ),
        names=BERT_LM
        | {
            "embed.project": "~embeddings.embed_proj",
            "attn.{q,k,v}": "attention.self.{query,key,value}_proj",
            "attn.pos_{q,k}": "attention.self.pos_{query,key}_proj",
            "conv.{conv,norm}": "/~encoder.conv.{conv,LayerNorm}",
            "head.pooler": "pooler.dense",
        },
        names_of=_deberta_names,
        own={"norm_rel_ebd": "none"},
        execution={"positions": "buffer", "keys_scaled": True, "filled_mask": "layer"},
        inert="padding_idx is_decoder",
    ),
    "modernbert": parts.DECODER.but(
        base="model.",
        check=_modern_check,
        mixer=_modern_attention,
        ffn=parts.gated,
        norm=_modern_norm,
        layers=_modern_layers,
        layer={"dropout": parts.number("attention_dropout"), "dropped": "mixer"},
        stack={"name": "encoder"},
        tokens={"norm": _modern_norm, "dropout": parts.number("embedding_dropout")},
        heads=partial(
            task_heads,
            own={"ForMaskedLM": _modern_lm, "Model": bare},
            sentence=lambda c, n: (
                *_modern_before(c),
                spec.Dense(name="classifier", width=n, dropout=c.num("classifier_dropout")),
            ),
            before=_modern_before,
            dropout=parts.number("classifier_dropout"),
            pools=_modern_pools,
        ),
        names={
            "embed.{tokens,norm}": "~embeddings.{tok_embeddings,norm}",
            "layers": "~layers.*",
            "attn_norm": "attn_norm",
            "attn.q + attn.k + attn.v": "attn.Wqkv",
            "attn.o": "attn.Wo",
            "ffn_norm": "mlp_norm",
            "ffn.gate + ffn.up": "mlp.Wi",
            "ffn.down": "mlp.Wo",
            "final_norm": "~final_norm",
            "head.{dense,norm}": "head.{}",
            "head.{lm,classifier,qa}": "{decoder,classifier,classifier}",
        },
        execution={"fused_qkv": True, "loss": "float32"},
        inert="""initializer_cutoff_factor layer_norm_eps position_embedding_type deterministic_flash_attn
            reference_compile sparse_prediction sparse_pred_ignore_index repad_logits_with_grad""",
    ),
}
