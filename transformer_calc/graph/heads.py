"""What is computed from a stack's output: logits, pooled vectors, labels, comparisons."""

from __future__ import annotations

from transformer_calc.errors import InputError
from transformer_calc.graph.attention import attention
from transformer_calc.graph.core import IDS, KEPT, Builder, Dims, Param, Tensor, suffix_of
from transformer_calc.graph.embedding import grid, vocab_axis
from transformer_calc.graph.feedforward import mlp
from transformer_calc.spec import Act, Dense, Head, Model, Patches, Pool, Probe, Stack, Tokens


def head_of(b: Builder, model: Model, head: Head, outputs: dict[str, Tensor], *, several: bool) -> Tensor:
    """A head on its stack's output; returns what it computes."""
    name = head.stack or model.stacks[-1].name
    stack = next(s for s in model.stacks if s.name == name)
    b.stack = name if several and model.contrastive else ""
    with b.block("", head.name.replace("_", " "), "head"), b.scope(head.name):
        x = Tensor("x", outputs[name].dims)
        if head.layer_mix:
            x = _layer_mix(b, stack, x, several=several)
        if head.take != "all":
            x = _take(b, head, stack, x, several=several)
        if head.scale != 1.0:
            x = b.map("scale", "scale", x, factor=head.scale)
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


def _take(b: Builder, head: Head, stack: Stack, x: Tensor, *, several: bool) -> Tensor:
    """What a head reads of its stack's output [B, S, D]: mostly one vector, [B, D]."""
    batch, tokens, d_model = x.dims
    e, one = stack.embedding, (batch, d_model)
    if head.take == "mean":
        return b.emit("mean", "take", (x,), one, note="over the tokens")
    if head.take == "kept_mean":
        return b.emit(
            "mean", "take", (x, Tensor("kept", x.dims[:2], given=KEPT)), one, note="over the tokens but padding"
        )
    if head.take == "end":
        which = "with the largest id" if head.end_token is None else f"with id {head.end_token}"
        which += ", the last such" if head.end_last else ""
        # a decoder's are the source's, shifted
        ids = "encoder.token_ids" if several and stack.name == "decoder" else "token_ids"
        found = (x, Tensor(ids, (batch, tokens), given=IDS))
        note = f"the token {which}"
        return b.emit("slice", "take", found, one, take="end", token=head.end_token, last=head.end_last, note=note)
    if "patch" not in head.take:
        note = f"the {head.take} token's vector"
        read = (x, Tensor("token_ids", (batch, tokens), given=IDS))[
            : 1 if head.take != "last" or head.pad is None else 2
        ]
        return b.emit("slice", "take", read, one, take=head.take, pad=head.pad, note=note)
    assert isinstance(e, Patches)
    dims, skipped = (batch, grid(b, e), d_model), e.extra_tokens
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
    with b.scope(p.name, probe=True):
        dims: Dims = ((), (), d_model)
        query = b.emit("parameter", "query", (), dims, (Param("weight", dims),), note="a learned query")
        query = b.emit("repeat", "queries", (query,), (batch, (), d_model), note="the same for each")
        with b.scope("attn"):
            y = attention(b, p.attention, query, "", tokens[0], x)
        z = b.norm("norm", y, p.norm)
        with b.scope("ffn"):
            z = mlp(b, p.ffn, z)
        y = b.map("residual", "add", y, z)
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
    x = b.linear(step.name, x, (out,), bias=step.bias, tied=tied, layout=layout)
    if step.buffer:
        dims: Dims = ((), (out,))
        param = Param("weight", dims, buffer=True)
        kept = b.emit("parameter", f"{step.name}_bias", (), dims, (param,), note="stored, but no parameter")
        x = b.map(f"{step.name}_add_bias", "add", x, kept)
    if step.scale != 1.0:
        x = b.map(f"{step.name}_scale", "scale", x, factor=step.scale)
    if step.softcap:
        x = b.map(f"{step.name}_softcap", "softcap", x, cap=step.softcap)
    if step.activation:
        x = b.map(f"{step.name}_act", step.activation, x, note=step.activation)
    return x


