"""The feed-forward part of a layer: an MLP, gated or not, or a mixture of experts."""

from __future__ import annotations

from typing import Any

from transformer_calc.graph.core import Builder, Dims, Param, Tensor
from transformer_calc.spec import Mlp, Moe, Router


def mlp(b: Builder, m: Mlp, x: Tensor, width: str = "d_ff") -> Tensor:
    """down(act(up(x))), or down(act(gate(x)) * up(x)). x: [B, S, D]; returns the same."""
    d_ff = (b.axis(width, m.d_ff),)
    if m.gated:
        gate = b.linear("gate", x, d_ff, bias=m.bias_in)
        up = b.linear("up", x, d_ff, bias=m.bias_in)
        inner = b.map("product", "multiply", _activation(b, m.activation, gate), up)
    else:
        inner = _activation(b, m.activation, b.linear("up", x, d_ff, bias=m.bias_in))
    inner = b.dropout("inner_dropout", inner, m.dropout)
    return b.linear("down", inner, x.dims[-1], bias=m.bias_out)


def mixture(b: Builder, m: Moe, x: Tensor) -> Tensor:
    """Each token through its top_k experts, weighted, plus the shared experts. x: [B, S, D]; returns the same."""
    experts, top_k = b.axis("experts", m.n_experts, beside=m.top_k), b.axis("top_k", m.top_k, beside=m.n_experts)
    batch, tokens, d_model = x.dims
    router = b.linear("router", x, (experts,), bias=m.router.bias, note="a score for each expert")
    r = m.router
    usual, ranked = Router(), r.scoring not in ("softmax-topk", "sparsemixer")  # those weigh by what they choose
    attrs = {name: getattr(r if ranked else usual, name) for name in ("normalize", "scaling", "groups")}
    attrs |= {"scoring": r.scoring, "correction": r.correction, "jitter": r.jitter}
    attrs["least_sum"] = (r if attrs["normalize"] else usual).least_sum
    in_groups = r if attrs["groups"] > 1 else usual
    attrs |= {"top_groups": in_groups.top_groups, "group_score": in_groups.group_score}
    chosen = Tensor(f"{router.name}.chosen", (batch, tokens, (top_k,)))
    one: Dims = ((),) if r.correction_counts else ()
    correction = Param("correction", (*one, (experts,)), buffer=not r.correction_counts)
    params = (correction,) if r.correction else ()
    note = f"{m.top_k} best expert{'s' if m.top_k > 1 else ''}{_weighed(r, m.top_k)}"
    weights = b.emit("route", "route", (router,), chosen.dims, params, extra=(chosen,), note=note, **attrs)
    sent = b.emit("dispatch", "dispatch", (x, chosen), (batch, tokens, (top_k,), d_model), note="to each of them")
    if r.scoring == "sigmoid-input":
        sent = b.map("weigh_input", "multiply", sent, weights, note="weighted before the expert")
    d_expert = (b.axis("d_expert", m.d_expert),)
    inward, outward = ("out_in", "in_out") if m.layout == "rows" else (m.layout, m.layout)
    how: dict[str, Any] = {"experts": experts, "bias": m.bias}
    with b.scope("experts"):
        first, *second = [
            b.experts(name, sent, chosen, d_expert, **how, layout=inward)
            for name in (("gate", "up") if m.gated else ("up",))
        ]
        if m.gated:
            gate, up = first, second[0]
            if m.limit is not None:
                gate = b.map("gate_clip", "clip", gate, high=m.limit)
                up = b.map("up_clip", "clip", up, limit=m.limit)
                up = b.map("up_shift", "scale", up, add=1.0)
            inner = b.map("product", "multiply", _activation(b, m.activation, gate), up)
        else:
            inner = _activation(b, m.activation, first)
        inner = b.dropout("inner_dropout", inner, m.dropout)
        out = b.experts("down", inner, chosen, d_model, **how, layout=outward)
    by = (out,) if r.scoring == "sigmoid-input" else (out, weights)
    total = b.emit("combine", "combine", by, x.dims, note=f"{'weighted ' * (len(by) > 1)}sum over its experts")
    if m.d_shared:
        with b.scope("shared"):
            bias = m.bias if m.shared_bias is None else m.shared_bias
            shared = Mlp(d_ff=m.d_shared, activation=m.activation, gated=m.gated, bias_in=bias, bias_out=bias)
            always = mlp(b, shared, x, "d_shared")
        if m.shared_gate:
            gate = b.linear("shared_gate", x, (), bias=False, note="one gate a token")
            always = b.map("weigh_shared", "multiply", always, b.map("shared_sigmoid", "sigmoid", gate))
        total = b.map("add_shared", "add", total, always, note="shared experts see every token")
    return total


def _weighed(r: Router, top_k: int) -> str:
    """In words, by what the experts of a token are ranked and weighed, as `ops.experts` runs it."""
    if r.scoring == "sparsemixer":
        return ", each weighed by a softmax over those near it"
    if r.scoring == "softmax-topk":
        return ", weighed by a softmax over these"
    words = f" of the {r.top_groups} best of {r.groups} groups" if r.groups > 1 else ""
    words += ", ranked with the correction added" if r.correction else ""
    words += f", weighed by {'a softmax over all' if r.scoring == 'softmax' else 'σ of each score'}"
    words += " ÷ their sum" if r.normalize and top_k > 1 else ""
    return words + (f" · {r.scaling:g}" if r.scaling != 1 else "")


def _activation(b: Builder, name: str, x: Tensor) -> Tensor:
    return b.map("act", name, x, note=name) if name != "identity" else x
