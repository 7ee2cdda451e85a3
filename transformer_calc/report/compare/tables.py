"""The tables of `tcalc compare`: one for each group of facts, and one of all for CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from transformer_calc.report import Column, Kind, Table

if TYPE_CHECKING:
    from transformer_calc.readings.cost.compare import Comparison, SideBySide

OTHER = "≠"  # marks a row whose values differ
SHOWN_AS: dict[str, Kind] = {  # to people, of what is exact for machines
    "tokens": "rounded",
    "run_tokens": "rounded",
    "chinchilla_tokens": "rounded",
    "tokens_per_parameter": "number",
}
WORDS = {"batch": "batch", "seq": "tokens", "target_seq": "target tokens", "context": "tokens in the cache"}


def title(answer: Comparison) -> str:
    """What is compared, and on which workload."""
    changes = answer.models[0]["changes"]
    of = f" with {', '.join(changes)}" if changes else ""
    said: list[str] = []
    for key, word in WORDS.items():
        size = answer.size(key)
        if isinstance(size, int) and size and key != "batch":
            said.append(f"{size:,} {word if size > 1 else word.replace('tokens', 'token')}")
        elif size:
            said.append(f"{word} {size}")
    return f"{', '.join(answer.names)}{of}: {', '.join(said)}"


def of_groups(answer: Comparison, rows: Sequence[SideBySide]) -> Iterator[Table]:
    """A table for each group, without what applies to none of the models."""
    columns = [Column("mark", "", "text"), Column("label", "", "text")]
    for number, name in enumerate(answer.names):
        columns.append(Column(name, name, "mixed"))
        if number:
            columns.append(Column(f"ratio {name}", "ratio", "text", 1))
    places = _places(answer)
    for group in dict.fromkeys(row.group for row in rows):
        lines = tuple(
            {"mark": "" if row.same else OTHER, "label": row.label}
            | {
                name: (value, SHOWN_AS.get(row.key, row.kind))
                for name, value in zip(answer.names, row.plain, strict=True)
            }
            | {f"ratio {name}": _times(ratio) for name, ratio in zip(answer.names, row.ratios, strict=True)}
            for row in rows
            if row.group == group and any(value is not None for value in row.values)
        )
        if lines:
            yield Table(f"{group}{places.get(group, '')}", tuple(columns), lines, stacks=True)


def whole(answer: Comparison, rows: Sequence[SideBySide]) -> Table:
    """The table of CSV: every row whole."""
    names = answer.names
    ratios = [f"{name} / {names[0]}" for name in names[1:]]
    columns = [Column(key, key, "text") for key in ("group", "key", "label", *names, "same", *ratios)]
    lines = [
        {key: getattr(row, key) for key in ("group", "key", "label", "same")}
        | dict(zip(names, row.plain, strict=True))
        | dict(zip(ratios, row.ratios[1:], strict=True))
        for row in rows
    ]
    return Table("compare", tuple(columns), tuple(lines))


def _places(answer: Comparison) -> dict[str, str]:
    """What stands behind the name of a group."""
    device, count = answer.device, answer.devices
    if device is None:
        return {}
    name = device.title or device.name
    return {"serving": f" on {count:,} × {name}" if count > 1 else f" on {name}", "training run": f" on {name}"}


def _times(ratio: float | None) -> str:
    """A ratio with three digits, or as many as show that it is not 1."""
    if ratio is None or ratio == 1:
        return ""
    if ratio >= 100 or ratio == 0:
        return f"×{ratio:,.0f}"
    return next((f"×{text}" for n in range(3, 17) if float(text := f"{ratio:#.{n}g}") != 1), "×1")
