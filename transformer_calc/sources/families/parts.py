"""What text models of one stack are put together from; each part reads its keys where the type's class has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from transformer_calc import spec
from transformer_calc.errors import InputError, shown
from transformer_calc.sources.families.base import Config, Family
from transformer_calc.sources.families.rope import rotary

MOST_LISTED = 10**5  # layers that a pattern may name one by one
LAYER_TYPES = ("full_attention", "sliding_attention")
K = TypeVar("K")


def number(key: str, *default: Any) -> Callable[[Config], float]:
    """What reads a number."""
    return lambda c: c.num(key, *default)


def maybe(key: str) -> Callable[[Config], float | None]:
    """What reads a number or null."""
    return lambda c: c.maybe_num(key)


def flag(key: str, *default: Any) -> Callable[[Config], bool]:
    """What reads true or false."""
    return lambda c: c.flag(key, *default)


def normed_if(key: str, **more: Any) -> Callable[[Config], spec.Norm | None]:
    """What is a norm where a key is true."""
    return lambda c: norm(c, **more) if c.flag(key) else None


# --- parts of a layer -----------------------------------------------------------------------------------------------


def heads(c: Config, default: int | None = None) -> tuple[int, int | None, int]:
    """(query heads, key/value heads if they are grouped, width of a head).

    `default`: that width where the config does not say it. Classes with grouped heads take head_dim where it is given,
    even those whose configuration has no such key.
    """
    n, grouped = c.int("heads"), c.key("kv_heads")
    kv = c.maybe_int(grouped) if grouped else None
    key = c.key("d_head") or ("head_dim" if grouped and "head_dim" not in c.family.inert.split() else "")
    width = (c.maybe_int(key, default) if key else None) or default
    if width is None:
        width = spec.divide(c.key("d_model"), c.int("d_model"), c.key("heads"), n)
    return n, (kv or n if grouped else None), width


def attention(c: Config, *, interleaved: bool = False, default: int | None = None, **more: Any) -> spec.Attention:
    """Attention with rotary positions where the class has them; `more` are fields of it.

    `qkv`, `o`: biases, as the class's key says unless given; `turned`: the part of a head that is; `default`: a head's
    width where the config does not say it.
    """
    n, kv, width = heads(c, default)
    more = c.settled(more)
    qkv = more.pop("qkv") if "qkv" in more else c.flag("attn_bias", False)
    o, turned = more.pop("o", qkv), more.pop("turned", None)
    if "rotary" not in more and "rope_parameters" in c.family.defaults:
        turned = c.num("turned") if c.key("turned") else turned
        more["rotary"] = rotary(c, width, part=turned, interleaved=interleaved)
    if "dropout" not in more:
        more["dropout"] = c.maybe_num("attn_dropout", 0.0) or 0.0
    more.setdefault("n_kv_heads", kv)
    return spec.Attention(n_heads=n, d_head=width, bias_q=qkv, bias_k=qkv, bias_v=qkv, bias_o=o, **more)


def plain(c: Config, *, gated: bool = False, **more: Any) -> spec.Mlp:
    """The feed-forward part; `bias`: as the class's key says unless given."""
    more = c.settled(more)
    bias = more.pop("bias") if "bias" in more else c.flag("ffn_bias", False)
    if "d_ff" not in more:
        more["d_ff"] = c.int("d_ff")
    if "activation" not in more:
        more["activation"] = c.activation()
    return spec.Mlp(gated=gated, bias_in=bias, bias_out=bias, dropout=c.num("ffn_dropout", 0.0), **more)


def fourfold(c: Config) -> int:
    """The width of a feed-forward part that is four times the model's unless given."""
    return (c.maybe_int("d_ff") if c.key("d_ff") else None) or 4 * c.int("d_model")


gated = partial(plain, gated=True)


def experts(c: Config, router: Any = None, **more: Any) -> spec.Moe:
    """A mixture of experts; `router`: it, or fields of it."""
    more = c.settled(more)
    for field, key in (("n_experts", "experts"), ("top_k", "experts_per_token"), ("d_expert", "d_expert")):
        more[field] = more[field] if field in more else c.int(key)
    if "activation" not in more:
        more["activation"] = c.activation()
    made = router if isinstance(router, spec.Router) else spec.Router(**c.settled(router or {}))
    return spec.Moe(router=made, **more)


def norm(c: Config, **more: Any) -> spec.Norm:
    """RMSNorm or LayerNorm, as the key of its epsilon says."""
    more.setdefault("kind", "rmsnorm" if c.key("eps") == "rms_norm_eps" else "layernorm")
    return spec.Norm(eps=c.num("eps"), **more)


