"""A whole model as a graph: embeddings, layers, heads."""

from __future__ import annotations

from transformer_calc.errors import InputError
from transformer_calc.graph.attention import attention, averaging, latent_attention, relative_bias_table
from transformer_calc.graph.core import Builder, Dims, Graph, Param, Tensor
from transformer_calc.graph.feedforward import mixture, mlp
from transformer_calc.spec import (
    Act,
    Attention,
    Audio,
    Averaging,
    Convolution,
    Dense,
    Head,
    LatentAttention,
    Layer,
    Mlp,
    Model,
    Patches,
    Pool,
    Probe,
    Stack,
    Tokens,
    Vectors,
)


def build(model: Model, *, absorbed: bool = False) -> Graph:
    """The graph of a model: its size depends on the kinds of layers, not on how many there are.

    `absorbed`: latent attention in its form for decoding.
    """
    b = Builder(model.layout, absorbed=absorbed)
    b.workload("batch")
    several = len(model.stacks) > 1  # then paths and titles name the stack
    orders: dict[str, tuple[tuple[tuple[str, ...], int], ...]] = {}
    outputs: dict[str, Tensor] = {}
    for stack in model.stacks:
        b.stack = stack.name if several else ""
        source = outputs.get("encoder") if stack.name == "decoder" else None
        outputs[stack.name], orders[stack.name] = _stack(b, stack, source, several=several)
    results = [_head(b, model, head, outputs, several=several) for head in model.heads]
    if model.contrastive:
        _contrast(b, results, bias=model.contrast_bias)
    if model.average:
        with b.block("", "average", "head"):
            total = results[0]
            for other in results[1:]:
                total = b.map("sum", "add", total, other)
            b.map("average", "scale", total, factor=1 / len(results))
    return Graph(model.name, b.axes, tuple(b.blocks), orders, tuple(b.workload_axes), model.tensor_names)


def _token_axes(b: Builder, stack: Stack, *, decoding: bool) -> tuple[str, str]:
    """The axes of a stack's tokens as queries and as keys."""
    embedding = stack.embedding
    if isinstance(embedding, Patches):
        queries = b.axis("seq", embedding.count + embedding.extra_tokens, suffixes=("", "vision"))
        return queries, b.axis("keys", rule=lambda s: s[queries], suffixes=(_suffix(queries, "seq"),))
    queries = b.workload("target" if decoding else "seq")
    causal = any(getattr(layer.mixer, "causal", False) for layer in stack.layers.kinds)
    if causal and stack.name != "text":  # a tower reads its text in one pass, and keeps nothing for a next token
        b.workload("cached")
        return queries, b.axis("context", rule=lambda s: s["cached"] + s[queries])
    return queries, b.axis("keys", rule=lambda s: s[queries])


def _suffix(axis: str, name: str) -> str:
    """What tells an axis from others of its name: an axis made from it takes the same suffix."""
    return axis.removeprefix(name).lstrip("_")


def _stack(
    b: Builder, stack: Stack, source: Tensor | None, *, several: bool
) -> tuple[Tensor, tuple[tuple[tuple[str, ...], int], ...]]:
    queries, keys = _token_axes(b, stack, decoding=source is not None)
    d_model = b.axis("d_model", stack.d_model)
    if source:  # what the encoder said, as keys
        b.axis("source", rule=lambda s: s["seq"])
        source = Tensor(source.name, (source.dims[0], ("source",), source.dims[-1]))
    with b.block("", "embedding", "embed"):
        with b.scope("embed"):
            x = b.hand_on(_embed(b, stack, queries, d_model))
        _tables(b, stack, queries, keys, d_model)
    names = []
    kinds = stack.layers.kinds
    mixed = len(kinds) > 1
    all_layers = b.axis("layers", stack.layers.n_layers, suffixes=(stack.name,) if several else ("",))
    for number, layer in enumerate(kinds):
        b.kind = layer.name if mixed else ""
        suffix = "_".join(part for part in (stack.name if several else "", b.kind) if part)
        count = b.axis("layers", stack.layers.count(number), suffixes=(suffix,)) if mixed else all_layers
        copies = b.axis("layers", stack.share_layers, suffixes=("shared",)) if stack.share_layers else ""
        name = "layers" + (f".{layer.name}" if mixed else "")
        kind = f"{layer.name} layer" if mixed else "layer"
        with b.block(name, kind, "layer", count, copies, stack.layers.where(number), stack.share_inner):
            x = b.hand_on(_layer(b, layer, Tensor("x", x.dims), queries, keys, source))
        names.append(b.blocks[-1].path)
    b.kind = ""
    if stack.final_norm:
        with b.block("", "after the layers", "final"):
            x = b.norm("final_norm", Tensor("x", x.dims), stack.final_norm)
            x = b.dropout("final_dropout", x, stack.dropout)
    order = tuple((tuple(names[i] for i in cycle), times) for cycle, times in stack.layers.runs)
    return Tensor(f"{stack.name}.output", x.dims), order


