"""The report of `tcalc walk`: every matrix of a forward pass, with the line of algebra that makes it."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from transformer_calc.report import Column, Grid, Matrix, Report, Table, Text
from transformer_calc.report.common import legend
from transformer_calc.units import decimals_of, format_decimals, is_whole

if TYPE_CHECKING:
    from transformer_calc.readings.run.by_hand import Line, Number
    from transformer_calc.readings.run.walk import Seen, Step, Walk

SIDE = 12  # rows and columns of a matrix that are shown; of a larger one its corner
CORNER = 6
BLOCKS = 8  # matrices of one tensor that are shown
LOWEST = -sys.float_info.max  # what a mask writes
BATCH = ("batch", "batch_images")
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


def build(answer: Walk, *, decimals: int = 3, whole: bool = False) -> Report:
    """Every step; `whole`: no matrix is cut, and every item of a batch is shown."""
    shown = _Shown(decimals, whole=whole)
    sections = [section for step in answer.steps for section in shown.step(step)]
    letters, symbols = legend(answer.symbols)
    title = f"{answer.title}, shrunk: a tiny model of the same structure" if answer.shrunk else answer.title
    sequences = _count(batch := answer.workload["batch"], "sequence")
    target = answer.workload.get("target_seq")
    run_on = f"{sequences} of {_count(answer.workload['seq'], 'token')}"
    run_on += f", {_count(target, 'target token')}" if target else ""
    first = f"\nmatrices are those of the first of the {sequences} (--all shows every one)"
    head = Text(f"{title}: {run_on}\n{answer.told}{first if batch > 1 and not whole else ''}")
    data = {
        "seed": answer.seed,
        "weights": answer.weights,
        "shrunk": answer.shrunk,
        "symbols": letters,
        "steps": [_plain(step) for step in answer.steps],
    }
    entries = Table("entries", ENTRIES, _Entries(answer))  # type: ignore[arg-type]
    return Report("walk", answer.model, answer.workload, data, (head, symbols, *sections), entries)


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' if n > 1 else ''}"


# --- for programs -------------------------------------------------------------------------------------------------


def _plain(step: Step) -> dict[str, Any]:
    def value(seen: Seen) -> dict[str, Any]:
        named = {name: getattr(seen, name) for name in ("name", "letter", "axes", "symbols", "shape")}
        return named | {"values": seen.values.tolist()}

    return {
        "path": step.path,
        "op": step.op.kind,
        "algebra": step.algebra,
        "inputs": [value(seen) for seen in step.inputs],
        "weights": [value(seen) | {"path": seen.key[0]} for seen in step.weights],
        "output": value(step.output),
    }


class _Entries(Sequence[Mapping[str, object]]):
    """The rows of all entries, made when they are asked for: only CSV asks, and there may be a million."""

    def __init__(self, answer: Walk) -> None:
        self.answer = answer

    def __len__(self) -> int:
        return self.answer.entries

    def __getitem__(self, index: Any) -> Any:
        return tuple(self)[index]

    def __iter__(self) -> Iterator[Mapping[str, object]]:
        for step in self.answer.steps:
            values = step.output.values
            for at, entry in zip(product(*map(range, values.shape)), values.ravel().tolist(), strict=True):
                yield {"path": step.path, "algebra": step.algebra, "index": at, "value": repr(entry)}


# --- for people ---------------------------------------------------------------------------------------------------


class _Shown:
    """Writes steps; remembers what was shown, so that nothing is shown twice without need."""

    def __init__(self, decimals: int, *, whole: bool) -> None:
        self.decimals, self.whole = decimals, whole
        self.seen: set[Any] = set()

    def step(self, step: Step) -> Iterator[Matrix]:
        """One operation: its algebra, what is new of what it uses, and what it makes."""
        out = step.output
        lines = [f"{step.algebra}    [{', '.join(out.symbols)}] = {out.shape}"]
        if step.by_hand:
            lines.append(f"  {self._line(step.by_hand)}")
        parts = [seen for seen in step.inputs if self._is_new(seen) and not _same_as(seen, out)]
        parts += [weight for weight in step.weights if self._is_new(weight)]
        made = self._grids(out)
        self.seen.add(id(out.values))
        if step.handed_on and [grid.rows for grid in self._grids(step.inputs[0])] == [grid.rows for grid in made]:
            lines.append("  the same numbers")
            yield Matrix(step.path, tuple(lines), tuple((grid,) for grid in made) if parts else ())
            return
        aside = [grid for seen in parts for grid in self._grids(seen)]
        unseen = any(seen.sums is not None and (seen.values == 0).any() for seen in parts)
        lines += [f"  {remark}" for remark in step.remarks]
        lines += ["  · is 0: what a query does not look at"] if unseen and out.sums is None else []
        if len(made) == 1:
            yield Matrix(step.path, tuple(lines), ((*aside, *made),))
        else:
            yield Matrix(step.path, tuple(lines), (*((tuple(aside),) if aside else ()), *((grid,) for grid in made)))

    def _is_new(self, seen: Seen) -> bool:
        """What a step uses is shown with it, unless it was shown before."""
        key = seen.key if seen.key[0] else id(seen.values)
        first = key not in self.seen
        self.seen.add(key)
        return first

    def _line(self, line: Line) -> str:
        """An entry worked out, with as many decimals as are shown."""
        numbers = [piece for piece in line if not isinstance(piece, str)]
        exact = all(is_whole(number.value, self.decimals) for number in numbers)
        return "".join(piece if isinstance(piece, str) else self._number(piece, exact=exact) for piece in line)

    def _number(self, number: Number, *, exact: bool) -> str:
        """A number in a line of text; `exact`: whether none of the line is rounded."""
        places = next((n for n in range(self.decimals) if is_whole(number.value, n)), self.decimals)
        text = format_decimals(number.value, places)
        if number.role == "factor" and text.startswith("−"):
            return f"({text})"
        if number.role in ("is", "result"):
            exact = exact if number.role == "result" else is_whole(number.value, self.decimals)
            return f"{'=' if exact else '≈'} {text}"
        return f"≈ {text}" if number.role == "about" else text

    def _grids(self, seen: Seen) -> list[Grid]:
        """A tensor as matrices: the last dimension across, the one before it down."""
        v, dims, bars = seen.values, list(seen.dims), 0
        if v.ndim >= 3 and dims[-2] in (("heads",), ("kv_heads",)):  # heads side by side
            bars, dims = v.shape[-1], [*dims[:-2], (*dims[-2], *dims[-1])]
            v = v.reshape([*v.shape[:-2], -1])
        elif v.ndim:
            bars = seen.head_width
        every = v.ravel().tolist()
        places = decimals_of((x for x in every if x != LOWEST), self.decimals)
        lines = tuple(range(bars, v.shape[-1], bars)) if bars else ()
        if v.ndim < 2:
            return [Grid(self._label(seen, ""), self._rows(v.reshape(1, -1), places), lines)]
        weighs = seen.sums is not None
        grids: list[Grid] = []
        for at, matrix, sums in _matrices(v, seen.sums if weighs else v):
            where = [(i, dim, n) for i, dim, n in zip(at, dims, v.shape, strict=False) if n > 1]
            if not self.whole and any(i > 1 and dim and dim[0] in BATCH for i, dim, _ in where):
                continue
            if len(grids) == BLOCKS and not self.whole:
                grids.append(
                    Grid(f"… {len(v.reshape(-1, *v.shape[-2:])):,} such matrices in all (--all shows them)", (("",),))
                )
                break
            words = [
                f"{WORDS.get(dim[0], dim[0].replace('_', ' ')) if dim else ''} {i}"
                for i, dim, _ in where
                if self.whole or not (dim and dim[0] in BATCH)
            ]
            label = self._label(seen, ", ".join(words))
            rows = self._rows(matrix, places, weighs=weighs)
            if weighs:
                totals = sums[[*range(CORNER), -1]] if self._is_cut(matrix) else sums
                ends = [f"Σ = {_sum(total, self.decimals)}" for total in totals.tolist()]
                if self._is_cut(matrix):
                    ends.insert(CORNER, "⋮")
                label += _of_sums(sums.tolist())
                lines, rows = (len(rows[0]),), tuple((*row, end) for row, end in zip(rows, ends, strict=True))
            grids.append(Grid(label, rows, lines if weighs or v.shape[-1] <= SIDE or self.whole else ()))
        return grids

    @staticmethod
    def _label(seen: Seen, where: str) -> str:
        label = f"{seen.letter} {seen.shape}" if seen.given or seen.key[0] else seen.letter
        return f"{label}, {where}" if where else label

    def _is_cut(self, v: Any) -> bool:
        return not self.whole and len(v) > SIDE

    def _rows(self, v: Any, places: int, *, weighs: bool = False) -> tuple[tuple[str, ...], ...]:
        """A matrix as text; of a large one the corner."""
        cut, across = self._is_cut(v), self._is_cut(v.T)
        v = v[[*range(CORNER), -1]] if cut else v
        v = v[:, [*range(CORNER), -1]] if across else v
        rows = [[_entry(x, places, weighs=weighs) for x in row] for row in v.tolist()]
        for row in rows if across else ():
            row.insert(CORNER, "…")
        if cut:
            rows.insert(CORNER, ["⋮"] * len(rows[0]))
        return tuple(map(tuple, rows))


def _matrices(v: Any, sums: Any, at: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Any, Any]]:
    """The matrices of a tensor, each with its place in the leading dimensions, from 1, and what goes with it."""
    if v.ndim == 2:
        yield at, v, sums
        return
    for i, (part, of_part) in enumerate(zip(v, sums, strict=True), 1):
        yield from _matrices(part, of_part, (*at, i))


def _same_as(seen: Seen, other: Seen) -> bool:
    """Whether an input is handed on as it is."""
    return seen.given and seen.shape == other.shape and seen.letter == other.letter


def _entry(x: float, places: int, *, weighs: bool) -> str:
    if x == LOWEST:
        return "−∞"
    return "·" if weighs and x == 0 else format_decimals(x, places)


def _of_sums(sums: Sequence[float]) -> str:
    """What the sums of a matrix's rows have in common; of a corner that is shown, too."""
    if all(math.isclose(total, sums[0], rel_tol=1e-9) for total in sums) and is_whole(sums[0], 3):
        return f" (rows sum to {format_decimals(sums[0], decimals_of(sums[:1], 3))})"
    some = any(math.isclose(total, 1, rel_tol=1e-9) for total in sums)
    return " (not all rows sum to 1)" if some else " (no row sums to 1)"


def _sum(total: float, most: int) -> str:
    """A row's sum; one that is not 1 gets the decimals that tell it from 1."""
    places = decimals_of([total], most)
    if not math.isclose(total, 1, rel_tol=1e-9):
        places = next(n for n in range(places, 320) if f"{total:.{n}f}" != f"{1:.{n}f}")
    return format_decimals(total, places)
