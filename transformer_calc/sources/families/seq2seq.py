"""Encoder–decoders: the T5 family and the BART family, with what is built from one of their halves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from transformer_calc import spec
from transformer_calc.errors import InputError
from transformer_calc.record import LARGEST
from transformer_calc.sources.families import parts
from transformer_calc.sources.families.base import Config, Family
from transformer_calc.sources.families.classic import FAIRSEQ_NAMES

# --- what both share ------------------------------------------------------------------------------------------------

GENERATION = "ConditionalGeneration"


def _task(c: Config, known: Iterable[str]) -> str:
    """What the class is built for: its name after `For`, or which bare model it is."""
    name = c.architecture
    if not name or name.endswith(("WithLMHeadModel", "MTModel")):  # T5's old name, Marian's name for the same
        return GENERATION
    task = name.rpartition("For")[2] if "For" in name else "EncoderModel" if name.endswith("EncoderModel") else "Model"
    if task not in known or not name.endswith(task):
        raise parts.unknown_architecture(c, ", ".join(f"…{t}" if t.endswith("Model") else f"…For{t}" for t in known))
    return task


def _model(
    c: Config, stacks: Iterable[spec.Stack], heads: Any, names: Mapping[str, Any], base: str, *, shifts: bool = False
) -> spec.Model:
    """A model of one half or both. In `names` `~` stands for `base`; one stack alone has no name in its paths.

    `shifts`: where a decoder is given nothing, it reads the source behind decoder_start_token_id.
    """
    stacks, usual = tuple(stacks), 2 if c.family.model_type == "bart" else 0
    own = dict(parts.spread(c.settled(names)))
    if len(stacks) == 1:
        own = {part.removeprefix(f"{stacks[0].name}."): name for part, name in own.items()}
    return spec.Model(
        name=c.family.model_type,
        family=c.family.model_type,
        stacks=stacks,
        heads=heads,
        start_token=c.int("decoder_start_token_id", usual, minimum=0) if shifts else None,
        layout="out_in",
        tensor_names=tuple((part, name.replace("~", base)) for part, name in own.items() if name),
        execution=spec.Execution(**c.family.execution),
    )


def _classification(c: Config) -> spec.Head:
    """The head for whole sequences: from the decoder's vector where the source's last end token stands."""
    drop = c.maybe_num("classifier_dropout", 0.0) or 0.0
    steps = (
        spec.Dense(name="dense", width=c.int("d_model"), activation="tanh", dropout=drop),
        spec.Dense(name="out", width=c.n_labels, dropout=drop),
    )
    end = c.int("eos_token_id", minimum=0)
    return spec.Head(name="classification", take="end", end_token=end, end_last=True, steps=steps)


def _lm(*, scale: float = 1.0, **more: Any) -> tuple[spec.Head, ...]:
    return (spec.Head(scale=scale, steps=(spec.Dense(name="lm", bias=False, **more),), softmax=True),)


# --- T5 -------------------------------------------------------------------------------------------------------------

T5_TASKS = (GENERATION, "Model", "EncoderModel", "SequenceClassification", "TokenClassification", "QuestionAnswering")


def _t5_names(feed: str) -> dict[str, Any]:
    """Tensor names: a block's layers are numbered, and `0` is self-attention, the last one the feed-forward part."""
    names: dict[str, Any] = {
        "encoder.embed.tokens": "~shared",
        "decoder.embed.tokens": "~decoder.embed_tokens",
        "head.{lm,qa,classifier}": "{lm_head,qa_outputs,classifier}",
        "classification.{dense,out}": "classification_head.{dense,out_proj}",
        "{attn,cross}_norm": "{0,1}.layer_norm",
        "attn.relative_bias": "0.SelfAttention.relative_attention_bias",
        "attn.{q,k,v,o}": "0.SelfAttention.{}",
        "cross.{q,k,v,o}": "1.EncDecAttention.{}",
    }
    for stack, last in (("encoder", 1), ("decoder", 2)):
        names |= {
            f"{stack}.layers": f"~{stack}.block.*.layer",
            f"{stack}.relative_bias": f"~{stack}.block.0.layer.0.SelfAttention.relative_attention_bias",
            f"{stack}.final_norm": f"~{stack}.final_layer_norm",
            f"{stack}.layers.ffn_norm": f"{last}.layer_norm",
            f"{stack}.layers.ffn.{{gate,down}}": f"{last}.{feed}.{{wi_0,wo}}",
            f"{stack}.layers.ffn.up": partial(_t5_up, f"{last}.{feed}."),
            f"{stack}.layers.ffn.router": f"{last}.{feed}.router.classifier",
            f"{stack}.layers.ffn.experts.{{up,down}}": f"{last}.{feed}.experts.expert_#.{{wi,wo}}",
        }
    return names


