"""The report of `tcalc walk`: every matrix of a forward pass, with the line of algebra that makes it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformer_calc.errors import InputError
from transformer_calc.graph.core import Graph, Sizes
from transformer_calc.graph.model import build as build_graph
from transformer_calc.ops import rules
from transformer_calc.ops.kind import MASKS, NORMS, OWN, PART, SINES, WEIGHS
from transformer_calc.ops.notation import by
from transformer_calc.readings.count.legend import legend as letters_of
from transformer_calc.readings.count.params import params
from transformer_calc.readings.run.shrink import shrink as shrunk
from transformer_calc.readings.run.verify import too_long
from transformer_calc.readings.run.walk import (
    LOWEST,
    Given,
    Seen,
    Step,
    chosen,
    given,
    last_of,
    seeded_inputs,
    seeded_weights,
    tokens_of,
    walk,
    with_vectors,
)
from transformer_calc.readings.run.weights import Checkpoint, Loaded, is_folder, match
from transformer_calc.report import Column, Grid, Matrix, Report, Table, Text
from transformer_calc.report.common import legend
from transformer_calc.sources import presets, values
from transformer_calc.spec import Patches, Workload

if TYPE_CHECKING:
    from transformer_calc.api import Transformer

MOST_PARAMS = 50_000
MOST_TOKENS = 64
MOST_SEQUENCES = 64
USUAL_TOKENS = 4  # where nothing is asked for and the model has no usual length that is as small
SIDE = 12  # rows and columns of a matrix that are shown; of a larger one its corner
CORNER = 6
BLOCKS = 8  # matrices of one tensor that are shown
FACTORS = 6  # of an entry that is worked out
BATCH = ("batch", "batch_images")
FRACTIONS = {"pixels": "the image", "mel_spectrogram": "the spectrogram"}  # inputs that are never whole numbers
WORDS = {
    "batch": "sequence",
    "batch_images": "image",
    "heads": "head",
    "kv_heads": "key/value head",
    "seq": "position",
    "target": "position",
    "experts": "expert",
    "top_k": "choice",
    "channels": "channel",
}
ENTRIES = (
    Column("path", "operation", "text"),
    Column("algebra", "algebra", "text"),
    Column("index", "index", "shape"),
    Column("value", "value", "text"),
)


def build(
    model: Transformer,
    workload: Workload,
    *,
    step: str | None = None,
    until: str | None = None,
    input: str | None = None,
    seed: int = 0,
    weights: str = "integers",
    shrink: bool = False,
    decimals: int = 3,
    whole: bool = False,
) -> Report:
    """Run the model and show every step, or only some; `whole`: no matrix is cut, and every batch item is shown."""
    if step is not None and until is not None:
        raise InputError("--step and --until are both given, expected one of them")
    spec = shrunk(model.spec) if shrink else model.spec
    if input is not None and not input.strip():
        raise InputError("--input is empty, expected the path of a file")
    checkpoint = input if input is not None and input.lower().endswith(".safetensors") else None
    if checkpoint and is_folder(Path(checkpoint)):
        raise InputError(f"{checkpoint} is a folder, expected a file")
    found = _values(model, None if checkpoint else input, shrink=shrink)
    on = _workload(spec, workload, model.workload(), tokens_of(spec, found))
    graph = build_graph(spec)
    sizes = graph.sizes(on)
    if not shrink:
        _refuse_if_too_many_parameters(model, params(graph, sizes).total)
    _refuse_if_too_long(spec, on)
    try:
        known = given(spec, graph, sizes, found)
    except InputError as error:
        if input is not None:
            raise
        raise InputError(
            error.message, hint=f"{model.spec.name}'s own numbers do not fit; --input gives others"
        ) from None
    inputs = seeded_inputs(spec, graph, sizes, known.inputs, seed)
    used: Any = seeded_weights(graph, sizes, known.weights, seed, weights)
    if checkpoint:
        used = _checkpoint(graph, sizes, Path(checkpoint))
    run_graph = with_vectors(graph, inputs)
    only = set(chosen(run_graph, step, "--step")) if step is not None else None
    last = last_of(run_graph, until, "--until") if until is not None else None
    steps = walk(run_graph, sizes, used, inputs, last)
    told = _told(known, inputs, weights, seed, steps, checkpoint)
    steps = [one for one in steps if only is None or one.path in only]
    shown = _Shown(decimals, whole=whole)
    sections = [section for one in steps for section in shown.step(one)]
    axes = [
        axis for one in steps for seen in (*one.inputs, *one.weights, one.output) for dim in seen.dims for axis in dim
    ]
    if any(axis.startswith("context") for axis in axes):
        axes.append("cached")  # which it is made of
    letters, symbols = legend(letters_of(graph, sizes, used=axes))
    title = f"{model.title}, shrunk: a tiny model of the same structure" if shrink else model.title
    run_on = f"{_count(on.batch, 'sequence')} of {_count(on.seq, 'token')}{_target(on)}"
    first = f"\nmatrices are those of the first of the {_count(on.batch, 'sequence')} (--all shows every one)"
    head = Text(f"{title}: {run_on}\n{told}{first if on.batch > 1 and not whole else ''}")
    data = {
        "seed": seed,
        "weights": weights,
        "shrunk": shrink,
        "symbols": letters,
        "steps": [_plain(one) for one in steps],
    }
    return Report("walk", model.describe(), on.to_dict(), data, (head, symbols, *sections), _entries(steps))


# --- what is walked -----------------------------------------------------------------------------------------------


def _values(model: Transformer, input: str | None, *, shrink: bool) -> dict[str, Any]:
    """The values of the model's own file, and over them those of the user's."""
    found: dict[str, Any] = {}
    if not shrink:
        path = None
        if model.source.startswith("preset "):
            path = presets.find(model.source.removeprefix("preset "))
        elif model.source.endswith(".toml"):
            path = Path(model.source)
        if path:
            found = values.flat(presets.read(path).get("values", {}))
    return found | values.read(Path(input)) if input is not None else found


def _workload(spec: Any, workload: Workload, usual: Workload, sizes: dict[str, int]) -> Workload:
    """Each size as it is asked for, where it is not the usual one; else what the file's inputs are; else few tokens."""
    if workload.context:
        raise InputError(f"--context is {workload.context}, but a walk starts with an empty cache", hint="leave it out")
    seq, target, batch = workload.seq, workload.target, workload.batch
    fixed = isinstance(spec.stacks[0].embedding, Patches)
    if seq == usual.seq:
        seq = sizes.get("seq", min(seq, USUAL_TOKENS) if not fixed and seq > SIDE else seq)
    if target and target == usual.target:
        target = sizes.get("target", min(target, USUAL_TOKENS - 1) if target > SIDE else target)
    if batch == usual.batch:
        batch = sizes.get("batch", batch)
    if fixed:
        seq = spec.stacks[0].embedding.count + spec.stacks[0].embedding.extra_tokens
    return Workload(batch=batch, seq=seq, target=target)


