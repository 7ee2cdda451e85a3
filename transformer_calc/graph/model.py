"""A whole model as a graph: its stacks, each with its embedding and layers, and its heads."""

from __future__ import annotations

from transformer_calc.graph.core import Builder, Graph, Tensor, suffix_of
from transformer_calc.graph.embedding import embed, tables
from transformer_calc.graph.heads import contrast, head_of
from transformer_calc.graph.layer import layer_of
from transformer_calc.spec import Model, Patches, Stack


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
    results = [head_of(b, model, head, outputs, several=several) for head in model.heads]
    if model.mtp and model.mtp.counted:
        from transformer_calc.graph.mtp import mtp

        last = model.stacks[-1]
        mtp(b, model, model.mtp, last, outputs[last.name], "context")
    if model.contrastive:
        contrast(b, results, bias=model.contrast_bias)
    if model.average:
        with b.block("", "average", "head"):
            total = results[0]
            for other in results[1:]:
                total = b.map("sum", "add", total, other)
            b.map("average", "scale", total, factor=1 / len(results))
    causal = [mask.attrs["causal"] for block in b.blocks for mask in block.masks.values()]
    return Graph(
        model.name,
        b.axes,
        tuple(b.blocks),
        orders,
        tuple(b.workload_axes),
        model.tensor_names,
        model.execution,
        continues=not several and bool(causal) and all(causal),
    )


def _token_axes(b: Builder, stack: Stack, *, decoding: bool) -> tuple[str, str]:
    """The axes of a stack's tokens as queries and as keys."""
    embedding = stack.embedding
    if isinstance(embedding, Patches):
        queries = b.axis("seq", embedding.count + embedding.extra_tokens, suffixes=("", "vision"))
        return queries, b.axis("keys", rule=lambda s: s[queries], suffixes=(suffix_of(queries, "seq"),))
    queries = b.workload("target" if decoding else "seq")
    causal = any(getattr(layer.mixer, "causal", False) for layer in stack.layers.kinds)
    if causal and stack.name != "text":  # a tower reads its text in one pass, and keeps nothing for a next token
        b.workload("cached")
        return queries, b.axis("context", rule=lambda s: s["cached"] + s[queries])
    return queries, b.axis("keys", rule=lambda s: s[queries])


def _stack(
    b: Builder, stack: Stack, source: Tensor | None, *, several: bool
) -> tuple[Tensor, tuple[tuple[tuple[str, ...], int], ...]]:
    queries, keys = _token_axes(b, stack, decoding=source is not None)
    d_model = b.axis("d_model", stack.d_model)
    if source:  # what the encoder said, as keys
        b.axis("source", rule=lambda s: s["seq"])
        source = Tensor(source.name, (source.dims[0], ("source",), source.dims[-1]), handed=True)
    with b.block("", "embedding", "embed"):
        with b.scope("embed"):
            x = b.hand_on(embed(b, stack, queries, d_model))
        tables(b, stack, queries, keys, d_model)
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
            x = b.hand_on(layer_of(b, layer, Tensor("x", x.dims), queries, keys, source))
        names.append(b.blocks[-1].path)
    b.kind = ""
    if stack.final_norm:
        with b.block("", "after the layers", "final"):
            x = b.norm("final_norm", Tensor("x", x.dims), stack.final_norm)
            x = b.dropout("final_dropout", x, stack.dropout)
    order = tuple((tuple(names[i] for i in cycle), times) for cycle, times in stack.layers.runs)
    return Tensor(f"{stack.name}.output", x.dims), order