def _embed(b: Builder, stack: Stack, queries: str, d_model: str) -> Tensor:
    e = stack.embedding
    if isinstance(e, Patches):
        return _patches(b, e, queries, d_model)
    if isinstance(e, Audio):
        return _audio(b, e, queries, d_model)
    if isinstance(e, Vectors):
        given = Tensor("vectors", (("batch",), (queries,), (d_model,)))
        return b.view("vectors", given, given.dims, "the input matrix")
    return _tokens(b, e, stack, queries, d_model)


def _tokens(b: Builder, e: Tokens, stack: Stack, queries: str, d_model: str) -> Tensor:
    dims = (("batch",), (queries,))
    project = e.project or e.d_embed not in (None, stack.d_model)
    width = (b.axis("d_embed", e.d_embed or stack.d_model),) if project else (d_model,)
    tied = f"{e.shared}.embed.tokens.weight" if e.shared else ""
    table = Param("weight", ((vocab_axis(b, e),), width), tied=tied)
    ids = Tensor("token_ids", dims)
    x = b.emit("lookup", "tokens", (ids,), (*dims, width), (table,), note="a row for each token id")
    if e.spare:
        note = "stored, and never read"
        b.emit("parameter", "spare", (), table.dims, (Param("weight", table.dims),), embedding=True, note=note)
    if e.scale != 1.0:
        x = b.map("scale", "scale", x, factor=e.scale, note=f"· {e.scale:g}")
    if e.norm and e.norm_first:
        x = b.norm("norm", x, e.norm)

    def to_model(x: Tensor) -> Tensor:
        return b.linear("project", x, (d_model,), bias=e.project_bias, note="to the model's width")

    # OPT adds positions of the model's width, after the projection; ALBERT and ELECTRA before it
    early = not (project and e.norm is None)
    if project and not early:
        x = to_model(x)
    if e.positions:
        where = Tensor("position_ids", ((queries,),))
        if e.positions.kind == "sinusoidal":
            table_of = b.emit(
                "sinusoid",
                "positions",
                (where,),
                ((queries,), x.dims[-1]),
                offset=e.positions.offset,
                spread=e.positions.spread,
                counted=e.positions.counted,
                pad=e.positions.pad,
                note="of each position",
            )
        else:
            rows = b.axis("positions", e.positions.count, suffixes=("", stack.name))
            weight = Param("weight", (_rows(b, rows, e.positions.offset), x.dims[-1]))
            table_of = b.emit(
                "lookup",
                "positions",
                (where,),
                ((queries,), x.dims[-1]),
                (weight,),
                offset=e.positions.offset,
                fixed=e.positions.kind == "fixed",
                counted=e.positions.counted,
                pad=e.positions.pad,
                note="a row for each position",
            )
        x = b.map("add_positions", "add", x, table_of, note="X + …")
    if e.segments:
        weight = Param("weight", ((b.axis("segments", e.segments),), x.dims[-1]))
        segment = b.emit("lookup", "segments", (Tensor("segment_ids", dims),), x.dims, (weight,), note="which sentence")
        x = b.map("add_segments", "add", x, segment, note="X + …")
    if project and early and e.norm_last:
        x = to_model(x)
    if e.norm and not e.norm_first:
        x = b.norm("norm", x, e.norm)
    if e.zero_padding:
        x = _without_padding(b, "zero_padding", x)
    x = b.dropout("dropout", x, e.dropout)
    if project and early and not e.norm_last:
        x = to_model(x)
    return x


def _without_padding(b: Builder, path: str, x: Tensor) -> Tensor:
    """Zeros where the attention mask has padding. x: [B, S, D]; returns the same."""
    return b.map(path, "multiply", x, Tensor("kept", x.dims[:2]), note="0 at padding")


def vocab_axis(b: Builder, e: Tokens) -> str:
    """The axis of the token table's rows: the vocabulary, or the next multiple of `pad_to`."""
    vocab = b.axis("vocab", e.vocab)
    if e.vocab % e.pad_to == 0:
        return vocab
    from transformer_calc.expr import ceil_to

    return b.axis("padded_vocab", rule=lambda s: ceil_to(s[vocab], e.pad_to))