def _refuse_if_too_many_parameters(model: Transformer, total: int) -> None:
    if total > MOST_PARAMS:
        hint = "tcalc walk MODEL --shrink walks a tiny model of the same structure"
        if model.source == "hyperparameters":
            hint = "smaller sizes, such as --vocab 10"
        raise InputError(
            f"{model.spec.name} has {total:,} parameters, too many to follow; a walk takes at most {MOST_PARAMS:,}",
            hint=hint,
        )


def _refuse_if_too_long(spec: Any, on: Workload) -> None:
    for name, tokens in (("--seq", on.seq), ("--target-seq", on.target or 0)):
        if tokens > MOST_TOKENS and not (name == "--seq" and isinstance(spec.stacks[0].embedding, Patches)):
            hint = f"--seq {USUAL_TOKENS}" if name == "--seq" else None
            raise InputError(f"{name} is {tokens:,}; a walk takes at most {MOST_TOKENS} tokens", hint=hint)
    if on.batch > MOST_SEQUENCES:
        raise InputError(f"--batch is {on.batch:,}; a walk takes at most {MOST_SEQUENCES} sequences")
    if wrong := too_long(spec, on):
        raise InputError(wrong, hint="a shorter --seq or --target-seq")


def _checkpoint(graph: Graph, sizes: Sizes, path: Path) -> Loaded:
    """The weights of a safetensors file, which must be those of the model."""
    checkpoint = Checkpoint(path)
    held = match(graph, sizes, checkpoint.shapes)
    if not held.ok:
        what = [f"{name} is missing" for name in held.missing]
        what += [f"{name} is not of this model" for name in held.unexpected]
        what += [f"{name} has the shape {list(got)}, expected {list(right)}" for name, right, got in held.wrong_shape]
        more = f", and {len(what) - 1:,} more do not fit" if len(what) > 1 else ""
        raise InputError(f"{path}: {what[0]}{more}", hint="tcalc verify MODEL --weights FILE lists all")
    return Loaded(graph, sizes, checkpoint, held)


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' if n > 1 else ''}"


