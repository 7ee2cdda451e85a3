"""What a model is, fact by fact, as its spec says it: what is held beside other models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import reduce
from typing import Any, Protocol, TypeGuard

from transformer_calc.spec import Attention, Dense, LatentAttention, Layer, Mlp, Model, Moe, Patches, Stack
from transformer_calc.tuples import NamedTuple


class _Described(Protocol):
    """A model: its spec, and what an answer says of it."""

    @property
    def spec(self) -> Model: ...

    @property
    def about(self) -> Mapping[str, Any]: ...


class Fact(NamedTuple):
    """A line of a comparison.

    kind: what its value is: text, count, bytes, …; of: reads it, and gives None where it does not apply to a model
    """

    group: str
    key: str
    label: str
    kind: str
    of: Callable[[Any], Any]


Reads = str | Callable[[Any], Any]  # a path of attributes, or a function


def group(name: str, *facts: tuple[str, str, str, Reads]) -> tuple[Fact, ...]:
    """The facts of a group, each by its key, label, kind, and how it is read."""
    return tuple(Fact(name, key, label, kind, _reader(of)) for key, label, kind, of in facts)


def _reader(of: Reads) -> Callable[[Any], Any]:
    """Reads a path, and None where it leads through what is None."""
    if not isinstance(of, str):
        return of
    names = of.split(".")
    return lambda s: reduce(lambda value, name: None if value is None else getattr(value, name), names, s)


def told(values: Iterable[tuple[str, Any]]) -> Any:
    """One value where all that have one agree, else each by what it is of: {encoder: 512, decoder: 256}."""
    found = {of: value for of, value in values if value is not None}
    return found if len(set(found.values())) > 1 else next(iter(found.values()), None)


def tied(spec: Model) -> bool | None:
    """Whether the head that predicts tokens is tied to their table; None where there is no such head."""
    return next((step.tied for head in spec.heads for step in head.steps if _is_lm(step)), None)


def _layers(spec: Model) -> Iterator[tuple[str, Stack, Layer, int]]:
    """Every kind of layer: what tells it from the others, its stack, itself, and how many there are."""
    for stack in spec.stacks:
        kinds = stack.layers.kinds
        for number, layer in enumerate(kinds):
            names = [stack.name] * (len(spec.stacks) > 1) + [layer.name] * (len(kinds) > 1)
            yield " ".join(names), stack, layer, stack.layers.count(number)


def _of(part: str, get: Reads, *kinds: type) -> Callable[[_Described], Any]:
    """Reads it of a part of every kind of layer, or of the layer itself, where that is of these kinds."""
    read = _reader(get)

    def of(s: _Described) -> Any:
        parts = [(of, getattr(layer, part) if part else layer) for of, _, layer, _ in _layers(s.spec)]
        return told((of, read(one)) for of, one in parts if not kinds or isinstance(one, kinds))

    return of


def _of_stacks(get: Callable[[Stack], Any]) -> Callable[[_Described], Any]:
    return lambda s: told((stack.name, get(stack)) for stack in s.spec.stacks)


def _kinds(s: _Described) -> str:
    kinds = [f"{count:,} {of}" for of, _, _, count in _layers(s.spec) if of] or ["all alike"]
    kinds += [f"sets of weights: {stack.share_layers}" for stack in s.spec.stacks if stack.share_layers]
    return ", ".join(kinds)


def _attention(layer: Layer) -> str:
    mixer = layer.mixer
    if isinstance(mixer, Attention):
        grouped = "multi-query" if mixer.kv_heads == 1 else "grouped-query"
        kind = grouped if mixer.kv_heads < mixer.n_heads else "multi-head"
    else:
        kind = "latent" if isinstance(mixer, LatentAttention) else "averaging" if mixer else "none"
    return f"{kind} + cross" if layer.cross else kind


def _d_head(mixer: Attention | LatentAttention) -> int:
    return mixer.d_head if isinstance(mixer, Attention) else mixer.d_nope + mixer.d_rope


def _added(layer: Layer) -> str:
    """What is done to queries, keys and scores beside the usual."""
    mixer = layer.mixer
    if isinstance(mixer, LatentAttention):
        return f"top {mixer.indexer.top_k:,} keys of an indexer" if mixer.indexer else "none"
    if not isinstance(mixer, Attention):
        return "none"
    said = {"QK norm": mixer.qk_norm, "sinks": mixer.sinks, f"softcap {mixer.softcap}": mixer.softcap}
    return ", ".join(name for name, there in said.items() if there) or "none"


IN_SCORES = ("alibi", "relative_bias", "disentangled", "relative_projection")  # ways in which scores know of positions


def _positions(s: _Described) -> Any:
    return told((of, _positions_of(stack, layer)) for of, stack, layer, _ in _layers(s.spec))


def _positions_of(stack: Stack, layer: Layer) -> str:
    embedding, mixer = stack.embedding, layer.mixer
    if isinstance(embedding, Patches):
        found = ["" if embedding.positions == "none" else embedding.positions]
    else:
        found = [embedding.positions.kind if embedding.positions else ""]
    if isinstance(mixer, Attention | LatentAttention) and mixer.rotary:
        kind = dict(mixer.rotary.scaling).get("rope_type")
        found.append(f"rotary ({kind})" if kind else "rotary")
    if isinstance(mixer, Attention):
        found += [field.replace("alibi", "ALiBi").replace("_", " ") for field in IN_SCORES if getattr(mixer, field)]
    return ", ".join(filter(None, found)) or "none"


def _theta(mixer: Attention | LatentAttention) -> Any:
    if not mixer.rotary:
        return None
    theta = mixer.rotary.theta
    return int(theta) if theta == int(theta) else theta


def _context_length(s: _Described) -> Any:
    """Rows of the table of positions; without one, what the config says that the model is made for."""

    def tokens(stack: Stack) -> int | None:
        embedding = stack.embedding
        if isinstance(embedding, Patches):
            return embedding.count + embedding.extra_tokens
        return embedding.positions.count if embedding.positions else None

    found, made = _of_stacks(tokens)(s), s.about["length"]
    return made["tokens"] if found is None and made and made["what"] != "trained on" else found


def _place(layer: Layer) -> str:
    return layer.place if layer.parallel == "no" else f"{layer.place}, parallel"


def _is_lm(step: object) -> TypeGuard[Dense]:
    return isinstance(step, Dense) and step.width is None


def _heads(s: _Described) -> str:
    if tied(s.spec) is not None:
        return "language model"
    return ", ".join(dict.fromkeys(head.name for head in s.spec.heads)) or "none"


def _biases(s: _Described) -> str:
    """Which matrices, norms and heads have biases."""
    found: list[str] = []
    for _, _, layer, _ in _layers(s.spec):
        for mixer in (layer.mixer, layer.cross):
            if isinstance(mixer, Attention):
                found += [letter for letter in "qkvo" if getattr(mixer, f"bias_{letter}")]
            elif isinstance(mixer, LatentAttention) and mixer.bias:
                found.append("attention")
        ffn = layer.ffn
        if (isinstance(ffn, Mlp) and (ffn.bias_in or ffn.bias_out)) or (isinstance(ffn, Moe) and ffn.bias):
            found.append("feed-forward")
        if layer.place != "none" and layer.norm.kind == "layernorm" and layer.norm.weight and layer.norm.bias:
            found.append("norms")
    found += ["head" for head in s.spec.heads for step in head.steps if isinstance(step, Dense) and step.bias]
    return ", ".join(dict.fromkeys(found)) or "none"


NORMS = {"layernorm": "LayerNorm", "rmsnorm": "RMSNorm"}
ANY = (Attention, LatentAttention)
FACTS = group(
    "architecture",
    ("family", "family", "text", "spec.family"),
    ("kind", "kind", "text", "spec.kind"),
    ("layers", "layers", "count", lambda s: sum(stack.layers.n_layers for stack in s.spec.stacks)),
    ("layer_kinds", "kinds of layers", "text", _kinds),
    ("d_model", "model width", "count", _of_stacks(lambda stack: stack.d_model)),
    ("heads", "query heads", "count", _of("mixer", "n_heads", *ANY)),
    ("kv_heads", "key/value heads", "count", _of("mixer", "kv_heads", Attention)),
    ("d_head", "width of a head", "count", _of("mixer", _d_head, *ANY)),
    ("attention", "attention", "text", _of("", _attention)),
    ("kv_rank", "key/value latent", "count", _of("mixer", "kv_rank", LatentAttention)),
    (
        "window",
        "window",
        "count",
        _of("mixer", lambda a: f"chunks of {a.chunk:,}" if a.chunk else a.window, Attention),
    ),
    ("attention_added", "added to attention", "text", _of("", _added)),
    ("position", "positions", "text", _positions),
    ("rope_theta", "rotary base", "count", _of("mixer", _theta, *ANY)),
    ("context_length", "context length", "count", _context_length),
    ("d_ff", "feed-forward width", "count", _of("ffn", "d_ff", Mlp)),
    ("activation", "activation", "text", _of("ffn", lambda f: f.activation + ", gated" * f.gated, Mlp, Moe)),
    ("experts", "experts", "count", _of("ffn", "n_experts", Moe)),
    ("experts_per_token", "experts per token", "count", _of("ffn", "top_k", Moe)),
    ("d_expert", "width of an expert", "count", _of("ffn", "d_expert", Moe)),
    ("d_shared", "width of shared experts", "count", _of("ffn", "d_shared", Moe)),
    ("norm", "norm", "text", _of("", lambda one: None if one.place == "none" else NORMS[one.norm.kind])),
    ("norm_place", "place of norms", "text", _of("", _place)),
    ("vocab", "vocabulary", "count", _of_stacks(lambda stack: getattr(stack.embedding, "vocab", None))),
    ("head", "head", "text", _heads),
    ("tied", "head tied to tokens", "text", lambda s: tied(s.spec)),
    ("biases", "biases", "text", _biases),
)