def _rows(b: Builder, rows: str, offset: int) -> tuple[str, ...]:
    """A position table's rows: its positions and those before the first one."""
    if not offset:
        return (rows,)
    return (b.axis("table_rows", rule=lambda s: s[rows] + offset, suffixes=(_suffix(rows, "positions"),)),)


def _patches(b: Builder, e: Patches, queries: str, d_model: str) -> Tensor:
    high, wide = b.axis("height", e.height), b.axis("width", e.width)
    channels = b.axis("channels", e.channels)
    p_h, p_w = b.axis("patch_height", e.patch_height), b.axis("patch_width", e.patch_width)
    n_h, n_w = _grid(b, e)
    image = Tensor("pixels", (("batch",), (channels,), (high,), (wide,)))
    params: tuple[Param, ...] = (Param("weight", ((d_model,), (channels,), (p_h,), (p_w,))),)
    if e.bias:
        params += (Param("bias", ((d_model,),)),)
    out: Dims = (("batch",), (d_model,), (n_h,), (n_w,))
    stride = (e.patch_height, e.patch_width)
    x = b.emit("convolution", "patches", (image,), out, params, stride=stride, padding=0, note="one vector a patch")
    x = b.view("rows", x, (("batch",), (n_h, n_w), (d_model,)), "patches in a row")
    if e.mask_token:
        masked: Dims = ((), (d_model,)) if e.mask_rank == 2 else ((), (), (d_model,))
        note = "stands in for masked patches"
        b.emit("parameter", "mask_token", (), masked, (Param("weight", masked),), note=note)
    if e.extra_tokens:
        shape: Dims = ((d_model,),) if e.token_shape == "flat" else ((), (), (d_model,))
        extra = tuple(
            b.emit("parameter", name, (), shape, (Param("weight", shape),), note="a learned token")
            for name in e.extra_names
        )
        x = b.emit("concat", "with_tokens", (*extra, x), (("batch",), (queries,), (d_model,)), note="tokens first")
    else:
        x = b.view("with_tokens", x, (("batch",), (queries,), (d_model,)))
    if e.positions == "learned":
        dims: Dims = ((queries,), (d_model,)) if e.positions_rank == 2 else ((), (queries,), (d_model,))
        table = b.emit(
            "parameter",
            "positions",
            (),
            dims,
            (Param("weight", dims),),
            embedding=e.positions_rank == 2,
            note="a vector for each place",
        )
        x = b.map("add_positions", "add", x, table)
    if e.norm:
        x = b.norm("norm", x, e.norm)
    return b.dropout("dropout", x, e.dropout)


