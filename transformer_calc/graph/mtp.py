"""Layers that predict further tokens, behind the model: what each reads, its layer, and its logits."""

from __future__ import annotations

from transformer_calc.graph.core import IDS, Builder, Dims, Param, Tensor
from transformer_calc.graph.embedding import vocab_axis
from transformer_calc.graph.layer import layer_of
from transformer_calc.spec import Model, Mtp, Stack, Tokens


def mtp(b: Builder, model: Model, m: Mtp, stack: Stack, x: Tensor, keys: str) -> None:
    """DeepSeek-V3, arXiv 2412.19437, equations 21 to 23: h' = M·[norm(h) ; norm(Emb(t_{i+k}))], a layer, the head.

    x: what the model's head reads, [B, S, D]. The order of the two in the row of 2·D is the checkpoints': the
    embedding first (vLLM, deepseek_mtp.py; SGLang, deepseek_nextn.py).
    """
    tokens, (batch, queries, width) = stack.embedding, x.dims
    assert isinstance(tokens, Tokens)
    count = b.axis("mtp", m.n)
    n = stack.layers.n_layers
    where = str(n) if m.n == 1 else f"{n}–{n + m.n - 1}"
    table: Dims = ((vocab_axis(b, tokens),), width)
    head = next((step for head in model.heads for step in head.steps if getattr(step, "width", 0) is None), None)
    own = "head.lm.weight" if head is not None and not head.tied else "embed.tokens.weight"  # type: ignore[union-attr]
    b.kind = "mtp"  # of what has other sizes than the layers
    with b.block("mtp", "further token's layer", "mtp", count, where=where):
        ids = Tensor("token_ids", (batch, queries), given=IDS)
        param = Param("weight", table, tied="" if m.copies else "embed.tokens.weight")
        note = "a row for each next token's id"
        e = b.emit("lookup", "embed", (ids,), (batch, queries, width), (param,), embedding=True, note=note)
        e = b.norm("enorm", e, m.norm)
        h = b.norm("hnorm", Tensor("x", x.dims), m.norm)
        pair = b.axis("d_pair", rule=lambda s: 2 * s[width[0]])
        both = b.emit("concat", "both", (e, h), (batch, queries, (pair,)), note="the token beside what came before it")
        y = b.linear("eh_proj", both, width, bias=False, note="to the model's width")
        y = layer_of(b, m.layer, y, queries[0], keys, None)
        if m.final_norm:
            y = b.norm("norm", y, m.final_norm)
        b.hand_on(y)
    with b.block("mtp.head", "further token's head", "head", count, where=where):
        x = Tensor("x", y.dims)
        weight = Param("weight", table, tied="" if m.copies else own)
        b.kind = ""
        b.emit("linear", "lm", (x,), (batch, queries, table[0]), (weight,), note="logits")