def _pixels(b: Builder, stack: Stack, step: Dense, x: Tensor) -> Tensor:
    """A 1x1 convolution over the grid of patches, whose channels become squares of pixels (SimMIM)."""
    e, (batch, _, d_model) = stack.embedding, x.dims
    if not isinstance(e, Patches):
        raise InputError(f"pixels is {step.pixels}, but the {stack.name} has no patches of an image")
    channels, side = b.axis("channels", e.channels), b.axis("pixels", step.pixels)
    high, wide = grid(b, e)
    out = (channels, side, side)
    x = b.view(f"{step.name}_grid", x, (batch, d_model, (high,), (wide,)), "patches where they are in the image")
    params = (Param("weight", (out, d_model, (), ())), Param("bias", (out,)))
    dims: Dims = (batch, out, (high,), (wide,))
    x = b.emit("convolution", step.name, (x,), dims, params, stride=(1, 1), padding=0, note="pixels of each patch")
    return b.view(f"{step.name}_shuffle", x, (batch, (channels,), (high, side), (wide, side)), "pixels in place")


def _head_axis(b: Builder, stack: Stack, step: Dense) -> str:
    if step.width is None:
        tokens = stack.embedding
        assert isinstance(tokens, Tokens)
        return b.axis("vocab", step.vocab) if step.vocab else vocab_axis(b, tokens)
    if step.name == "projection":
        return b.axis("d_projection", step.width)
    if step.width == stack.d_model:
        d_model = b.axis("d_model", stack.d_model)
        return b.axis("d_out", rule=lambda s: s[d_model], suffixes=(suffix_of(d_model, "d_model"),))
    embed = getattr(stack.embedding, "d_embed", None)
    if step.width == embed:
        return b.axis("d_embed", embed)
    return b.axis("labels", step.width, suffixes=("", step.name))


def _token_table(model: Model, stack: Stack) -> str:
    tokens = stack.embedding
    assert isinstance(tokens, Tokens)
    owner = tokens.shared or (stack.name if len(model.stacks) > 1 else "")
    return f"{owner}.embed.tokens.weight" if owner else "embed.tokens.weight"


def contrast(b: Builder, results: list[Tensor], *, bias: bool) -> None:
    """CLIP: every text against every image, by cosine, with a learned scale (arXiv 2103.00020, figure 3).

    SigLIP's bias is added to that; its two numbers are stored as vectors of one.
    """
    one: Dims = ((),) if bias else ()
    sizes = {name: axis.size for name, axis in b.axes.items() if axis.size is not None}
    of_tower = [b.axes[axis] for r in results for axis in r.dims[-1]]
    widths = [axis.rule(sizes) if axis.rule else axis.size for axis in of_tower]
    numbers = [(f"logit_{name}", (Param("weight", one),)) for name in ("scale", "bias")[: 2 if bias else 1]]
    if len(results) < 2 or widths[0] != widths[1]:  # a tower without a head, or of another width: nothing to compare
        with b.block("", "similarity", "head"):
            for path, params in numbers:
                b.emit("parameter", path, (), one, params, note="stored, and never read")
        return
    (text, image), width = (r.name for r in results), results[0].dims[-1]
    other = b.axis("batch_images", rule=lambda s: s["batch"])
    with b.block("", "similarity", "head"):
        t = b.map("text_unit", "unit", Tensor(f"text.{text}", (("batch",), width)))
        i = b.map("image_unit", "unit", Tensor(f"vision.{image}", ((other,), width)))
        scale, *learned = [b.emit("parameter", path, (), one, params, note="learned") for path, params in numbers]
        logits = b.einsum("logits", t, i, (("batch",), (other,)), note="cosines")
        logits = b.map("scaled", "multiply", logits, b.map("scale", "exp", scale))
        if learned:
            b.map("shifted", "add", logits, *learned, note="+ bias")
