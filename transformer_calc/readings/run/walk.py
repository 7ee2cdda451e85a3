"""The forward pass by hand: one run of the graph, with every array that it meets and the line of algebra for each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from transformer_calc.answer import OfModel
from transformer_calc.errors import InputError, check_choice, did_you_mean, shown
from transformer_calc.graph.core import Dims, Graph, Op, Param, Sizes, join, plain
from transformer_calc.ops import rules
from transformer_calc.ops.frequencies import frequencies
from transformer_calc.ops.kind import MASKS, OWN, PART, ROTATES, WEIGHS
from transformer_calc.readings.count import algebra
from transformer_calc.readings.count.legend import Symbol, legend, symbols_of
from transformer_calc.readings.count.params import params
from transformer_calc.readings.count.shapes import expanded
from transformer_calc.readings.run.by_hand import LOWEST, Line, worked_out
from transformer_calc.readings.run.given import Given, given, seeded_inputs, seeded_weights, with_vectors
from transformer_calc.readings.run.machine import Machine
from transformer_calc.readings.run.verify import too_long
from transformer_calc.readings.run.weights import Checkpoint, Loaded, is_folder, match
from transformer_calc.spec import Model, Patches, Workload
from transformer_calc.tuples import NamedTuple

Array = np.ndarray[Any, np.dtype[Any]]

UNSEEN = ("mask", "padding_mask")  # inputs that the run makes by itself
STYLES = ("integers", "random")
MOST_PARAMS = 50_000
MOST = 64  # tokens, and sequences
FEW = 12  # tokens of a model's usual workload that are still walked
USUAL_TOKENS = 4  # where nothing is asked for and the model's usual ones are more
FRACTIONS = {"pixels": "the image", "mel_spectrogram": "the spectrogram"}  # inputs that are never whole numbers


class Seen(NamedTuple):
    """An array with its letter and its axes, by their names and symbols.

    given: no operation made it; sums: of its rows, where these weigh what is summed
    """

    name: str
    letter: str
    dims: Dims
    axes: list[str]
    symbols: list[str]
    values: Array
    given: bool = False
    key: tuple[str, int] = ("", 0)  # of a weight: its path and which copy
    head_width: int = 0  # where the last dimension holds heads side by side
    sums: Array | None = None

    @property
    def shape(self) -> list[int]:
        """Its sizes."""
        return list(self.values.shape)


class Step(NamedTuple):
    """One operation of the run, with its line of algebra.

    by_hand: one entry worked out; remarks: on entries that are exactly 0; handed_on: what comes out is what an
    operation before it made, in another shape if anything
    """

    path: str
    op: Op
    algebra: str
    inputs: list[Seen]
    weights: list[Seen]
    output: Seen
    by_hand: Line = ()
    remarks: tuple[str, ...] = ()
    handed_on: bool = False


class _Stop(Exception):
    """The last step that was asked for is done."""


class Walker(Machine):
    """A machine that notes everything."""

    def __init__(self, graph: Graph, sizes: Sizes, weights: Any, inputs: Mapping[str, Array], last: str | None) -> None:
        super().__init__(graph, sizes, weights, inputs)
        self.steps: list[Step] = []
        self.last = last
        self.lines = algebra.lines(graph)
        self.made: set[int] = set()  # arrays that operations made: all of them are kept, so their ids stay

    def look(self, op: Op, inputs: Sequence[Array], params: Sequence[Array], y: Array) -> None:
        """Note one operation."""
        made, line = next(self.lines)
        assert made.path == op.path
        shown_in = [
            self._seen(t.name, letter, t.dims, v, given=id(v) not in self.made)
            for t, letter, v in zip(op.inputs, line.inputs, inputs, strict=True)
            if t.name not in UNSEEN
        ]
        shown_weights = [
            self._seen(p.name, w, p.dims, v, key=self._key(op, p))
            for p, w, v in zip(op.params, line.weights, params, strict=True)
        ]
        self.made.add(id(y))
        place = self.block.path if self.layer is None else join(self.block.stack, f"layers.{self.layer}")
        path = join(place, op.path)
        output = self._seen(op.path, line.letter, op.output.dims, y)
        kind = rules(op)
        if WEIGHS in kind.traits:
            output = output._replace(sums=y.sum(-1))
        if shown_in and op.last == "mix":
            shown_in[0] = shown_in[0]._replace(sums=shown_in[0].values.sum(-1))
        step = Step(
            path,
            op,
            line.text + self._masked(op, y) + self._stretched(op, y),
            shown_in,
            shown_weights,
            output,
            worked_out(op, self.layer, inputs, params, y),
            _of_zeros(op, inputs, y),
            (kind.memory not in (OWN, PART) or MASKS in kind.traits) and bool(shown_in) and not shown_in[0].given,
        )
        self.steps.append(step)
        if path == self.last:
            raise _Stop

    def _masked(self, op: Op, y: Array) -> str:
        """What a mask's line does not say: that it hides nothing here, or padding, too."""
        if MASKS not in rules(op).traits:
            return ""
        if not (y == LOWEST).any():
            return ": none here"
        source = ("source",) in op.inputs[0].dims
        mask = self.inputs.get("encoder.attention_mask") if source else self._own("attention_mask")
        padded = mask is not None and not np.all(mask)
        return " and at padding" if padded and "padding" not in op.note else ""

    def _stretched(self, op: Op, y: Array) -> str:
        """What a rotation's line does not say: that it makes its pairs longer, and scores with them, as YaRN's does."""
        if ROTATES not in rules(op).traits:
            return ""
        _, factor = frequencies(op.attrs, int(self.positions(y.shape[-2])[-1]) + 1)
        return f", and multiply these with {factor:.4g}" if factor != 1 else ""

    def _seen(self, name: str, letter: str, dims: Dims, values: Array, **more: Any) -> Seen:
        axes = ["*".join(dim) or "1" for dim in dims]
        last = dims[-1] if dims else ()
        width = self.length_of(last[1:]) if len(last) == 2 and plain(last[0]) in ("heads", "kv_heads") else 0
        return Seen(name, letter, dims, axes, symbols_of(dims, self.graph), values, head_width=width, **more)

    def _key(self, op: Op, param: Param) -> tuple[str, int]:
        if param.tied and not param.tied.startswith("@"):
            return param.tied, 0
        own = param.tied[1:] or f"{op.path}.{param.name}"
        return self.block.full(own), self.copy


