"""Attention, in all its forms, as operations."""

from __future__ import annotations

from typing import Any

from transformer_calc.graph.core import DATA, MASK, Builder, Dim, Param, Tensor, plain
from transformer_calc.spec import Attention, Indexer, LatentAttention, Rotary

QUERIES, KEYS = "seq", "context"


def attention(b: Builder, a: Attention, x: Tensor, queries: str, keys: str, source: Tensor | None) -> Tensor:
    """Self-attention over x, or cross-attention from x to `source`.

    x: [B, queries, D]; returns [B, queries, D]. Keys of a causal layer are those in the cache and the new ones.
    """
    span = None if a.cache_all else a.window or a.chunk
    if span and keys == KEYS:
        keys = _window_keys(b, span, queries)
    d_model = x.dims[-1]
    heads = b.axis("heads", a.n_heads)
    grouped = a.kv_heads != a.n_heads
    kv_heads = b.axis("kv_heads", a.kv_heads) if grouped else heads
    d_head = b.axis("d_head", a.d_head)
    d_value = d_head if a.d_value in (None, a.d_head) else b.axis("d_value", a.d_value)
    memory = source or x

    q = b.linear("q", x, (heads, d_head), bias=a.bias_q)
    k = b.linear("k", memory, (kv_heads, d_head), bias=a.bias_k)
    v = b.linear("v", memory, (kv_heads, d_value), bias=a.bias_v)
    if a.qk_norm and a.qk_norm_over == "inner":
        q, k = b.norm("q_norm", q, a.qk_norm), b.norm("k_norm", k, a.qk_norm)
    if a.clip_qkv is not None:
        q, k, v = (b.map(f"{n}_clip", "clip", t, limit=a.clip_qkv) for n, t in zip("qkv", (q, k, v), strict=True))
    q, k, v = _split(b, "q", q), _split(b, "k", k), _split(b, "v", v)
    if a.qk_norm and a.qk_norm_over != "inner" and not a.qk_norm_after_rotary:
        q, k = _norm_heads(b, a, "q_norm", q), _norm_heads(b, a, "k_norm", k)
    q, k, v = _heads_first(b, "q", q), _heads_first(b, "k", k), _heads_first(b, "v", v)
    if a.rotary:
        q, k = _rotate(b, "q", q, a.rotary), _rotate(b, "k", k, a.rotary)
    if a.qk_norm and a.qk_norm_after_rotary:
        q, k = _norm_heads(b, a, "q_norm", q), _norm_heads(b, a, "k_norm", k)
    if a.temperature:
        q = b.map("q_temperature", "scale", q, by_position=a.temperature, note="grow with position")
    if grouped and a.cache_repeated:
        k, v = (_repeat_heads(b, n, t, heads) for n, t in (("k", k), ("v", v)))
    if source is None and plain(keys) == KEYS:
        k, v = (_cache(b, n, t, keys, window=span) for n, t in (("k", k), ("v", v)))
    elif source is not None and k.dims[-2] == ("source",):  # the same at every step of decoding
        k, v = (_cache(b, n, t, "source", once=True) for n, t in (("k", k), ("v", v)))
    elif source is None:  # the same tokens, under a name of their own beside the queries'
        k, v = (_as_keys(b, n, t, keys) for n, t in (("k", k), ("v", v)))
    if grouped and not a.cache_repeated:
        k, v = (_repeat_heads(b, n, t, heads) for n, t in (("k", k), ("v", v)))

    scale = a.scale if a.scale is not None else a.d_head**-0.5
    scores = _scores(b, q, k, scale, by_layer=a.scale_by_layer)
    if a.disentangled:
        scores = _disentangled(b, a, x, q, k, scores, (heads, d_head), scale)
    if a.relative_projection:
        scores = _relative(b, a, q, scores, (heads, d_head), d_model, keys)
    if a.alibi:
        note = "add slope · distance"
        scores = b.emit("distance_bias", "alibi", (scores,), scores.dims, note=note, scale=a.alibi_scale)
    if a.relative_bias:
        bias = _relative_bias(b, a, heads, queries, keys)
        scores = b.map("add_bias", "add", scores, bias, note="add the bias of each distance", learned_bias=True)
    if a.softcap:
        scores = b.map("softcap", "softcap", scores, cap=a.softcap)
    weights = _weights(b, a, scores, heads, cross=source is not None)
    mixed = b.einsum("mix", weights, v, (*q.dims[:-1], v.dims[-1]))
    return _output(b, mixed, d_model, bias=a.bias_o)


