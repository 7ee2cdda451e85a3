"""Encoder–decoders: the T5 family and the BART family, with what is built from one of their halves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from transformer_calc.record import LARGEST
from transformer_calc.sources.families.legacy import (
    MOST_LISTED,
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
    Stack,
    Tokens,
    divide,
    unknown_architecture,
)
from transformer_calc.spec import Audio, Moe, Pool, RelativeBias, Router

# --- what both share ----------------------------------------------------------------------------------------

GENERATION = "ConditionalGeneration"


def _task(c: Config, known: Iterable[str]) -> str:
    """What the class is built for: its name after `For`, or which bare model it is."""
    name = c.architecture
    if not name or name.endswith(("WithLMHeadModel", "MTModel")):  # T5's old name, Marian's name for the same
        return GENERATION
    task = name.rpartition("For")[2] if "For" in name else "EncoderModel" if name.endswith("EncoderModel") else "Model"
    if task not in known or not name.endswith(task):
        classes = (f"…{t}" if t.endswith("Model") else f"…For{t}" for t in known)
        raise unknown_architecture(c, ", ".join(classes))
    return task


def _model(
    c: Config,
    stacks: Iterable[Stack],
    heads: tuple[Head, ...],
    names: dict[str, str],
    base: str = "",
    *,
    shifts: bool = False,
) -> Model:
    """A model of one half or both. In `names` `~` stands for `base`; one stack alone has no name in its paths.

    `shifts`: where a decoder is given nothing, it reads the source behind decoder_start_token_id.
    """
    stacks = tuple(stacks)
    if len(stacks) == 1:
        names = {part.removeprefix(f"{stacks[0].name}."): name for part, name in names.items()}
    return Model(
        name=c.family.model_type,
        family=c.family.model_type,
        stacks=stacks,
        heads=heads,
        start_token=c.int("decoder_start_token_id", 2 if c.family.model_type == "bart" else 0, minimum=0)
        if shifts
        else None,
        layout="out_in",
        tensor_names=tuple((part, name.replace("~", base)) for part, name in names.items()),
    )


def _classification(c: Config, d_model: int, n_labels: int) -> Head:
    """The head for whole sequences: from the decoder's vector where the source's last end token stands."""
    drop = c.maybe_num("classifier_dropout", 0.0) or 0.0
    steps = (
        Dense(name="dense", width=d_model, activation="tanh", dropout=drop),
        Dense(name="out", width=n_labels, dropout=drop),
    )
    end = c.int("eos_token_id", minimum=0)
    return Head(name="classification", take="end", end_token=end, end_last=True, steps=steps)


def _lm(*, tied: bool, scale: float = 1.0, buffer: bool = False, vocab: int | None = None) -> tuple[Head, ...]:
    lm = Dense(name="lm", bias=False, tied=tied, buffer=buffer, vocab=vocab)
    return (Head(scale=scale, steps=(lm,), softmax=True),)


# --- T5 -----------------------------------------------------------------------------------------------------

T5_TASKS = (
    GENERATION,
    "Model",
    "EncoderModel",
    "SequenceClassification",
    "TokenClassification",
    "QuestionAnswering",
)


def _t5_names(*, gated: bool, feed: str) -> dict[str, str]:
    """Tensor names: a block's layers are numbered, and `0` is self-attention, the last one the feed-forward part."""
    names = {
        "encoder.embed.tokens": "~shared",
        "decoder.embed.tokens": "~decoder.embed_tokens",
        "head.lm": "lm_head",
        "head.qa": "qa_outputs",
        "head.classifier": "classifier",
        "classification.dense": "classification_head.dense",
        "classification.out": "classification_head.out_proj",
        "attn_norm": "0.layer_norm",
        "attn.relative_bias": "0.SelfAttention.relative_attention_bias",
        "cross_norm": "1.layer_norm",
    }
    for letter in "qkvo":
        names |= {
            f"attn.{letter}": f"0.SelfAttention.{letter}",
            f"cross.{letter}": f"1.EncDecAttention.{letter}",
        }
    for stack, last in (("encoder", 1), ("decoder", 2)):
        names |= {
            f"{stack}.layers": f"~{stack}.block.*.layer",
            f"{stack}.relative_bias": f"~{stack}.block.0.layer.0.SelfAttention.relative_attention_bias",
            f"{stack}.final_norm": f"~{stack}.final_layer_norm",
            f"{stack}.layers.ffn_norm": f"{last}.layer_norm",
            f"{stack}.layers.ffn.gate": f"{last}.{feed}.wi_0",
            f"{stack}.layers.ffn.up": f"{last}.{feed}.wi_1" if gated else f"{last}.{feed}.wi",
            f"{stack}.layers.ffn.down": f"{last}.{feed}.wo",
            f"{stack}.layers.ffn.router": f"{last}.{feed}.router.classifier",
            f"{stack}.layers.ffn.experts.up": f"{last}.{feed}.experts.expert_#.wi",
            f"{stack}.layers.ffn.experts.down": f"{last}.{feed}.experts.expert_#.wo",
        }
    return names


