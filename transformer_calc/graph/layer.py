"""One layer: its parts, the norms around them, and the residual stream."""

from __future__ import annotations

from transformer_calc.graph.attention import attention, averaging, latent_attention
from transformer_calc.graph.core import Builder, Dims, Param, Tensor
from transformer_calc.graph.embedding import without_padding
from transformer_calc.graph.feedforward import mixture, mlp
from transformer_calc.spec import Attention, Averaging, Convolution, LatentAttention, Layer, Mlp


def layer_of(b: Builder, layer: Layer, x: Tensor, queries: str, keys: str, source: Tensor | None) -> Tensor:
    """One layer; x: [B, S, D], and so is what it returns."""
    given = x
    pre, output = layer.place in ("pre", "sandwich"), layer.place in ("output", "sandwich")

    def part(name: str, x: Tensor, run: str) -> tuple[Tensor, Tensor]:
        """(what the residual adds to, the part's output)."""
        start = x
        if pre and (layer.mixer_norm or name != "attn"):
            x = b.norm(f"{name}_norm", x, layer.norm)
            start = x if layer.residual_from_norm else start
        with b.scope(name):
            y = _run(b, layer, run, x, queries, keys, source)
        if output:
            y = b.norm(f"{name}_out_norm", y, layer.norm)
        if layer.scaled:
            dims = (x.dims[-1],)
            vector = b.emit("parameter", f"{name}_layer_scale", (), dims, (Param("weight", dims),), note="learned")
            y = b.map(f"{name}_scaled", "multiply", y, vector, note="· a vector")
        if layer.residual_scale != 1.0:
            y = b.map(f"{name}_scale", "scale", y, factor=layer.residual_scale)
        dropped = layer.dropped in ("both", "ffn" if name == "ffn" else "mixer")
        return start, b.dropout(f"{name}_dropout", y, layer.dropout if dropped else 0.0)

    if layer.parallel != "no":
        return _parallel(b, layer, x, queries, keys)
    for name, run in (("attn", "mixer"), ("cross", "cross"), ("ffn", "ffn")):
        if getattr(layer, run) is None:
            continue
        if run == "cross" and source is None:  # a decoder on its own passes its cross-attention over
            with b.unused("not used without an encoder"):
                x_cross = b.norm(f"{name}_norm", x, layer.norm)
                with b.scope(name):
                    attention(b, layer.cross, x_cross, queries, keys, x_cross)  # type: ignore[arg-type]
            continue
        start, y = part(name, x, run)
        x = b.map(f"{name}_residual", "add", start, y) if layer.residual else y
        if layer.place == "post":
            x = b.norm(f"{name}_norm", x, layer.norm)
    return _convolve(b, layer.convolution, given, x) if layer.convolution else x


def _convolve(b: Builder, c: Convolution, given: Tensor, x: Tensor) -> Tensor:
    """norm(x + act(convolution of what the layer was given)), along the sequence."""
    from transformer_calc.expr import divide

    batch, tokens, (d_model,) = x.dims
    inner = d_model if c.groups == 1 else b.axis("d_group", rule=lambda s: divide(s[d_model], c.groups))
    outer = b.axis("d_out", rule=lambda s: s[d_model])
    params = (Param("weight", ((outer,), (inner,), (b.axis("kernel", c.kernel),))), Param("bias", ((outer,),)))
    with b.scope("conv"):
        y = b.view("channels", given, (batch, (d_model,), tokens), "channels first")
        out: Dims = (batch, (outer,), tokens)
        y = b.emit(
            "convolution",
            "conv",
            (y,),
            out,
            params,
            stride=(1,),
            padding=c.kernel // 2,
            groups=c.groups,
            note="over neighbours",
        )
        y = b.view("rows", y, (batch, tokens, (outer,)), "a vector for each token")
        y = without_padding(b, "zero_padding", y)
        y = b.map("act", c.activation, b.dropout("dropout", y, c.dropout), note=c.activation)
        z = b.norm("norm", b.map("residual", "add", x, y), c.norm)
        return without_padding(b, "output", z)


def _parallel(b: Builder, layer: Layer, x: Tensor, queries: str, keys: str) -> Tensor:
    """X + mixer(norm(x)) + ffn(norm(x)) (GPT-J, PaLM); `separate`: a norm each (GPT-NeoX, Falcon 40B)."""
    if layer.parallel == "shared":
        first = second = b.norm("norm", x, layer.norm)
    else:
        first, second = b.norm("attn_norm", x, layer.norm), b.norm("ffn_norm", x, layer.norm)
    with b.scope("attn"):
        y = _run(b, layer, "mixer", first, queries, keys, None)
    each = 0.0 if layer.dropped == "sum" else layer.dropout
    y = b.dropout("attn_dropout", y, each)
    with b.scope("ffn"):
        z = _run(b, layer, "ffn", second, queries, keys, None)
    z = b.dropout("ffn_dropout", z, each)
    both = b.map("parts", "add", y, z, note="attention + feed-forward")
    both = b.dropout("dropout", both, layer.dropout) if layer.dropped == "sum" else both
    return b.map("residual", "add", x, both)


def _run(b: Builder, layer: Layer, run: str, x: Tensor, queries: str, keys: str, source: Tensor | None) -> Tensor:
    spec = getattr(layer, run)
    if isinstance(spec, Attention):
        return attention(b, spec, x, queries, keys, source if run == "cross" else None)
    if isinstance(spec, LatentAttention):
        return latent_attention(b, spec, x, queries, keys)
    if isinstance(spec, Averaging):
        return averaging(b, x, queries, keys)
    return mlp(b, spec, x) if isinstance(spec, Mlp) else mixture(b, spec, x)