# --- the order of layers --------------------------------------------------------------------------------------------


def uniform(c: Config, layer: spec.Layer) -> spec.Layers:
    """All alike."""
    return spec.Layers.uniform(layer, c.int("layers"))


def windowed(c: Config, layer: spec.Layer, *, every: Any = 0, full: Any = None) -> spec.Layers:
    """Layers with a sliding window where layer_types says so, if the class has one; all of them have the same shapes.

    Without layer_types the first max_window_layers see everything, or each `every`-th one does. `full`: what else their
    attention differs in.
    """
    if not c.key("window"):
        return uniform(c, layer)
    own = c.family.defaults
    on = c.flag("use_sliding_window") if "use_sliding_window" in own else True
    first = c.int("max_window_layers", minimum=0) if "max_window_layers" in own else 0
    n, window = c.int("layers"), c.maybe_int("window") if on else None
    every = every(c) if callable(every) else every
    order = c.words("layer_types", LAYER_TYPES, None)
    assert isinstance(layer.mixer, spec.Attention)
    kinds = {
        "full_attention": replace(layer, name="global", mixer=replace(layer.mixer, **c.settled(full or {}))),
        "sliding_attention": replace(layer, name="local", mixer=replace(layer.mixer, window=window)),
    }
    if order is not None:
        return by_type(c, kinds, order, n, ())
    if every:
        return by_rule(c, kinds, lambda i: LAYER_TYPES[(i + 1) % every > 0], n, period=every)
    return spec.Layers.spans(list(kinds.values()), ((0,), min(first, n)), ((1,), n - first))


def by_type(
    c: Config, kinds: Mapping[str, spec.Layer], order: Sequence[str] | None, n: int, cycle: Sequence[str]
) -> spec.Layers:
    """Layers of several kinds, in an explicit order (layer_types) or by a cycle that repeats."""
    number = {name: i for i, name in enumerate(kinds)}
    if order is None:
        return spec.Layers.cycle(list(kinds.values()), [number[name] for name in cycle], n)
    if len(order) != n:
        raise InputError(f"{c.where}layer_types names {len(order)} layers, but there are {n} (num_hidden_layers)")
    return spec.Layers.listed(list(kinds.values()), [number[name] for name in order])


def by_rule(
    c: Config, kinds: Mapping[K, spec.Layer], kind_of: Callable[[int], K], n: int, *, period: int = 1, head: int = 0
) -> spec.Layers:
    """Layers whose kind follows from their number: as it comes for the first `head`, then with a period."""
    head = min(head, n)
    period = min(period, n - head)
    if head + period > MOST_LISTED:
        raise InputError(f"{c.where}the layers' pattern repeats only after {head + period:,} of them; that is too many")
    number = {name: i for i, name in enumerate(kinds)}
    order = [number[kind_of(i)] for i in range(head + period)]
    if period == 0:
        return spec.Layers.listed(list(kinds.values()), order)
    return spec.Layers.cycle(list(kinds.values()), order[head:], n, head=order[:head])


# --- heads ----------------------------------------------------------------------------------------------------------


def table(c: Config) -> spec.Tokens:
    """The token table."""
    return spec.Tokens(vocab=c.int("vocab"), **c.settled(c.family.tokens))


def positions(c: Config, **more: Any) -> spec.Positions:
    """A table of positions."""
    return spec.Positions(count=c.int("max_positions"), **more)


def causal_heads(
    c: Config, *, bias: bool = False, token_bias: bool = True, scale: float = 1.0, softcap: float | None = None
) -> tuple[spec.Head, ...]:
    """The head of a decoder's class: language model (also where no class is named), none, or a task's.

    The generic task heads of transformers: one score per label for the last token's vector, without bias
    (ForSequenceClassification); a labelled bias per token (ForTokenClassification); start and end
    (ForQuestionAnswering).
    """
    name, tied = c.architecture, c.flag("tie_word_embeddings")
    token_bias = c.flag("token_classification_bias", True) and token_bias
    last = name.rpartition("For")[2] if "For" in name else name
    if not name or last == "CausalLM" or name.endswith("LMHeadModel"):
        lm = spec.Dense(name="lm", bias=bias, tied=tied, scale=scale, softcap=softcap)
        return (spec.Head(steps=(lm,), softmax=True),)
    if last == "SequenceClassification":
        pad = c.maybe_int("pad_token_id", None, minimum=-1)
        return (spec.Head(take="last", pad=pad, steps=(spec.Dense(name="score", width=c.n_labels, bias=False),)),)
    if last == "TokenClassification":
        return (spec.Head(steps=(spec.Dense(name="classifier", width=c.n_labels, bias=token_bias),)),)
    if last == "QuestionAnswering":
        return (spec.Head(steps=(spec.Dense(name="qa", width=2, bias=True),)),)
    if name.endswith("Model") and "For" not in name:
        return ()
    raise unknown_architecture(c, "…ForCausalLM, …Model, …ForSequenceClassification, …ForTokenClassification")