def _t5_feed_forward(c: Config) -> Mlp:
    form = c.text("feed_forward_proj")
    kind, _, last = form.rpartition("-")
    if kind not in ("", "gated"):
        raise InputError(f"{c.where}feed_forward_proj is {form!r:.60}; it must be gated-ACTIVATION or ACTIVATION")
    return Mlp(
        d_ff=c.int("d_ff"),
        activation=c.activation("dense_act_fn", "gelu_new" if form == "gated-gelu" else last),
        gated=c.flag("is_gated_act", kind == "gated"),
        bias_in=False,
        bias_out=False,
        dropout=c.num("dropout_rate"),
    )


def _t5_depths(c: Config) -> dict[str, int]:
    """Layers of each stack. As in the class, num_hidden_layers overrides num_layers after the decoder's are set."""
    own = c.int("num_layers")
    return {
        "encoder": c.maybe_int("num_hidden_layers", None) or own,
        "decoder": c.maybe_int("num_decoder_layers", None) or own,
    }


def _t5(
    c: Config,
    *,
    unscaled: bool = False,
    every_layer: bool = False,
    tasks: Iterable[str] = T5_TASKS,
    sparse: bool = False,
) -> Model:
    """T5: no positions but a bias for each distance, unscaled scores, norms without bias (arXiv 1910.10683).

    The first T5 scales what goes into its tied head, later ones do neither. Transformers 5 writes that as
    tie_word_embeddings true with scale_decoder_outputs false, and loads two matrices. `unscaled`: mT5's never scales.
    """
    c.must("is_decoder", False)
    task, d_model, vocab = _task(c, tasks), c.int("d_model"), c.int("vocab_size")
    drop, norm = c.num("dropout_rate"), Norm(kind="rmsnorm", eps=c.num("layer_norm_epsilon"))
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
    ffn = _switch_feed_forward(c) if sparse else _t5_feed_forward(c)

    def stack(name: str, n: int) -> Stack:
        causal = name == "decoder"
        bias = RelativeBias(
            buckets=c.int("relative_attention_num_buckets"),
            max_distance=c.int("relative_attention_max_distance"),
            bidirectional=not causal,
            every_layer=every_layer,
        )
        cross = Attention(n_heads=c.int("num_heads"), d_head=c.int("d_kv"), causal=False, scale=1.0, dropout=drop)
        layer = Layer(
            mixer=replace(cross, causal=causal, relative_bias=bias),
            cross=cross if causal else None,
            ffn=ffn,
            norm=norm,
            dropout=drop,
        )
        return Stack(
            name=name,
            d_model=d_model,
            embedding=Tokens(
                vocab=vocab,
                dropout=drop,
                shared="encoder" if causal and not spare else "",
                spare=spare and not causal,
            ),
            layers=_switch_layers(c, layer, name, n) if sparse else Layers.uniform(layer, n),
            final_norm=norm,
            dropout=drop,
        )

    halves = ("encoder",) if task in ("EncoderModel", "TokenClassification") else ("encoder", "decoder")
    depths = _t5_depths(c)
    heads: tuple[Head, ...] = ()
    if task == GENERATION:
        heads = _lm(tied=tied, scale=d_model**-0.5 if scales else 1.0)
    elif task == "SequenceClassification":
        heads = (_classification(c, d_model, c.n_labels),)
    elif task == "TokenClassification":
        drop_head = c.maybe_num("classifier_dropout", 0.0) or 0.0
        heads = (Head(steps=(Dense(name="classifier", width=c.n_labels, dropout=drop_head),)),)
    elif task == "QuestionAnswering":
        heads = (Head(steps=(Dense(name="qa", width=c.n_labels),)),)
    gated = isinstance(ffn, Mlp) and ffn.gated
    names = _t5_names(gated=gated, feed="mlp" if sparse else "DenseReluDense")
    if spare:
        names |= {"encoder.embed.tokens": "~encoder.embed_tokens", "encoder.embed.spare": "~shared"}
    base = "transformer." if task in ("SequenceClassification", "TokenClassification") else ""
    shifts = task in ("SequenceClassification", "QuestionAnswering")
    return _model(c, (stack(half, depths[half]) for half in halves), heads, names, base, shifts=shifts)