def _audio(b: Builder, e: Audio, queries: str, d_model: str) -> Tensor:
    mels, kernel = b.axis("mels", e.mels), b.axis("kernel", e.kernel)
    frames = b.axis("frames", rule=lambda s: 2 * s[queries])
    d_in = b.axis("d_out", rule=lambda s: s[d_model])  # the first convolution's outputs, the second's inputs
    x = Tensor("mel_spectrogram", (("batch",), (mels,), (frames,)))
    for path, inner, outer, length, stride in (
        ("conv1", mels, d_in, frames, 1),
        ("conv2", d_in, d_model, queries, 2),
    ):
        params = (Param("weight", ((outer,), (inner,), (kernel,))), Param("bias", ((outer,),)))
        out: Dims = (("batch",), (outer,), (length,))
        x = b.emit("convolution", path, (x,), out, params, stride=(stride,), padding=e.kernel // 2)
        x = b.map(f"{path}_act", "gelu", x, note="gelu")
    x = b.view("rows", x, (("batch",), (queries,), (d_model,)), "a vector for each moment")
    rows = b.axis("positions", e.positions.count, suffixes=("", b.stack))
    table = b.emit(
        "lookup",
        "positions",
        (Tensor("position_ids", ((queries,),)),),
        ((queries,), (d_model,)),
        (Param("weight", ((rows,), (d_model,))),),
        offset=0,
        fixed=e.positions.kind == "fixed",
        note="a row for each position",
    )
    x = b.map("add_positions", "add", x, table)
    return b.dropout("dropout", x, e.dropout)


def _tables(b: Builder, stack: Stack, queries: str, keys: str, d_model: str) -> None:
    """Tables that every layer of a stack reads: T5's relative bias, DeBERTa's relative positions."""
    for layer in stack.layers.kinds:
        a = layer.mixer
        if not isinstance(a, Attention):
            continue
        if a.relative_bias and not a.relative_bias.every_layer:
            relative_bias_table(b, a, queries, keys)
            return
        if a.disentangled:
            rows = b.axis("positions", a.disentangled.positions, suffixes=("relative",))
            dims: Dims = ((rows,), (d_model,))
            path, params = "relative_table" if stack.relative_norm else "relative", (Param("weight", dims),)
            table = b.emit("parameter", path, (), dims, params, embedding=True, note="a row per distance")
            if stack.relative_norm:
                b.norm("relative", table, stack.relative_norm)
            return
    if stack.relative_norm:
        with b.unused("not used without relative positions"):
            b.norm("relative", Tensor("relative", ((), (d_model,))), stack.relative_norm)


def _layer(b: Builder, layer: Layer, x: Tensor, queries: str, keys: str, source: Tensor | None) -> Tensor:
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
            y = b.map(f"{name}_scale", "scale", y, factor=layer.residual_scale, note=f"· {layer.residual_scale:g}")
        return start, b.dropout(f"{name}_dropout", y, layer.dropout)

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
        x = b.map(f"{name}_residual", "add", start, y, note="X + …") if layer.residual else y
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
        y = _without_padding(b, "zero_padding", y)
        y = b.map("act", c.activation, b.dropout("dropout", y, c.dropout), note=c.activation)
        z = b.norm("norm", b.map("residual", "add", x, y, note="X + …"), c.norm)
        return _without_padding(b, "output", z)


def _parallel(b: Builder, layer: Layer, x: Tensor, queries: str, keys: str) -> Tensor:
    """X + mixer(norm(x)) + ffn(norm(x)) (GPT-J, PaLM); `separate`: a norm each (GPT-NeoX, Falcon 40B)."""
    if layer.parallel == "shared":
        first = second = b.norm("norm", x, layer.norm)
    else:
        first, second = b.norm("attn_norm", x, layer.norm), b.norm("ffn_norm", x, layer.norm)
    with b.scope("attn"):
        y = _run(b, layer, "mixer", first, queries, keys, None)
    y = b.dropout("attn_dropout", y, layer.dropout)
    with b.scope("ffn"):
        z = _run(b, layer, "ffn", second, queries, keys, None)
    z = b.dropout("ffn_dropout", z, layer.dropout)
    both = b.map("parts", "add", y, z, note="attention + feed-forward")
    return b.map("residual", "add", x, both, note="X + …")


def _run(b: Builder, layer: Layer, run: str, x: Tensor, queries: str, keys: str, source: Tensor | None) -> Tensor:
    spec = getattr(layer, run)
    if isinstance(spec, Attention):
        return attention(b, spec, x, queries, keys, source if run == "cross" else None)
    if isinstance(spec, LatentAttention):
        return latent_attention(b, spec, x, queries, keys)
    if isinstance(spec, Averaging):
        return averaging(b, x, queries, keys)
    return mlp(b, spec, x) if isinstance(spec, Mlp) else mixture(b, spec, x)


def _head(b: Builder, model: Model, head: Head, outputs: dict[str, Tensor], *, several: bool) -> Tensor:
    name = head.stack or model.stacks[-1].name
    stack = next(s for s in model.stacks if s.name == name)
    b.stack = name if several and model.contrastive else ""
    with b.block("", head.name.replace("_", " "), "head"), b.scope(head.name):
        x = Tensor("x", outputs[name].dims)
        if head.layer_mix:
            x = _layer_mix(b, stack, x, several=several)
        if head.take != "all":
            x = _take(b, head, stack, x)
        if head.scale != 1.0:
            x = b.map("scale", "scale", x, factor=head.scale, note=f"· {head.scale:.4g}")
        for step in head.steps:
            if isinstance(step, Dense):
                x = _dense(b, model, stack, step, x)
            elif isinstance(step, Probe):
                x = _probe(b, step, x)
            elif isinstance(step, Pool):
                x = b.emit("mean", step.name, (x,), (x.dims[0], x.dims[-1]), note="over the tokens")
            elif isinstance(step, Act):
                x = b.map(step.name, step.function, x, note=step.function)
            else:
                x = b.norm(step.name, x, step.norm)
        b.hand_on(x)
        if head.softmax:
            b.emit("softmax", "probabilities", (x,), x.dims, note="over the vocabulary", after_output=True)
    b.stack = ""
    return x


def _take(b: Builder, head: Head, stack: Stack, x: Tensor) -> Tensor:
    """What a head reads of its stack's output [B, S, D]: mostly one vector, [B, D]."""
    batch, tokens, d_model = x.dims
    e, one = stack.embedding, (batch, d_model)
    if head.take == "mean":
        return b.emit("mean", "take", (x,), one, note="over the tokens")
    if head.take == "kept_mean":
        return b.emit("mean", "take", (x, Tensor("kept", x.dims[:2])), one, note="over the tokens but padding")
    if head.take == "end":
        which = "with the largest id" if head.end_token is None else f"with id {head.end_token}"
        which += ", the last such" if head.end_last else ""
        ids = "encoder.token_ids" if stack.name == "decoder" else "token_ids"  # a decoder's are the source's, shifted
        found = (x, Tensor(ids, (batch, tokens)))
        note = f"the token {which}"
        return b.emit("slice", "take", found, one, take="end", token=head.end_token, last=head.end_last, note=note)
    if "patch" not in head.take:
        note = f"the {head.take} token's vector"
        read = (x, Tensor("token_ids", (batch, tokens)))[: 1 if head.take != "last" or head.pad is None else 2]
        return b.emit("slice", "take", read, one, take=head.take, pad=head.pad, note=note)
    assert isinstance(e, Patches)
    dims, skipped = (batch, _grid(b, e), d_model), e.extra_tokens
    patches = b.emit("slice", "patches", (x,), dims, take="rest", after=skipped, note="patches only")
    if head.take == "patches":
        return patches
    mean = b.emit("mean", "patch_mean", (patches,), one, note="over the patches")
    if head.take == "patch_mean":
        return mean
    first = b.emit("slice", "take", (x,), one, take="first", note="the first token's vector")
    both = b.axis("d_pooled", rule=lambda s: 2 * s[d_model[0]])
    return b.emit("concat", "both", (first, mean), (batch, (both,)), note="one behind the other")


def _probe(b: Builder, p: Probe, x: Tensor) -> Tensor:
    """One learned query attends to every position of x, [B, S, D]; returns [B, D]."""
    batch, tokens, d_model = x.dims
    with b.scope(p.name):
        dims: Dims = ((), (), d_model)
        query = b.emit("parameter", "query", (), dims, (Param("weight", dims),), note="a learned query")
        query = b.emit("repeat", "queries", (query,), (batch, (), d_model), note="the same for each")
        with b.scope("attn"):
            y = attention(b, p.attention, query, "", tokens[0], x)
        z = b.norm("norm", y, p.norm)
        with b.scope("ffn"):
            z = mlp(b, p.ffn, z)
        y = b.map("residual", "add", y, z, note="X + …")
        return b.view("vector", y, (batch, d_model), "the query's vector")


def _layer_mix(b: Builder, stack: Stack, x: Tensor, *, several: bool) -> Tensor:
    """A learned average of the hidden states: before each layer, and the stack's output."""
    layers = f"layers_{stack.name}" if several else "layers"
    states = (b.axis("states", rule=lambda s: s[layers] + 1),)
    weights = b.emit("parameter", "layer_weights", (), (states,), (Param("weight", (states,)),), note="one for each")
    weights = b.emit("softmax", "layer_softmax", (weights,), (states,), note="over the layers")
    hidden = Tensor("hidden_states", (x.dims[0], x.dims[1], states, x.dims[2]))
    return b.emit("combine", "layer_mix", (hidden, weights), x.dims, note="weighted sum of the hidden states")


def _dense(b: Builder, model: Model, stack: Stack, step: Dense, x: Tensor) -> Tensor:
    out = _head_axis(b, stack, step) if not step.pixels else ""
    tied = _token_table(model, stack) if step.tied else ""
    if (out,) == x.dims[-1]:  # as wide as what comes in, and yet another axis
        out = b.axis("labels", step.width, suffixes=("", step.name))
    x = b.dropout(f"{step.name}_dropout", x, step.dropout)
    if step.pixels:
        return _pixels(b, stack, step, x)
    layout = "out_in" if tied else model.head_layout  # a table of tokens has a row for each output
    if step.spare_bias:
        spare = (Param("bias", ((out,),)),)
        b.emit("parameter", f"{step.name}_spare", (), ((out,),), spare, note="stored, and never read")
    note = "logits" if step.vocab else ""
    x = b.linear(step.name, x, (out,), bias=step.bias, tied=tied, layout=layout, note=note)
    if step.buffer:
        dims: Dims = ((), (out,))
        param = Param("weight", dims, buffer=True)
        kept = b.emit("parameter", f"{step.name}_bias", (), dims, (param,), note="stored, but no parameter")
        x = b.map(f"{step.name}_add_bias", "add", x, kept)
    if step.scale != 1.0:
        x = b.map(f"{step.name}_scale", "scale", x, factor=step.scale, note=f"· {step.scale:g}")
    if step.softcap:
        x = b.map(f"{step.name}_softcap", "softcap", x, cap=step.softcap)
    if step.activation:
        x = b.map(f"{step.name}_act", step.activation, x, note=step.activation)
    return x


def _grid(b: Builder, e: Patches) -> tuple[str, str]:
    """The patches as rows and columns."""
    return b.axis("grid_height", e.height // e.patch_height), b.axis("grid_width", e.width // e.patch_width)


def _pixels(b: Builder, stack: Stack, step: Dense, x: Tensor) -> Tensor:
    """A 1x1 convolution over the grid of patches, whose channels become squares of pixels (SimMIM)."""
    e, (batch, _, d_model) = stack.embedding, x.dims
    if not isinstance(e, Patches):
        raise InputError(f"pixels is {step.pixels}, but the {stack.name} has no patches of an image")
    channels, side = b.axis("channels", e.channels), b.axis("pixels", step.pixels)
    high, wide = _grid(b, e)
    out = (channels, side, side)
    x = b.view(f"{step.name}_grid", x, (batch, d_model, (high,), (wide,)), "patches where they are in the image")
    params = (Param("weight", (out, d_model, (), ())), Param("bias", (out,)))
    dims: Dims = (batch, out, (high,), (wide,))
    x = b.emit("convolution", step.name, (x,), dims, params, stride=(1, 1), padding=0, note="pixels of each patch")
    return b.view(f"{step.name}_shuffle", x, (batch, (channels,), (high, side), (wide, side)), "pixels in place")


def _head_axis(b: Builder, stack: Stack, step: Dense) -> str:
    if step.vocab:
        tokens = stack.embedding
        assert isinstance(tokens, Tokens)
        return vocab_axis(b, tokens)
    if step.name == "projection":
        return b.axis("d_projection", step.width)
    if step.width == stack.d_model:
        d_model = b.axis("d_model", stack.d_model)
        return b.axis("d_out", rule=lambda s: s[d_model], suffixes=(_suffix(d_model, "d_model"),))
    embed = getattr(stack.embedding, "d_embed", None)
    if step.width == embed:
        return b.axis("d_embed", embed)
    return b.axis("labels", step.width, suffixes=("", step.name))


def _token_table(model: Model, stack: Stack) -> str:
    tokens = stack.embedding
    assert isinstance(tokens, Tokens)
    owner = tokens.shared or (stack.name if len(model.stacks) > 1 else "")
    return f"{owner}.embed.tokens.weight" if owner else "embed.tokens.weight"


def _contrast(b: Builder, results: list[Tensor], *, bias: bool) -> None:
    """CLIP: every text against every image, by cosine, with a learned scale (arXiv 2103.00020, figure 3).

    SigLIP's bias is added to that; its two numbers are stored as vectors of one.
    """
    one: Dims = ((),) if bias else ()
    numbers = [(f"logit_{name}", (Param("weight", one),)) for name in ("scale", "bias")[: 2 if bias else 1]]
    if len(results) < 2:  # a tower without a head: there is nothing to compare
        with b.block("", "similarity", "head"):
            for path, params in numbers:
                b.emit("parameter", path, (), one, params, note="stored, and never read")
        return
    (text, image), width = (r.name for r in results), results[0].dims[-1]
    other = b.axis("batch_images", rule=lambda s: s["batch"])
    with b.block("", "similarity", "head"):
        t = b.map("text_unit", "unit", Tensor(f"text.{text}", (("batch",), width)), note="to length 1")
        i = b.map("image_unit", "unit", Tensor(f"vision.{image}", ((other,), width)), note="to length 1")
        scale, *learned = [b.emit("parameter", path, (), one, params, note="learned") for path, params in numbers]
        logits = b.einsum("logits", t, i, (("batch",), (other,)), note="cosines")
        logits = b.map("scaled", "multiply", logits, b.map("scale", "exp", scale), note="· e^scale")
        if learned:
            b.map("shifted", "add", logits, *learned, note="+ bias")