def _target(on: Workload) -> str:
    return f", {_count(on.target, 'target token')}" if on.target else ""


def _told(
    known: Given,
    inputs: Mapping[str, Any],
    weights: str,
    seed: int,
    steps: Sequence[Step],
    checkpoint: str | None,
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


# --- for programs -------------------------------------------------------------------------------------------------


def _plain(step: Step) -> dict[str, Any]:
    def value(seen: Seen) -> dict[str, Any]:
        return {
            "name": seen.name,
            "letter": seen.letter,
            "axes": seen.axes,
            "symbols": seen.symbols,
            "shape": seen.shape,
            "values": seen.values.tolist(),
        }

    return {
        "path": step.path,
        "op": step.op.kind,
        "algebra": step.algebra,
        "inputs": [value(seen) for seen in step.inputs],
        "weights": [value(seen) | {"path": seen.key[0]} for seen in step.weights],
        "output": value(step.output),
    }


def _entries(steps: list[Step]) -> Table:
    """A row for each entry of each output."""
    return Table("entries", ENTRIES, _Entries(steps))  # type: ignore[arg-type]


class _Entries(Sequence[Mapping[str, object]]):
    """The rows of all entries, made when they are asked for: only CSV asks, and there may be a million."""

    def __init__(self, steps: list[Step]) -> None:
        self.steps = steps

    def __len__(self) -> int:
        return sum(step.output.values.size for step in self.steps)

    def __getitem__(self, index: Any) -> Any:
        return tuple(self)[index]

    def __iter__(self) -> Iterator[Mapping[str, object]]:
        for step in self.steps:
            values = step.output.values
            for at, entry in zip(product(*map(range, values.shape)), values.ravel().tolist(), strict=True):
                yield {"path": step.path, "algebra": step.algebra, "index": at, "value": repr(entry)}


# --- for people ---------------------------------------------------------------------------------------------------


class _Shown:
    """Writes steps; remembers what was shown, so that nothing is shown twice without need."""

    def __init__(self, decimals: int, *, whole: bool) -> None:
        self.decimals, self.whole = decimals, whole
        self.seen: set[Any] = set()

    def step(self, step: Step) -> Iterable[Matrix]:
        """One operation: its algebra, what is new of what it uses, and what it makes."""
        out = step.output
        lines = [f"{step.algebra}    {_shape(out)}"]
        lines += self._by_hand(step)
        parts = [seen for seen in step.inputs if self._is_new(seen) and not _same_as(seen, out)] + [
            w for w in step.weights if self._is_new(w)
        ]
        made = self._grids(out, WEIGHS in rules(step.op).traits)
        self.seen.add(id(out.values))
        kind = rules(step.op)
        unchanged = kind.memory not in (OWN, PART) or MASKS in kind.traits
        if unchanged and step.inputs and not step.inputs[0].given:
            before = self._grids(step.inputs[0], False)
            if [grid.rows for grid in before] == [grid.rows for grid in made]:
                lines.append("  the same numbers")
                yield Matrix(step.path, tuple(lines), tuple((grid,) for grid in made) if parts else ())
                return
        aside = [grid for seen in parts for grid in self._grids(seen, self._weighs(step, seen))]
        weighed = [seen for seen in parts if self._weighs(step, seen)] + ([out] if WEIGHS in kind.traits else [])
        lines += self._of_zeros(step, weighed)
        if len(made) == 1:
            yield Matrix(step.path, tuple(lines), ((*aside, *made),))
        else:
            yield Matrix(step.path, tuple(lines), (*((tuple(aside),) if aside else ()), *((grid,) for grid in made)))

    @staticmethod
    def _of_zeros(step: Step, weighed: Sequence[Seen]) -> list[str]:
        """What is said of weights that are exactly 0, and of rows in which everything is masked."""
        if WEIGHS not in rules(step.op).traits:
            return ["  · is 0: what a query does not look at"] if any(_has_zero(seen) for seen in weighed) else []
        masked = step.inputs[0].values == LOWEST
        lines = []
        if (masked & (step.output.values == 0)).any():
            lines.append("  · is 0: what a query does not look at")
        if (~masked & (step.output.values == 0)).any():
            lines.append("  some are 0 because e to that power is smaller than any number here")
        if masked.all(-1).any():
            lines.append("  a row that is masked everywhere looks at all alike")
        return lines

    def _is_new(self, seen: Seen) -> bool:
        """What a step uses is shown with it, unless it was shown before."""
        key = seen.key if seen.key[0] else id(seen.values)
        first = key not in self.seen
        self.seen.add(key)
        return first

    @staticmethod
    def _weighs(step: Step, seen: Seen) -> bool:
        """Whether these weigh what is summed: the sum of each row is shown beside it."""
        return step.op.path.rpartition(".")[2] == "mix" and step.inputs[0] is seen

    def _by_hand(self, step: Step) -> list[str]:
        """One entry of a product or of a table of sines, one row of a softmax or norm, worked out."""
        traits = rules(step.op).traits
        if SINES in traits:
            return self._sine_by_hand(step)
        if traits & {WEIGHS, NORMS} and step.output.values.ndim > 1:
            return self._row_by_hand(step)
        if not step.by_hand or len(step.by_hand[1]) > FACTORS:
            return []
        (row, column), pairs, (*added, entry) = step.by_hand
        terms = [f"{self._brief(a, sign=True)}·{self._brief(b, sign=True)}" for a, b in pairs]
        terms += [self._brief(x, sign=True) for x in added]
        scale = step.op.attrs.get("scale", 1.0)
        factor = by(scale, str(len(pairs)), len(pairs), stretched=step.op.attrs.get("stretched", False))
        if step.op.attrs.get("by_layer") and step.layer:
            factor += f" / {step.layer + 1}"
        total = " + ".join(terms)
        if factor:
            total = f"({total}){factor}"
        exact = all(_same(x, self.decimals) for x in (*(x for pair in pairs for x in pair), *added, entry))
        exact = exact and ("√" not in factor or _same(1 / scale, 0))
        return [f"  row {row}, column {column}: {total} {'=' if exact else '≈'} {self._brief(entry)}"]

    def _sine_by_hand(self, step: Step) -> list[str]:
        """An entry of a table of sines and cosines: of the second position, and the second frequency."""
        table, attrs = step.output.values, step.op.attrs
        if table.ndim != 2:
            return []
        row, width = min(1, len(table) - 1), table.shape[-1]
        of = step.inputs[0].values.ravel()[row].item() + attrs.get("offset", 0) if step.inputs else row
        i = 1 if width > 2 else 0
        column = 2 * i if attrs["order"] == "alternating" else i
        spread = attrs["spread"]
        exponent = f"{i}/({width // 2} − {spread})" if spread else f"{2 * i}/{width}"
        entry = self._brief(table[row, column].item())
        name = "PE" if step.inputs else "R"
        return [
            f"  row {row + 1}, column {column + 1}: {name}[{of}, {column}] = sin({of} / 10000^({exponent})) ≈ {entry}"
        ]

    def _row_by_hand(self, step: Step) -> list[str]:
        x, y = (v.reshape(-1, v.shape[-1]) for v in (step.inputs[0].values, step.output.values))
        row = min(1, step.output.values.shape[-2] - 1)
        given, made = x[row].tolist(), y[row].tolist()
        if NORMS in rules(step.op).traits:
            mean = sum(given) / len(given) if step.op.attrs["norm"] == "layernorm" else 0.0
            spread = sum((entry - mean) ** 2 for entry in given) / len(given)
            centre = f"μ {self._is(mean)}, σ²" if step.op.attrs["norm"] == "layernorm" else "mean of the squares"
            return [f"  row {row + 1}: {centre} {self._is(spread)}"]
        powers = [f"e^{self._brief(entry, sign=True)}" for entry in given if entry != LOWEST]
        if step.weights or not 1 < len(powers) <= FACTORS or given[0] == LOWEST:
            return []
        return [f"  row {row + 1}, column 1: {powers[0]} / ({' + '.join(powers)}) ≈ {self._brief(made[0])}"]

    def _is(self, x: float) -> str:
        """`= 1.5`, or `≈ 0.333` where that is rounded."""
        return f"{'=' if _same(x, self.decimals) else '≈'} {self._brief(x)}"

    def _brief(self, x: float, *, sign: bool = False) -> str:
        """A number in a line of text; a negative one in parentheses where it is a factor."""
        places = next((n for n in range(self.decimals) if _same(x, n)), self.decimals)
        text = _number(x, places)
        return f"({text})" if sign and text.startswith("−") else text

    def _grids(self, seen: Seen, weighs: bool) -> list[Grid]:
        """A tensor as matrices: the last dimension across, the one before it down."""
        v, dims = seen.values, list(seen.dims)
        bars = 0
        if v.ndim >= 3 and dims[-2] in (("heads",), ("kv_heads",)):  # heads side by side
            bars, dims = v.shape[-1], [*dims[:-2], dims[-2] + dims[-1]]
            v = v.reshape([*v.shape[:-2], -1])
        elif v.ndim:
            bars = seen.head_width
        places = _places(v.ravel().tolist(), self.decimals)
        if v.ndim < 2:
            return [Grid(self._label(seen, ""), self._rows(v.reshape(1, -1), places, weighs=False), _bars(v, bars))]
        leading = v.shape[:-2]
        grids: list[Grid] = []
        for index in _indices(leading):
            if not self.whole and any(i and dim and dim[0] in BATCH for i, dim in zip(index, dims, strict=False)):
                continue
            if len(grids) == BLOCKS and not self.whole:
                grids.append(Grid(f"… {math.prod(leading):,} such matrices in all (--all shows them)", (("",),)))
                break
            words = [
                f"{WORDS.get(dim[0], dim[0].replace('_', ' ')) if dim else ''} {i + 1}"
                for i, dim, n in zip(index, dims, leading, strict=False)
                if n > 1 and not (dim and dim[0] in BATCH and not self.whole)
            ]
            label = self._label(seen, ", ".join(words)) + (_of_sums(v[index].sum(-1).tolist()) if weighs else "")
            cut = self._rows(v[index], places, weighs=weighs)
            line = (len(cut[0]) - 1,) if weighs else _bars(v, bars)
            grids.append(Grid(label, cut, line if weighs or v.shape[-1] <= SIDE or self.whole else ()))
        return grids

    @staticmethod
    def _label(seen: Seen, where: str) -> str:
        label = seen.letter + (f" {seen.shape}" if seen.given or seen.key[0] else "")
        return f"{label}{', ' if where else ''}{where}"

    def _rows(self, v: Any, places: int, *, weighs: bool) -> tuple[tuple[str, ...], ...]:
        """A matrix as text; of a large one the corner."""
        cut = not self.whole and len(v) > SIDE
        if cut:
            v = v[[*range(CORNER), -1]]
        across = not self.whole and v.shape[-1] > SIDE
        shown = v[:, [*range(CORNER), -1]] if across else v
        rows = [[self._entry(x, places, weighs=weighs) for x in row] for row in shown.tolist()]
        if across:
            rows = [[*row[:CORNER], "…", row[-1]] for row in rows]
        if weighs:
            for row, sum_of in zip(rows, v.sum(-1).tolist(), strict=True):
                row.append(f"Σ = {_sum(sum_of, self.decimals)}")
        if cut:
            rows = [*rows[:CORNER], ["⋮"] * len(rows[0]), rows[-1]]
        return tuple(map(tuple, rows))

    @staticmethod
    def _entry(x: float, places: int, *, weighs: bool) -> str:
        if x == LOWEST:
            return "−∞"
        return "·" if weighs and x == 0 else _number(x, places)


def _of_sums(sums: Sequence[float]) -> str:
    """What the sums of a matrix's rows have in common; of a corner that is shown, too."""
    if all(math.isclose(total, sums[0], rel_tol=1e-9) for total in sums) and _same(sums[0], 3):
        return f" (rows sum to {_number(sums[0], _places([sums[0]], 3))})"
    return (
        " (no row sums to 1)"
        if not any(math.isclose(total, 1, rel_tol=1e-9) for total in sums)
        else (" (not all rows sum to 1)")
    )


def _sum(total: float, most: int) -> str:
    """A row's sum; one that is not 1 gets the decimals that tell it from 1."""
    places = _places([total], most)
    if not math.isclose(total, 1, rel_tol=1e-9):
        places = next(n for n in range(places, places + 12) if round(total, n) != 1)
    return _number(total, places)


def _bars(v: Any, width: int) -> tuple[int, ...]:
    return tuple(range(width, v.shape[-1], width)) if width else ()


def _indices(leading: Sequence[int]) -> Iterable[tuple[int, ...]]:
    if not leading:
        yield ()
        return
    for i in range(leading[0]):
        for rest in _indices(leading[1:]):
            yield (i, *rest)


def _shape(seen: Seen) -> str:
    return f"[{', '.join(seen.symbols)}] = {seen.shape}"


def _same_as(seen: Seen, other: Seen) -> bool:
    """Whether an input is handed on as it is."""
    return seen.given and seen.shape == other.shape and seen.letter == other.letter


def _has_zero(seen: Seen) -> bool:
    return bool((seen.values == 0).any())


def _same(x: float, places: int) -> bool:
    return abs(x - round(x, places)) <= 1e-12 * max(1.0, abs(x))


def _places(numbers: Iterable[float], most: int) -> int:
    """The decimals that the numbers need, at most so many; more where all of them would vanish."""
    shown = [x for x in numbers if x != LOWEST]
    for places in range(most):
        if all(_same(x, places) for x in shown):
            return places
    largest = max((abs(x) for x in shown), default=0.0)
    return most if largest == 0 or largest >= 10 ** (1 - most) else most - math.floor(math.log10(largest))


def _number(x: float, places: int) -> str:
    """A number with a real minus sign."""
    text = f"{abs(x):.6e}" if abs(x) >= 1e15 else f"{abs(x):.{places}f}"
    return f"−{text}" if x < 0 and any(digit in "123456789" for digit in text) else text
