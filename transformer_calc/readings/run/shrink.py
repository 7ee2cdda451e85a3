"""A tiny model of the same structure: the same pieces, kinds of layers, pattern, ratios and flags, in small sizes.

The sizes differ from one another wherever the model's structure lets them, so that no two axes can be confused.
Factors that are made of a width, as 1/√d_head or √d_model are, are made of the small one; others stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from transformer_calc.spec import (
    Attention,
    Audio,
    Dense,
    Disentangled,
    Head,
    LatentAttention,
    Layer,
    Layers,
    Mlp,
    Model,
    Moe,
    Patches,
    Positions,
    Probe,
    Rotary,
    Stack,
    Tokens,
    Vectors,
    Workload,
)

WORKLOAD = {"batch": 2, "seq": 13, "target": 11}

# the first size of each field, and the step to the next where a model has several
SMALL = {
    "heads": (6, 3),
    "kv_heads": (3, 1),
    "d_head": (8, 4),
    "d_value": (14, 6),
    "d_other": (20, 12),  # a model width that is not heads times their width
    "d_ff": (38, 6),
    "d_expert": (26, 4),
    "d_embed": (22, 6),
    "experts": (9, 3),
    "vocab": (97, 10),
    "positions": (43, 4),
    "window": (7, 2),
    "labels": (5, 12),
    "wide": (34, 8),  # of a head
    "q_rank": (28, 2),
    "kv_rank": (18, 2),
    "d_nope": (16, 2),
    "d_rope": (10, 2),
}


class Sizes:
    """Small sizes for large ones: of one field equal ones stay equal, and different ones different."""

    def __init__(self, tokens: int = 0) -> None:
        self.given: dict[str, dict[int, int]] = {}
        self.tokens = tokens  # that a table of positions has room for, at least

    def __call__(self, field: str, size: int) -> int:
        """The small size of a field that has this large one."""
        known = self.given.setdefault(field, {})
        first, step = SMALL[field]
        return known.setdefault(size, first + step * len(known))


def shrink(model: Model, given: Mapping[str, int] | None = None) -> Model:
    """The tiny model; runs of more than two equal cycles of layers become two.

    given: sizes of a workload, for whose tokens it has places
    """
    asked = _asked(model, given or {})
    small = Sizes(sum(asked.get(name, 0) for name in ("seq", "target_seq", "context")))
    stacks = tuple(_stack(small, stack) for stack in model.stacks)
    by_name = {stack.name: (old, stack) for old, stack in zip(model.stacks, stacks, strict=True)}
    heads = tuple(_head(small, head, *by_name[head.stack or model.stacks[-1].name]) for head in model.heads)
    old, new = model.stacks[-1].d_model, stacks[-1].d_model
    mtp = model.mtp and replace(model.mtp, n=min(model.mtp.n, 2), layer=_layer(small, model.mtp.layer, old, new))
    return replace(model, stacks=stacks, heads=heads, mtp=mtp)


def workload(model: Model) -> Workload:
    """What a tiny model is run on."""
    first = model.stacks[0].embedding
    seq = first.count + first.extra_tokens if isinstance(first, Patches) else WORKLOAD["seq"]
    target = WORKLOAD["target"] if model.kind == "encoder-decoder" else None
    if target and any(head.take == "end" for head in model.heads):
        target = seq  # the token is looked for in the source
    return Workload(batch=WORKLOAD["batch"], seq=seq, target=target)


def sizes(model: Model, given: Mapping[str, int]) -> dict[str, int | None]:
    """The sizes of what a tiny model is run on: those that are given, and else little."""
    usual, given = workload(model), _asked(model, given)
    found: dict[str, int | None] = {"batch": usual.batch, "seq": usual.seq, **given}
    if given.get("context"):
        return found if usual.target or "seq" in given else found | {"seq": None}
    if usual.target:
        found.setdefault("target_seq", found["seq"] if usual.target == usual.seq else usual.target)
    return found


def _asked(model: Model, given: Mapping[str, int]) -> dict[str, int]:
    """The sizes that a tiny model can follow: its tokens are not those of the images of the model itself."""
    images = isinstance(model.stacks[0].embedding, Patches)
    return {name: size for name, size in given.items() if not (images and name == "seq")}


def _factor(factor: float, *widths: tuple[float, float]) -> float:
    """A factor that is a width, its root, or one divided by either: of the small width then. widths: (old, small)."""
    for old, new in widths:
        for power in (-1.0, -0.5, 0.5, 1.0):
            if old > 1 and math.isclose(factor, old**power, rel_tol=1e-6):
                return float(new**power)
    return factor


def _stack(small: Sizes, stack: Stack) -> Stack:
    d_model = _d_model(small, stack)
    kinds = tuple(_layer(small, layer, stack.d_model, d_model) for layer in stack.layers.kinds)
    runs = tuple((cycle, min(times, 2)) for cycle, times in stack.layers.runs)
    layers = Layers(kinds=kinds, runs=runs)
    share = stack.share_layers
    if share:
        share = layers.n_layers if share == stack.layers.n_layers else min(share, stack.share_inner)
    return replace(
        stack,
        d_model=d_model,
        embedding=_embedding(small, stack, d_model),
        layers=replace(layers, runs=((runs[0][0], 2 * stack.share_inner),)) if share else layers,
        share_layers=share,
    )


def _d_model(small: Sizes, stack: Stack) -> int:
    """Heads times their width where it was so, something else where it was not; the same for stacks of one width."""
    mixer, known = stack.layers.kinds[0].mixer, small.given.setdefault("d_model", {})
    if stack.d_model not in known:
        if isinstance(mixer, Attention) and mixer.n_heads * mixer.d_head == stack.d_model:
            shrunk = _attention(small, mixer, (1, 1))
            known[stack.d_model] = shrunk.n_heads * shrunk.d_head
        else:
            known[stack.d_model] = small("d_other", stack.d_model)
    return known[stack.d_model]


def _layer(small: Sizes, layer: Layer, old: int, d_model: int) -> Layer:
    mixer: Any = layer.mixer
    if isinstance(mixer, Attention):
        mixer = _attention(small, mixer, (old, d_model))
    elif isinstance(mixer, LatentAttention):
        mixer = _latent(small, mixer)
    ffn: Any = layer.ffn
    if isinstance(ffn, Mlp):
        ffn = replace(ffn, d_ff=_d_ff(small, ffn.d_ff, old, d_model))
    elif isinstance(ffn, Moe):
        ffn = _moe(small, ffn)
    convolution = layer.convolution and replace(
        layer.convolution, kernel=3, groups=2 if layer.convolution.groups > 1 else 1
    )
    cross = layer.cross and _attention(small, layer.cross, (old, d_model))
    return replace(layer, mixer=mixer, cross=cross, ffn=ffn, convolution=convolution)


def _d_ff(small: Sizes, d_ff: int, old: int, d_model: int) -> int:
    """The same multiple of the model's width, if it is a small one."""
    return d_ff // old * d_model if d_ff % old == 0 and 1 < d_ff // old <= 8 else small("d_ff", d_ff)


