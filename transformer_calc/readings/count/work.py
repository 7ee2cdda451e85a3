"""What `flops` answers: the work of a batch, its formula, where it is, and how far off the rules of thumb are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from transformer_calc import ops
from transformer_calc.answer import OfModel
from transformer_calc.errors import InputError
from transformer_calc.graph.core import Graph, Sizes, plain
from transformer_calc.ops.core import Work
from transformer_calc.readings.count import formulas
from transformer_calc.readings.count.flops import Row, Totals, check_options, mean_keys, rows, scores, totals
from transformer_calc.readings.count.legend import Symbol, legend
from transformer_calc.readings.count.params import components, params
from transformer_calc.tuples import NamedTuple

if TYPE_CHECKING:
    from transformer_calc.expr import Size


class Counted(NamedTuple):
    """One operation's work, which stands `repeat` times in the model.

    op: its kind; forward, backward, recomputed: FLOPs of one; forward_formula, backward_formula: the same in letters
    """

    path: str
    op: str
    repeat: int
    forward: Work
    backward: Work
    recomputed: Work
    forward_formula: Work
    backward_formula: Work

    @property
    def all_forward(self) -> Any:
        """Model FLOPs of all of them."""
        return self.repeat * self.forward.model

    @property
    def all_backward(self) -> Any:
        """The same of the backward pass."""
        return self.repeat * self.backward.model


class Thumb(NamedTuple):
    """A term of FLOPs per token; of a rule of thumb also by what part of the count it misses."""

    what: str
    flops: int | float
    miss: float | None = None


class Flops(OfModel):
    """The work of a batch, in FLOPs, of which a multiply-add is two.

    forward, backward: of the pass; train: both, a step's model FLOPs; hardware: with what is computed again; per_token:
    matmul and scan FLOPs of each; tokens: of how many; needed: of score matrices only what the mask lets through;
    recompute: none, selective or full; decode: one pass with a cache; latent: the form of latent attention

    formula, formula_general, backward_formula: matmul and scan FLOPs in letters, the first and last shortened by
    `identities`; identities: what holds of this model; symbols: the letters; components: operations that take FLOPs;
    others: what the other FLOPs are of

    thumbs: 2·N and 6·N, N the active parameters, against the count, in FLOPs per token, and errors as parts of it:
    multiplied by weights, attention by scores and mixing, tied_head by a table once more, not_once_a_token by what
    meets more or fewer tokens, not_multiplied what 2·N takes for more; thumb_lines: how that adds up; thumb_note: how
    the two compare
    """

    forward: Work
    backward: Work
    train: Work
    hardware: Work
    per_token: Mapping[str, int | float]
    tokens: int
    needed: bool
    recompute: str
    decode: bool
    latent: str
    formula: Size
    formula_general: Size
    backward_formula: Size
    identities: tuple[formulas.Identity, ...]
    symbols: tuple[Symbol, ...]
    components: tuple[Counted, ...]
    others: tuple[str, ...]
    thumbs: Mapping[str, int | float]
    thumb_lines: tuple[Thumb, ...]
    thumb_note: str

    FIRST: ClassVar[Mapping[str, str]] = {
        "title": "text",
        "forward.matmul": "flops",
        "backward.matmul": "flops",
        "train.matmul": "flops",
        "tokens": "count",
    }


def counted(
    graph: Graph,
    sizes: Sizes,
    of: Mapping[str, Any],
    *,
    tokens: int,
    needed: bool = False,
    recompute: str = "none",
    latent: str = "naive",
) -> Flops:
    """The work of a batch of so many tokens; `of`: what an answer says of the model itself."""
    decode = sizes.get("cached", 0) != 0
    check_options(recompute, latent, decode=decode)
    if latent == "absorbed" and not any(op.attrs.get("absorbed") for b in graph.blocks for op in b.ops):
        raise InputError(f"`latent` is absorbed, but {graph.name} has no latent attention")
    how: dict[str, Any] = {"needed": needed, "recompute": recompute, "decode": decode}
    letters = graph.symbols()
    found, symbolic = (list(rows(graph, bound, **how)) for bound in (sizes, letters))
    whole, works = totals(found, sizes), totals(symbolic, letters)
    rules = formulas.identities(graph, sizes) + _contexts(graph, sizes)
    general = formulas.merged_layers(works.forward.model, graph)
    short, used = formulas.textbook(general, rules)

    def read(size: Any) -> Any:
        return formulas.textbook(size, rules)[0]

    pairs = [
        (row, letter) for row, letter in zip(found, symbolic, strict=True) if row.forward.total or row.backward.total
    ]
    axes = {axis for row in found for tensor in (*row.op.inputs, row.op.output) for dim in tensor.dims for axis in dim}
    axes |= {row.block.repeat for row in found} | {"cached"}
    seen = _seen(found, sizes, letters, formulas.symbols(short)) if needed else ()
    return Flops(
        **of,
        **whole._asdict(),
        per_token={name: _per(work.model, tokens) for name, work in whole._asdict().items()},
        tokens=tokens,
        **how,
        latent=latent,
        formula=short,
        formula_general=general,
        backward_formula=read(formulas.merged_layers(works.backward.model, graph)),
        identities=tuple(used),
        symbols=(*legend(graph, sizes, used=axes), *seen),
        components=tuple(
            Counted(
                row.path,
                row.op.kind,
                row.times(sizes),  # type: ignore[arg-type]
                row.forward,
                row.backward,
                row.recomputed,
                Work(*map(read, letter.forward)),
                Work(*map(read, letter.backward)),
            )
            for row, letter in pairs
        ),
        others=tuple(sorted({ops.rules(row.op).word for row, _ in pairs if row.forward.other} - {"matmul"})),
        **_thumbs(graph, sizes, found, whole, tokens),
    )


def _per(flops: Any, tokens: int) -> int | float:
    each: int | float = flops // tokens if flops % tokens == 0 else flops / tokens
    return each


def _contexts(graph: Graph, sizes: Sizes) -> list[formulas.Identity]:
    """Without a cache, the keys are as many as the queries: C = S."""
    letters = graph.symbols()
    queries = letters["target"] if "target" in graph.workload_axes else letters["seq"]
    contexts = [name for name, axis in graph.axes.items() if plain(name) == "context" and axis.rule]
    return [] if sizes.get("cached", 0) != 0 else [formulas.Identity(letters[name], queries) for name in contexts]


def _seen(found: Iterable[Row], sizes: Sizes, letters: Sizes, shown: frozenset[str]) -> tuple[Symbol, ...]:
    """The derived sizes that stand for what a window lets through."""
    means = {
        str(letter): float(mean_keys(row.op, sizes)[keys])
        for row in found
        if row.block.masks.get(row.op.scope) is row.op
        for keys, letter in mean_keys(row.op, letters).items()
    }
    meaning = "keys that a query sees, on average"
    return tuple(Symbol(letter, "", mean, meaning) for letter, mean in means.items() if letter in shown)


def _thumbs(graph: Graph, sizes: Sizes, found: Sequence[Row], whole: Totals, tokens: int) -> dict[str, Any]:
    """The rules of thumb 2·N and 6·N per token against the count, and the way from one to the other."""
    counts, decode = params(graph, sizes), sizes.get("cached", 0) != 0
    used = {  # weights that contractions multiply
        f"{row.path}.{row.op.params[0].name}"
        for row in found
        if row.forward.matmul and row.op.params and not row.op.params[0].tied
    }
    weights: Any = sum(2 * part.active(sizes) for part in components(graph) if part.path in used)

    def thumb(what: str, flops: int, of: int | float) -> Thumb:
        return Thumb(what, flops, (flops - of) / of)

    mixing = scores(found, sizes)
    heads = (row for row in found if row.op.params and row.op.params[0].tied)
    tied: Any = sum(row.times(sizes) * row.forward.model for row in heads)
    one, training = _per(whole.forward.model, tokens), _per(whole.train.model, tokens)
    two_n, six_n = 2 * counts.active, 6 * counts.active
    lines = [
        thumb("2·N, all parameters", 2 * counts.total, one),
        thumb("2·N, active parameters", two_n, one),
        thumb("2·N, without embeddings", 2 * (counts.active - counts.embedding), one),
    ]
    del lines[1 : 1 + (counts.active == counts.total)]
    terms = {
        "counted": one,
        "  weights that are multiplied, 2 each": weights,
        "  attention: scores and mixing, no parameters": _per(mixing, tokens),
        "  a tied table, multiplied as the head": _per(tied, tokens),
        f"  {_not_once(graph)}": _per(whole.forward.model - weights * tokens - mixing - tied, tokens),
        f"  not multiplied: {_not_multiplied(graph, decode)}, 2 each": two_n - weights,
    }
    lines += [Thumb(*term) for term in terms.items() if term[1]]
    note = ""
    if not decode:
        lines += [thumb("6·N, active parameters, training", six_n, training), Thumb("counted, training", training)]
        note = "the backward pass is less than twice the forward: the input needs no gradient"
        if training == 3 * one:
            note = "6·N misses by as much as 2·N: forward and backward are three times the forward"
    names = ("forward_per_token", "multiplied", "attention", "tied_head", "not_once_a_token", "not_multiplied")
    thumbs = {"two_n": two_n, "six_n": six_n, **dict(zip(names, terms.values(), strict=True))}
    thumbs |= {"train_per_token": training, "two_n_error": (two_n - one) / one}
    thumbs["six_n_error"] = (six_n - training) / training
    return {"thumbs": thumbs, "thumb_lines": tuple(lines), "thumb_note": note}


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