def averaging(b: Builder, x: Tensor, queries: str, keys: str) -> Tensor:
    """Z = A·X, with a given A of [queries, keys]. x: [B, queries, D]; returns the same."""
    batch, _, d_model = x.dims
    weights, looked_at = Tensor("A", ((queries,), (keys,)), given=DATA), Tensor(x.name, (batch, (keys,), d_model))
    return b.einsum("mix", weights, looked_at, x.dims)


def latent_attention(b: Builder, a: LatentAttention, x: Tensor, queries: str, keys: str) -> Tensor:
    """Multi-head latent attention. x: [B, queries, D]; returns [B, queries, D].

    The cache holds the latent and the shared rotary key. Naive: every head's keys and values are expanded from them.
    Absorbed (arXiv 2405.04434, §2.1.2): the queries go through W_uk instead and look at the latent itself, and what
    they find goes through W_uv: the same numbers, with work that hardly grows with the context.
    """
    heads, d_value = b.axis("heads", a.n_heads), b.axis("d_value", a.d_value)
    nope, rope = b.axis("d_nope", a.d_nope), b.axis("d_rope", a.d_rope)
    d_head = b.axis("d_head", rule=lambda s: s[nope] + s[rope])
    batch, tokens, d_model = x.dims

    if a.q_rank:
        low = b.linear("q_down", x, (b.axis("q_rank", a.q_rank),), bias=a.bias, note="the query latent")
        low = b.norm("q_norm", low, a.norm)
        q = b.linear("q_up", low, (heads, d_head), bias=False, note="every head's query")
    else:
        q = b.linear("q", x, (heads, d_head), bias=False)
    q = _heads_first(b, "q", _split(b, "q", q))
    q_nope = b.emit("slice", "q_nope", (q,), (*q.dims[:-1], (nope,)), take="first", note="without position")
    q_rope = b.emit("slice", "q_rope", (q,), (*q.dims[:-1], (rope,)), take="last", note="to be rotated")
    q_rope = _rotate(b, "q_rope", q_rope, a.rotary)

    latent = b.linear("kv_down", x, (b.axis("kv_rank", a.kv_rank),), bias=a.bias, note="the key/value latent")
    k_rope = b.linear("k_rope", x, (rope,), bias=a.bias, note="one rotary key for all heads")
    latent = b.norm("kv_norm", latent, a.norm)
    k_rope = b.view("k_rope_head", k_rope, (batch, (), tokens, (rope,)), "as one head")
    k_rope = _rotate(b, "k_rope", k_rope, a.rotary)
    latent = b.emit("cache", "latent_cache", (latent,), (batch, (keys,), latent.dims[-1]), note="and those cached")
    k_rope = _cache(b, "k_rope", k_rope, keys)

    scale = a.scale if a.scale is not None else (a.d_nope + a.d_rope) ** -0.5
    if b.absorbed:
        q_latent = b.by_head("k_up", q_nope, (heads,), (nope,), latent.dims[-1], note="to the latent")
        content = b.einsum(
            "content", q_latent, latent, (*q.dims[:-1], (keys,)), note="against the latent", scale=scale, absorbed=True
        )
        place = b.einsum("place", q_rope, k_rope, content.dims, note="against the rotary keys", scale=scale)
        scores = b.map("scores", "add", content, place, note="both parts")
    else:
        q = _concat(b, "q_full", q_rope, q_nope, d_head)
        k_nope = b.linear("k_up", latent, (heads, nope), bias=False, note="every head's key")
        v = b.linear("v_up", latent, (heads, d_value), bias=False, note="every head's value")
        k_nope, v = (_heads_first(b, n, _split(b, n, t)) for n, t in (("k_up", k_nope), ("v_up", v)))
        k_rope = b.emit("repeat", "k_rope_repeat", (k_rope,), (*k_nope.dims[:-1], (rope,)), note="to every head")
        k = _concat(b, "k_full", k_rope, k_nope, d_head)
        scores = _scores(b, q, k, scale, stretched=a.scale is not None)
    masked = _mask(b, scores, causal=a.causal)
    if a.indexer:
        worth = _indexer(b, a.indexer, x, low, keys, causal=a.causal)
        note = f"−∞ but at the best {a.indexer.top_k:,}"
        masked = b.emit("keep_best", "keep_best", (masked, worth), masked.dims, top_k=a.indexer.top_k, note=note)
    weights = b.emit("softmax", "softmax", (masked,), scores.dims, note="over the keys")
    weights = b.dropout("dropout", weights, a.dropout)
    if b.absorbed:
        found = b.einsum("mix", weights, latent, (*q.dims[:-1], latent.dims[-1]))
        mixed = b.by_head("v_up", found, (heads,), (d_value,), (d_value,), note="to every head's value")
    else:
        mixed = b.einsum("mix", weights, v, (*q.dims[:-1], (d_value,)))
    return _output(b, mixed, d_model, bias=a.bias)


