"""Models in tcalc's own words: from the command line's flags, or from the `[model]` table of a preset.

Only layers, d_model and heads have no default. What is left out is GPT-like: learned positions, pre-norm
LayerNorm, GELU, biases, a tied head, n_kv_heads = n_heads, d_head = d_model / n_heads, d_ff = 4 · d_model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformer_calc.errors import InputError, did_you_mean
from transformer_calc.spec import (
    ACTIVATIONS,
    Attention,
    Averaging,
    Dense,
    Head,
    Layer,
    Layers,
    Mlp,
    Model,
    Moe,
    Norm,
    Positions,
    RelativeBias,
    RelativeProjection,
    Rotary,
    Router,
    Stack,
    Tokens,
    Vectors,
    divide,
)

VOCAB = 50257  # GPT-2's; only for a model from flags alone, and said

# every word, with what it takes
WORDS: dict[str, type | tuple[str, ...]] = {
    "kind": ("decoder", "encoder", "encoder-decoder"),
    "layers": int,
    "encoder_layers": int,
    "decoder_layers": int,
    "d_model": int,
    "heads": int,
    "kv_heads": int,
    "d_head": int,
    "d_ff": int,
    "vocab": int,
    "pad_vocab_to": int,
    "max_positions": int,
    "positions": ("learned", "sinusoidal", "rotary", "alibi", "relative-bias", "transformer-xl", "none"),
    "norm": ("layernorm", "rmsnorm"),
    "norm_place": ("pre", "post", "output", "sandwich", "none"),
    "residual": bool,
    "mixer": ("attention", "averaging"),
    "input": ("tokens", "vectors"),
    "head": ("lm", "none"),
    "parallel": ("no", "shared", "separate"),
    "norm_bias": bool,
    "norm_eps": float,
    "final_norm": bool,
    "activation": ACTIVATIONS,
    "gated": bool,
    "bias": bool,
    "bias_qkv": bool,
    "bias_o": bool,
    "bias_ffn": bool,
    "bias_head": bool,
    "tied": bool,
    "segments": int,
    "embedding_norm": bool,
    "embedding_scale": float,
    "dropout": float,
    "attention_dropout": float,
    "experts": int,
    "experts_per_token": int,
    "d_expert": int,
    "shared_experts": int,
    "dense_layers": int,
    "moe_every": int,
    "window": int,
    "global_every": int,
    "qk_norm": bool,
    "rotary_dims": int,
    "rope_theta": float,
    "relative_buckets": int,
}
ZERO = ("segments", "shared_experts", "dense_layers")  # counts that may be 0


# words of a part that another word can replace
OF_ATTENTION = (
    "heads kv_heads d_head bias_qkv bias_o attention_dropout window global_every qk_norm rotary_dims rope_theta "
    "relative_buckets"
).split()
OF_TOKENS = (
    "vocab pad_vocab_to max_positions positions segments embedding_norm embedding_scale tied bias_head"
).split()


class Words:
    """The given words, each checked when it is asked for."""

    def __init__(self, given: Mapping[str, Any], where: str) -> None:
        self.given, self.where = given, where
        for word in given:
            if word not in WORDS:
                raise InputError(f"{where}{word} is not a hyperparameter", hint=did_you_mean(word, WORDS))

    def __getitem__(self, word: str) -> Any:
        if word not in self.given:
            raise InputError(f"{self.where}{word} is missing, and it has no default")
        return self.get(word)

    def get(self, word: str, default: Any = None) -> Any:
        """The word's value, or the default."""
        if word not in self.given:
            return default
        value, takes = self.given[word], WORDS[word]
        if isinstance(takes, tuple):
            if value not in takes:
                raise InputError(f"{self.where}{word} is {value!r}; it must be one of {', '.join(takes)}")
        elif takes is bool:
            if not isinstance(value, bool):
                raise InputError(f"{self.where}{word} is {value!r}; it must be true or false")
        elif takes is float:
            if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
                raise InputError(f"{self.where}{word} is {value!r}; it must be a number")
        elif isinstance(value, bool) or not isinstance(value, int):
            raise InputError(f"{self.where}{word} is {value!r}; it must be a whole number")
        elif not (0 if word in ZERO else 1) <= value <= 10**15:
            raise InputError(f"{self.where}{word} is {value}; it must be between {int(word not in ZERO)} and 1e15")
        return value


