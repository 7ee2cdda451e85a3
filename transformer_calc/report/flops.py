"""The report of `tcalc flops`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from transformer_calc.errors import InputError
from transformer_calc.graph.core import Graph, Sizes
from transformer_calc.graph.ops import KINDS
from transformer_calc.readings.count import formulas
from transformer_calc.readings.count.flops import Flops, Row, Work, check_options, mean_keys, rows, totals
from transformer_calc.readings.count.params import components, params
from transformer_calc.report import Column, Facts, Report, Table, Text
from transformer_calc.report.common import legend

if TYPE_CHECKING:
    from transformer_calc.api import Transformer
    from transformer_calc.spec import Workload

COLUMNS = (
    Column("path", "matmul", "text"),
    Column("repeat", "×", "count", 1),
    Column("formula", "forward of one", "formula", 2),
    Column("forward", "forward", "flops"),
    Column("backward", "backward", "flops", 3),
    Column("share", "share", "share", 1),
)


def build(
    model: Transformer,
    workload: Workload,
    *,
    needed: bool = False,
    recompute: str = "none",
    latent: str = "naive",
    compare: bool = False,
    notation: str = "unicode",
) -> Report:
    """FLOPs of a batch: forward, backward and of a training step, per token, and where they are."""
    check_options(recompute, latent, decode=workload.context > 0)
    graph = model.graph
    if latent == "absorbed":
        from transformer_calc.graph.model import build as build_graph

        graph = build_graph(model.spec, absorbed=True)
        if not any(op.path.endswith("q_latent") or op.path.endswith("content") for b in graph.blocks for op in b.ops):
            raise InputError(f"--latent is absorbed, but {model.spec.name} has no latent attention")
    sizes = graph.sizes(workload)
    how: dict[str, Any] = {"needed": needed, "recompute": recompute, "decode": workload.context > 0}
    found, letters = list(rows(graph, sizes, **how)), graph.symbols()
    symbolic = list(rows(graph, letters, **how))
    whole = totals(found, sizes)
    rules = formulas.identities(graph, sizes) + _contexts(graph, sizes)
    works = totals(symbolic, letters)
    general = formulas.merged_layers(works.forward.matmul, graph)
    short, used = formulas.textbook(general, rules)

    def formula(size: Any) -> str:
        return formulas.text(formulas.textbook(size, rules)[0], notation)

    identities = [" = ".join(formulas.text(side, notation) for side in rule) for rule in used]
    tokens = workload.batch * (workload.target or workload.seq)
    lines = [
        {
            "path": row.path,
            "op": row.op.kind,
            "repeat": row.times(sizes),
            "forward": row.forward._asdict(),
            "backward": row.backward._asdict(),
            "recomputed": row.recomputed._asdict(),
            "formula": formula(letter.forward.matmul),
            "other_formula": formula(letter.forward.other),
            "backward_formula": formula(letter.backward.matmul),
            "backward_other_formula": formula(letter.backward.other),
        }
        for row, letter in zip(found, symbolic, strict=True)
        if row.forward.total or row.backward.total
    ]
    names = {"forward": whole.forward, "backward": whole.backward, "train": whole.train, "hardware": whole.hardware}
    per_token = {name: _per(work.matmul, tokens) for name, work in names.items()}
    data: dict[str, Any] = {
        "flops": {name: {**work._asdict(), "total": work.total} for name, work in names.items()},
        "per_token": per_token,
        "tokens": tokens,
        "formula": formulas.text(short, notation),
        "formula_general": formulas.text(general, notation),
        "backward_formula": formula(formulas.merged_layers(works.backward.matmul, graph)),
        "identities": identities,
        "convention": _convention(how, latent),
        **how,
        "latent": latent,
    }
    axes = {axis for row in found for tensor in (*row.op.inputs, row.op.output) for dim in tensor.dims for axis in dim}
    axes |= {row.block.repeat for row in found if row.block.repeat}
    data["symbols"], symbols = legend(graph, sizes, used=axes | {"cached"})
    if needed:
        data["symbols"] |= (seen := _seen(found, sizes, letters, formulas.symbols(short)))
        extra = tuple(
            {"symbol": s, "value": f"{v:,.1f}", "meaning": "keys that a query sees, on average"}
            for s, v in seen.items()
        )
        symbols = symbols._replace(rows=(*symbols.rows, *extra))
    data["components"] = lines
    table = _table(lines, whole.forward, whole.backward, decode=how["decode"])
    where = (("where", ", ".join(identities), "text"),) if used else ()
    headline = Facts("", (("forward", data["formula"], "formula"), *where))
    sections: list[Any] = [_facts(model, names, per_token, recompute, decode=how["decode"]), headline, symbols, table]
    if compare:
        data["compare"], compared = _compare(graph, sizes, found, whole, tokens)
        sections.append(compared)
    sections.append(Text(data["convention"]))
    return Report("flops", model.describe(), workload.to_dict(), data, tuple(sections), table)


def _convention(how: Mapping[str, Any], latent: str) -> str:
    text = (
        "A multiply-add is 2 FLOPs. The headline counts matmuls and convolutions; norms, softmax, activations and the "
    )
    text += "like are counted apart (other). "
    scores = "only where the mask lets a query look" if how["needed"] else "whole, as eager attention computes them"
    text += f"Score matrices are counted {scores}. Of experts, those that a token goes to, and the router."
    if latent == "absorbed":
        text += " Latent attention is in its absorbed form."
    if how["recompute"] != "none":
        text += f" Hardware FLOPs: the backward pass computes {how['recompute']} activations again."
    return text


def _per(flops: Any, tokens: int) -> int | float:
    each: int | float = flops // tokens if flops % tokens == 0 else flops / tokens
    return each


def _facts(
    model: Transformer, names: Mapping[str, Work], per_token: Mapping[str, Any], recompute: str, *, decode: bool
) -> Table:
    """The headline: a row each for forward, backward and the training step; of a decoding step, forward alone."""
    columns = (
        Column("what", "", "text"),
        Column("matmul", "matmul", "flops"),
        Column("other", "other", "flops", 1),
        Column("total", "total", "flops", 2),
        Column("per_token", "matmul per token", "flops", 1),
        Column("exact", "exact matmul", "count", 3),
    )
    labels = {"forward": "forward", "backward": "backward", "train": "training step"}
    if decode:
        labels = {"forward": "forward, with a cache"}
    elif recompute != "none":
        labels |= {"hardware": f"with {recompute} recomputation"}
    lines = tuple(
        {
            "what": label,
            "matmul": names[name].matmul,
            "other": names[name].other,
            "total": names[name].total,
            "per_token": per_token[name],
            "exact": names[name].matmul,
        }
        for name, label in labels.items()
    )
    return Table(model.title, columns, lines)


def _table(lines: Iterable[Mapping[str, Any]], forward: Work, backward: Work, *, decode: bool) -> Table:
    """Matmuls one by one, and all else in one row."""
    cells = [
        {
            "path": line["path"],
            "repeat": line["repeat"],
            "formula": line["formula"],
            "forward": line["repeat"] * line["forward"]["matmul"],
            "backward": line["repeat"] * line["backward"]["matmul"],
            "share": line["repeat"] * line["forward"]["matmul"] / forward.matmul,
        }
        for line in lines
        if line["forward"]["matmul"]
    ]
    total = {"path": "total", "forward": forward.matmul, "backward": backward.matmul, "share": 1.0}
    kinds = ", ".join(sorted({KINDS[line["op"]].word for line in lines if line["forward"]["other"]} - {"matmul"}))
    columns = tuple(column for column in COLUMNS if not (decode and column.key == "backward"))
    return Table("matmuls, forward", columns, tuple(cells), total, caption=f"other: {kinds}, biases" if kinds else "")


def _contexts(graph: Graph, sizes: Sizes) -> list[formulas.Identity]:
    """Without a cache, the keys are as many as the queries: C = S."""
    if sizes.get("cached", 0) != 0:
        return []
    letters = graph.symbols()
    found = []
    for name, axis in graph.axes.items():
        if name.startswith("context") and axis.rule:
            queries = letters["target"] if "target" in graph.workload_axes else letters["seq"]
            found.append(formulas.Identity(letters[name], queries))
    return found


def _seen(found: Iterable[Row], sizes: Sizes, letters: Sizes, shown: frozenset[str]) -> dict[str, float]:
    """The values of the derived sizes that stand for what a window lets through."""
    values = {}
    for row in found:
        if row.op.kind == "mask":
            for (name, letter), value in zip(
                mean_keys(row.op, letters).items(), mean_keys(row.op, sizes).values(), strict=True
            ):
                if str(letter) in shown:
                    values[str(letter)] = float(value)
                del name
    return values


def _compare(graph: Graph, sizes: Sizes, found: list[Row], whole: Flops, tokens: int) -> tuple[dict[str, Any], Table]:
    """The rules of thumb 2·N and 6·N per token against the count, and the way from one to the other."""
    counts = params(graph, sizes)
    weights: Any = sum(2 * part.active(sizes) for part in components(graph) if part.path in _multiplied(found))
    per_token, training = _per(whole.forward.matmul, tokens), _per(whole.train.matmul, tokens)
    scores: Any = sum(row.times(sizes) * row.forward.matmul for row in found if row.op.kind == "einsum")
    heads = [row for row in found if row.op.params and row.op.params[0].tied]
    tied: Any = sum(row.times(sizes) * row.forward.matmul for row in heads)
    rest = _per(whole.forward.matmul - weights * tokens - scores - tied, tokens)
    scores, tied = _per(scores, tokens), _per(tied, tokens)
    idle = 2 * counts.active - weights
    decode = sizes.get("cached", 0) != 0
    thumbs = {
        "2·N, all parameters": (2 * counts.total, per_token),
        "2·N, active parameters": (2 * counts.active, per_token),
        "2·N, without embeddings": (2 * (counts.active - counts.embedding), per_token),
    }
    if counts.active == counts.total:
        del thumbs["2·N, active parameters"]
    steps = {
        "counted": per_token,
        "  weights that are multiplied, 2 each": weights,
        "  attention: scores and mixing, no parameters": scores,
        "  a tied table, multiplied as the head": tied,
        f"  {_not_once(graph)}": rest,
        f"  not multiplied: {_not_multiplied(graph, decode)}, 2 each": idle,
    }
    lines = _misses(thumbs)
    lines += [{"what": what, "flops": value, "miss": "", "value": value} for what, value in steps.items() if value]
    note = ""
    if not decode:
        lines += _misses({"6·N, active parameters, training": (6 * counts.active, training)})
        lines.append({"what": "counted, training", "flops": training, "miss": "", "value": training})
        if training == 3 * per_token:
            note = "6·N misses by as much as 2·N: forward and backward are three times the forward"
        else:
            note = "the backward pass is less than twice the forward: the input needs no gradient"
    data = {
        "two_n": 2 * counts.active,
        "six_n": 6 * counts.active,
        "forward_per_token": per_token,
        "train_per_token": training,
        "two_n_error": (2 * counts.active - per_token) / per_token,
        "six_n_error": (6 * counts.active - training) / training,
        "multiplied": weights,
        "attention": scores,
        "tied_head": tied,
        "not_once_a_token": rest,
        "not_multiplied": idle,
    }
    columns = (
        Column("what", "per token", "text"),
        Column("flops", "FLOPs", "flops"),
        Column("miss", "misses by", "text"),
    )
    return data, Table("rules of thumb", columns, tuple(lines), caption=note)


def _misses(thumbs: Mapping[str, tuple[Any, Any]]) -> list[dict[str, Any]]:
    return [
        {"what": what, "flops": value, "miss": f"{(value - counted) / counted:+.1%}", "value": value}
        for what, (value, counted) in thumbs.items()
    ]


def _not_once(graph: Graph) -> str:
    """Why a weight may meet more or fewer tokens than are counted."""
    if "decoder" in graph.orders:
        return "source tokens are not as many as target tokens"
    if len(graph.orders) > 1:
        return "image tokens and poolers are not as many as text tokens"
    if any(block.copies != block.repeat for block in graph.blocks):
        return "layers that share weights multiply them again"
    return "weights that meet more, or fewer, than each token once"


def _not_multiplied(graph: Graph, decode: bool) -> str:
    """What of the parameters is in no matmul."""
    encoder = decode and "encoder" in graph.orders and "decoder" in graph.orders
    return "embedding tables, norms, biases" + (", what only the source meets" if encoder else "")


def _multiplied(found: Iterable[Row]) -> set[str]:
    """Paths of the weights that contractions use."""
    return {
        f"{row.path}.{row.op.params[0].name}"
        for row in found
        if row.forward.matmul and row.op.params and not row.op.params[0].tied
    }