def _indexer(b: Builder, i: Indexer, x: Tensor, low: Tensor, keys: str, *, causal: bool) -> Tensor:
    """What each key is worth to each query, by a few cheap heads with one key for all: [B, 1, queries, keys]."""
    heads, width = b.axis("index_heads", i.n_heads), b.axis("d_index", i.d_head)
    batch, tokens, _ = x.dims
    with b.scope("indexer", chooses=True):
        q = b.linear("q", low, (heads, width), bias=False, note="its queries, from the latent")
        q = _rotate(b, "q", _heads_first(b, "q", _split(b, "q", q)), i.rotary)
        k = b.norm("k_norm", b.linear("k", x, (width,), bias=False, note="one key for all heads"), i.norm)
        k = _rotate(b, "k", b.view("k_head", k, (batch, (), tokens, (width,)), "as one head"), i.rotary)
        k = b.view("k_rows", _cache(b, "k", k, keys), (batch, (keys,), (width,)), "one row a token")
        scores = b.einsum("scores", q, k, (*q.dims[:-1], (keys,)), scale=i.d_head**-0.5)
        scores = b.map("act", "relu", scores)
        weights = b.linear("weights", x, (heads,), bias=False, note="of each head, by the query")
        total = b.einsum("total", weights, scores, (batch, tokens, (keys,)), scale=i.n_heads**-0.5)
        worth = b.view("total_head", total, (batch, (), tokens, (keys,)), "as one head")
        return _mask(b, worth, causal=causal)


def _window_keys(b: Builder, window: int, queries: str) -> str:
    """The keys of a windowed layer: its cache keeps only what the next token can still see, window - 1 tokens."""
    from transformer_calc.expr import minimum

    return b.axis("context", rule=lambda s: minimum(s["cached"], window - 1) + s[queries], suffixes=("window",))


def _split(b: Builder, name: str, t: Tensor) -> Tensor:
    heads, width = t.dims[-1]
    return b.view(f"{name}_split", t, (*t.dims[:-1], (heads,), (width,)), "split into heads")


def _heads_first(b: Builder, name: str, t: Tensor) -> Tensor:
    batch, tokens, heads, width = t.dims
    return b.view(f"{name}_heads", t, (batch, heads, tokens, width), "heads first")


def _norm_heads(b: Builder, a: Attention, path: str, t: Tensor) -> Tensor:
    assert a.qk_norm
    heads = t.dims[1] if a.qk_norm_after_rotary else t.dims[2]
    over = (heads, t.dims[-1]) if a.qk_norm_over == "heads" else None
    return b.norm(path, t, a.qk_norm, over=over)


def _rotate(b: Builder, name: str, t: Tensor, rotary: Rotary | None) -> Tensor:
    if not rotary:
        return t
    attrs: dict[str, Any] = {
        "rotated": rotary.dims,
        "over": rotary.over or rotary.dims,
        "theta": rotary.theta,
        "interleaved": rotary.interleaved,
        "scaling": dict(rotary.scaling),
    }
    return b.emit("rotary", f"{name}_rotated", (t,), t.dims, note=f"rotate {rotary.dims} of each head", **attrs)


def _cache(b: Builder, name: str, t: Tensor, keys: str, *, once: bool = False, window: int | None = None) -> Tensor:
    """What is kept for the next tokens; `once`: all of it is there from the first one on; `window`: only the latest."""
    dims = (*t.dims[:-2], (keys,), t.dims[-1])
    note = "kept: the same for every token" if once else "with the cached ones before"
    return b.emit("cache", f"{name}_cache", (t,), dims, note=note, once=once, window=window)