def unknown_architecture(c: Config, known: str) -> InputError:
    """The refusal of a class whose head is not known."""
    return InputError(
        f"{c.where}architectures names {shown(c.architecture, 60)}, whose head is not known for {c.family.model_type}",
        hint=f"known: {known}",
    )


def predicting(c: Config, layer: spec.Layer, *, copies: bool, final: bool = True) -> spec.Mtp | None:
    """Layers that predict further tokens, as many as the config says, or None; see `Mtp`."""
    n, own = c.maybe_int(c.key("further") or "num_nextn_predict_layers", None, minimum=0), norm(c)
    if not n:
        return None
    return spec.Mtp(n=n, layer=replace(layer, name="layer"), norm=own, final_norm=own if final else None, copies=copies)


# --- names of tensors -----------------------------------------------------------------------------------------------


def spread(names: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names one by one: of `attn.{q,k}` and `self_attn.{}_proj` one for each word in the braces, or for each pair."""
    for part, name in names.items():
        before, brace, rest = part.partition("{")
        if not brace:
            yield part, name
            continue
        words, _, after = rest.partition("}")
        start, brace, end = name.partition("{")
        theirs, _, end = end.partition("}")
        own = words.split(",")
        for word, their in zip(own, theirs.split(",") if theirs else own, strict=True):
            yield f"{before}{word}{after.replace(f'{{{words}}}', word)}", f"{start}{their}{end}" if brace else name


def named(c: Config, names: Mapping[str, Any], base: str) -> tuple[tuple[str, str], ...]:
    """Tensor names, `~` standing for the prefix that a bare …Model lacks; a name may be a function of the config."""
    bare = c.architecture.endswith("Model") and not c.architecture.endswith(("LMHeadModel", "DoubleHeadsModel"))
    found = dict(spread(c.settled(names)))
    return tuple((part, name.replace("~", "" if bare else base)) for part, name in found.items() if name)


# --- the whole ------------------------------------------------------------------------------------------------------


def _cross(c: Config, mixer: spec.Attention) -> spec.Attention:
    """Attention over an encoder's output, beside a decoder's own."""
    if not mixer.causal:
        raise InputError(f"{c.where}add_cross_attention is true; it needs is_decoder, too")
    if mixer.kv_heads != mixer.n_heads:
        raise InputError(f"{c.where}add_cross_attention is true; with multi_query there is none")
    return replace(mixer, causal=False)


def build(c: Config) -> spec.Model:
    """A model of one stack, from the parts of its family."""
    f = c.family
    for key, right in f.must.items():
        c.must(key, right)
    if f.check:
        f.check(c)
    mixer = f.mixer(c)
    cross = _cross(c, mixer) if f.crosses and c.flag("add_cross_attention", False) else None
    layer = spec.Layer(mixer=mixer, cross=cross, ffn=f.ffn(c), norm=f.norm(c), **c.settled(f.layer))
    stack = spec.Stack(
        d_model=c.int("d_model"),
        embedding=f.embedding(c),
        layers=f.layers(c, layer),
        final_norm=(f.final or f.norm)(c),
        **c.settled(f.stack),
    )
    found, mtp = f.heads(c, **c.settled(f.head)), f.mtp(c, layer) if f.mtp else None
    names = {part: name for part, name in f.names.items() if mtp or not part.startswith("mtp")}
    names |= f.names_of(c) if f.names_of else {}
    base = f.qa_base if f.qa_base and c.architecture.endswith("ForQuestionAnswering") else f.base
    return spec.Model(
        name=f.model_type,
        family=f.model_type,
        stacks=(stack,),
        heads=found,
        tensor_names=named(c, names, base),
        execution=spec.Execution(**f.execution),
        mtp=mtp,
        **{"layout": "out_in"} | c.settled(f.model),
    )


DECODER = Family(
    build=build,
    mixer=attention,
    ffn=gated,
    norm=norm,
    layers=windowed,
    embedding=table,
    heads=causal_heads,
    stack={"name": "decoder"},
    layer={"dropout": number("dropout", 0.0)},
)