def _switch_feed_forward(c: Config) -> Mlp:
    return Mlp(
        d_ff=c.int("d_ff"),
        activation=c.activation("dense_act_fn"),
        bias_in=False,
        bias_out=False,
        dropout=c.num("dropout_rate"),
    )


def _switch_layers(c: Config, dense: Layer, name: str, n: int) -> Layers:
    """Experts in the second of every `step` layers (arXiv 2101.03961); none lost to a full expert.

    As in the class, the step follows from how many layers are to be sparse, unless the config has it, too.
    """
    own = c.int("num_layers") if name == "encoder" else n
    count = c.int(f"num_sparse_{name}_layers", minimum=-LARGEST)
    step = c.int(f"{name}_sparse_step", own // count if count > 0 else own, minimum=-LARGEST)
    ffn = dense.ffn
    assert isinstance(ffn, Mlp)
    experts = Moe(
        n_experts=c.int("num_experts"),
        top_k=1,
        d_expert=ffn.d_ff,
        activation=ffn.activation,
        gated=False,
        router=Router(bias=c.flag("router_bias"), jitter=c.num("router_jitter_noise")),
        dropout=ffn.dropout,
    )
    capacity = c.int("expert_capacity", 64, minimum=0)
    if name == "encoder" and "expert_capacity" in c.given:
        c.notes.append(f"expert_capacity is {capacity}: no token is counted as one that a full expert drops")
    kinds = (replace(dense, name="dense"), replace(dense, name="moe", ffn=experts))
    if step <= 1:  # below 1: no layer is sparse
        return Layers.uniform(kinds[step == 1], n)
    if min(step, n) <= MOST_LISTED:
        return Layers.cycle(kinds, [int(i == 1) for i in range(min(step, n))], n)
    if n // step > MOST_LISTED:
        raise InputError(f"{c.where}{name}_sparse_step is {step:,}; of {n:,} layers that are too many turns to list")
    turns = [
        ((kind,), min(count, n - start - at))
        for start in range(0, n, step)
        for at, kind, count in ((0, 0, 1), (1, 1, 1), (2, 0, step - 2))
    ]
    return Layers.spans(kinds, *turns)


T5: dict[str, Any] = {
    "vocab_size": 32128,
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 6,
    "num_decoder_layers": None,
    "num_heads": 8,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "dropout_rate": 0.1,
    "layer_norm_epsilon": 1e-6,
    "feed_forward_proj": "relu",
    "tie_word_embeddings": True,
    "eos_token_id": 1,
}
MT5 = T5 | {
    "vocab_size": 250112,
    "d_ff": 1024,
    "num_layers": 8,
    "num_heads": 6,
    "feed_forward_proj": "gated-gelu",
}
SWITCH = T5 | {
    "d_model": 768,
    "num_layers": 12,
    "num_decoder_layers": 12,
    "num_heads": 12,
    "num_sparse_encoder_layers": 3,
    "num_sparse_decoder_layers": 3,
    "num_experts": 8,
    "router_bias": False,
    "router_jitter_noise": 0.01,
    "dense_act_fn": "relu",
}
T5_FLAGS = {
    "layers": "num_layers num_decoder_layers",
    "encoder_layers": "num_layers",
    "decoder_layers": "num_decoder_layers",
    "d_model": "d_model",
    "heads": "num_heads",
    "d_head": "d_kv",
    "d_ff": "d_ff",
}
T5_ALIASES = {"hidden_size": "d_model", "num_attention_heads": "num_heads", "head_dim": "d_kv"}
# positions have no table; scalable_attention is a word of the first implementation; the others are left-overs
T5_INERT = "n_positions max_position_embeddings scalable_attention tie_encoder_decoder"
SWITCH_INERT = (
    f"{T5_INERT} router_z_loss_coef router_aux_loss_coef add_router_probs router_ignore_padding_tokens router_dtype "
    "router_type batch_prioritized_routing num_selected_experts capacity_factor feed_forward_proj "
    "is_gated_act"
)

# --- BART ---------------------------------------------------------------------------------------------------

BART_STACK = {
    "layers": "layers.*",
    "embed.tokens": "embed_tokens",
    "embed.positions": "embed_positions",
    "embed.norm": "layernorm_embedding",
    "embed.conv1": "conv1",
    "embed.conv2": "conv2",
    "final_norm": "layer_norm",
}
BART_NAMES = {
    "encoder.embed.spare": "~shared",
    "attn_norm": "self_attn_layer_norm",
    "cross_norm": "encoder_attn_layer_norm",
    "ffn.up": "fc1",
    "ffn.down": "fc2",
    "ffn_norm": "final_layer_norm",
    "classification.dense": "classification_head.dense",
    "classification.out": "classification_head.out_proj",
    "head.lm": "lm_head",
    "head.lm_bias.weight": "final_logits_bias",
    "head.qa": "qa_outputs",
}
BART_NAMES |= {f"{s}.{part}": f"~{s}.{name}" for s in ("encoder", "decoder") for part, name in BART_STACK.items()}
BART_NAMES |= {
    f"{part}.{letter}": f"{name}.{'out' if letter == 'o' else letter}_proj"
    for part, name in (("attn", "self_attn"), ("cross", "encoder_attn"))
    for letter in "qkvo"
}
BART_TASKS = (GENERATION, "Model", "CausalLM", "SequenceClassification", "QuestionAnswering")


def _stack(
    c: Config, name: str, embedding: Tokens | Audio, *, place: str, final_norm: bool, k_bias: bool = True
) -> Stack:
    """One half: attention with biases, an MLP, LayerNorms before (`pre`) or after (`post`) each residual sum."""
    d_model, n_heads = c.int("d_model"), c.int(f"{name}_attention_heads")
    cross = Attention(
        n_heads=n_heads,
        d_head=divide("d_model", d_model, f"{name}_attention_heads", n_heads),
        causal=False,
        bias_q=True,
        bias_k=k_bias,
        bias_v=True,
        bias_o=True,
        dropout=c.num("attention_dropout"),
    )
    layer = Layer(
        mixer=replace(cross, causal=name == "decoder"),
        cross=cross if name == "decoder" else None,
        ffn=Mlp(
            d_ff=c.int(f"{name}_ffn_dim"),
            activation=c.activation("activation_function"),
            dropout=c.num("activation_dropout"),
        ),
        place=place,
        dropout=c.num("dropout"),
    )
    return Stack(
        name=name,
        d_model=d_model,
        embedding=embedding,
        layers=Layers.uniform(layer, c.int(f"{name}_layers")),
        final_norm=Norm() if final_norm else None,
    )


def _bart(
    c: Config,
    *,
    place: str,
    positions: str = "learned",
    offset: int = 0,
    embed_norm: bool = False,
    norm_first: bool = False,
    final_norm: bool = False,
    n_labels: int = 2,
    buffer: bool = True,
    tasks: Iterable[str] = BART_TASKS[:3],
) -> Model:
    """BART and its relatives (arXiv 1910.13461), which differ in their positions and in where they have norms."""
    task, d_model, vocab = _task(c, tasks), c.int("d_model"), c.int("vocab_size")
    tied, alone, marian = c.flag("tie_word_embeddings"), task == "CausalLM", c.family.model_type == "marian"
    share = not marian or c.flag("share_encoder_decoder_embeddings")
    # Marian's decoder has a vocabulary of its own where its table is not the one that all share
    own = marian and (alone or not (share and tied))
    target = c.maybe_int("decoder_vocab_size", minimum=0) or vocab if own else vocab
    # and what is scored is the other one where the head has a table to itself
    scored = vocab if target != vocab and not tied and (alone or share) else None
    pad = c.int("pad_token_id", minimum=0) if positions == "sinusoidal" else None
    offset = offset if pad is None else pad + 1

    def stack(name: str) -> Stack:
        encoder = name == "encoder"
        embedding = Tokens(
            vocab=vocab if encoder else target,
            positions=Positions(
                kind=positions,
                count=c.int("max_position_embeddings"),
                offset=offset,
                order="halves",
                spread=int(positions == "sinusoidal"),
                counted="all" if pad is None else "ids",
                pad=pad,
            ),
            norm=Norm() if embed_norm else None,
            norm_first=norm_first and not encoder,
            # where the norm comes first, the class leaves the scale out
            scale=d_model**0.5 if c.flag("scale_embedding") and (encoder or not norm_first) else 1.0,
            dropout=c.num("dropout"),
            shared="encoder" if tied and share and not encoder and not alone else "",
            spare=share and not tied and encoder,
        )
        return _stack(c, name, embedding, place=place, final_norm=final_norm)

    halves = ("decoder",) if alone else ("encoder", "decoder")
    heads: tuple[Head, ...] = ()
    if task in (GENERATION, "CausalLM"):
        heads = _lm(tied=tied, buffer=buffer and task == GENERATION, vocab=scored)
    elif task == "SequenceClassification":
        given = c.raw("num_labels", None) or c.raw("id2label", None)
        heads = (_classification(c, d_model, c.n_labels if given else n_labels),)
    elif task == "QuestionAnswering":
        heads = (Head(steps=(Dense(name="qa", width=2),)),)
    names = BART_NAMES | ({"encoder.embed.tokens": "~shared"} if tied and share else {})
    shifts = c.family.model_type == "bart" and not alone
    return _model(c, map(stack, halves), heads, names, "" if task == "Model" else "model.", shifts=shifts)


def _whisper(c: Config) -> Model:
    """Whisper (arXiv 2212.04356): BART's layers with norms before, from a spectrogram to text."""
    task = _task(c, (GENERATION, "Model", "CausalLM", "AudioClassification"))
    sources, targets = c.int("max_source_positions"), c.int("max_target_positions")
    vocab, tied, drop = c.int("vocab_size"), c.flag("tie_word_embeddings"), c.num("dropout")
    if c.int("d_model") % 2:  # `sinusoids` of modeling_whisper.py refuses it
        raise InputError(f"{c.where}d_model is {c.int('d_model')}; half of it is sines, so it must be even")
    table = Positions(kind="fixed", count=sources, order="halves", spread=1)
    sound = Audio(mels=c.int("num_mel_bins"), positions=table, dropout=drop)
    text = Tokens(vocab=vocab, positions=Positions(count=targets), dropout=drop)
    stack = partial(_stack, c, place="pre", final_norm=True, k_bias=False)
    stacks = {"encoder": lambda: stack("encoder", sound), "decoder": lambda: stack("decoder", text)}
    halves = {"CausalLM": ("decoder",), "AudioClassification": ("encoder",)}.get(task, ("encoder", "decoder"))
    heads: tuple[Head, ...] = ()
    if task in (GENERATION, "CausalLM"):
        heads = _lm(tied=tied)
    elif task == "AudioClassification":
        steps = (
            Dense(name="projection", width=c.int("classifier_proj_size")),
            Pool(),
            Dense(name="classifier", width=c.n_labels),
        )
        heads = (Head(layer_mix=c.flag("use_weighted_layer_sum"), steps=steps),)
    names = BART_NAMES | {
        "head.lm": "proj_out",
        "head.projection": "projector",
        "head.classifier": "classifier",
        "head.layer_weights.weight": "layer_weights",
    }
    base = "" if task in ("Model", "AudioClassification") else "model."
    return _model(c, (stacks[half]() for half in halves), heads, names, base)


BART: dict[str, Any] = {
    "vocab_size": 50265,
    "max_position_embeddings": 1024,
    "d_model": 1024,
    "encoder_layers": 12,
    "encoder_ffn_dim": 4096,
    "encoder_attention_heads": 16,
    "decoder_layers": 12,
    "decoder_ffn_dim": 4096,
    "decoder_attention_heads": 16,
    "activation_function": "gelu",
    "dropout": 0.1,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "scale_embedding": False,
    "tie_word_embeddings": True,
    "pad_token_id": 1,
    "eos_token_id": 2,
}
BART_FLAGS = {
    "layers": "encoder_layers decoder_layers",
    "encoder_layers": "encoder_layers",
    "decoder_layers": "decoder_layers",
    "d_model": "d_model",
    "heads": "encoder_attention_heads decoder_attention_heads",
    "d_ff": "encoder_ffn_dim decoder_ffn_dim",
}
BART_ALIASES = {
    "hidden_size": "d_model",
    "num_attention_heads": "encoder_attention_heads",
    "num_hidden_layers": "encoder_layers",
}
# layers that training leaves out at random, and words of older code, which wrote down what each class now fixes
BART_INERT = (
    "encoder_layerdrop decoder_layerdrop is_decoder add_cross_attention tie_encoder_decoder add_bias_logits "
    "add_final_layer_norm normalize_before normalize_embedding static_position_embeddings extra_pos_embeddings "
    "extra_layer_norm layernorm_variant do_blenderbot_90_layernorm classif_dropout force_bos_token_to_be_generated "
    "save_step forced_decoder_ids decoder_vocab_size vocab_size_extra unused_token_ids"
)
WHISPER: dict[str, Any] = {
    "vocab_size": 51865,
    "num_mel_bins": 80,
    "d_model": 384,
    "encoder_layers": 4,
    "encoder_ffn_dim": 1536,
    "encoder_attention_heads": 6,
    "decoder_layers": 4,
    "decoder_ffn_dim": 1536,
    "decoder_attention_heads": 6,
    "activation_function": "gelu",
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "max_source_positions": 1500,
    "max_target_positions": 448,
    "classifier_proj_size": 256,
    "use_weighted_layer_sum": False,
    "tie_word_embeddings": True,
}
# scale_embedding is read by the class, but never used; masking of the spectrogram is training's
WHISPER_INERT = (
    f"{BART_INERT} scale_embedding median_filter_width apply_spec_augment mask_time_prob mask_time_length "
    "mask_time_min_masks mask_feature_prob mask_feature_length mask_feature_min_masks alignment_heads lang_to_id "
    "task_to_id no_timestamps_token_id is_multilingual"
)


def _relative(model_type: str, build: Any, defaults: dict[str, Any] | None = None, inert: str = BART_INERT) -> Entry:
    return Entry(model_type, BART | (defaults or {}), build, flags=BART_FLAGS, inert=inert, aliases=BART_ALIASES)


FAMILIES = [
    Entry("t5", T5, _t5, flags=T5_FLAGS, inert=T5_INERT, aliases=T5_ALIASES),
    Entry(
        "mt5",
        MT5,
        partial(_t5, unscaled=True),
        flags=T5_FLAGS,
        inert=f"{T5_INERT} scale_decoder_outputs",
        aliases=T5_ALIASES,
    ),
    Entry(
        "umt5",
        MT5,
        partial(_t5, every_layer=True),
        flags=T5_FLAGS,
        inert=T5_INERT,
        aliases=T5_ALIASES,
    ),
    Entry(
        "switch_transformers",
        SWITCH,
        partial(_t5, sparse=True, tasks=T5_TASKS[:3]),
        flags=T5_FLAGS | {"experts": "num_experts"},
        inert=SWITCH_INERT,
        aliases={k: v for k, v in T5_ALIASES.items() if k != "head_dim"},
    ),
    _relative("bart", partial(_bart, place="post", offset=2, embed_norm=True, n_labels=3, tasks=BART_TASKS)),
    _relative("mbart", partial(_bart, place="pre", offset=2, embed_norm=True, final_norm=True, tasks=BART_TASKS)),
    _relative(
        "m2m_100",
        partial(_bart, place="pre", positions="sinusoidal", final_norm=True, buffer=False, tasks=BART_TASKS[:2]),
        {
            "vocab_size": 128112,
            "activation_function": "relu",
            "attention_dropout": 0.1,
            "scale_embedding": True,
        },
    ),
    _relative(
        "pegasus",
        partial(_bart, place="pre", positions="fixed", final_norm=True),
        {"pad_token_id": 0, "eos_token_id": 1},
    ),
    _relative(
        "marian",
        partial(_bart, place="post", positions="fixed"),
        {
            "vocab_size": 58101,
            "decoder_vocab_size": None,
            "share_encoder_decoder_embeddings": True,
            "pad_token_id": 58100,
            "eos_token_id": 0,
        },
    ),
    _relative(
        "blenderbot",
        partial(_bart, place="pre", final_norm=True),
        {
            "vocab_size": 8008,
            "pad_token_id": 0,
            "max_position_embeddings": 128,
            "d_model": 2560,
            "encoder_layers": 2,
            "encoder_ffn_dim": 10240,
            "encoder_attention_heads": 32,
            "decoder_layers": 24,
            "decoder_ffn_dim": 10240,
            "decoder_attention_heads": 32,
        },
    ),
    _relative(
        "blenderbot-small",
        partial(_bart, place="post", embed_norm=True, norm_first=True),
        {
            "max_position_embeddings": 512,
            "pad_token_id": 0,
            "d_model": 512,
            "encoder_layers": 8,
            "encoder_ffn_dim": 2048,
            "decoder_layers": 8,
            "decoder_ffn_dim": 2048,
        },
    ),
    Entry(
        "whisper",
        WHISPER,
        _whisper,
        flags=BART_FLAGS | {"max_positions": "max_target_positions"},
        inert=WHISPER_INERT,
        aliases=BART_ALIASES | {"num_key_value_heads": "encoder_attention_heads"},
    ),
]
