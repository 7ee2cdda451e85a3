"""What a command answers, as plain data: output formats print it, other programs read it.

This module knows nothing of transformers and nothing of terminals; the modules beside it build reports.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from transformer_calc.errors import as_options
from transformer_calc.tuples import NamedTuple

SCHEMA = "tcalc/1"

# What a value is, which decides how people see it. Machines (JSON, CSV) get it as it is.
#   count, flops, bytes: exact integers     share: a fraction of 1
#   rounded: a count of which the last digits say nothing     seconds: a duration
#   number: any measure, to three digits     usd: dollars
#   shape: a sequence of sizes or symbols     shapes: a sequence of shapes
#   mixed: a pair of a value and its kind, where the rows differ in it
Kind = Literal[
    "text",
    "count",
    "rounded",
    "flops",
    "bytes",
    "share",
    "seconds",
    "number",
    "usd",
    "shape",
    "shapes",
    "formula",
    "mixed",
]


class Column(NamedTuple):
    """A column of a table. Where the terminal is narrow, the largest `priority` goes first and 0 never goes."""

    key: str
    title: str
    kind: Kind
    priority: int = 0


class Table(NamedTuple):
    """Rows are looked up by column key; a key that a row lacks is an empty cell.

    `stacks`: where the columns that never go have no room, each row is drawn as lines, one for each column.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, object], ...]
    total: Mapping[str, object] | None = None
    caption: str = ""
    stacks: bool = False


class Facts(NamedTuple):
    """A few labelled values: `(label, value, kind)`."""

    title: str
    items: tuple[tuple[str, object, Kind], ...]


class Text(NamedTuple):
    """A paragraph; its line breaks are kept."""

    text: str


class Grid(NamedTuple):
    """A matrix's entries as text; a line stands before each of the columns `bars`."""

    label: str
    rows: tuple[tuple[str, ...], ...]
    bars: tuple[int, ...] = ()


class Matrix(NamedTuple):
    """Matrices with what is said about them: each row of `grids` stands side by side where there is room."""

    title: str
    lines: tuple[str, ...]
    grids: tuple[tuple[Grid, ...], ...]


class Plot(NamedTuple):
    """A curve over the horizontal axis, drawn in a few lines from 0 to its largest value."""

    title: str
    points: tuple[tuple[float, float], ...]  # in the order of the horizontal axis
    ends: tuple[str, str]  # what stands below the first and the last point
    values: tuple[str, str]  # what stands beside the largest value, and beside 0
    growth: Literal["linear", "steps"] = "linear"  # between points


Section = Table | Facts | Text | Matrix | Plot


class Report(NamedTuple):
    """A command's whole answer: `data` is the body of the JSON, `sections` is what people read, `main` is the CSV."""

    command: str
    model: Mapping[str, object]
    workload: Mapping[str, object]
    data: Mapping[str, object]
    sections: tuple[Section, ...]
    main: Table | None = None
    models: tuple[Mapping[str, Any], ...] = ()  # where there are several, each as in `model`
    ok: bool = True  # False where the question has an answer and it is no: the exit status is 1

    def to_dict(self) -> dict[str, object]:
        """Return the JSON object: the envelope that every command shares, then the body."""
        return {
            "schema": SCHEMA,
            "command": self.command,
            "model": in_options(self.model),
            "workload": dict(self.workload),
            **self.data,
        }

    def beyond(self) -> str | None:
        """Where the answer holds what is no finite number, and what it is; None where all of them are finite."""
        rest: list[tuple[str, object]] = [("", self.data), *(("", section) for section in self.sections)]
        seen = set[int]()
        while rest:
            key, part = rest.pop()
            if isinstance(part, float):
                if not math.isfinite(part):
                    return f"{key} is {part}"
            elif isinstance(part, Mapping):
                where = f"{key}." if key else ""
                rest += [(f"{where}{name}", inner) for name, inner in part.items() if type(inner) not in _FINITE]
            elif isinstance(part, list | tuple) and id(part) not in seen:
                seen.add(id(part))  # tables of equal layers share their rows
                kinds = set(map(type, part))
                if kinds <= _FINITE or (kinds == {float} and all(map(math.isfinite, part))):
                    continue  # quickly: a walk has a million entries
                label = part[0] if part and isinstance(part[0], str) else key
                rest += [(label, inner) for inner in part if type(inner) not in _FINITE]
        return None


def in_options(model: Mapping[str, object]) -> dict[str, object]:
    """What is said of a model, with its notes in the command line's words."""
    notes = model.get("notes")
    return {**model, "notes": [as_options(note) for note in notes]} if isinstance(notes, list) else dict(model)


_FINITE = frozenset({str, int, bool, type(None)})