def _of_zeros(op: Op, inputs: Sequence[Array], y: Array) -> tuple[str, ...]:
    """What is said of weights that are exactly 0, and of rows in which everything is masked."""
    if WEIGHS not in rules(op).traits:
        return ()
    masked, zero = inputs[0] == LOWEST, y == 0
    said = {
        "· is 0: what a query does not look at": (masked & zero).any(),
        "some are 0 because e to that power is smaller than any number here": (~masked & zero).any(),
        "a row that is masked everywhere looks at all alike": masked.all(-1).any(),
    }
    return tuple(text for text, holds in said.items() if holds)


def walk(graph: Graph, sizes: Sizes, weights: Any, inputs: Mapping[str, Array], last: str | None = None) -> list[Step]:
    """Every step of the run, up to the one at the path `last`."""
    walker = Walker(graph, sizes, weights, inputs, last)
    with suppress(_Stop):
        walker.run()
    if walker.overflowed:
        raise InputError(
            f"{walker.overflowed} comes out as what is no finite number; the numbers that are given grow too large"
        )
    return walker.steps


# --- the answer ---------------------------------------------------------------------------------------------------


class Walk(OfModel):
    """A forward pass, step by step.

    steps: every operation that was asked for, with its arrays; symbols: the letters of their axes; seed: of the numbers
    that were not given; weights: what these are like, integers or random; shrunk: whether a tiny model of the same
    structure was walked; told: where the numbers are from
    """

    steps: list[Step]
    symbols: tuple[Symbol, ...]
    seed: int
    weights: str
    shrunk: bool
    told: str

    FIRST: ClassVar[Mapping[str, str]] = {"title": "text", "steps": "count", "told": "text"}

    @property
    def entries(self) -> int:
        """Entries of all outputs."""
        return sum(step.output.values.size for step in self.steps)