def load(given: Mapping[str, Any], *, name: str, family: str = "custom", where: str = "") -> tuple[Model, list[str]]:
    """The spec that the words describe, and notes on what was assumed."""
    w = Words(given, where)
    notes = []
    vectors = w.get("input", "tokens") == "vectors"
    if w.get("mixer", "attention") == "averaging":
        _without(w, OF_ATTENTION, "mixer", "averaging")
    if vectors:
        _without(w, OF_TOKENS, "input", "vectors")
        if w.get("head", "none") != "none":
            raise InputError(f"{where}head is 'lm', but input is 'vectors': there is no vocabulary", hint="head none")
    elif "vocab" not in given:
        notes.append(f"no vocab given: taken as {VOCAB:,}, GPT-2's")
    learned = w.get("positions", "learned") in ("learned", "sinusoidal")
    if learned and not vectors and "max_positions" not in given and w.get("positions", "learned") == "learned":
        notes.append("no max_positions given: taken without a table of positions")
    if w.get("kind", "decoder") == "encoder-decoder":
        encoder = _stack(w, "encoder", "", w.get("encoder_layers") or w["layers"])
        stacks: tuple[Stack, ...] = (encoder, _stack(w, "decoder", "encoder", w.get("decoder_layers") or w["layers"]))
    else:
        stacks = (_stack(w, w.get("kind", "decoder"), "", w["layers"]),)
    tokens = stacks[-1].embedding
    if not isinstance(tokens, Tokens) or w.get("head", "lm") == "none":
        return Model(name=name, family=family, stacks=stacks), notes
    head = Dense(name="lm", bias=w.get("bias_head", False), tied=w.get("tied", True))
    return Model(name=name, family=family, stacks=stacks, heads=(Head(steps=(head,), softmax=True),)), notes


def _without(w: Words, words: list[str], word: str, value: str) -> None:
    """Refuse words of a part that the model does not have."""
    for other in words:
        if other in w.given:
            raise InputError(f"{w.where}{other} is {w.given[other]}, but {word} is {value!r}, which has none")


def _stack(w: Words, name: str, shared: str, n: int) -> Stack:
    d_model, positions = w["d_model"], w.get("positions", "learned")
    place = w.get("norm_place", "pre")
    norm = Norm(kind=w.get("norm", "layernorm"), bias=w.get("norm_bias", True), eps=w.get("norm_eps", 1e-5))
    decoding = name == "decoder"
    attention = None
    if w.get("mixer", "attention") == "attention":
        attention = _attention(w, d_model, positions, causal=decoding, norm=norm)
    layer = Layer(
        mixer=attention or Averaging(),
        cross=_cross(attention) if shared and attention else None,
        ffn=_mlp(w, d_model),
        norm=norm,
        place=place,
        parallel=w.get("parallel", "no"),
        residual=w.get("residual", True),
        dropout=w.get("dropout", 0.0),
    )
    table = None
    if positions == "sinusoidal":
        table = Positions(kind="sinusoidal", count=w.get("max_positions"))
    elif positions == "learned" and "max_positions" in w.given:
        table = Positions(count=w["max_positions"])
    embedding: Tokens | Vectors = Tokens(
        vocab=w.get("vocab", VOCAB),
        pad_to=w.get("pad_vocab_to", 1),
        positions=table,
        segments=w.get("segments", 0),
        norm=norm if w.get("embedding_norm", False) else None,
        scale=w.get("embedding_scale", 1.0),
        dropout=w.get("dropout", 0.0),
        shared=shared,
    )
    if w.get("input", "tokens") == "vectors":
        embedding = Vectors()
    final = w.get("final_norm", place not in ("post", "none"))
    return Stack(
        name=name, d_model=d_model, embedding=embedding, layers=_layers(w, layer, n), final_norm=norm if final else None
    )