def _as_keys(b: Builder, name: str, t: Tensor, keys: str) -> Tensor:
    return b.view(f"{name}_keys", t, (*t.dims[:-2], (keys,), t.dims[-1]), "as what is looked at")


def _repeat_heads(b: Builder, name: str, t: Tensor, heads: str) -> Tensor:
    dims = (t.dims[0], (heads,), *t.dims[2:])
    return b.emit("repeat", f"{name}_repeat", (t,), dims, note="each serves a group of query heads", of=name)


def _concat(b: Builder, path: str, rope: Tensor, nope: Tensor, d_head: str) -> Tensor:
    return b.emit("concat", path, (nope, rope), (*nope.dims[:-1], (d_head,)), note="both parts of each head")


def _scores(
    b: Builder, q: Tensor, k: Tensor, scale: float, *, by_layer: bool = False, stretched: bool = False
) -> Tensor:
    """Q·Kᵀ times a scale; `stretched`: which is 1/√E times a factor of its own (YaRN, arXiv 2309.00071, §3.4)."""
    attrs: dict[str, Any] = {"scale": scale}
    attrs |= {name: True for name, on in (("by_layer", by_layer), ("stretched", stretched)) if on}
    return b.einsum("scores", q, k, (*q.dims[:-1], k.dims[-2]), **attrs)


def _mask(
    b: Builder,
    scores: Tensor,
    *,
    causal: bool,
    window: int | None = None,
    chunk: int | None = None,
    rows: bool = False,
) -> Tensor:
    batch, _, queries, keys = scores.dims
    if causal or window or chunk:
        seen = Tensor("mask", (queries, keys), given=MASK)
        limits = [f"outside the latest {window:,}" if causal else f"outside {window:,} around"] if window else []
        limits += [f"outside chunks of {chunk:,}"] if chunk else []
        note = "−∞ " + " and ".join((["above the diagonal"] if causal else []) + limits)
    else:
        seen, note = Tensor("padding_mask", (batch, keys), given=MASK), "−∞ at padding"
    if window or chunk:
        b.axis("window", window or chunk)
    limits_of: dict[str, Any] = {"causal": causal, "window": window, "chunk": chunk, "rows": rows}
    return b.emit("mask", "mask", (scores, seen), scores.dims, note=note, **limits_of)


def _weights(b: Builder, a: Attention, scores: Tensor, heads: str, *, cross: bool) -> Tensor:
    causal = a.causal and not cross
    masked = _mask(b, scores, causal=causal, window=a.window, chunk=a.chunk, rows=a.mask_queries)
    params = (Param("sinks", ((heads,),)),) if a.sinks else ()
    note = "over the keys and a sink" if a.sinks else "over the keys"
    weights = b.emit("softmax", "softmax", (masked,), scores.dims, params, note=note)
    return b.dropout("dropout", weights, a.dropout)


def _output(b: Builder, mixed: Tensor, d_model: Dim, *, bias: bool) -> Tensor:
    batch, heads, queries, width = mixed.dims
    back = b.view("tokens_first", mixed, (batch, queries, heads, width), "tokens first")
    joined = b.view("concat", back, (batch, queries, heads + width), "heads side by side")
    return b.linear("o", joined, d_model, bias=bias)


def _relative_bias(b: Builder, a: Attention, heads: str, queries: str, keys: str) -> Tensor:
    spec = a.relative_bias
    assert spec
    if not spec.every_layer:
        return Tensor(b.of_stack("relative_bias"), ((heads,), (queries,), (keys,)))
    return relative_bias_table(b, a, queries, keys)


def relative_bias_table(b: Builder, a: Attention, queries: str, keys: str) -> Tensor:
    """The bias of each head for each query and key, from one table over distance buckets."""
    spec = a.relative_bias
    assert spec
    heads = b.axis("heads", a.n_heads)
    table = Param("weight", ((b.axis("buckets", spec.buckets),), (heads,)))
    dims = ((heads,), (queries,), (keys,))
    attrs: dict[str, Any] = {"max_distance": spec.max_distance, "bidirectional": spec.bidirectional, "embedding": True}
    return b.emit("relative_lookup", "relative_bias", (), dims, (table,), note="one bias per head and bucket", **attrs)