def _attention(small: Sizes, a: Attention, d_model: tuple[int, int]) -> Attention:
    """d_model: the model's width as it is, and the small one."""
    d_head = small("d_head", a.d_head)
    grouped = a.n_kv_heads not in (None, a.n_heads)
    kv_heads = small("kv_heads", a.kv_heads) if grouped and a.kv_heads > 1 else a.n_kv_heads
    heads = small("heads", a.n_heads)
    if grouped and kv_heads and heads % kv_heads:
        heads = 2 * kv_heads
    kinds = range(2, 10)  # of scores that are added up: each takes its share (DeBERTa's √(3·d_head))
    share = d_model[0] / a.n_heads, max(1, round(d_model[1] / heads))  # Gemma 2 27B's query_pre_attn_scalar
    widths = ((a.d_head, d_head), share, *((n * a.d_head, n * d_head) for n in kinds))
    return replace(
        a,
        scale=a.scale and _factor(a.scale, *widths),
        alibi_scale=_factor(a.alibi_scale, (a.d_head, d_head)),
        n_heads=heads,
        n_kv_heads=kv_heads if grouped else (heads if a.n_kv_heads else None),
        d_head=d_head,
        d_value=small("d_value", a.d_value) if a.d_value not in (None, a.d_head) else a.d_value and d_head,
        window=a.window and small("window", a.window),
        chunk=a.chunk and small("window", a.chunk),
        rotary=a.rotary and _rotary(a.rotary, a.d_head, d_head),
        relative_bias=a.relative_bias and replace(a.relative_bias, buckets=10, max_distance=12),
        disentangled=a.disentangled and _disentangled(a.disentangled),
        temperature=a.temperature and (4.0, a.temperature[1]),
    )