def _attention(w: Words, d_model: int, positions: str, *, causal: bool, norm: Norm) -> Attention:
    heads = w["heads"]
    d_head = w.get("d_head") or divide("d_model", d_model, "heads", heads)
    bias_qkv = w.get("bias_qkv", w.get("bias", True))
    rotary = buckets = None
    if positions == "rotary":
        rotary = Rotary(dims=w.get("rotary_dims", d_head), theta=w.get("rope_theta", 10000.0))
    if positions == "relative-bias":
        buckets = RelativeBias(buckets=w.get("relative_buckets", 32), bidirectional=not causal)
    return Attention(
        n_heads=heads,
        n_kv_heads=w.get("kv_heads"),
        d_head=d_head,
        causal=causal,
        bias_q=bias_qkv,
        bias_k=bias_qkv,
        bias_v=bias_qkv,
        bias_o=w.get("bias_o", w.get("bias", True)),
        rotary=rotary,
        alibi=positions == "alibi",
        relative_bias=buckets,
        relative_projection=RelativeProjection() if positions == "transformer-xl" else None,
        qk_norm=norm if w.get("qk_norm", False) else None,
        dropout=w.get("attention_dropout", w.get("dropout", 0.0)),
    )


def _cross(attention: Attention) -> Attention:
    from dataclasses import replace

    return replace(
        attention, causal=False, rotary=None, alibi=False, relative_bias=None, relative_projection=None, window=None
    )


def _mlp(w: Words, d_model: int) -> Mlp:
    bias = w.get("bias_ffn", w.get("bias", True))
    return Mlp(
        d_ff=w.get("d_ff") or 4 * d_model,
        activation=w.get("activation", "gelu"),
        gated=w.get("gated", False),
        bias_in=bias,
        bias_out=bias,
    )


def _layers(w: Words, layer: Layer, n: int) -> Layers:
    """Equal layers, or some that differ: dense and expert layers, local and global ones."""
    from dataclasses import replace

    kinds, pattern, head = [layer], [0], 0
    experts = w.get("experts")
    for word in ("experts_per_token", "d_expert", "shared_experts", "dense_layers", "moe_every"):
        if word in w.given and not experts:
            raise InputError(f"{w.where}{word} is {w.given[word]}, but experts is not given")
    if experts:
        assert isinstance(layer.ffn, Mlp)
        d_expert = w.get("d_expert") or layer.ffn.d_ff
        moe = Moe(
            n_experts=experts,
            top_k=w["experts_per_token"],
            d_expert=d_expert,
            activation=layer.ffn.activation,
            gated=layer.ffn.gated,
            bias=layer.ffn.bias_in,
            router=Router(normalize=True),
            d_shared=w.get("shared_experts", 0) * d_expert or None,
            layout="in_out",
        )
        every, head = w.get("moe_every", 1), w.get("dense_layers", 0)
        kinds = [replace(layer, name="dense"), replace(layer, name="moe", ffn=moe)]
        pattern = [0] * (every - 1) + [1]
    if "window" in w.given:
        every = w.get("global_every", 0)
        if experts and every:
            raise InputError(f"{w.where}global_every and experts together have no flags", hint="use a config.json")
        local = [replace(k, mixer=replace(k.mixer, window=w["window"])) for k in kinds]  # type: ignore[type-var]
        if every:
            kinds = [replace(local[0], name="local"), replace(layer, name="global")]
            pattern = [0] * (every - 1) + [1]
        else:
            kinds = local
    elif "global_every" in w.given:
        raise InputError(f"{w.where}global_every is {w.given['global_every']}, but window is not given")
    return Layers.cycle(kinds, pattern, n, head=[0] * min(head, n))