def walked(
    model: Model,
    graph: Graph,
    on: Workload,
    of: Mapping[str, Any],
    values: Mapping[str, Any],
    *,
    own: bool = False,
    step: str | None = None,
    until: str | None = None,
    checkpoint: Path | None = None,
    seed: int = 0,
    weights: str = "integers",
    shrunk: bool = False,
) -> Walk:
    """Run a model on these values, and seeded ones in place of what they lack; of a checkpoint all its weights.

    of: what an answer says of the model itself; own: whether the values are the model's own
    """
    check_choice("weights", weights, STYLES)
    if step is not None and until is not None:
        raise InputError("`step` and `until` are both given, expected one of them")
    sizes = graph.sizes(on)
    if not shrunk:
        _refuse_if_too_many_parameters(graph, sizes, of)
    _refuse_if_too_long(model, on)
    try:
        known = given(model, graph, sizes, values)
    except InputError as error:
        hint = f"{graph.name}'s own numbers do not fit; `input` gives others" if own else error.hint
        raise InputError(error.message, hint) from None
    inputs = seeded_inputs(model, graph, sizes, known.inputs, seed)
    used: Any = seeded_weights(graph, sizes, known.weights, seed, weights)
    if checkpoint:
        used = _checkpoint(graph, sizes, checkpoint)
    run_graph = with_vectors(graph, inputs)
    only = chosen(run_graph, step, "step") if step is not None else None
    last = last_of(run_graph, until, "until") if until is not None else None
    steps = walk(run_graph, sizes, used, inputs, last)
    told = _told(known, inputs, weights, seed, steps, checkpoint)
    steps = [one for one in steps if only is None or one.path in only]
    seen = [tensor for one in steps for tensor in (*one.inputs, *one.weights, one.output)]
    axes = {axis for tensor in seen for dim in tensor.dims for axis in dim}
    axes |= {"cached"} if any(plain(axis) == "context" for axis in axes) else set()  # which it is made of
    letters = legend(graph, sizes, used=axes)
    return Walk(**of, steps=steps, symbols=letters, seed=seed, weights=weights, shrunk=shrunk, told=told)


def workload(model: Model, asked: Collection[str], run: Workload, usual: Workload, held: Mapping[str, int]) -> Workload:
    """Each size as it is asked for; else as the values' inputs are; else as usual, or few tokens where those are many.

    asked: the names of the sizes that were; run: with these, usual: without; held: sizes of the values' inputs
    """
    if run.context:
        raise InputError(f"`context` is {run.context}, but a walk starts with an empty cache", hint="leave it out")
    batch, seq, target, images = run.batch, run.seq, run.target, model.stacks[0].embedding
    if "batch" not in asked:
        batch = held.get("batch", batch)
    if "seq" not in asked:
        seq = held.get("seq", seq if seq <= FEW else USUAL_TOKENS)
    if isinstance(images, Patches):
        seq = images.count + images.extra_tokens
    if target and "target_seq" not in asked and target == usual.target:  # else it follows the source that is asked for
        target = held.get("target", target if target <= FEW else USUAL_TOKENS - 1)
    return Workload(batch=batch, seq=seq, target=target)


def _refuse_if_too_many_parameters(graph: Graph, sizes: Sizes, of: Mapping[str, Any]) -> None:
    total = params(graph, sizes).total
    if total > MOST_PARAMS:
        hint = "`shrink` walks a tiny model of the same structure"
        if of["model"]["source"] == "hyperparameters":
            hint = "smaller sizes, such as `vocab=10`"
        raise InputError(
            f"{graph.name} has {total:,} parameters, too many to follow; a walk takes at most {MOST_PARAMS:,}", hint
        )


def _refuse_if_too_long(model: Model, on: Workload) -> None:
    images = isinstance(model.stacks[0].embedding, Patches)
    asked = {"seq": (0 if images else on.seq, "tokens"), "target_seq": (on.target or 0, "tokens")}
    for field, (size, what) in (asked | {"batch": (on.batch, "sequences")}).items():
        if size > MOST:
            hint = f"`seq={USUAL_TOKENS}`" if field == "seq" else None
            raise InputError(f"`{field}` is {size:,}; a walk takes at most {MOST} {what}", hint)
    if wrong := too_long(model, on):
        raise InputError(wrong, hint="a shorter `seq` or `target_seq`")