def _rotary(r: Rotary, old: int, new: int) -> Rotary:
    """The same part of a head, and factors for as many pairs as are left."""
    dims = max(2, r.dims * new // old // 2 * 2)
    scaling = tuple(
        (key, (value * dims)[: dims // 2] if isinstance(value, tuple) else value) for key, value in r.scaling
    )
    over = r.over and max(2, r.over * dims // r.dims)
    return replace(r, dims=dims, over=over, scaling=scaling)


def _disentangled(d: Disentangled) -> Disentangled:
    return replace(d, positions=16, log_distance=d.log_distance and 24)


def _latent(small: Sizes, a: LatentAttention) -> LatentAttention:
    d_rope = small("d_rope", a.d_rope)
    indexer = a.indexer
    if indexer:
        rotary = indexer.rotary and _rotary(indexer.rotary, a.d_rope, d_rope)
        indexer = replace(indexer, n_heads=5, d_head=12, top_k=4, rotary=rotary)
    d_nope = small("d_nope", a.d_nope)
    return replace(
        a,
        # YaRN's factor on top of 1/√(width of a head) stays
        scale=a.scale and a.scale * math.sqrt((a.d_nope + a.d_rope) / (d_nope + d_rope)),
        n_heads=small("heads", a.n_heads),
        q_rank=a.q_rank and small("q_rank", a.q_rank),
        kv_rank=small("kv_rank", a.kv_rank),
        d_nope=d_nope,
        d_rope=d_rope,
        d_value=small("d_value", a.d_value),
        rotary=a.rotary and _rotary(a.rotary, a.d_rope, d_rope),
        indexer=indexer,
    )


def _moe(small: Sizes, m: Moe) -> Moe:
    router = m.router
    if router.groups > 1:
        router = replace(router, groups=3, top_groups=min(router.top_groups, 2))
    experts, d_expert = small("experts", m.n_experts), small("d_expert", m.d_expert)
    shared = m.d_shared
    if shared:
        shared = shared // m.d_expert * d_expert if shared % m.d_expert == 0 else small("wide", shared)
    return replace(
        m,
        n_experts=experts,
        top_k=min(m.top_k if m.top_k <= 2 else 4, experts // router.groups * router.top_groups),
        d_expert=d_expert,
        d_shared=shared,
        router=router,
    )


def _embedding(small: Sizes, stack: Stack, d_model: int) -> Tokens | Patches | Audio | Vectors:
    e = stack.embedding
    if isinstance(e, Patches):
        wide = e.patch_width if e.patch_width != e.patch_height else 4
        across = 3 if e.width // e.patch_width == e.height // e.patch_height else 2
        side = 4 if wide == 4 else 5
        channels = min(e.channels, 7)
        return replace(e, height=3 * 4, patch_height=4, width=across * side, patch_width=side, channels=channels)
    if isinstance(e, Audio):
        return replace(e, mels=15, positions=replace(e.positions, count=max(WORKLOAD["seq"] + 4, small.tokens)))
    if isinstance(e, Vectors):
        return e
    width = e.d_embed and (d_model if e.d_embed == stack.d_model else small("d_embed", e.d_embed))
    return replace(
        e,
        scale=_factor(e.scale, (stack.d_model, d_model), (e.d_embed or stack.d_model, width or d_model)),
        vocab=small("vocab", e.vocab),
        pad_to=min(e.pad_to, 8),
        d_embed=width,
        positions=_positions(small, e.positions),
        segments=min(e.segments, 5),
    )


def _positions(small: Sizes, p: Positions | None) -> Positions | None:
    return p and replace(p, count=p.count and max(small("positions", p.count), small.tokens), offset=min(p.offset, 7))


def _head(small: Sizes, head: Head, old: Stack, new: Stack) -> Head:
    def step(s: Any) -> Any:
        if isinstance(s, Probe):
            ffn = replace(s.ffn, d_ff=_d_ff(small, s.ffn.d_ff, old.d_model, new.d_model))
            attention = _attention(small, s.attention, (old.d_model, new.d_model))
            return replace(s, attention=attention, ffn=ffn)
        if not isinstance(s, Dense):
            return s
        s = replace(s, scale=_factor(s.scale, (old.d_model, new.d_model)))
        if s.width is None:
            return replace(s, vocab=s.vocab and small("vocab", s.vocab))
        if s.name == "projection":  # two stacks meet there
            return replace(s, width=small.given["d_model"].get(s.width) or small("wide", s.width))
        return replace(s, width=_width(small, s.width, old, new), pixels=s.pixels and 3)

    end = head.end_token and min(head.end_token, 1)
    scale = _factor(head.scale, (old.d_model, new.d_model))
    return replace(head, steps=tuple(step(s) for s in head.steps), end_token=end, scale=scale)


def _width(small: Sizes, width: int, old: Stack, new: Stack) -> int:
    """A head's width: the model's, the embedding's, or one of its own."""
    if width == old.d_model:
        return new.d_model
    embed = getattr(old.embedding, "d_embed", None)
    if width == embed:
        return int(getattr(new.embedding, "d_embed", 0))
    return width if width <= 2 else small("labels" if width < 64 else "wide", width)
