"""What comes before the layers: tokens, patches or sound become vectors, and tables that all layers read."""

from __future__ import annotations

from typing import Any

from transformer_calc.graph.attention import relative_bias_table, sinusoid_formula
from transformer_calc.graph.core import (
    DATA,
    IDS,
    KEPT,
    POSITIONS,
    SEGMENTS,
    Builder,
    Dim,
    Dims,
    Param,
    Tensor,
    suffix_of,
)
from transformer_calc.spec import Attention, Audio, Patches, Positions, Stack, Tokens, Vectors


def embed(b: Builder, stack: Stack, queries: str, d_model: str) -> Tensor:
    """The vectors that a stack's first layer gets: [B, queries, D]."""
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
    ids = Tensor("token_ids", dims, given=IDS)
    x = b.emit("lookup", "tokens", (ids,), (*dims, width), (table,), embedding=True, note="a row for each token id")
    if e.spare:
        note = "stored, and never read"
        b.emit("parameter", "spare", (), table.dims, (Param("weight", table.dims),), embedding=True, note=note)
    if e.scale != 1.0:
        x = b.map("scale", "scale", x, factor=e.scale)
    if e.norm and e.norm_first:
        x = b.norm("norm", x, e.norm)

    def to_model(x: Tensor) -> Tensor:
        return b.linear("project", x, (d_model,), bias=e.project_bias, note="to the model's width")

    # OPT adds positions of the model's width, after the projection; ALBERT and ELECTRA before it
    early = not (project and e.norm is None)
    if project and not early:
        x = to_model(x)
    if e.positions:
        where = Tensor("position_ids", ((queries,),), given=POSITIONS)
        if e.positions.kind == "sinusoidal":
            table_of = b.emit(
                "sinusoid",
                "positions",
                (where,),
                ((queries,), x.dims[-1]),
                offset=e.positions.offset,
                order=e.positions.order,
                spread=e.positions.spread,
                counted=e.positions.counted,
                pad=e.positions.pad,
                note=sinusoid_formula(b, x.dims[-1], e.positions.order, e.positions.spread, e.positions.offset),
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
                counted=e.positions.counted,
                pad=e.positions.pad,
                **_table(b, e.positions, x.dims[-1]),
            )
        x = b.map("add_positions", "add", x, table_of)
    if e.segments:
        weight = Param("weight", ((b.axis("segments", e.segments),), x.dims[-1]))
        given = (Tensor("segment_ids", dims, given=SEGMENTS),)
        segment = b.emit("lookup", "segments", given, x.dims, (weight,), embedding=True, note="which sentence")
        x = b.map("add_segments", "add", x, segment)
    if project and early and e.norm_last:
        x = to_model(x)
    if e.norm and not e.norm_first:
        x = b.norm("norm", x, e.norm)
    if e.zero_padding:
        x = without_padding(b, "zero_padding", x)
    x = b.dropout("dropout", x, e.dropout)
    if project and early and not e.norm_last:
        x = to_model(x)
    return x


def without_padding(b: Builder, path: str, x: Tensor) -> Tensor:
    """Zeros where the attention mask has padding. x: [B, S, D]; returns the same."""
    return b.map(path, "multiply", x, Tensor("kept", x.dims[:2], given=KEPT), note="0 at padding")


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
    return (b.axis("table_rows", rule=lambda s: s[rows] + offset, suffixes=(suffix_of(rows, "positions"),)),)


def _patches(b: Builder, e: Patches, queries: str, d_model: str) -> Tensor:
    high, wide = b.axis("height", e.height), b.axis("width", e.width)
    channels = b.axis("channels", e.channels)
    p_h, p_w = b.axis("patch_height", e.patch_height), b.axis("patch_width", e.patch_width)
    n_h, n_w = grid(b, e)
    image = Tensor("pixels", (("batch",), (channels,), (high,), (wide,)), given=DATA)
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


def grid(b: Builder, e: Patches) -> tuple[str, str]:
    """The patches as rows and columns."""
    return b.axis("grid_height", e.height // e.patch_height), b.axis("grid_width", e.width // e.patch_width)


def _audio(b: Builder, e: Audio, queries: str, d_model: str) -> Tensor:
    mels, kernel = b.axis("mels", e.mels), b.axis("kernel", e.kernel)
    frames = b.axis("frames", rule=lambda s: 2 * s[queries])
    d_in = b.axis("d_out", rule=lambda s: s[d_model])  # the first convolution's outputs, the second's inputs
    x = Tensor("mel_spectrogram", (("batch",), (mels,), (frames,)), given=DATA)
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
        (Tensor("position_ids", ((queries,),), given=POSITIONS),),
        ((queries,), (d_model,)),
        (Param("weight", ((rows,), (d_model,))),),
        offset=0,
        **_table(b, e.positions, (d_model,)),
    )
    x = b.map("add_positions", "add", x, table)
    return b.dropout("dropout", x, e.dropout)


def _table(b: Builder, p: Positions, width: Dim) -> dict[str, Any]:
    """What the look-up in a stored table of positions needs, and its note."""
    note = "a row for each position"
    if p.kind == "learned":
        return {"fixed": False, "embedding": True, "note": note}
    formula = sinusoid_formula(b, width, p.order, p.spread)
    return {
        "fixed": True,
        "embedding": True,
        "order": p.order,
        "spread": p.spread,
        "note": f"{note}, filled once: {formula}",
    }


def tables(b: Builder, stack: Stack, queries: str, keys: str, d_model: str) -> None:
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