def _disentangled(
    b: Builder, a: Attention, x: Tensor, q: Tensor, k: Tensor, scores: Tensor, inner: Dim, scale: float
) -> Tensor:
    """Content-to-position and position-to-content scores, gathered by distance and added."""
    spec = a.disentangled
    assert spec
    positions = b.axis("positions", spec.positions, suffixes=("relative",))
    table = Tensor(b.of_stack("relative"), ((positions,), x.dims[-1]))
    table = b.dropout("pos_dropout", table, spec.dropout)
    parts = [scores]
    for on, name, content, other in (
        (spec.content_to_position, "c2p", q, "k"),
        (spec.position_to_content, "p2c", k, "q"),
    ):
        if not on:
            continue
        bias = a.bias_k if other == "k" else a.bias_q
        if spec.shared_projections:
            projected = b.linear(
                f"pos_{other}", table, inner, bias=bias, of=other, note=f"positions through the content's W_{other}"
            )
        else:
            projected = b.linear(f"pos_{other}", table, inner, bias=bias, note="positions projected")
        rows, (heads, width) = projected.dims
        split = b.view(f"pos_{other}_split", projected, (rows, (heads,), (width,)), "split into heads")
        by_head = b.view(f"pos_{other}_heads", split, ((heads,), rows, (width,)), "heads first")
        note = "content to position" if name == "c2p" else "position to content"
        part = b.einsum(name, content, by_head, (*content.dims[:-1], rows), note=note, scale=scale)
        by, note = "query" if other == "k" else "key", "at each pair's distance"
        gather = f"{name}_gather"
        parts.append(b.emit("shift", gather, (part,), scores.dims, note=note, by=by, log_distance=spec.log_distance))
    total = parts[0]
    for i, part in enumerate(parts[1:], start=1):
        total = b.map(f"add_relative_{i}", "add", total, part)
    return total


def _relative(b: Builder, a: Attention, q: Tensor, scores: Tensor, inner: Dim, d_model: Dim, keys: str) -> Tensor:
    """Transformer-XL: scores against projected sinusoids of the distance, with two learned biases."""
    spec = a.relative_projection
    assert spec
    heads, width = inner
    note = sinusoid_formula(b, d_model, "alternating", 0, name="R[d")
    distances = b.emit("sinusoid", "distances", (), ((keys,), d_model), order="alternating", spread=0, note=note)
    r = b.linear("r", distances, inner, bias=False)
    r = b.view("r_split", r, ((keys,), (heads,), (width,)), "split into heads")
    r = b.view("r_heads", r, ((heads,), (keys,), (width,)), "heads first")
    if spec.biases:
        u = b.emit("parameter", "content_bias", (), ((heads,), (), (width,)), (Param("weight", ((heads,), (width,))),))
        w = b.emit("parameter", "position_bias", (), ((heads,), (), (width,)), (Param("weight", ((heads,), (width,))),))
        content = b.einsum("bias_scores", u, r, ((heads,), (), (keys,)))
        scores = b.map("add_content", "add", scores, content)
        q = b.map("q_position", "add", q, w)
    part = b.einsum("r_scores", q, r, scores.dims)
    part = b.emit("shift", "r_shift", (part,), scores.dims, note="at each pair's distance")
    return b.map("add_relative", "add", scores, part)


def sinusoid_formula(b: Builder, width: Dim, order: str, spread: int, offset: int = 0, name: str = "PE[p") -> str:
    """The sines and cosines of a position p, from column 0 on: alternating (arXiv 1706.03762, §3.5), or as halves.

    `spread`: exponents from 0 to 1 in D/2 − spread steps, where the paper's last one stays below 1.
    """
    (axis,) = width
    d, p, size = b.axes[axis].symbol, name[-1], b.axes[axis].size or 0
    half = f"⌊{d}/2⌋" if size % 2 else f"{d}/2"
    exponent = f"i/({half} − {spread})" if spread else f"2i/{d}"
    sine, cosine = "2i", "2i+1"
    if order == "halves":
        sine, cosine = "i", f"{half if spread or not size % 2 else f'⌈{d}/2⌉'} + i"
    angle = f"({p} / 10000^({exponent}))"
    from_row = f", p from {offset} on" if offset else ""
    return f"{name}, {sine}] = sin{angle}, {name}, {cosine}] = cos{angle}{from_row}"