def _t5_up(before: str, c: Config) -> str:
    return before + ("wi_1" if c.family.ffn(c).gated else "wi")


def _t5_feed_forward(c: Config) -> spec.Mlp:
    form = c.text("feed_forward_proj")
    kind, _, last = form.rpartition("-")
    if kind not in ("", "gated"):
        raise InputError(f"{c.where}feed_forward_proj is {form!r:.60}; it must be gated-ACTIVATION or ACTIVATION")
    act = c.activation("dense_act_fn", "gelu_new" if form == "gated-gelu" else last)
    mlp = parts.plain(c, bias=False, activation=act, gated=c.flag("is_gated_act", kind == "gated"))
    return replace(mlp, dropout=c.num("dropout_rate"))


def _switch_feed_forward(c: Config) -> spec.Mlp:
    return replace(parts.plain(c, bias=False, activation=c.activation("dense_act_fn")), dropout=c.num("dropout_rate"))


def _t5(
    c: Config, *, unscaled: bool = False, every_layer: bool = False, sparse: bool = False, tasks: Any = T5_TASKS
) -> spec.Model:
    """T5: no positions but a bias for each distance, unscaled scores, norms without bias (arXiv 1910.10683).

    The first T5 scales what goes into its tied head, later ones do neither. Transformers 5 writes that as
    tie_word_embeddings true with scale_decoder_outputs false, and loads two matrices. `unscaled`: mT5's never scales.
    """
    c.must("is_decoder", False)
    task, d_model, drop = _task(c, tasks), c.int("d_model"), c.num("dropout_rate")
    own = spec.Norm(kind="rmsnorm", eps=c.num("layer_norm_epsilon"))
    tied = c.raw("tie_word_embeddings") is None or c.flag("tie_word_embeddings")
    scales = tied and not unscaled  # what goes into the head for generation
    if not (unscaled or sparse):
        scales = c.flag("scale_decoder_outputs", tied)
        tied = tied and scales
    elif unscaled and task == GENERATION and c.given.get("tie_word_embeddings"):
        c.notes.append(
            "tie_word_embeddings true is what transformers 5 writes for every mT5, and counted as tied; published "
            "checkpoints hold a head of its own, which false counts"
        )
    spare = sparse and not tied  # only Switch's class unties the embeddings, too
    ffn = c.family.ffn(c)

    def stack(name: str) -> spec.Stack:
        causal = name == "decoder"
        bias = spec.RelativeBias(
            buckets=c.int("relative_attention_num_buckets"),
            max_distance=c.int("relative_attention_max_distance"),
            bidirectional=not causal,
            every_layer=every_layer,
        )
        cross = parts.attention(c, qkv=False, causal=False, scale=1.0, dropout=drop)
        mixer = replace(cross, causal=causal, relative_bias=bias)
        layer = spec.Layer(mixer=mixer, cross=cross if causal else None, ffn=ffn, norm=own, dropout=drop)
        shared = "encoder" if causal and not spare else ""
        # as in the class, num_hidden_layers overrides num_layers after the decoder's are set
        n = c.maybe_int("num_decoder_layers" if causal else "num_hidden_layers", None) or c.int("num_layers")
        return spec.Stack(
            name=name,
            d_model=d_model,
            embedding=spec.Tokens(vocab=c.int("vocab"), dropout=drop, shared=shared, spare=spare and not causal),
            layers=_switch_layers(c, layer, name, n) if sparse else spec.Layers.uniform(layer, n),
            final_norm=own,
            dropout=drop,
        )

    halves = ("encoder",) if task in ("EncoderModel", "TokenClassification") else ("encoder", "decoder")
    stacks = tuple(map(stack, halves))
    heads: tuple[spec.Head, ...] = ()
    if task == GENERATION:
        heads = _lm(tied=tied, scale=d_model**-0.5 if scales else 1.0)
    elif task == "SequenceClassification":
        heads = (_classification(c),)
    elif task == "TokenClassification":
        drop_head = c.maybe_num("classifier_dropout", 0.0) or 0.0
        heads = (spec.Head(steps=(spec.Dense(name="classifier", width=c.n_labels, dropout=drop_head),)),)
    elif task == "QuestionAnswering":
        heads = (spec.Head(steps=(spec.Dense(name="qa", width=c.n_labels),)),)
    untied = {"encoder.embed.tokens": "~encoder.embed_tokens", "encoder.embed.spare": "~shared"} if spare else {}
    base = "transformer." if task in ("SequenceClassification", "TokenClassification") else ""
    shifts = task in ("SequenceClassification", "QuestionAnswering")
    return _model(c, stacks, heads, {**c.family.names, **untied}, base, shifts=shifts)