def _checkpoint(graph: Graph, sizes: Sizes, path: Path) -> Loaded:
    """The weights of a safetensors file, which must be those of the model."""
    if is_folder(path):
        raise InputError(f"{path} is a folder, expected a file")
    checkpoint = Checkpoint(path)
    held = match(graph, sizes, checkpoint.shapes)
    if not held.ok:
        what = [f"{name} is missing" for name in held.missing]
        what += [f"{name} is not of this model" for name in held.unexpected]
        what += [f"{name} has the shape {list(got)}, expected {list(right)}" for name, right, got in held.wrong_shape]
        more = f", and {len(what) - 1:,} more do not fit" if len(what) > 1 else ""
        raise InputError(f"{path}: {what[0]}{more}", hint="verify lists all, with these `weights`")
    return Loaded(graph, sizes, checkpoint, held)


def _told(
    known: Given, inputs: Mapping[str, Any], weights: str, seed: int, steps: Sequence[Step], checkpoint: Path | None
) -> str:
    """Where the numbers are from."""
    used = {seen.key: seen for step in steps for seen in step.weights}
    fresh = [seen for key, seen in used.items() if key not in known.weights]
    needed = [name for name in inputs if not name.endswith("attention_mask")]
    missing = [name for name in needed if name not in known.inputs]
    if checkpoint:
        return f"weights from {checkpoint}; inputs {'as given' if not missing else f'seeded (seed {seed})'}"
    computed = {step.weights[0].key for step in steps if step.op.attrs.get("fixed")}
    made = [seen.values for seen in fresh if seen.key not in computed] + [
        inputs[name] for name in missing if not name.endswith(("A", "token_ids", *FRACTIONS))
    ]
    what = f"seeded {_style(weights, made)} (seed {seed})"
    fractions = [words for own, words in FRACTIONS.items() if any(name.endswith(own) for name in missing)]
    if fractions and weights == "integers":
        what += f"; {fractions[0]}: random numbers of two decimals"
    if "A" in missing:
        what += "; A: each row the mean of its position and those before"
    some = [name.rpartition(".")[2].replace("vectors", "x") for name in known.inputs]
    given = ["inputs"] if some and not missing else sorted(set(some))
    given += ["weights"] if used and not fresh else ["some weights"] if len(fresh) < len(used) else []
    if not given:
        return f"inputs and weights: {what}"
    if not (missing or fresh):
        return f"{' and '.join(given)} as given"
    if given == ["inputs"] and len(fresh) == len(used):
        return f"inputs as given, weights: {what}"
    return f"{', '.join(given[:-1]) + ' and ' if given[1:] else ''}{given[-1]} as given; what is not given: {what}"


def _style(weights: str, made: Sequence[Any]) -> str:
    """What seeded numbers are like: as whole as they say."""
    if weights != "integers":
        return "random numbers of two decimals"
    entries = {abs(float(x)) for values in made for x in set(values.ravel().tolist())}
    part = next((n for n in range(64) if all((x * 2**n).is_integer() for x in entries)), 64)
    return "small whole numbers" if not part else f"small multiples of 1/{2**part}"


# --- which steps --------------------------------------------------------------------------------------------------


def paths(graph: Graph) -> list[tuple[str, str]]:
    """Every step's path with its layer's number, and without."""
    return [
        (join(place.path, op.path), join(place.block.path, op.path))
        for place in expanded(graph)
        for op in place.block.ops
    ]


def chosen(graph: Graph, wanted: str, field: str) -> list[str]:
    """The paths that a path or the beginning of one stands for, in order."""
    known = paths(graph)
    found = [path for path, bare in known if any(f"{p}.".startswith(f"{wanted.strip()}.") for p in (path, bare))]
    if not found or not wanted.strip():
        words = {path.rsplit(".", cut)[0] for path, _ in known for cut in range(path.count(".") + 1)}
        some = f"steps are {known[0][0]}, {known[len(known) // 2][0]} … {known[-1][0]}"
        hint = did_you_mean(wanted, [*(path for path, _ in known), *sorted(words)]) or some
        raise InputError(f"`{field}` is {shown(wanted, 60)}, which is no step of this walk", hint=hint)
    return found


def last_of(graph: Graph, wanted: str, field: str) -> str:
    """Where a walk until `wanted` stops: after the first unbroken row of the steps that it stands for."""
    found, order = set(chosen(graph, wanted, field)), [path for path, _ in paths(graph)]
    first = next(i for i, path in enumerate(order) if path in found)
    end = first
    while end + 1 < len(order) and order[end + 1] in found:
        end += 1
    return order[end]