def _switch_layers(c: Config, dense: spec.Layer, name: str, n: int) -> spec.Layers:
    """Experts in the second of every `step` layers (arXiv 2101.03961); none lost to a full expert.

    As in the class, the step follows from how many layers are to be sparse, unless the config has it, too.
    """
    own = c.int("num_layers") if name == "encoder" else n
    count = c.int(f"num_sparse_{name}_layers", minimum=-LARGEST)
    step = c.int(f"{name}_sparse_step", own // count if count > 0 else own, minimum=-LARGEST)
    ffn = dense.ffn
    assert isinstance(ffn, spec.Mlp)
    experts = spec.Moe(
        n_experts=c.int("num_experts"),
        top_k=1,
        d_expert=ffn.d_ff,
        activation=ffn.activation,
        gated=False,
        router=spec.Router(bias=c.flag("router_bias"), jitter=c.num("router_jitter_noise")),
        dropout=ffn.dropout,
    )
    capacity = c.int("expert_capacity", 64, minimum=0)
    if name == "encoder" and "expert_capacity" in c.given:
        c.notes.append(f"expert_capacity is {capacity}: no token is counted as one that a full expert drops")
    kinds = (replace(dense, name="dense"), replace(dense, name="moe", ffn=experts))
    if step <= 1:  # below 1: no layer is sparse
        return spec.Layers.uniform(kinds[step == 1], n)
    if min(step, n) <= parts.MOST_LISTED:
        return spec.Layers.cycle(kinds, [int(i == 1) for i in range(min(step, n))], n)
    if n // step > parts.MOST_LISTED:
        raise InputError(f"{c.where}{name}_sparse_step is {step:,}; of {n:,} layers that are too many turns to list")
    turns = [
        ((kind,), min(count, n - start - at))
        for start in range(0, n, step)
        for at, kind, count in ((0, 0, 1), (1, 1, 1), (2, 0, step - 2))
    ]
    return spec.Layers.spans(kinds, *turns)


# --- BART -----------------------------------------------------------------------------------------------------------

BART_TASKS = (GENERATION, "Model", "CausalLM", "SequenceClassification", "QuestionAnswering")


def _half(c: Config, name: str, embedding: spec.Tokens | spec.Audio, *, k_bias: bool = True) -> spec.Stack:
    """One half: attention with biases, an MLP, LayerNorms where the family has them."""
    d_model, n = c.int("d_model"), c.int(f"{name}_attention_heads")
    cross = spec.Attention(
        n_heads=n,
        d_head=spec.divide("d_model", d_model, f"{name}_attention_heads", n),
        causal=False,
        bias_q=True,
        bias_k=k_bias,
        bias_v=True,
        bias_o=True,
        dropout=c.num("attn_dropout"),
    )
    layer = spec.Layer(
        mixer=replace(cross, causal=name == "decoder"),
        cross=cross if name == "decoder" else None,
        ffn=parts.plain(c, bias=True, d_ff=c.int(f"{name}_ffn_dim")),
        dropout=c.num("dropout"),
        **c.family.layer,
    )
    layers, final = spec.Layers.uniform(layer, c.int(f"{name}_layers")), c.family.final(c) if c.family.final else None
    return spec.Stack(name=name, d_model=d_model, embedding=embedding, layers=layers, final_norm=final)


def _counted_by_ids(c: Config) -> spec.Positions:
    pad = c.int("pad_token_id", minimum=0)
    return parts.positions(c, kind="sinusoidal", offset=pad + 1, order="halves", spread=1, counted="ids", pad=pad)


def _bart(c: Config, *, tasks: Iterable[str] = BART_TASKS[:3], buffer: bool = True) -> spec.Model:
    """BART and its relatives (arXiv 1910.13461), which differ in their positions and in where they have norms."""
    task, vocab, marian = _task(c, tasks), c.int("vocab"), c.family.model_type == "marian"
    tied, alone = c.flag("tie_word_embeddings"), task == "CausalLM"
    share = not marian or c.flag("share_encoder_decoder_embeddings")
    # Marian's decoder has a vocabulary of its own where its table is not the one that all share
    own = marian and (alone or not (share and tied))
    target = c.maybe_int("decoder_vocab_size", minimum=0) or vocab if own else vocab
    # and what is scored is the other one where the head has a table to itself
    scored = vocab if target != vocab and not tied and (alone or share) else None
    fields = c.settled(c.family.tokens)
    norm_first = fields.pop("norm_first", False)

    def stack(name: str) -> spec.Stack:
        encoder = name == "encoder"
        embedding = spec.Tokens(
            vocab=vocab if encoder else target,
            norm_first=norm_first and not encoder,
            # where the norm comes first, the class leaves the scale out
            scale=c.int("d_model") ** 0.5 if c.flag("scale_embedding") and (encoder or not norm_first) else 1.0,
            dropout=c.num("dropout"),
            shared="encoder" if tied and share and not encoder and not alone else "",
            spare=share and not tied and encoder,
            **fields,
        )
        return _half(c, name, embedding)

    stacks = tuple(map(stack, ("decoder",) if alone else ("encoder", "decoder")))
    heads: tuple[spec.Head, ...] = ()
    if task in (GENERATION, "CausalLM"):
        heads = _lm(tied=tied, buffer=buffer and task == GENERATION, vocab=scored)
    elif task == "SequenceClassification":
        heads = (_classification(c),)
    elif task == "QuestionAnswering":
        heads = (spec.Head(steps=(spec.Dense(name="qa", width=2),)),)
    names = {**c.family.names, **({"encoder.embed.tokens": "~shared"} if tied and share else {})}
    shifts = c.family.model_type == "bart" and not alone
    return _model(c, stacks, heads, names, "" if task == "Model" else "model.", shifts=shifts)


def _whisper(c: Config) -> spec.Model:
    """Whisper (arXiv 2212.04356): BART's layers with norms before, from a spectrogram to text."""
    task = _task(c, (GENERATION, "Model", "CausalLM", "AudioClassification"))
    if c.int("d_model") % 2:  # `sinusoids` of modeling_whisper.py refuses it
        raise InputError(f"{c.where}d_model is {c.int('d_model')}; half of it is sines, so it must be even")
    drop, table = c.num("dropout"), spec.Positions(count=c.int("max_target_positions"))
    waves = spec.Positions(kind="fixed", count=c.int("max_source_positions"), order="halves", spread=1)
    halves: dict[str, spec.Tokens | spec.Audio] = {
        "encoder": spec.Audio(mels=c.int("num_mel_bins"), positions=waves, dropout=drop),
        "decoder": spec.Tokens(vocab=c.int("vocab"), positions=table, dropout=drop),
    }
    if own := {"CausalLM": "decoder", "AudioClassification": "encoder"}.get(task):
        halves = {own: halves[own]}
    heads: tuple[spec.Head, ...] = ()
    if task in (GENERATION, "CausalLM"):
        heads = _lm(tied=c.flag("tie_word_embeddings"))
    elif task == "AudioClassification":
        project = spec.Dense(name="projection", width=c.int("classifier_proj_size"))
        steps = (project, spec.Pool(), spec.Dense(name="classifier", width=c.n_labels))
        heads = (spec.Head(layer_mix=c.flag("use_weighted_layer_sum"), steps=steps),)
    stacks = [_half(c, name, embedding, k_bias=False) for name, embedding in halves.items()]
    return _model(c, stacks, heads, c.family.names, "" if task in ("Model", "AudioClassification") else "model.")


# --- the types ------------------------------------------------------------------------------------------------------

T5 = Family(
    build=_t5,
    ffn=_t5_feed_forward,
    names=_t5_names("DenseReluDense"),
    execution={"ties_head": True},
    own={"tie_word_embeddings": True},
    flags={"encoder_layers": "num_layers"},
    renamed={"num_hidden_layers": ""},
    # positions have no table; scalable_attention is a word of the first implementation; the others are left-overs
    inert="n_positions max_position_embeddings scalable_attention tie_encoder_decoder",
)
BART = Family(
    build=_bart,
    layer={"place": "pre"},
    tokens={"positions": partial(parts.positions, order="halves")},
    names={
        "encoder.embed.spare": "~shared",
        **{
            f"{s}.{{layers,embed.tokens,embed.positions,embed.norm,embed.conv1,embed.conv2,final_norm}}": f"~{s}."
            "{layers.*,embed_tokens,embed_positions,layernorm_embedding,conv1,conv2,layer_norm}"
            for s in ("encoder", "decoder")
        },
        **{part: name for part, name in FAIRSEQ_NAMES.items() if not part.startswith(("embed", "layers"))},
        "classification.{dense,out}": "classification_head.{dense,out_proj}",
        "head.{lm,lm_bias.weight,qa}": "{lm_head,final_logits_bias,qa_outputs}",
    },
    execution={"loss": "own"},
    # layers that training leaves out at random, and words of older code, which wrote down what each class now fixes
    inert="encoder_layerdrop decoder_layerdrop is_decoder add_cross_attention tie_encoder_decoder add_bias_logits "
    "add_final_layer_norm normalize_before normalize_embedding static_position_embeddings extra_pos_embeddings "
    "extra_layer_norm layernorm_variant do_blenderbot_90_layernorm classif_dropout force_bos_token_to_be_generated "
    "save_step forced_decoder_ids decoder_vocab_size vocab_size_extra unused_token_ids",
)
SHIFTED = {"positions": partial(parts.positions, offset=2, order="halves"), "norm": spec.Norm()}
FIXED = {"positions": partial(parts.positions, kind="fixed", order="halves")}
normed: Any = lambda c: spec.Norm()  # noqa: E731

TYPES = {
    "t5": T5.but(classes="t5 mt5"),
    "mt5": T5.but(build=partial(_t5, unscaled=True), classes="mt5 t5", inert="scale_decoder_outputs"),
    "umt5": T5.but(build=partial(_t5, every_layer=True)),
    "switch_transformers": T5.but(
        build=partial(_t5, sparse=True, tasks=T5_TASKS[:3]),
        ffn=_switch_feed_forward,
        names=_t5_names("mlp"),
        execution={"ties_head": False, "router": "float32", "experts": "loop"},
        flags={"d_expert": "", "d_head": "d_kv"},
        inert="router_z_loss_coef router_aux_loss_coef add_router_probs router_ignore_padding_tokens router_dtype "
        "router_type batch_prioritized_routing num_selected_experts capacity_factor feed_forward_proj is_gated_act",
    ),
    "bart": BART.but(
        build=partial(_bart, tasks=BART_TASKS),
        layer={"place": "post"},
        tokens=SHIFTED,
        execution={"positions": "encoder"},
    ),
    "mbart": BART.but(
        build=partial(_bart, tasks=BART_TASKS), tokens=SHIFTED, final=normed, execution={"positions": "encoder"}
    ),
    "m2m_100": BART.but(
        build=partial(_bart, tasks=BART_TASKS[:2], buffer=False),
        tokens={"positions": _counted_by_ids},
        final=normed,
        execution={"loss": ""},
    ),
    "pegasus": BART.but(tokens=FIXED, final=normed),
    "marian": BART.but(layer={"place": "post"}, tokens=FIXED),
    "blenderbot": BART.but(final=normed),
    "blenderbot-small": BART.but(layer={"place": "post"}, tokens={"norm": spec.Norm(), "norm_first": True}),
    "whisper": BART.but(
        build=_whisper,
        final=normed,
        names={
            "head.{lm,projection,classifier}": "{proj_out,projector,classifier}",
            "head.layer_weights.weight": "layer_weights",
        },
        execution={"positions": "batch", "heads_first": True},
        # scale_embedding is read by the class, but never used; masking of the spectrogram is training's
        inert="scale_embedding median_filter_width apply_spec_augment mask_time_prob mask_time_length "
        "mask_time_min_masks mask_feature_prob mask_feature_length mask_feature_min_masks alignment_heads lang_to_id "
        "task_to_id no_timestamps_token_id is_multilingual",
    ),
}
